package airflow_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
)

const waitingDAG = `
from datetime import timedelta
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import DAG

with DAG("NAME", schedule=None, is_paused_upon_creation=False):
    TimeDeltaSensor(task_id="later", delta=timedelta(hours=1), deferrable=True)
    ApprovalOperator(task_id="ask", subject="Go on?")
`

// TestExplainNamesWhatHoldsARun brings each cause about beside runs that wait
// for nothing of the kind.
func TestExplainNamesWhatHoldsARun(t *testing.T) {
	s, c, _ := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	dir := dags(t, s)
	narrow, held, gone := s.Name("mlops.narrow"), s.Name("mlops.held"), s.Name("mlops.gone")
	for pool, slots := range map[string]int{narrow: 1, held: 0, gone: 1} {
		require.NoError(t, c.Pools.Create(ctx, airflow.Pool{Name: pool, Slots: slots}))
	}
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		_, _ = c.Pools.DeleteAll(end, []string{narrow, held})
	})
	task := func(id, bash string) airflow.TaskSpec { return airflow.TaskSpec{ID: id, Bash: bash} }
	trigger := func(id string) string {
		run, err := c.Trigger(ctx, id, airflow.TriggerOptions{RunID: s.Name("run-" + id)})
		require.NoError(t, err)
		return run.ID
	}
	first := func(id, run, task string, want airflow.CauseCode) {
		t.Helper()
		var got []airflow.Cause
		until(t, s, ctx, fmt.Sprintf("%s is explained by %s", id, want), func() bool {
			var err error
			got, err = c.Explain(ctx, id, run, task)
			require.NoError(t, err)
			return len(got) > 0 && got[0].Code == want
		})
		require.NotEmpty(t, got[0].Message)
	}

	// All are declared at once and then triggered.
	plain := airflow.DAGSpec{ID: s.Name("plain"), Tasks: []airflow.TaskSpec{task("long", "sleep 120")}}
	paused := airflow.DAGSpec{ID: s.Name("paused"), Paused: true, Tasks: []airflow.TaskSpec{task("one", "true")}}
	one := airflow.DAGSpec{ID: s.Name("one"), MaxActiveRuns: 1, Tasks: []airflow.TaskSpec{task("long", "sleep 120")}}
	wide := airflow.DAGSpec{ID: s.Name("wide"), Pool: narrow, Tasks: []airflow.TaskSpec{{ID: "wide", Bash: "true", PoolSlots: 2}}}
	onHold := airflow.DAGSpec{ID: s.Name("held"), Pool: held, Tasks: []airflow.TaskSpec{task("one", "true")}}
	poolGone := airflow.DAGSpec{ID: s.Name("gone"), Pool: gone, Tasks: []airflow.TaskSpec{task("one", "true")}}
	full := airflow.DAGSpec{ID: s.Name("full"), Pool: narrow, Tasks: []airflow.TaskSpec{task("a", "sleep 120"), task("b", "sleep 120")}}
	failing := airflow.DAGSpec{ID: s.Name("failing"), Tasks: []airflow.TaskSpec{
		{ID: "again", Bash: "exit 3", Retries: 1, RetryDelay: time.Hour}, task("bad", "exit 3"), {ID: "after", Bash: "true", After: []string{"bad"}}}}
	all := []airflow.DAGSpec{plain, paused, one, wide, onHold, poolGone, full, failing}
	for _, d := range all {
		_, err := airflow.WriteDAG(dir, d)
		require.NoError(t, err)
		t.Cleanup(func() { remove(ctx, c, dir, d.ID) })
	}
	waiting := s.Name("waiting")
	byHand(t, s, c, ctx, waiting, waitingDAG, waiting)
	runs := map[string]string{waiting: trigger(waiting)}
	for _, d := range all {
		_, err := c.WaitDAG(ctx, d)
		require.NoError(t, err)
		if d.ID == poolGone.ID {
			require.NoError(t, c.Pools.Delete(ctx, gone))
		}
		runs[d.ID] = trigger(d.ID)
	}
	second, err := c.Trigger(ctx, one.ID, airflow.TriggerOptions{RunID: s.Name("second")})
	require.NoError(t, err)

	first(paused.ID, runs[paused.ID], "", airflow.CauseDAGPaused)
	first(one.ID, second.ID, "", airflow.CauseMaxActiveRuns)
	first(wide.ID, runs[wide.ID], "wide", airflow.CausePoolTooSmall)
	first(onHold.ID, runs[onHold.ID], "", airflow.CausePoolHeld)
	first(poolGone.ID, runs[poolGone.ID], "one", airflow.CausePoolMissing)
	first(full.ID, runs[full.ID], "", airflow.CausePoolFull)
	first(failing.ID, runs[failing.ID], "again", airflow.CauseRetry)
	first(failing.ID, runs[failing.ID], "bad", airflow.CauseTaskFailed)
	first(failing.ID, runs[failing.ID], "after", airflow.CauseUpstreamFailed)
	first(waiting, runs[waiting], "later", airflow.CauseDeferred)
	first(waiting, runs[waiting], "ask", airflow.CauseAwaitingInput)
	until(t, s, ctx, "the plain task runs", func() bool {
		ti, err := c.Tasks.Get(ctx, airflow.TaskRef{DAGID: plain.ID, RunID: runs[plain.ID], TaskID: "long"})
		require.NoError(t, err)
		return ti.State == airflow.StateRunning
	})
	got, err := c.Explain(ctx, plain.ID, runs[plain.ID], "")
	require.NoError(t, err)
	require.Empty(t, got, "a run that simply runs is held by nothing")
	_, err = c.Explain(ctx, plain.ID, runs[plain.ID], "nobody")
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.Explain(ctx, plain.ID, "nothing", "")
	require.ErrorIs(t, err, mlops.ErrNotFound)

	file := filepath.Join(dir, onHold.ID+".py")
	if s.Live {
		src, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append(src, "raise SystemError\n"...), 0o644))
	}
	dag, err := c.DAGs.Get(ctx, onHold.ID)
	require.NoError(t, err)
	require.NoError(t, c.DAGs.Reparse(ctx, dag.FileToken))
	first(onHold.ID, runs[onHold.ID], "", airflow.CauseDAGUnreadable)
	require.NoError(t, os.Remove(file))
	first(onHold.ID, runs[onHold.ID], "", airflow.CauseDAGStale)
	for id, run := range runs {
		_ = c.Runs.Cancel(ctx, id, run)
	}
	_ = c.Runs.Cancel(ctx, one.ID, second.ID)
}

