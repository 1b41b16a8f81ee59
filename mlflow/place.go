package mlflow

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
)

// whereabouts are what only the server knows of a run.
type whereabouts struct {
	id         string
	uid        string // empty if another client made the run
	experiment string // ID
	root       string // artifact URI
}

func placeOf(r RunInfo) whereabouts { return whereabouts{r.ID, r.UID, r.ExperimentID, r.ArtifactURI} }

// place finds the journal's run on the server, or makes it.
func (s *sender) place(ctx context.Context) (whereabouts, error) {
	if s.head.Create != nil {
		return s.create(ctx)
	}
	return s.attach(ctx)
}

// create makes the run exactly once: after an attempt that the server may have
// acted on, it looks for the run's UID before it asks again.
//
// MLflow REST: POST /api/2.0/mlflow/runs/create
func (s *sender) create(ctx context.Context) (whereabouts, error) {
	h := s.head
	ref := h.Create.Experiment
	experiment := ref.ID
	if experiment == "" {
		var err error
		if experiment, err = s.c.experimentOf(ctx, ref); err != nil {
			return whereabouts{}, err
		}
	}
	asked := s.asked
	if asked {
		r, ok, err := s.c.runByUID(ctx, []string{experiment}, h.UID)
		if ok && r.Deleted {
			err = deletedRun("StartRun", r.ID)
		}
		if ok && err == nil {
			s.noteLate(experiment, r.ID)
		}
		if ok || err != nil {
			return placeOf(r), err
		}
	}
	tags := maps.Clone(Tags(h.Create.Tags))
	if tags == nil {
		tags = Tags{}
	}
	tags[uidTag] = h.UID
	if err := s.nest(ctx, h.Create.Parent, tags); err != nil {
		return whereabouts{}, err
	}
	out, err := sendOnce[struct{ Run RunInfo }](ctx, s.c, "StartRun", "POST", "runs/create", struct {
		Experiment string `json:"experiment_id"`
		Name       string `json:"run_name,omitempty"`
		User       string `json:"user_id,omitempty"`
		Start      int64  `json:"start_time"`
		Tags       Tags   `json:"tags"`
	}{experiment, h.Create.Name, tags["mlflow.user"], h.Create.Start, tags})
	if err != nil {
		s.asked = s.asked || unsure(err) || ctx.Err() != nil
		if !s.stuck.again(0, err) && !errors.Is(err, errUnstorable) || ctx.Err() != nil {
			return whereabouts{}, err
		}
		if out.Run, err = s.createBare(ctx, experiment, err); err != nil {
			return whereabouts{}, err
		}
		delete(tags, uidTag)
		if err := s.describe(ctx, out.Run.ID, h.Create.Name, tags, true); err != nil {
			return whereabouts{}, err
		}
		asked = true
	}
	if asked { // an early attempt may have been on its way still
		if out.Run, err = s.c.keepFirst(ctx, experiment, h.UID, out.Run); err == nil {
			s.noteLate(experiment, out.Run.ID)
		}
	}
	return placeOf(out.Run), err
}

// noteLate has later Syncs look for a run that is made once more.
func (s *sender) noteLate(experiment, kept string) {
	s.c.out.note(lateRun{Experiment: experiment, UID: s.head.UID, ID: kept, Start: s.head.Create.Start})
}

// createBare makes the run with nothing but its UID, after the server failed time
// after time on the run as it was described. known is what it answered then.
func (s *sender) createBare(ctx context.Context, experiment string, known error) (RunInfo, error) {
	r, ok, err := s.c.runByUID(ctx, []string{experiment}, s.head.UID)
	if ok || err != nil {
		return r, err
	}
	out, err := sendOnce[struct{ Run RunInfo }](ctx, s.c, "StartRun", "POST", "runs/create", map[string]any{
		"experiment_id": experiment, "start_time": s.head.Create.Start, "tags": Tags{uidTag: s.head.UID}})
	if _, fails := failing(err); fails {
		return RunInfo{}, known // it is not the description
	}
	return out.Run, err
}

