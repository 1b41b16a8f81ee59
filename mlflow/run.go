package mlflow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
)

// RunOptions are what a run may have. The zero value is a plain run.
type RunOptions struct {
	Name        string // empty: the server invents one
	Description string
	Tags        map[string]string
	Parent      string // the run, by ID or UID, that this one is nested in
	KeepStatus  bool   // ResumeRun leaves a run that has ended as it is; what is logged is added all the same
	New         bool   // StartRun begins a run even if Options.Target names one

	Sampler     Sampler       // system metrics; nil: none
	SampleEvery time.Duration // 0: 10 s; never below 1 s

	// AtEnd is called once, by End or Close. steps is one more than the highest
	// step that was logged, 0 if none was. What it returns is logged at that
	// step before the end; after Close it is dropped.
	AtEnd func(ctx context.Context, steps int64) map[string]float64

	// EndTimeout is how long End waits for the server; 0: 5 s.
	EndTimeout time.Duration

	// AnswerTimeout is how long ResumeRun waits for the server's word on the run; 0: 5 s.
	AnswerTimeout time.Duration
}

// Run is a run that is being written. Its methods are safe for concurrent use.
//
// The Log methods return when the record has been written to the run's
// journal: they do not wait for the server, and the time of a metric is the
// time of the call. What a Log method took survives the program at once, also
// kill -9, and a power cut after at most 1 s. A sender in the background puts
// records together within MLflow's limits and repeats what did not get
// through, without end. What the server refuses is split off, kept beside the
// journal and reported by Flush and End; the rest is sent.
//
// A journal that a program left behind is sent by the next program that starts
// a run on the same server, by [Client.Sync], or by mlopsctl agent. While the
// disk takes nothing, records wait in memory.
type Run struct {
	UID string // made by the client, known at once: 32 hex digits

	c       *Client
	s       *sender
	timeout time.Duration

	steps atomic.Int64 // one more than the highest step logged, but for samples
	atEnd func(ctx context.Context, steps int64) map[string]float64

	stopSampling context.CancelFunc
	sampling     sync.WaitGroup
	ending       sync.Once
	leaving      sync.Once // atEnd
}

// StartRun begins a run in an experiment: the one with experiment.ID, else the
// one called experiment.Name, which is made with the Tags and the
// ArtifactLocation given if it is not there. With neither, it is the one of
// [Options.Target], else MLflow's default, "0".
//
// StartRun does not wait for the server and works without it; [Run.ID] waits.
// A server that refuses the run says so there, in Flush and in End. An answer
// that got lost does not lead to a second run: each run carries its UID as the
// tag "mlops.run_uid".
//
// If [Options.Target] names a run, as MLFLOW_RUN_ID does, the client's first
// StartRun is a [Client.ResumeRun] of it, as Python's start_run is; a nested run
// and one with opt.New are not.
//
// The tags mlflow.user, mlflow.source.name and mlflow.source.type are set as
// Python sets them, unless given.
//
// MLflow REST: POST /api/2.0/mlflow/runs/create
func (c *Client) StartRun(ctx context.Context, experiment Experiment, opt RunOptions) (*Run, error) {
	const op = "StartRun"
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := usable(c, op); err != nil {
		return nil, err
	}
	if !opt.New && opt.Parent == "" && c.out.take(c.target) {
		return c.ResumeRun(ctx, c.target.RunID, opt)
	}
	ref := experimentRef{ID: experiment.ID, Name: experiment.Name, Location: experiment.ArtifactLocation, Tags: experiment.Tags}
	if ref.ID == "" && ref.Name == "" {
		ref.ID, ref.Name = c.target.ExperimentID, c.target.Experiment
		if ref.ID == "" && ref.Name == "" {
			ref.ID = "0"
		}
	}
	tags := runTags(c.user, opt)
	if err := errors.Join(checkRunName(op, opt.Name), checkText(op, "the experiment's name", ref.Name), checkText(op, "the parent", opt.Parent)); err != nil {
		return nil, err
	}
	for _, kv := range keyValues(tags) {
		if err := checkValue(op, "tag", kv.Key, kv.Value, maxTagValue); err != nil {
			return nil, err
		}
	}
	uid := uidOf(c)
	return c.newRun(ctx, head{Server: c.out.server(), UID: uid, Owner: true, PID: os.Getpid(),
		Create: &create{Experiment: ref, Name: opt.Name, Start: time.Now().UnixMilli(), Parent: opt.Parent, Tags: tags}}, whereabouts{}, opt), nil
}

