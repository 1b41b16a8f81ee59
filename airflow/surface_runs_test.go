package airflow_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
)

const assetDAGs = `
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, AssetAlias

first, second = Asset("NAME-first"), Asset("NAME-second")
with DAG("NAME.make", schedule=None, is_paused_upon_creation=False):
    BashOperator(task_id="make", bash_command="echo made", outlets=[first, AssetAlias("NAME-alias")])
with DAG("NAME.wait", schedule=[first, second], is_paused_upon_creation=False):
    BashOperator(task_id="use", bash_command="true", inlets=[first])
`

func TestAssetsStartWhatWaitsForThem(t *testing.T) {
	s, c, ctx := open(t)
	name := s.Name("asset")
	maker, waiter := name+".make", name+".wait"
	byHand(t, s, c, ctx, name, assetDAGs, maker, waiter)
	found := map[string]airflow.Asset{}
	until(t, s, ctx, "both assets are there", func() bool {
		for a, err := range c.Assets.All(ctx, airflow.AssetQuery{Name: name, DAGs: []string{maker, waiter}}) {
			require.NoError(t, err)
			found[a.Name] = a
		}
		return len(found) == 2 && len(found[name+"-first"].Producers) == 1
	})
	first, second := found[name+"-first"], found[name+"-second"]
	require.Equal(t, []airflow.AssetTask{{DAGID: maker, TaskID: "make"}}, first.Producers)
	require.Equal(t, []airflow.AssetDAG{{DAGID: waiter}}, first.Waiting)
	got, err := c.Assets.Get(ctx, first.ID)
	require.NoError(t, err)
	require.Equal(t, first.Name, got.Name)
	var alias airflow.AssetAlias
	for a, err := range c.Assets.Aliases(ctx) {
		require.NoError(t, err)
		if a.Name == name+"-alias" {
			alias = a
		}
	}
	one, err := c.Assets.Alias(ctx, alias.ID)
	require.NoError(t, err)
	require.Equal(t, alias, one)

	// An event of one of two waits for the other, and can be forgotten.
	event := func(a airflow.Asset) {
		e, err := c.Assets.CreateEvent(ctx, a.ID, airflow.AssetEventSpec{Extra: map[string]any{"rows": 3.0}})
		require.NoError(t, err)
		require.Equal(t, a.ID, e.AssetID)
	}
	for _, forget := range []func() error{
		func() error { return c.Assets.DeleteQueuedOne(ctx, waiter, first.ID) },
		func() error { return c.Assets.DeleteQueuedFor(ctx, waiter) },
		func() error { return c.Assets.DeleteQueued(ctx, first.ID) },
	} {
		event(first)
		q, err := c.Assets.QueuedOne(ctx, waiter, first.ID)
		require.NoError(t, err)
		require.Equal(t, waiter, q.DAGID)
		of, err := c.Assets.Queued(ctx, first.ID)
		require.NoError(t, err)
		require.Len(t, of, 1)
		by, err := c.Assets.QueuedFor(ctx, waiter)
		require.NoError(t, err)
		require.Equal(t, of, by)
		require.NoError(t, forget())
		_, err = c.Assets.QueuedOne(ctx, waiter, first.ID)
		require.ErrorIs(t, err, mlops.ErrNotFound)
	}
	require.NoError(t, c.AssetState.Set(ctx, first.ID, "seen", map[string]any{"row": 7}))
	require.NoError(t, c.AssetState.Set(ctx, first.ID, "other", "x"))
	kept, err := c.AssetState.Get(ctx, first.ID, "seen")
	require.NoError(t, err)
	require.JSONEq(t, `{"row": 7}`, string(kept.Value))
	entries, err := mlops.Collect(c.AssetState.All(ctx, first.ID))
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.NoError(t, c.AssetState.Delete(ctx, first.ID, "seen"))
	require.NoError(t, c.AssetState.Clear(ctx, first.ID))
	_, err = c.AssetState.Get(ctx, first.ID, "other")
	require.ErrorIs(t, err, mlops.ErrNotFound)

	event(second)
	run, err := c.Assets.Materialize(ctx, first.ID, airflow.TriggerOptions{RunID: s.Name("made"), Note: "by hand"})
	require.NoError(t, err)
	require.Equal(t, maker, run.DAGID)
	_, err = c.Wait(ctx, maker, run.ID, airflow.WaitOptions{})
	require.NoError(t, err)
	var started []airflow.DAGRun
	until(t, s, ctx, "the events of both started the DAG", func() bool {
		started, err = mlops.Collect(c.Runs.All(ctx, waiter, airflow.DAGRunQuery{Type: "asset_triggered"}))
		require.NoError(t, err)
		return len(started) == 1
	})
	causes, err := c.Runs.UpstreamEvents(ctx, waiter, started[0].ID)
	require.NoError(t, err)
	of := map[int64]bool{}
	for _, e := range causes {
		of[e.AssetID] = true
	}
	require.Equal(t, map[int64]bool{first.ID: true, second.ID: true}, of)
	events, err := mlops.Collect(c.Assets.Events(ctx, airflow.AssetEventQuery{AssetID: first.ID, SourceDAGID: maker}))
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, run.ID, events[0].Source.RunID)
}

