package mlflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

// RunOptions are what a run may have. The zero value is a plain run.
type RunOptions struct {
	Name        string // empty: the server invents one
	Description string
	Tags        map[string]string
	Parent      string // the run, by ID or UID, that this one is nested in
	KeepStatus  bool   // ResumeRun leaves a run that has ended as it is; what is logged is added all the same

	Sampler     Sampler       // system metrics; nil: none
	SampleEvery time.Duration // 0: 10 s; never below 1 s

	// EndTimeout is how long End waits for the server; 0: 30 s.
	EndTimeout time.Duration
}

// Run is a run that is being written. Its methods are safe for concurrent use.
//
// The Log methods named in its group return when the record is in the run's
// queue: they do not wait for the server, and the time of a metric is the time
// of the call. A sender in the background puts records together within
// MLflow's limits and repeats what did not get through. What the server
// refuses is split off and reported by Flush and End; the rest goes on.
//
// The queue lives in memory: what is still in it when the process dies is lost.
type Run struct {
	UID string // made by the client, known at once: 32 hex digits

	c       *Client
	at      whereabouts
	timeout time.Duration
	q       *queue

	stopSampling context.CancelFunc
	sampling     sync.WaitGroup
	ending       sync.Once
}

// whereabouts are what only the server knows of a run.
type whereabouts struct {
	id         string
	experiment string // ID
	root       string // artifact URI
}

// StartRun creates a run in an experiment. An answer that got lost does not
// lead to a second run: each run carries its UID as the tag "mlops.run_uid".
//
// The tags mlflow.user, mlflow.source.name and mlflow.source.type are set as
// Python sets them, unless given.
//
// MLflow REST: POST /api/2.0/mlflow/runs/create
func (c *Client) StartRun(ctx context.Context, experimentID string, opt RunOptions) (*Run, error) {
	const op = "StartRun"
	uid, start := c.newUID(), time.Now().UnixMilli()
	tags, err := c.runTags(ctx, opt)
	if err != nil {
		return nil, err
	}
	tags[uidTag] = uid
	for k, v := range tags {
		if err := checkValue(op, "tag", k, v, maxTagValue); err != nil {
			return nil, err
		}
	}
	body := struct {
		Experiment string `json:"experiment_id"`
		Name       string `json:"run_name,omitempty"`
		User       string `json:"user_id,omitempty"`
		Start      int64  `json:"start_time"`
		Tags       Tags   `json:"tags"`
	}{experimentID, opt.Name, tags["mlflow.user"], start, tags}

	tries := 0
	look := func() (RunInfo, bool, error) { return c.runByUID(ctx, []string{experimentID}, uid) }
	info, err := once(ctx, c, func() (RunInfo, error) {
		tries++
		out, err := sendOnce[struct{ Run RunInfo }](ctx, c, op, "POST", "runs/create", body)
		return out.Run, err
	}, look)
	if err != nil {
		return nil, err
	}
	if tries > 1 { // an early try may have been on its way still
		if info, err = c.keepFirst(ctx, experimentID, uid, info); err != nil {
			return nil, err
		}
	}
	return c.newRun(ctx, uid, info, opt), nil
}

// keepFirst deletes all runs with a UID but the first, and returns that one.
func (c *Client) keepFirst(ctx context.Context, experimentID, uid string, made RunInfo) (RunInfo, error) {
	first := RunInfo{}
	for r, err := range c.runsByUID(ctx, []string{experimentID}, uid) {
		switch {
		case err != nil:
			return made, err
		case first.ID == "":
			first = r
		default:
			if err := c.DeleteRun(ctx, r.ID); err != nil {
				return first, err
			}
		}
	}
	if first.ID == "" {
		return made, nil
	}
	return first, nil
}

// runTags are the tags of a new run.
func (c *Client) runTags(ctx context.Context, opt RunOptions) (Tags, error) {
	tags := Tags{"mlflow.source.type": "LOCAL", "mlflow.source.name": cmp.Or(slices.Concat(os.Args, []string{"<console>"})[0], "<console>")}
	if _, given := opt.Tags["mlflow.user"]; !given {
		tags["mlflow.user"] = c.userName()
	}
	if opt.Description != "" {
		tags["mlflow.note.content"] = opt.Description
	}
	if opt.Parent != "" {
		parent, err := c.RunInfo(ctx, opt.Parent)
		if err != nil {
			return nil, fmt.Errorf("parent run %s: %w", opt.Parent, err)
		}
		tags["mlflow.parentRunId"] = parent.ID
	}
	maps.Copy(tags, opt.Tags)
	return tags, nil
}