// runTags are the tags of a new run, but for its parent.
func runTags(user string, opt RunOptions) Tags {
	tags := Tags{"mlflow.source.type": "LOCAL", "mlflow.source.name": cmp.Or(slices.Concat(os.Args, []string{"<console>"})[0], "<console>")}
	if _, given := opt.Tags["mlflow.user"]; !given {
		tags["mlflow.user"] = user
	}
	maps.Copy(tags, changes(opt))
	return tags
}

// changes are the tags that opt asks for.
func changes(opt RunOptions) Tags {
	tags := Tags{}
	if opt.Description != "" {
		tags["mlflow.note.content"] = opt.Description
	}
	maps.Copy(tags, opt.Tags)
	return tags
}

// newRun begins to write a run; at is where it is, if that is known.
func (c *Client) newRun(ctx context.Context, h head, at whereabouts, opt RunOptions) *Run {
	r := &Run{UID: h.UID, c: c, timeout: cmp.Or(opt.EndTimeout, 5*time.Second), atEnd: opt.AtEnd, stopSampling: func() {}}
	r.s = c.out.newSender(ctx, c.out.newJournal(h), h, at)
	if opt.Sampler != nil {
		r.sample(opt.Sampler, opt.SampleEvery)
	}
	return r
}

// ResumeRun opens a run that exists, by the server's ID or by its UID.
// It is marked as running again unless opt.KeepStatus; name, description and
// tags of opt are set if given. A run that another client made has its ID as UID.
//
// While the server is away, for which ResumeRun waits opt.AnswerTimeout at most,
// records are kept for the run all the same. The error matches [mlops.ErrNotFound] if the
// server has no such run, nor is there a journal that begins it.
//
// MLflow REST: GET /api/2.0/mlflow/runs/get, POST /api/2.0/mlflow/runs/update
func (c *Client) ResumeRun(ctx context.Context, runID string, opt RunOptions) (*Run, error) {
	const op = "ResumeRun"
	tags := changes(opt)
	if err := errors.Join(usable(c, op), checkRunName(op, opt.Name), checkText(op, "the run", runID), checkText(op, "the parent", opt.Parent)); err != nil {
		return nil, err
	}
	for _, kv := range keyValues(tags) {
		if err := checkValue(op, "tag", kv.Key, kv.Value, maxTagValue); err != nil {
			return nil, err
		}
	}
	h := head{Server: c.out.server(), UID: runID, Run: runID, Owner: !opt.KeepStatus, PID: os.Getpid()}
	if u := (change{Name: opt.Name, Running: !opt.KeepStatus, Parent: opt.Parent, Tags: tags}); u.Name != "" || u.Running || u.Parent != "" || len(tags) > 0 {
		h.Update = &u
	}
	s := c.out.idleSender(ctx, spool.Create("", runID, nil, spool.Options{}), h) // nothing is kept before the run is known
	wait, cancel := context.WithTimeout(ctx, cmp.Or(opt.AnswerTimeout, 5*time.Second))
	defer cancel()
	at, err := s.attach(wait)
	switch {
	case err == nil:
		h.Run, h.UID, h.Update = at.id, cmp.Or(at.uid, at.id), nil
		if err := s.complaints(); err != nil {
			return nil, err
		}
	case ctx.Err() != nil || !isUID(runID) || !passing(err) && wait.Err() == nil:
		return nil, err
	}
	r := c.newRun(ctx, h, at, opt)
	if wait.Err() != nil {
		r.s.unheard()
	}
	return r, nil
}

// adoptOnce sends what earlier programs left for the server, once in the life
// of a client, in the background. It is called when the server has made a
// run: before, there is no use in looking through what may be thousands of journals.
func (o *outbox) adoptOnce(ctx context.Context) {
	o.first.Do(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		o.stopAdopting = cancel
		one := o.c.single()
		o.adopting.Go(func() {
			if _, err := one.Sync(ctx, SyncOptions{}); err != nil {
				o.c.log.Debug("sync", "service", "mlflow", "error", err)
			}
		})
	})
}

