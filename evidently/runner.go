package evidently

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

//go:embed runner.py
var runnerScript string

// RunnerOptions configure a Runner.
type RunnerOptions struct {
	// Python is the interpreter of an environment that has Evidently.
	Python string
	// Dir is the working directory of the process; empty: this program's.
	Dir string
	// Env is added to this program's environment.
	Env []string
	// MaxRSSBytes is the resident memory beyond which the process is replaced
	// after an answer; 0: 1 GiB.
	MaxRSSBytes int64
	Logger      *slog.Logger // nil: silent
}

// The codes of errors that come from the process and not from the data. They
// stand in [mlops.Error].Code. The next call starts a new process.
const (
	CodeCrashed = "worker_crashed" // the process ended by itself
	CodeJunk    = "worker_junk"    // it answered something that is no answer
	CodeStopped = "worker_stopped" // it was ended because the context was done, or by Close
	CodeFailed  = "worker_failed"  // Evidently raised an exception; the process keeps running
)

// Runner runs Evidently's Python library. It keeps one process, started at the
// first call, and hands it one comparison at a time; further callers wait. It
// is safe for concurrent use. Close ends it.
type Runner struct {
	opt    RunnerOptions
	script string        // what the process runs; runner.py except in tests
	turn   chan struct{} // holds one token: its owner may use worker
	closed chan struct{}
	once   sync.Once // closes closed

	worker *worker
	last   int
}

