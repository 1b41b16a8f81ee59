package airflow

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
)

// LogFilter selects lines of logs; its zero value selects all. A line without a
// time or a level, as the rest of a text of several lines, goes with the one before.
// One of a level that is not known is selected.
type LogFilter struct {
	Since time.Time
	Level string         // lines that are at least as grave: one of [LogLevels]
	Grep  *regexp.Regexp // matches the text
}

// LogLevels are the levels of lines, the least grave first.
var LogLevels = []string{"debug", "info", "warning", "error", "critical"}

// filter applies a [LogFilter] to the lines of one log.
type filter struct {
	LogFilter
	old, minor bool // the last line that had a time, a level, was
}

func (f *filter) takes(line LogLine) bool {
	if !line.Time.IsZero() {
		f.old = line.Time.Before(f.Since)
	}
	if line.Level != "" {
		level := gravity(line.Level)
		f.minor = level >= 0 && level < slices.Index(LogLevels, f.Level)
	}
	return !f.old && !f.minor && (f.Grep == nil || f.Grep.MatchString(line.Event))
}

// otherLevels are what some programs call a level.
var otherLevels = map[string]string{"warn": "warning", "exception": "error", "fatal": "critical"}

// gravity is the place of a level within [LogLevels]; -1: it is not known.
func gravity(level string) int {
	level = strings.ToLower(level)
	return slices.Index(LogLevels, cmp.Or(otherLevels[level], level))
}

// logsAtOnce is how many logs of a run are read at once.
const logsAtOnce = 16

// RunLogs yields the logs of a run's tasks, of each item of mapped ones, by time.
// Tasks selects some; with none all are read. A task that never began has no line:
// see [Client.Explain]. Of more than 16 tasks that ran at once, the lines of the
// others come after those of the first that ends.
//
// With Follow it ends when the run ends, or the tasks that were selected, and
// lines come as they are written, of 16 tasks at once. An item of a mapped task that
// is not there yet is waited for.
//
// The error matches [mlops.ErrNotFound] if there is no such run or task.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}
func (c *Client) RunLogs(ctx context.Context, dagID, runID string, tasks []string, opt LogOptions) iter.Seq2[LogLine, error] {
	r := runLogs{c, dagID, runID, tasks, opt}
	return func(yield func(LogLine, error) bool) {
		all, err := r.instances(ctx)
		switch {
		case err != nil:
			yield(LogLine{}, err)
		case opt.Follow:
			r.follow(ctx, yield)
		default:
			r.merge(ctx, all, yield)
		}
	}
}

// runLogs reads the logs of several tasks of one run.
type runLogs struct {
	c            *Client
	dagID, runID string
	tasks        []string // empty: all
	opt          LogOptions
}

// instances lists the tasks that are read, in the order in which they began.
func (r runLogs) instances(ctx context.Context) (all []TaskInstance, _ error) {
	unmapped := false // there may be items later
	for ti, err := range r.c.Tasks.All(ctx, r.dagID, r.runID) {
		if err != nil {
			return nil, err
		}
		if len(r.tasks) > 0 && !slices.Contains(r.tasks, ti.TaskID) {
			continue
		}
		unmapped = unmapped || ti.MapIndex < 0 && !ti.State.Done()
		if r.opt.MapIndex == nil || *r.opt.MapIndex == ti.MapIndex {
			all = append(all, ti)
		}
	}
	if len(all) == 0 && !(r.opt.Follow && unmapped) && (len(r.tasks) > 0 || r.opt.MapIndex != nil) {
		return nil, &mlops.Error{Kind: mlops.ErrNotFound, Service: service, Op: "RunLogs", Message: fmt.Sprintf("run %s of DAG %s has no such task: %.200s", r.runID, r.dagID, strings.Join(r.tasks, ", "))}
	}
	slices.SortStableFunc(all, func(a, b TaskInstance) int { return a.Start.Compare(b.Start) })
	return all, nil
}