// ID returns the server's ID of the run. It waits until the server has it; the
// error matches [mlops.ErrUnavailable] if ctx ends before, and tells why the
// server would not have the run if it refused it.
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
func (r *Run) place(ctx context.Context) (whereabouts, error) { return r.s.whereabouts(ctx) }

// LogMetric logs one point of a metric, at the time of the call.
func (r *Run) LogMetric(_ context.Context, step int64, key string, value float64) error {
	if err := checkKey("LogMetric", "metric", key); err != nil {
		return err
	}
	r.reached(step)
	return r.s.add("LogMetric", record{kind: metricRecord, key: key, value: value, millis: time.Now().UnixMilli(), step: step})
}

// LogMetrics logs several metrics at one step, at the time of the call.
func (r *Run) LogMetrics(_ context.Context, step int64, metrics map[string]float64) error {
	r.reached(step)
	return r.logMetrics(step, metrics)
}

// reached notes a step that the program logged.
func (r *Run) reached(step int64) {
	for {
		old := r.steps.Load()
		if step < old || step == math.MaxInt64 || r.steps.CompareAndSwap(old, step+1) {
			return
		}
	}
}

func (r *Run) logMetrics(step int64, metrics map[string]float64) error {
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
	for _, p := range points {
		r.reached(p.Step)
	}
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
		if err == nil {
			err = checkText(op, "the model's ID", p.ModelID)
		}
		if err == nil && at < 0 {
			err = invalid(op, "metric %q: MLflow takes no time before 1970, not %s", p.Key, p.Time)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rs = append(rs, record{kind: metricRecord, key: p.Key, value: p.Value, millis: at, step: p.Step, model: p.ModelID})
	}
	return errors.Join(append(errs, r.s.add(op, rs...))...)
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
	return errors.Join(append(errs, r.s.add(op, rs...))...)
}

// LogInputs logs the data sets that went into the run.
func (r *Run) LogInputs(_ context.Context, inputs ...DatasetInput) error {
	rs := make([]record, 0, len(inputs))
	for _, in := range inputs {
		if in.Name == "" || in.Digest == "" || len(in.Digest) > 36 {
			return invalid("LogInputs", "dataset %q: want a name and a digest of 1 to 36 characters", in.Name)
		}
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		if err := storableJSON("LogInputs", b); err != nil {
			return fmt.Errorf("dataset %q: %w", in.Name, err)
		}
		rs = append(rs, record{kind: inputRecord, text: string(b)})
	}
	return r.s.add("LogInputs", rs...)
}

// LogOutput logs that a logged model came out of the run at a step. LogModel
// does that by itself.
func (r *Run) LogOutput(_ context.Context, step int64, modelID string) error {
	if modelID == "" {
		return invalid("LogOutput", "want the ID of a logged model, m-…")
	}
	if err := checkText("LogOutput", "the model's ID", modelID); err != nil {
		return err
	}
	return r.s.add("LogOutput", record{kind: outputRecord, key: modelID, step: step})
}

// Flush waits until the server has all that was logged before. The error names
// each record that the server refused since the last Flush, and what the
// journal could not keep; it matches [mlops.ErrUnavailable] if nothing listens
// at the server's address or five attempts did not get through, and then the
// records wait on.
func (r *Run) Flush(ctx context.Context) error {
	if r.s == nil {
		return errNoRun("Flush")
	}
	err := r.s.flush(ctx, someTries)
	if err != nil {
		err = errors.Join(err, r.s.j.Sync())
	}
	return errors.Join(err, r.s.complaints())
}

// Pending returns how many records the server does not have yet.
func (r *Run) Pending() int {
	if r.s == nil {
		return 0
	}
	return int(r.s.waiting.Load() + r.s.asideWaits())
}

// Kept returns nil if the server, or a journal on this machine's disk, has all
// that was logged. Otherwise the error names what is lost with this process; it
// matches [mlops.ErrUnavailable].
func (r *Run) Kept() error { return r.s.kept() }