// NewRunner returns a Runner. It starts nothing.
func NewRunner(opt RunnerOptions) (*Runner, error) {
	if opt.Python == "" {
		return nil, invalid("NewRunner", "the Python of an environment with Evidently is not configured")
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	opt.MaxRSSBytes = cmp.Or(opt.MaxRSSBytes, 1<<30)
	r := &Runner{opt: opt, script: runnerScript, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	r.turn <- struct{}{}
	return r, nil
}

// Close ends the process and every call under way, which fails with
// CodeStopped. Closing twice is no error.
func (r *Runner) Close() error {
	if r.turn == nil { // not made by NewRunner
		return nil
	}
	r.once.Do(func() { close(r.closed) })
	<-r.turn // calls under way see closed and give it back
	defer func() { r.turn <- struct{}{} }()
	r.stop()
	return nil
}

// driftRequest is what runner.py reads.
type driftRequest struct {
	ID          int               `json:"id"`
	Metric      string            `json:"metric"`
	Params      map[string]any    `json:"params"`
	Reference   string            `json:"reference"`
	Current     string            `json:"current"`
	HeaderRef   []*string         `json:"reference_header"`
	HeaderCur   []*string         `json:"current_header"`
	Separator   string            `json:"separator"`
	MaxColumns  int               `json:"max_columns"`
	Columns     []string          `json:"columns"`
	Numerical   []string          `json:"numerical"`
	Categorical []string          `json:"categorical"`
	Name        string            `json:"name"`
	Timestamp   Time              `json:"timestamp"`
	Metadata    map[string]string `json:"metadata"`
	Tags        []string          `json:"tags"`
}

// driftAnswer is what runner.py writes.
type driftAnswer struct {
	ID    int   `json:"id"`
	RSS   int64 `json:"rss"`
	Error *struct {
		Kind    string `json:"kind"` // "environment", "invalid", "failed"
		Message string `json:"message"`
	} `json:"error"`
	Result   json.RawMessage `json:"result"`
	Snapshot json.RawMessage `json:"snapshot"`
	Columns  []string        `json:"columns"`
	Skipped  []SkippedColumn `json:"skipped"`
	Rows     [2]int          `json:"rows"`

	Order    []string          `json:"order"`    // all that were to be compared
	Missing  map[string][2]int `json:"missing"`  // cells without a value, on each side
	Unparsed map[string][2]int `json:"unparsed"` // those of them that hold something that is no number
}

// Drift compares current with reference, each the path of a CSV or Parquet
// file, by Evidently's data drift preset. A column that Evidently cannot judge
// is skipped with its reason; the others are judged without it.
//
// The error matches [mlops.ErrInvalid] if a file is missing, empty or
// unreadable, if the two files have different columns and opt.Columns does not
// choose among them, or if no column can be judged. When ctx is done, the
// process is ended and the error matches the context's.
func (r *Runner) Drift(ctx context.Context, reference, current string, opt DriftOptions) (DriftReport, error) {
	const op = "Drift"
	if !opt.Rule.IsZero() {
		return DriftReport{}, invalid(op, "Evidently's library judges by its own rules alone; leave out the Rule, or compare by client.Project.DriftBy")
	}
	if r.turn == nil {
		return DriftReport{}, invalid(op, "a runner without a Python; make one with NewRunner")
	}
	reference, current, err := opt.Files(reference, current)
	if err != nil {
		return DriftReport{}, err
	}
	if opt.Timestamp.IsZero() {
		opt.Timestamp = time.Now()
	}
	headers, skipped, err := csvHeaders(op, reference, current, opt)
	if err != nil {
		return DriftReport{}, err
	}
	share := opt.share()
	params := map[string]any{"drift_share": max(share, anyShare)}
	if opt.Method != "" {
		params["method"] = methodOf(opt.Method).name
	}
	if len(opt.ColumnMethods) > 0 {
		by := maps.Clone(opt.ColumnMethods)
		for c, m := range by {
			by[c] = methodOf(m).name
		}
		params["per_column_method"] = by
	}
	if opt.Threshold != nil {
		params["threshold"] = *opt.Threshold
	}
	ans, err := r.ask(ctx, op, driftRequest{
		Metric:      "DataDriftPreset",
		Params:      params,
		Reference:   reference,
		Current:     current,
		HeaderRef:   headers[0],
		HeaderCur:   headers[1],
		Separator:   opt.Separator,
		MaxColumns:  opt.MaxColumns,
		Columns:     list(opt.Columns),
		Numerical:   list(opt.Numerical),
		Categorical: list(opt.Categorical),
		Name:        opt.Name,
		Timestamp:   Time{opt.Timestamp},
		Metadata:    opt.Metadata,
		Tags:        list(opt.Tags),
	})
	if err != nil {
		return DriftReport{}, err
	}
	rep, err := ans.report()
	if err != nil {
		return DriftReport{}, err
	}
	rep.Skipped = append(rep.Skipped, skipped...)
	rep.missing(ans.Missing, ans.Unparsed, cmp.Or(opt.MissingShare, 0.1))
	if len(rep.Columns) == 0 {
		return DriftReport{}, invalid(op, "no column can be judged: %s", reasons(rep.Skipped))
	}
	rep.count(share)
	return rep, nil
}

// Files checks the options and that both files have data, and returns the files'
// absolute paths. The error matches [mlops.ErrInvalid].
func (o DriftOptions) Files(reference, current string) (string, string, error) {
	const op = "Drift"
	if err := o.check(); err != nil {
		return "", "", invalid(op, "%v", err)
	}
	reference, err := dataFile(op, "reference", reference)
	if err != nil {
		return "", "", err
	}
	current, err = dataFile(op, "current", current)
	return reference, current, err
}

// share is the drift share that counts.
func (o DriftOptions) share() float64 {
	if o.DriftShare != nil {
		return *o.DriftShare
	}
	return 0.5
}

// list is s, never null in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// dataFile makes the path absolute and looks whether there is data.
func dataFile(op, side, path string) (string, error) {
	if path == "" {
		return "", invalid(op, "no %s file is named", side)
	}
	if scheme, _, ok := strings.Cut(path, "://"); ok && !strings.ContainsAny(scheme, `/\`) {
		return "", invalid(op, "the %s file %s is not on this machine; download it first", side, path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(abs)
	bad := &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Op: op, Cause: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		bad.Message = fmt.Sprintf("the %s file %s does not exist", side, path)
	case err != nil:
		bad.Message = fmt.Sprintf("the %s file: %v", side, err)
	case info.IsDir():
		bad.Message = fmt.Sprintf("the %s file %s is a directory", side, path)
	case info.Size() == 0:
		bad.Message = fmt.Sprintf("the %s file %s is empty", side, path)
	default:
		return abs, nil
	}
	return "", bad
}

// ask waits for its turn, makes sure that a process runs and gets one answer.
func (r *Runner) ask(ctx context.Context, op string, req driftRequest) (driftAnswer, error) {
	fail := func(kind error, code string, cause error, format string, args ...any) (driftAnswer, error) {
		return driftAnswer{}, &mlops.Error{Kind: kind, Service: service, Op: op, Code: code, Cause: cause, Message: fmt.Sprintf(format, args...)}
	}
	select {
	case <-ctx.Done():
		return fail(nil, "", context.Cause(ctx), "")
	case <-r.closed:
		return fail(mlops.ErrInvalid, "", nil, "the runner is closed")
	case <-r.turn:
		defer func() { r.turn <- struct{}{} }()
	}
	if r.isClosed() || ctx.Err() != nil { // select had the choice
		if err := context.Cause(ctx); err != nil {
			return fail(nil, "", err, "")
		}
		return fail(mlops.ErrInvalid, "", nil, "the runner is closed")
	}
	if r.worker != nil && r.worker.hasEnded() { // between two calls
		r.stop()
	}
	if r.worker == nil {
		w, err := startWorker(r.opt, r.script)
		if err != nil {
			return fail(mlops.ErrInvalid, "", err, "Python %s cannot be started: %v", r.opt.Python, err)
		}
		r.worker = w
	}
	r.last++
	req.ID = r.last
	line, err := json.Marshal(req)
	if err != nil {
		return fail(mlops.ErrInvalid, "", err, "")
	}
	begin := time.Now()
	r.worker.send(line)
	ans, err := r.await(ctx, req.ID)
	if err != nil {
		w := r.worker
		r.stop()
		switch {
		case ctx.Err() != nil:
			return fail(nil, CodeStopped, context.Cause(ctx), "ended after %v: %v", time.Since(begin).Round(time.Millisecond), context.Cause(ctx))
		case r.isClosed():
			return fail(mlops.ErrUnavailable, CodeStopped, nil, "the runner was closed")
		case errors.Is(err, errEnded):
			return fail(mlops.ErrUnavailable, CodeCrashed, w.exit, "the Python process ended: %v%s", w.exit, w.said())
		}
		return fail(mlops.ErrUnavailable, CodeJunk, err, "the Python process %v%s", err, w.said())
	}
	r.opt.Logger.Debug("runner", "service", service, "op", op, "took", time.Since(begin), "rss_bytes", ans.RSS)
	if ans.RSS > r.opt.MaxRSSBytes {
		r.stop()
	}
	if e := ans.Error; e != nil {
		switch e.Kind {
		case "invalid":
			return fail(mlops.ErrInvalid, "", nil, "%s", e.Message)
		case "environment":
			r.stop()
			return fail(mlops.ErrInvalid, "", nil, "Python %s cannot load Evidently: %s", r.opt.Python, e.Message)
		}
		return fail(nil, CodeFailed, nil, "%s", e.Message)
	}
	return ans, nil
}

// await reads the answer to request id. What the process sends first, with ID
// 0, is that it is ready, or why it is not.
func (r *Runner) await(ctx context.Context, id int) (driftAnswer, error) {
	for {
		line, err := r.worker.receive(ctx, r.closed)
		if err != nil {
			return driftAnswer{}, err
		}
		var ans driftAnswer
		if err := json.Unmarshal(line, &ans); err != nil {
			return driftAnswer{}, fmt.Errorf("answered no JSON: %q", head(line))
		}
		switch {
		case ans.ID == id && (ans.Error != nil || ans.Result != nil):
			return ans, nil
		case ans.ID == 0 && !r.worker.ready:
			r.worker.ready = true
			if ans.Error != nil {
				return ans, nil
			}
		default:
			return driftAnswer{}, fmt.Errorf("answered out of turn: %q", head(line))
		}
	}
}

func (r *Runner) stop() {
	if r.worker != nil {
		r.worker.kill()
		r.worker = nil
	}
}

func (r *Runner) isClosed() bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}

func head(b []byte) []byte { return b[:min(len(b), 200)] }