// userName is the name that Python would write: of the credentials, else of
// the operating system's user.
func (c *Client) userName() string {
	if c.user != "" {
		return c.user
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}

func (c *Client) newRun(ctx context.Context, uid string, info RunInfo, opt RunOptions) *Run {
	r := &Run{UID: uid, c: c, at: whereabouts{info.ID, info.ExperimentID, info.ArtifactURI}, timeout: cmp.Or(opt.EndTimeout, 30*time.Second)}
	r.q = newQueue(ctx, c.linger, func(ctx context.Context, rs []record) error {
		return c.sendRecords(ctx, r.at.id, rs, r.q.reject)
	}, c.pause)
	r.stopSampling = func() {}
	if opt.Sampler != nil {
		r.sample(opt.Sampler, opt.SampleEvery)
	}
	return r
}

// ResumeRun goes on with a run that exists, by the server's ID or by its UID.
// It is marked as running again unless opt.KeepStatus; name, description and tags of opt are set if
// given. A run that another client made has its ID as UID.
//
// MLflow REST: GET /api/2.0/mlflow/runs/get, POST /api/2.0/mlflow/runs/update
func (c *Client) ResumeRun(ctx context.Context, runID string, opt RunOptions) (*Run, error) {
	info, err := c.RunInfo(ctx, runID)
	if err != nil {
		return nil, err
	}
	if info.Deleted {
		return nil, invalid("ResumeRun", "run %s is deleted; restore it first", runID)
	}
	update := RunUpdate{Name: opt.Name}
	if info.Status != Running && !opt.KeepStatus {
		update.Status = Running
	}
	if update != (RunUpdate{}) {
		if err := c.UpdateRun(ctx, info.ID, update); err != nil {
			return nil, err
		}
	}
	tags := maps.Clone(opt.Tags)
	if opt.Description != "" || opt.Parent != "" {
		all, err := c.runTags(ctx, opt)
		if err != nil {
			return nil, err
		}
		if tags == nil {
			tags = map[string]string{}
		}
		for _, k := range []string{"mlflow.note.content", "mlflow.parentRunId"} {
			if v, ok := all[k]; ok {
				tags[k] = v
			}
		}
	}
	r := c.newRun(ctx, cmp.Or(info.UID, info.ID), info, opt)
	if err := r.SetTags(ctx, tags); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// ID returns the server's ID of the run. It waits until the server has it.
func (r *Run) ID(ctx context.Context) (string, error) {
	at, err := r.place(ctx)
	return at.id, err
}

// ArtifactURI returns where the run's artifacts are. It waits until the server
// has the run.
func (r *Run) ArtifactURI(ctx context.Context) (string, error) {
	at, err := r.place(ctx)
	return at.root, err
}

// place waits until the server has the run.
func (r *Run) place(context.Context) (whereabouts, error) { return r.at, nil }

// LogMetric logs one point of a metric, at the time of the call.
func (r *Run) LogMetric(_ context.Context, step int64, key string, value float64) error {
	if err := checkKey("LogMetric", "metric", key); err != nil {
		return err
	}
	return r.q.add("LogMetric", record{kind: metricRecord, key: key, value: value, millis: time.Now().UnixMilli(), step: step})
}

// LogMetrics logs several metrics at one step, at the time of the call.
func (r *Run) LogMetrics(ctx context.Context, step int64, metrics map[string]float64) error {
	now := time.Now()
	points := make([]Metric, 0, len(metrics))
	for _, k := range slices.Sorted(maps.Keys(metrics)) {
		points = append(points, Metric{Key: k, Value: metrics[k], Time: now, Step: step})
	}
	return r.logPoints("LogMetrics", points)
}

// LogPoints logs points with times of their own; a zero Time is now. A point
// that MLflow could not keep is an error; the others are logged all the same.
func (r *Run) LogPoints(_ context.Context, points ...Metric) error {
	return r.logPoints("LogPoints", points)
}

func (r *Run) logPoints(op string, points []Metric) error {
	now := time.Now().UnixMilli()
	var errs []error
	rs := make([]record, 0, len(points))
	for _, p := range points {
		at := now
		if !p.Time.IsZero() {
			at = p.Time.UnixMilli()
		}
		err := checkKey(op, "metric", p.Key)
		if err == nil && at < 0 {
			err = invalid(op, "metric %q: MLflow takes no time before 1970, not %s", p.Key, p.Time)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rs = append(rs, record{kind: metricRecord, key: p.Key, value: p.Value, millis: at, step: p.Step, model: p.ModelID})
	}
	return errors.Join(append(errs, r.q.add(op, rs...))...)
}

// LogParam logs a parameter, printed as [PyString] prints it. MLflow keeps the
// first value: another one later is an error of Flush or End.
func (r *Run) LogParam(_ context.Context, key string, value any) error {
	return r.logTexts("LogParam", paramRecord, map[string]string{key: PyString(value)})
}

// LogParams logs parameters, as LogParam does. One that MLflow would cut is an
// error; the others are logged all the same.
func (r *Run) LogParams(_ context.Context, params map[string]any) error {
	texts := make(map[string]string, len(params))
	for k, v := range params {
		texts[k] = PyString(v)
	}
	return r.logTexts("LogParams", paramRecord, texts)
}

// SetTag sets one tag.
func (r *Run) SetTag(_ context.Context, key, value string) error {
	return r.logTexts("SetTag", tagRecord, map[string]string{key: value})
}

// SetTags sets tags. One that MLflow would cut is an error; the others are set
// all the same.
func (r *Run) SetTags(_ context.Context, tags map[string]string) error {
	return r.logTexts("SetTags", tagRecord, tags)
}

func (r *Run) logTexts(op string, k kind, texts map[string]string) error {
	what, limit := "param", maxParamValue
	if k == tagRecord {
		what, limit = "tag", maxTagValue
	}
	var errs []error
	rs := make([]record, 0, len(texts))
	for _, kv := range keyValues(texts) {
		if err := checkValue(op, what, kv.Key, kv.Value, limit); err != nil {
			errs = append(errs, err)
			continue
		}
		rs = append(rs, record{kind: k, key: kv.Key, text: kv.Value})
	}
	return errors.Join(append(errs, r.q.add(op, rs...))...)
}

// LogInputs logs the data sets that went into the run.
func (r *Run) LogInputs(_ context.Context, inputs ...DatasetInput) error {
	rs := make([]record, 0, len(inputs))
	for _, in := range inputs {
		if in.Name == "" || in.Digest == "" || len(in.Digest) > 36 {
			return invalid("LogInputs", "dataset %q: want a name and a digest of 1 to 36 characters", in.Name)
		}
		rs = append(rs, record{kind: inputRecord, input: in})
	}
	return r.q.add("LogInputs", rs...)
}

// Flush waits until the server has all that was logged before. The error names
// each record that the server refused since the last Flush; it matches
// [mlops.ErrUnavailable] if the server was not reached, and then the records
// wait on.
func (r *Run) Flush(ctx context.Context) error {
	err := r.q.flush(ctx, false)
	return errors.Join(err, r.q.refusals())
}

// Pending returns how many records the server does not have yet.
func (r *Run) Pending() int { return r.q.pending() }

// End marks the run as finished, or failed if err is not nil, or killed if err
// is [context.Canceled], and waits up to RunOptions.EndTimeout until the server
// has everything. It returns err, joined with what could not be logged:
//
//	defer func() { err = run.End(ctx, err) }()
//
// A ctx that is done already does not keep the end from being told. Only the
// first End counts.
func (r *Run) End(ctx context.Context, err error) error {
	out := err
	r.ending.Do(func() {
		status := Finished
		switch {
		case errors.Is(err, context.Canceled):
			status = Killed
		case err != nil:
			status = Failed
		}
		r.stopSampling()
		r.sampling.Wait()
		aerr := r.q.add("End", record{kind: endRecord, text: status, millis: time.Now().UnixMilli()})
		if ctx.Err() != nil {
			ctx = context.WithoutCancel(ctx)
		}
		ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, &mlops.Error{Kind: mlops.ErrUnavailable, Message: fmt.Sprintf("the server did not take everything within %s", r.timeout)})
		defer cancel()
		ferr := r.q.flush(ctx, true)
		if own := errors.Join(aerr, ferr, r.q.refusals()); own != nil {
			out = errors.Join(err, own)
		}
	})
	return out
}

// Close stops sending and sampling and leaves the run as it is, not ended. The
// error tells how many records were not sent.
func (r *Run) Close() error {
	r.stopSampling()
	r.sampling.Wait()
	r.q.stop()
	if n := r.Pending(); n > 0 {
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "Close", Message: fmt.Sprintf("%d records of run %s were not sent", n, r.UID)}
	}
	return nil
}
