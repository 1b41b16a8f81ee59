package airflow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// openLive is open for what no recorded answers can show: what the server makes
// of files.
func openLive(t *testing.T) (*cassette.Session, *airflow.Client, context.Context) {
	t.Helper()
	if !cassette.Live() {
		t.Skip("needs the real Airflow and its DAGs folder: only with MLOPS_LIVE=1")
	}
	s := cassette.Open(t, "airflow")
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
	t.Cleanup(cancel)
	return s, client(t, s, s.HTTP.Transport, s.Auth), ctx
}

// interpreter is that of the stack's Airflow; empty if it runs in containers.
func interpreter(t *testing.T) string {
	t.Helper()
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	return stack.Pythons["airflow"]
}

// bad is a declaration that only Airflow can refuse.
func bad(id string) airflow.DAGSpec {
	return airflow.DAGSpec{ID: id, Schedule: "61 25 * * *", Start: day(2026, 1, 1), Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
}

func TestLiveABadDeclarationChangesNothing(t *testing.T) {
	s, c, ctx := openLive(t)
	dir, python := dags(t, s), interpreter(t)
	good := airflow.DAGSpec{ID: s.Name("good"), Paused: true, Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
	was, err := c.Declare(ctx, dir, good, airflow.DeclareOptions{Python: python})
	require.NoError(t, err)
	t.Cleanup(func() { remove(ctx, c, dir, good.ID) })
	before, err := os.ReadFile(filepath.Join(dir, good.ID+".py"))
	require.NoError(t, err)
	files := func() (n int) {
		all, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range all {
			if strings.HasPrefix(e.Name(), "mlops-trial.") {
				n++
			}
		}
		return n
	}

	// Triggers come in all the while.
	stop, refused := make(chan struct{}), make(chan error, 1)
	triggered := 0
	go func() {
		var errs []error
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				refused <- errors.Join(errs...)
				return
			case <-tick.C:
				triggered++
				if _, err := c.Trigger(ctx, good.ID, airflow.TriggerOptions{}); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}()
	rounds := []struct{ name, python string }{
		{"by the server, as the interpreter has no Airflow", "/bin/false"},
		{"by the interpreter", python},
	}
	for _, r := range rounds {
		_, err := c.Declare(ctx, dir, bad(good.ID), airflow.DeclareOptions{Python: r.python})
		require.ErrorIs(t, err, mlops.ErrInvalid, r.name)
		require.Contains(t, importError(t, err).StackTrace, "61", "%s: Airflow's own words are missing: %v", r.name, err)
		require.NotContains(t, err.Error(), "was put back", "%s: it was written before it was judged", r.name)
		now, err := os.ReadFile(filepath.Join(dir, good.ID+".py"))
		require.NoError(t, err)
		require.Equal(t, string(before), string(now), r.name)
		require.Zero(t, files(), "%s: a trial is left", r.name)
	}
	close(stop)
	require.NoError(t, <-refused, "of %d triggers", triggered)
	require.Greater(t, triggered, 5)
	now, err := c.DAGs.Get(ctx, good.ID)
	require.NoError(t, err)
	require.Equal(t, was.Hash(), now.Hash())
	for ie, err := range c.DAGs.ImportErrors(ctx) {
		require.NoError(t, err)
		require.NotContains(t, ie.File, good.ID)
	}

	t.Run("a good one passes a trial", func(t *testing.T) {
		good.Description = "second"
		dag, err := c.Declare(ctx, dir, good, airflow.DeclareOptions{})
		require.NoError(t, err)
		require.Equal(t, "second", dag.Description)
		require.Zero(t, files())
		left, err := mlops.Collect(c.DAGs.All(ctx, airflow.DAGQuery{Prefix: "mlops-trial.", IncludeStale: true}))
		require.NoError(t, err)
		require.Empty(t, left, "the server still knows the trial")
	})
	t.Run("what the server refuses is put back", func(t *testing.T) {
		// A judge that takes everything.
		blind := filepath.Join(t.TempDir(), "python")
		require.NoError(t, os.WriteFile(blind, []byte("#!/bin/sh\necho '\"\"' > \"$4\"\n"), 0o755))
		_, err := c.Declare(ctx, dir, bad(good.ID), airflow.DeclareOptions{Python: blind})
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.ErrorContains(t, err, fmt.Sprintf("was put back and runs as version %q", good.Hash()))
		dag, err := c.DAGs.Get(ctx, good.ID)
		require.NoError(t, err)
		require.Equal(t, good.Hash(), dag.Hash())
		require.False(t, dag.HasImportErrors)

		fresh := bad(s.Name("fresh"))
		_, err = c.Declare(ctx, dir, fresh, airflow.DeclareOptions{Python: blind})
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.ErrorContains(t, err, "is not declared")
		require.NoFileExists(t, filepath.Join(dir, fresh.ID+".py"))
	})
}

func TestLiveTasksThatCouldNeverStartAreRefused(t *testing.T) {
	s, c, ctx := openLive(t)
	dir := dags(t, s)
	narrow, held := s.Name("mlops.narrow"), s.Name("mlops.held")
	require.NoError(t, c.Pools.Create(ctx, airflow.Pool{Name: narrow, Slots: 2}))
	require.NoError(t, c.Pools.Create(ctx, airflow.Pool{Name: held}))
	t.Cleanup(func() {
		end := context.WithoutCancel(ctx)
		require.NoError(t, errors.Join(c.Pools.Delete(end, narrow), c.Pools.Delete(end, held)))
	})
	d := airflow.DAGSpec{ID: s.Name("slots"), Paused: true, Pool: narrow, Tasks: []airflow.TaskSpec{{ID: "wide", Bash: "true", PoolSlots: 3}}}
	opt := airflow.DeclareOptions{Python: interpreter(t)}
	_, err := c.Declare(ctx, dir, d, opt)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "task wide of DAG "+d.ID+" takes 3 slots, pool \""+narrow+"\" has 2")
	d.Pool = "nowhere"
	_, err = c.Declare(ctx, dir, d, opt)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, `there is no pool "nowhere"`)
	require.NoFileExists(t, filepath.Join(dir, d.ID+".py"))
	d.Pool = held
	_, err = c.Declare(ctx, dir, d, opt)
	require.NoError(t, err, "a pool on hold takes declarations")
	require.NoError(t, c.Remove(ctx, dir, d.ID, ""))
}