// describe gives a run its name and tags. What the server refuses of it, or, if it
// is suspect, fails on, is told like any refused record; the run goes without.
func (s *sender) describe(ctx context.Context, id, name string, tags Tags, suspect bool) error {
	reject := func(r record, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reject(spool.Entry{Data: r.appendTo(nil)}, fmt.Errorf("%s: %w", r, err))
	}
	var rs []record
	for _, kv := range keyValues(tags) {
		rs = append(rs, record{kind: tagRecord, key: kv.Key, text: kv.Value})
	}
	if name != "" {
		err := s.c.UpdateRun(ctx, id, RunUpdate{Name: name})
		if _, fails := failing(err); fails || hopeless(err) {
			reject(record{kind: tagRecord, key: "mlflow.runName", text: name}, err)
		} else if err != nil {
			return err
		}
	}
	w := runWriter{s.c, whereabouts{id: id}}
	h := &hunt{reject: reject}
	if suspect {
		h.suspect = reject
	}
	for len(rs) > 0 {
		n := batchSize(rs)
		if err := w.split(ctx, rs[:n], nil, h); err != nil {
			return err
		}
		rs = rs[n:]
	}
	return nil
}

func deletedRun(op, id string) error {
	return invalid(op, "run %s is deleted; restore it first", id)
}