func TestExplainNamesTheTurn(t *testing.T) {
	s, c, ctx := open(t)
	dir := dags(t, s)
	pool := airflow.Pool{Name: s.Name("turn"), Description: "of a test", Slots: 4}
	require.NoError(t, c.Pools.Create(ctx, pool))
	_, err := c.Pools.Update(ctx, []airflow.Pool{pool.Shared(airflow.Share{Slots: 0, Of: 4, Base: 2, Epoch: 1})})
	require.NoError(t, err)
	d := deploy(t, ctx, c, dir, airflow.DAGSpec{ID: s.Name("waits"), Pool: pool.Name, Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}})
	run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: "r"})
	require.NoError(t, err)
	for {
		causes, err := c.Explain(ctx, d.ID, run.ID, "one")
		require.NoError(t, err)
		if len(causes) > 0 && causes[0].Code != airflow.CauseServerDependency { // until the scheduler has seen the run
			require.Equal(t, airflow.CauseTurn, causes[0].Code, causes[0].Message)
			require.Contains(t, causes[0].Message, "the agent gives pool "+pool.Name+" 0 slots now, of 4")
			break
		}
	}
	require.NoError(t, c.Runs.Cancel(ctx, d.ID, run.ID))
	require.NoError(t, c.Pools.Delete(ctx, pool.Name))
}