// End marks the run as finished, or failed if err is not nil, or killed if err
// is [context.Canceled], and waits until the server has everything: up to
// RunOptions.EndTimeout, and not at all once the server is known to be away, or did
// not answer ResumeRun for as long as RunOptions.AnswerTimeout.
// What it does not have then waits in the journal, which is no error;
// [Run.Pending] tells how many records that are. End returns err, joined with
// what the server refused and what the journal could not keep:
//
//	defer func() { err = run.End(ctx, err) }()
//
// The end is recorded even if ctx is already done. Only the
// first End counts.
func (r *Run) End(ctx context.Context, err error) error {
	status := RunFinished
	switch {
	case errors.Is(err, context.Canceled):
		status = RunKilled
	case err != nil:
		status = RunFailed
	}
	if own := r.EndAs(ctx, status); own != nil {
		return errors.Join(err, own)
	}
	return err
}

// EndAs is End with a status: [RunFinished], [RunFailed] or [RunKilled].
func (r *Run) EndAs(ctx context.Context, status RunStatus) error {
	switch status {
	case RunFinished, RunFailed, RunKilled:
	default:
		return invalid("EndAs", "a run ends as %s, %s or %s, not as %q", RunFinished, RunFailed, RunKilled, status)
	}
	if r.s == nil {
		return errNoRun("EndAs")
	}
	var err error
	r.ending.Do(func() {
		r.stopSampling()
		r.sampling.Wait()
		if last := r.leave(ctx); len(last) > 0 {
			err = r.logMetrics(max(0, r.steps.Load()-1), last)
		}
		err = errors.Join(err, r.s.end(ctx, status, r.timeout))
	})
	return err
}

// unheard notes that the server did not answer for as long as it was waited for,
// so that the end of the run does not wait as long again, unless it answers meanwhile.
func (s *sender) unheard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil && !s.placed {
		s.failure = &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "ResumeRun", Cause: context.DeadlineExceeded, Message: "the server has not answered yet"}
	}
}

// knownDown is how long an end waits for a server that was away a moment ago.
const knownDown = 50 * time.Millisecond

// end logs the end of the run and gives the server some time to take it.
func (s *sender) end(ctx context.Context, status RunStatus, timeout time.Duration) error {
	aerr := s.seal("End", record{kind: endRecord, text: string(status), millis: time.Now().UnixMilli()})
	s.mu.Lock()
	s.ended = true
	short, known := timeout, s.failure
	if _, answers := failing(known); known != nil && passing(known) && !answers {
		short = min(timeout, knownDown)
	}
	s.mu.Unlock()
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	first, stop := context.WithTimeout(wait, short)
	defer stop()
	ferr := s.flush(first, stubborn)
	if ferr != nil && first.Err() != nil && wait.Err() == nil && !unsure(known) {
		ferr = s.flush(wait, stubborn) // the connection is no longer refused
	}
	switch {
	case ferr == nil:
		<-s.over
	case !passing(ferr) && wait.Err() == nil:
	default: // the journal keeps it, and this program keeps sending
		ferr = s.kept()
	}
	return errors.Join(aerr, ferr, s.complaints())
}

// Close stops sending and sampling and leaves the run as it is, not ended. It
// does not wait for the server; the error names how many records were not
// sent, and where they wait.
func (r *Run) Close() error {
	if r.s == nil {
		return nil
	}
	r.stopSampling()
	r.sampling.Wait()
	r.leave(context.Background())
	return r.s.close()
}

// leave asks for the last metrics of the run, once.
func (r *Run) leave(ctx context.Context) (last map[string]float64) {
	r.leaving.Do(func() {
		if r.atEnd != nil {
			last = r.atEnd(context.WithoutCancel(ctx), r.steps.Load())
		}
	})
	return last
}

// Lend returns an open file for a command that is what the run tracks: as long
// as the command has it, no other program takes the run for one whose program
// was killed, even if this one was. The caller closes it after the start of the
// command; nil means that nothing of the run is on disk.
func (r *Run) Lend() (*os.File, error) {
	if r.s == nil {
		return nil, errNoRun("Lend")
	}
	return r.s.j.Lend()
}

// Discard is Close for a run that is to leave no trace: what the server does
// not have yet is deleted. A run that the server has stays there, not ended.
func (r *Run) Discard() error {
	if r.s == nil {
		return nil
	}
	_ = r.Close() // what waits is to be deleted
	var errs []error
	for _, s := range []*sender{r.s, r.s.aside()} {
		if s == nil || s.j.Path() == "" {
			continue
		}
		if err := spool.Discard(s.j.Path()); !isNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