// logs reads the log of one task.
func (r runLogs) logs(ctx context.Context, ti TaskInstance) iter.Seq2[LogLine, error] {
	opt := r.opt
	opt.MapIndex = ti.Ref().Index
	return r.c.Logs(ctx, r.dagID, r.runID, ti.TaskID, opt)
}

// began reports whether there is a log of the task to read.
func (r runLogs) began(ti TaskInstance) bool {
	waiting := ti.State == "" || ti.State == StateScheduled || ti.State == StateQueued
	return ti.Try >= max(1, r.opt.Try) && !(waiting && ti.Try <= 1)
}

// source is a log that is being merged: its next line, and where in time it stands.
type source struct {
	next func() (LogLine, error, bool)
	stop func()
	line LogLine
	at   time.Time
}

// advance reads the next line and reports whether there is one. A line without
// a time stays behind the one before it.
func (s *source) advance() (bool, error) {
	line, err, ok := s.next()
	if !ok || err != nil {
		return false, err
	}
	s.line = line
	if !line.Time.IsZero() {
		s.at = line.Time
	}
	return true, nil
}

// merge yields the lines of all logs by time. A log is opened when the lines
// before it have been read, so that few are open at once.
func (r runLogs) merge(ctx context.Context, all []TaskInstance, yield func(LogLine, error) bool) {
	all = slices.DeleteFunc(all, func(ti TaskInstance) bool { return !r.began(ti) })
	var open []*source
	defer func() {
		for _, s := range open {
			s.stop()
		}
	}()
	earliest := func() *source {
		return slices.MinFunc(open, func(a, b *source) int { return a.at.Compare(b.at) })
	}
	for len(all) > 0 || len(open) > 0 {
		var s *source
		if len(all) > 0 && len(open) < logsAtOnce && (len(open) == 0 || r.opt.Try > 0 || !all[0].Start.After(earliest().at)) {
			next, stop := iter.Pull2(r.logs(ctx, all[0]))
			s = &source{next: next, stop: stop, at: all[0].Start}
			open, all = append(open, s), all[1:]
		} else if s = earliest(); !yield(s.line, nil) {
			return
		}
		more, err := s.advance()
		if err != nil {
			yield(LogLine{}, err)
			return
		}
		if !more {
			s.stop()
			open = slices.DeleteFunc(open, func(o *source) bool { return o == s })
		}
	}
}

// follow yields lines as they come, and begins with each task when it does.
func (r runLogs) follow(ctx context.Context, yield func(LogLine, error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan LogLine)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(1 + logsAtOnce) // watch waits with a task until another has ended
	g.Go(func() error {
		return r.watch(ctx, func(ti TaskInstance) { g.Go(func() error { return r.pass(ctx, ti, lines) }) })
	})
	var err error
	go func() {
		err = g.Wait()
		close(lines)
	}()
	enough := false
	for line := range lines {
		if !enough && !yield(line, nil) {
			enough = true
			cancel()
		}
	}
	if err != nil && !enough {
		yield(LogLine{}, err)
	}
}

// watch calls begin once for each task that begins, until the run, or all tasks
// that were selected, have ended.
func (r runLogs) watch(ctx context.Context, begin func(TaskInstance)) error {
	type key struct {
		task  string
		index int
	}
	seen := map[key]bool{}
	for {
		run, err := r.c.Runs.Get(ctx, r.dagID, r.runID) // before the tasks: none begins after its end
		if err != nil {
			return err
		}
		all, err := r.instances(ctx)
		if err != nil {
			return err
		}
		going := len(r.tasks) == 0 || len(all) == 0
		for _, ti := range all {
			going = going || !ti.State.Done()
			if k := (key{ti.TaskID, ti.MapIndex}); !seen[k] && r.began(ti) {
				seen[k] = true
				begin(ti)
			}
		}
		if run.State.Done() || !going {
			return nil
		}
		if err := r.c.wait(ctx); err != nil {
			return err
		}
	}
}

// pass sends the lines of one task.
func (r runLogs) pass(ctx context.Context, ti TaskInstance, to chan<- LogLine) error {
	for line, err := range r.logs(ctx, ti) {
		if err != nil {
			return err
		}
		select {
		case to <- line:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