// keepFirst deletes all runs with a UID but the first, and returns that one.
func (c *Client) keepFirst(ctx context.Context, experimentID, uid string, made RunInfo) (RunInfo, error) {
	first := RunInfo{}
	for r, err := range c.runsByUID(ctx, []string{experimentID}, uid, ViewActive) {
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

// nest sets the tag that puts a run below its parent. A parent that is nowhere
// is reported like a refused record; the run is made without it.
func (s *sender) nest(ctx context.Context, parent string, tags Tags) error {
	if parent == "" {
		return nil
	}
	r, err := s.find(ctx, parent)
	switch {
	case err == nil:
		tags["mlflow.parentRunId"] = r.ID
	case passing(err):
		return err
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rejected = append(s.rejected, fmt.Errorf("parent run %s: %w", parent, err))
	}
	return nil
}

// find looks for a run by ID or UID. A run that another journal is to make yet
// is ErrUnavailable until it did.
func (s *sender) find(ctx context.Context, run string) (RunInfo, error) {
	r, err := s.c.RunInfo(ctx, run)
	if !isNotFound(err) {
		return r, err
	}
	dir, derr := s.c.out.folder()
	if derr != nil || dir == "" {
		return r, err
	}
	left, others := s.leftBy(ctx, dir, run)
	if !others {
		return r, err
	}
	(&syncer{c: s.c}).send(ctx, left) // its outcome shows in what follows
	if r, rerr := s.c.RunInfo(ctx, run); rerr == nil {
		return r, nil
	}
	return r, &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "RunInfo", Cause: errors.Unwrap(err),
		Message: fmt.Sprintf("run %s was begun while the server was away, and is not there yet", run)}
}

// leftBy returns the free journals of a run that are for this server, and
// whether there is any other than the sender's own. One that was written for
// another server must never be sent to this one.
func (s *sender) leftBy(ctx context.Context, dir, run string) (left []*synced, others bool) {
	for j := range journals(ctx, dir, run) {
		if j.Path == s.j.Path() {
			continue
		}
		others = true
		if b := backlogOf(j); !j.Held && (b.Server == "" || b.Server == s.c.out.server()) {
			left = append(left, &synced{info: j, b: b})
		}
	}
	return left, others
}

// adoptEarlier sends what earlier programs left for the run, before something
// newer is sent. Sync does that by its own order.
func (s *sender) adoptEarlier(ctx context.Context, r RunInfo) (sent bool, err error) {
	dir := s.dir()
	if s.adopts || dir == "" {
		return false, nil
	}
	var all []*synced
	for _, name := range []string{r.UID, r.ID} {
		left, _ := s.leftBy(ctx, dir, name)
		all = append(all, left...)
	}
	(&syncer{c: s.c, inOrder: true}).send(ctx, all)
	for _, one := range all {
		if passing(one.b.Err) { // another error is that journal's own; mlopsctl sync reports it
			return sent, one.b.Err
		}
		sent = true
	}
	return sent, nil
}

// attach finds the run that is gone on with and changes what was asked for.
//
// MLflow REST: GET /api/2.0/mlflow/runs/get, POST /api/2.0/mlflow/runs/update
func (s *sender) attach(ctx context.Context) (whereabouts, error) {
	r, err := s.find(ctx, s.head.Run)
	if err != nil {
		return whereabouts{}, err
	}
	if r.Deleted {
		return whereabouts{}, deletedRun("ResumeRun", s.head.Run)
	}
	if sent, err := s.adoptEarlier(ctx, r); err != nil {
		return whereabouts{}, err
	} else if sent {
		if r, err = s.c.RunInfo(ctx, r.ID); err != nil {
			return whereabouts{}, err
		}
	}
	u := s.head.Update
	if u == nil {
		return placeOf(r), nil
	}
	update := RunUpdate{Name: u.Name}
	if u.Running && r.Status != RunRunning {
		update.Status = RunRunning
	}
	if update != (RunUpdate{}) {
		if err := s.c.UpdateRun(ctx, r.ID, update); err != nil {
			return whereabouts{}, err
		}
	}
	tags := Tags{}
	maps.Copy(tags, u.Tags)
	if err := s.nest(ctx, u.Parent, tags); err != nil || len(tags) == 0 {
		return placeOf(r), err
	}
	return placeOf(r), s.describe(ctx, r.ID, "", tags, s.stuck.equal >= equalAnswers)
}

// experimentOf returns the ID of an experiment by name, which it makes if need be.
func (c *Client) experimentOf(ctx context.Context, ref experimentRef) (string, error) {
	c.out.mu.Lock()
	id := c.out.experiments[ref.Name]
	c.out.mu.Unlock()
	if id != "" {
		return id, nil
	}
	e, err := c.EnsureExperiment(ctx, ref.Name, ExperimentOptions{ArtifactLocation: ref.Location, Tags: ref.Tags})
	if err != nil {
		return "", err
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.experiments[ref.Name] = e.ID
	return e.ID, nil
}

// EnsureExperiment returns the experiment called name, which it makes if it is
// not there. Tags of opt that it does not have, or has otherwise, are set. The
// error matches [mlops.ErrConflict] if the experiment is deleted.
//
// MLflow REST: GET /api/2.0/mlflow/experiments/get-by-name, POST experiments/create, experiments/set-experiment-tag
func (c *Client) EnsureExperiment(ctx context.Context, name string, opt ExperimentOptions) (Experiment, error) {
	e, err := c.ExperimentByName(ctx, name)
	if isNotFound(err) {
		id, err := c.CreateExperiment(ctx, name, opt)
		if err == nil {
			return Experiment{ID: id, Name: name, ArtifactLocation: opt.ArtifactLocation, Tags: opt.Tags}, nil
		}
		if !errors.Is(err, mlops.ErrAlreadyExists) {
			return Experiment{}, err
		}
		if e, err = c.ExperimentByName(ctx, name); err != nil { // another client was quicker
			return Experiment{}, err
		}
	} else if err != nil {
		return Experiment{}, err
	}
	if e.Deleted {
		return e, &mlops.Error{Kind: mlops.ErrConflict, Service: "mlflow", Op: "EnsureExperiment", Message: fmt.Sprintf("experiment %s is deleted; restore it, or choose another name", name)}
	}
	for _, kv := range keyValues(opt.Tags) {
		if v, ok := e.Tags[kv.Key]; ok && v == kv.Value {
			continue
		}
		if err := c.SetExperimentTag(ctx, e.ID, kv.Key, kv.Value); err != nil {
			return e, err
		}
		if e.Tags == nil {
			e.Tags = Tags{}
		}
		e.Tags[kv.Key] = kv.Value
	}
	return e, nil
}

// journals lists those of one run, the oldest first.
func journals(ctx context.Context, dir, run string) func(yield func(spool.Info) bool) {
	return func(yield func(spool.Info) bool) {
		if run == "" {
			return
		}
		for j, err := range spool.Peek(ctx, dir, run) {
			if err == nil && !j.Archived && !yield(j) {
				return
			}
		}
	}
}