const workDAG = `
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, TaskGroup

with DAG("NAME", schedule=None, is_paused_upon_creation=False):
    BashOperator(task_id="say", bash_command="echo 42") >> BashOperator(task_id="after", bash_command="sleep 300")
    BashOperator.partial(task_id="each").expand(bash_command=["echo a", "echo b"])
    with TaskGroup("group"):
        BashOperator(task_id="in", bash_command="sleep 300")
    ApprovalOperator(task_id="ask", subject="Go on?", body="The candidate is better.")
`

func TestTasksOfARunAreReadAndChanged(t *testing.T) {
	s, c, ctx := open(t)
	id, runID := s.Name("work"), s.Name("run")
	byHand(t, s, c, ctx, id, workDAG, id)
	_, err := c.Trigger(ctx, id, airflow.TriggerOptions{RunID: runID})
	require.NoError(t, err)
	ref := func(task string) airflow.TaskRef { return airflow.TaskRef{DAGID: id, RunID: runID, TaskID: task} }
	each := func(i int) airflow.TaskRef {
		return airflow.TaskRef{DAGID: id, RunID: runID, TaskID: "each", Index: new(i)}
	}
	is := func(r airflow.TaskRef, want airflow.State) {
		t.Helper()
		until(t, s, ctx, r.TaskID+" is "+string(want), func() bool {
			ti, err := c.Tasks.Get(ctx, r)
			require.NoError(t, err)
			return ti.State == want
		})
	}
	is(ref("say"), airflow.StateSuccess)
	is(each(0), airflow.StateSuccess)
	is(each(1), airflow.StateSuccess)
	is(ref("ask"), airflow.StateAwaitingInput)

	t.Run("read", func(t *testing.T) {
		mapped, err := mlops.Collect(c.Tasks.Mapped(ctx, id, runID, "each"))
		require.NoError(t, err)
		require.Len(t, mapped, 2)
		require.Equal(t, each(1), mapped[1].Ref())
		found, err := mlops.Collect(c.Tasks.Search(ctx, airflow.TaskSearch{DAGs: []string{id}, Runs: []string{runID}, States: []airflow.State{airflow.StateSuccess}}))
		require.NoError(t, err)
		require.Len(t, found, 3)
		runs, err := mlops.Collect(c.Runs.Search(ctx, airflow.RunSearch{DAGs: []string{id}, NewestFirst: true}))
		require.NoError(t, err)
		require.Len(t, runs, 1)
		for _, r := range []airflow.TaskRef{ref("say"), each(0)} {
			tries, err := c.Tasks.Tries(ctx, r)
			require.NoError(t, err)
			require.Len(t, tries, 1)
			try, err := c.Tasks.Try(ctx, r, 1)
			require.NoError(t, err)
			require.Equal(t, airflow.StateSuccess, try.State)
			links, err := c.Tasks.Links(ctx, r)
			require.NoError(t, err)
			require.Empty(t, links)
			_, err = c.Tasks.Dependencies(ctx, r)
			require.NoError(t, err)
			_, err = c.Tasks.LogURL(ctx, r, 1)
			require.ErrorIs(t, err, mlops.ErrInvalid, "the stack's server keeps its logs itself")
		}
	})
	t.Run("values", func(t *testing.T) {
		say := ref("say")
		x, err := c.XComs.Get(ctx, say, airflow.XComReturn)
		require.NoError(t, err)
		require.JSONEq(t, `"42"`, string(x.Value))
		require.NoError(t, c.XComs.Create(ctx, say, "extra", map[string]any{"n": 1}))
		require.ErrorIs(t, c.XComs.Create(ctx, say, "extra", 2), mlops.ErrAlreadyExists)
		require.NoError(t, c.XComs.Set(ctx, say, "extra", []int{1, 2}))
		x, err = c.XComs.Get(ctx, say, "extra")
		require.NoError(t, err)
		require.JSONEq(t, `[1, 2]`, string(x.Value))
		all, err := mlops.Collect(c.XComs.All(ctx, say))
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.NoError(t, c.XComs.Delete(ctx, say, "extra"))
		x, err = c.XComs.Get(ctx, each(1), airflow.XComReturn)
		require.NoError(t, err)
		require.JSONEq(t, `"b"`, string(x.Value))

		require.NoError(t, c.TaskState.Set(ctx, say, "epoch", 3, time.Time{}))
		require.NoError(t, c.TaskState.Update(ctx, say, "epoch", 4))
		got, err := c.TaskState.Get(ctx, say, "epoch")
		require.NoError(t, err)
		require.JSONEq(t, `4`, string(got.Value))
		require.NoError(t, c.TaskState.Set(ctx, say, "other", "x", day(2030, 1, 1)))
		entries, err := mlops.Collect(c.TaskState.All(ctx, say))
		require.NoError(t, err)
		require.Len(t, entries, 2)
		require.NoError(t, c.TaskState.Delete(ctx, say, "epoch"))
		require.NoError(t, c.TaskState.Clear(ctx, say))
		_, err = c.TaskState.Get(ctx, say, "other")
		require.ErrorIs(t, err, mlops.ErrNotFound)
	})
	t.Run("decisions", func(t *testing.T) {
		all, err := mlops.Collect(c.Decisions.All(ctx, id, runID))
		require.NoError(t, err)
		require.Len(t, all, 1)
		d, err := c.Decisions.Get(ctx, ref("ask"))
		require.NoError(t, err)
		require.Equal(t, "Go on?", d.Subject)
		require.Equal(t, []string{"Approve", "Reject"}, d.Options)
		require.False(t, d.Answered)
		require.ErrorIs(t, c.Decisions.Decide(ctx, ref("ask"), []string{"Perhaps"}, nil), mlops.ErrInvalid)
		require.NoError(t, c.Decisions.Decide(ctx, ref("ask"), []string{"Approve"}, nil)) // at once, which apache/airflow#72716 does not forgive
		require.ErrorIs(t, c.Decisions.Decide(ctx, ref("ask"), []string{"Reject"}, nil), mlops.ErrConflict)
		is(ref("ask"), airflow.StateSuccess)
		would, err := c.Tasks.WouldClear(ctx, id, airflow.TaskClear{RunID: runID, Tasks: []string{"ask"}})
		require.NoError(t, err)
		require.Len(t, would, 1)
		_, err = c.Tasks.Clear(ctx, id, airflow.TaskClear{RunID: runID, Tasks: []string{"ask"}})
		require.NoError(t, err)
		before, err := c.Decisions.OfTry(ctx, ref("ask"), 1)
		require.NoError(t, err)
		require.Equal(t, []string{"Approve"}, before.Chosen)
	})
	t.Run("changed", func(t *testing.T) {
		skip := airflow.TaskChange{State: airflow.StateSkipped}
		would, err := c.Tasks.WouldSet(ctx, ref("after"), skip)
		require.NoError(t, err)
		require.Len(t, would, 1)
		_, err = c.Tasks.Set(ctx, ref("after"), skip)
		require.NoError(t, err)
		is(ref("after"), airflow.StateSkipped)
		fail := airflow.TaskChange{State: airflow.StateFailed}
		_, err = c.Tasks.WouldSet(ctx, each(1), fail)
		require.NoError(t, err)
		_, err = c.Tasks.Set(ctx, each(1), airflow.TaskChange{Note: "looked at"})
		require.NoError(t, err)
		ti, err := c.Tasks.Get(ctx, each(1))
		require.NoError(t, err)
		require.Equal(t, "looked at", ti.Note)
		_, err = c.Tasks.WouldSetGroup(ctx, id, runID, "group", fail)
		require.NoError(t, err)
		_, err = c.Tasks.SetGroup(ctx, id, runID, "group", fail)
		require.NoError(t, err)
		is(ref("group.in"), airflow.StateFailed)
		_, err = c.Tasks.SetAll(ctx, id, runID, map[string]airflow.TaskChange{"say": {Note: "one"}, "nobody": {Note: "two"}})
		require.ErrorIs(t, err, mlops.ErrNotFound)
		require.ErrorContains(t, err, "nobody")
		_, err = c.Tasks.SetAll(ctx, id, runID, map[string]airflow.TaskChange{"say": {Note: "one"}})
		require.NoError(t, err)
	})
	t.Run("runs", func(t *testing.T) {
		require.NoError(t, c.Runs.Cancel(ctx, id, runID))
		run, err := c.Runs.SetNote(ctx, id, runID, "for the record")
		require.NoError(t, err)
		require.Equal(t, "for the record", run.Note)
		would, err := c.Runs.WouldClear(ctx, id, runID, airflow.ClearOptions{})
		require.NoError(t, err)
		require.NotEmpty(t, would)
		require.NoError(t, c.DAGs.Pause(ctx, id))
		require.NoError(t, c.Runs.ClearAll(ctx, id, []string{runID}, airflow.ClearOptions{OnlyFailed: true}))
		run, err = c.Runs.SetState(ctx, id, runID, airflow.StateSuccess)
		require.NoError(t, err)
		require.Equal(t, airflow.StateSuccess, run.State)
		cleared, err := c.Runs.ClearPartitions(ctx, id, airflow.PartitionQuery{RunID: runID, DryRun: true})
		require.NoError(t, err)
		require.Zero(t, cleared.Tasks)
		_, err = c.Runs.SetAll(ctx, id, []airflow.RunChange{{RunID: runID, State: airflow.StateFailed}})
		require.NoError(t, err)
		require.NoError(t, c.Tasks.Delete(ctx, ref("say")))
		_, err = c.Tasks.DeleteAll(ctx, id, runID, []string{"after"})
		require.NoError(t, err)
		_, err = c.Tasks.Get(ctx, ref("say"))
		require.ErrorIs(t, err, mlops.ErrNotFound)
		second, err := c.Trigger(ctx, id, airflow.TriggerOptions{RunID: s.Name("second")})
		require.NoError(t, err)
		_, err = c.Runs.DeleteAll(ctx, id, []string{second.ID, "nothing"})
		require.ErrorIs(t, err, mlops.ErrNotFound)
		require.NoError(t, c.Runs.Cancel(ctx, id, second.ID))
		_, err = c.Runs.DeleteAll(ctx, id, []string{second.ID})
		require.NoError(t, err)
		require.NoError(t, c.Runs.Delete(ctx, id, runID))
		require.ErrorIs(t, c.Runs.Delete(ctx, id, runID), mlops.ErrNotFound)
	})
}