func TestLiveARemovedDAGIsForgottenWithItsRuns(t *testing.T) {
	s, c, ctx := openLive(t)
	dir := dags(t, s)
	d := airflow.DAGSpec{ID: s.Name("leaving"), Project: "team/leaving", Tasks: []airflow.TaskSpec{{ID: "long", Bash: "echo begun; sleep 600"}}}
	_, err := c.Declare(ctx, dir, d, airflow.DeclareOptions{Python: interpreter(t)})
	require.NoError(t, err)
	run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{})
	require.NoError(t, err)
	for line, err := range c.Logs(ctx, d.ID, run.ID, "long", airflow.LogOptions{Follow: true}) {
		require.NoError(t, err)
		if line.Event == "begun" {
			break
		}
	}
	require.ErrorIs(t, c.Remove(ctx, dir, d.ID, "team/other"), mlops.ErrAlreadyExists)
	require.FileExists(t, filepath.Join(dir, d.ID+".py"))

	// Triggers that come in between leave nothing behind either.
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{}); errors.Is(err, mlops.ErrNotFound) || ctx.Err() != nil {
				return
			}
		}
	}()
	require.NoError(t, c.Remove(ctx, dir, d.ID, "team/leaving"))
	<-done
	_, err = c.DAGs.Get(ctx, d.ID)
	require.ErrorIs(t, err, mlops.ErrNotFound)
	for run, err := range c.Runs.All(ctx, "~", airflow.DAGRunQuery{States: []airflow.State{airflow.StateQueued, airflow.StateRunning}}) {
		require.NoError(t, err)
		require.NotEqual(t, d.ID, run.DAGID, "run %s is %s for ever", run.ID, run.State)
	}
	require.ErrorIs(t, c.Remove(ctx, dir, d.ID, "team/leaving"), mlops.ErrNotFound)
}

func TestLiveALargeConfReachesTasksAsAFile(t *testing.T) {
	s, c, ctx := openLive(t)
	dir := dags(t, s)
	d := airflow.DAGSpec{ID: s.Name("conf"), Tasks: []airflow.TaskSpec{{ID: "size",
		Bash: `echo "json=${#MLOPS_CONF_JSON} file=$(wc -c < "$MLOPS_CONF_FILE") mode=$(stat -c %a "$MLOPS_CONF_FILE") at=$MLOPS_CONF_FILE"; tail -c 9 "$MLOPS_CONF_FILE"`}}}
	_, err := c.Declare(ctx, dir, d, airflow.DeclareOptions{Python: interpreter(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Remove(context.WithoutCancel(ctx), dir, d.ID, "")) })
	for size, wantJSON := range map[int]bool{10: true, 300 << 10: false} {
		run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{Conf: map[string]any{"text": strings.Repeat("x", size) + "end"}})
		require.NoError(t, err)
		_, err = c.Wait(ctx, d.ID, run.ID, airflow.WaitOptions{})
		require.NoError(t, err, "a conf of %d bytes", size)
		whole := size + len(`{"text": "end"}`)
		var said []string
		for line, err := range c.Logs(ctx, d.ID, run.ID, "size", airflow.LogOptions{}) {
			require.NoError(t, err)
			said = append(said, line.Event)
			if _, at, ok := strings.Cut(line.Event, " at="); ok {
				require.NoFileExists(t, at, "the task's conf is left behind")
			}
		}
		all := strings.Join(said, "\n")
		require.Contains(t, all, fmt.Sprintf(" file=%d mode=600 ", whole))
		require.Equal(t, wantJSON, strings.Contains(all, fmt.Sprintf("json=%d ", whole)), "%s", all)
		require.Equal(t, !wantJSON, strings.Contains(all, "json=0 "), "%s", all)
		require.Contains(t, all, `xxxend"}`)
	}
}
