package airflow_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/airflow"
)

// feature is a task and what the plain API has to say of it after the run.
type feature struct {
	airflow.TaskSpec
	state airflow.State
	value string // of the XCom, as JSON; empty: not looked at
}

// told is a server that keeps what webhooks send to it.
type told struct {
	*httptest.Server
	mu     sync.Mutex
	events []map[string]string
}

func newTold(t *testing.T) *told {
	w := &told{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event map[string]string
		body, _ := io.ReadAll(r.Body)
		if json.Unmarshal(body, &event) == nil {
			w.mu.Lock()
			w.events = append(w.events, event)
			w.mu.Unlock()
		}
	}))
	t.Cleanup(w.Close)
	return w
}

// has reports whether an event of a task, or of the run itself if task is empty,
// came.
func (w *told) has(event string, run airflow.DAGRun, task string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.events, func(e map[string]string) bool {
		return e["event"] == event && e["dag_id"] == run.DAGID && e["run_id"] == run.ID && e["task_id"] == task
	})
}

// soon is how long a retry takes here.
const soon = time.Second

func featuresOf(dir string, hook *told, asset airflow.AssetSpec) []feature {
	bash := func(id, bash string, after ...string) airflow.TaskSpec {
		return airflow.TaskSpec{ID: id, Bash: bash, After: after}
	}
	with := func(t airflow.TaskSpec, do func(*airflow.TaskSpec)) airflow.TaskSpec {
		do(&t)
		return t
	}
	rule := func(r airflow.TriggerRule, id string, after ...string) airflow.TaskSpec {
		return with(bash(id, "echo ran", after...), func(t *airflow.TaskSpec) { t.TriggerRule = r })
	}
	const ok, failed, skipped, upstream = airflow.StateSuccess, airflow.StateFailed, airflow.StateSkipped, airflow.StateUpstreamFailed
	return []feature{
		// Programs and values.
		{bash("text", "echo lost; echo 'it''s {{ run_id }}'"), ok, `"its {{ run_id }}"`},
		{bash("json", `echo '{"loss": 0.5, "tags": ["a"]}' > "$MLOPS_RETURN_FILE"; echo noise`), ok, `{"loss": 0.5, "tags": ["a"]}`},
		{airflow.TaskSpec{ID: "python-file", Python: &airflow.PythonTask{File: "say.py", Args: []string{hostile}}, Dir: dir, Inputs: map[string]string{"METRICS": "json", "SAID": "text"}}, ok, `{"args": [` + quoted(hostile) + `], "loss": 0.5, "said": "its {{ run_id }}"}`},
		{airflow.TaskSpec{ID: "python-module", Python: &airflow.PythonTask{Module: "say", Interpreter: "python3", Args: []string{"x"}}, Dir: dir, Env: map[string]string{"METRICS": `{"loss": 1}`, "SAID": "{{ ti }}"}}, ok, `{"args": ["x"], "loss": 1, "said": "{{ ti }}"}`},
		{bash("conf", `cat "$MLOPS_CONF_FILE" > "$MLOPS_RETURN_FILE"`), ok, `{"rank": 16, "name": "a"}`},
		{airflow.TaskSpec{ID: "mapped", Bash: `echo "$MLOPS_MAP_INDEX $MLOPS_ITEM"`, Each: []any{"a b", map[string]any{"k": "{{ x }}"}}, MaxActive: 1}, ok, `"0 a b"`},
		{bash("list", `echo '[1, 2, 3]' > "$MLOPS_RETURN_FILE"`), ok, `[1, 2, 3]`},
		{airflow.TaskSpec{ID: "mapped-of", Bash: `echo $((MLOPS_ITEM * 10)) > "$MLOPS_RETURN_FILE"`, EachOf: "list"}, ok, `10`},
		{airflow.TaskSpec{ID: "collect", Bash: `echo "$ALL"; cp "$MLOPS_INPUTS_FILE" "$MLOPS_RETURN_FILE"`, Inputs: map[string]string{"ALL": "mapped-of"}}, ok, `{"ALL": [10, 20, 30]}`},
		{airflow.TaskSpec{ID: "mapped-one", Bash: `echo "$MLOPS_ITEM"`, Each: []any{"only"}}, ok, `"only"`},
		{airflow.TaskSpec{ID: "collect-one", Bash: `cp "$MLOPS_INPUTS_FILE" "$MLOPS_RETURN_FILE"`, Inputs: map[string]string{"ALL": "mapped-one", "PLAIN": "list"}}, ok, `{"ALL": ["only"], "PLAIN": [1, 2, 3]}`},
		{bash("skip", "exit 99"), skipped, ""},

		// Order.
		{with(bash("in-1", "true"), func(t *airflow.TaskSpec) { t.Group = "prep" }), ok, ""},
		{with(bash("in-2", "true"), func(t *airflow.TaskSpec) { t.Group = "prep.deep" }), ok, ""},
		{bash("after-group", "true", "prep"), ok, ""},
		{with(bash("branch", "echo left; echo right-2"), func(t *airflow.TaskSpec) { t.Role = airflow.RoleBranch }), ok, `"right-2"`},
		{bash("left", "true", "branch"), skipped, ""},
		{bash("right-1", "true", "branch"), skipped, ""},
		{bash("right-2", "true", "branch"), ok, ""},
		{rule(airflow.TriggerRuleNoneFailedMinOneSuccess, "join", "left", "right-2"), ok, ""},
		{with(bash("closed", "echo false"), func(t *airflow.TaskSpec) { t.Role = airflow.RoleShortCircuit }), ok, `"false"`},
		{bash("behind-closed", "true", "closed"), skipped, ""},
		{with(bash("open", "echo 1"), func(t *airflow.TaskSpec) { t.Role = airflow.RoleShortCircuit }), ok, ""},
		{bash("behind-open", "true", "open"), ok, ""},
		{with(bash("up", "true"), func(t *airflow.TaskSpec) { t.Role = airflow.RoleSetup }), ok, ""},
		{bash("work", "exit 3", "up"), failed, ""},
		{with(bash("down", "true", "up", "work"), func(t *airflow.TaskSpec) { t.Role = airflow.RoleTeardown }), ok, ""},
		{bash("after-work", "true", "work"), upstream, ""},
		{rule(airflow.TriggerRuleAllDone, "all-done", "work", "open"), ok, ""},
		{rule(airflow.TriggerRuleAllFailed, "all-failed", "work"), ok, ""},
		{rule(airflow.TriggerRuleOneFailed, "one-failed", "work", "open"), ok, ""},
		{rule(airflow.TriggerRuleOneSuccess, "one-success", "work", "open"), ok, ""},
		{rule(airflow.TriggerRuleOneDone, "one-done", "work", "open"), ok, ""},
		{rule(airflow.TriggerRuleAllSkipped, "all-skipped", "skip"), ok, ""},
		{rule(airflow.TriggerRuleNoneSkipped, "none-skipped", "skip", "open"), skipped, ""},
		{rule(airflow.TriggerRuleNoneFailed, "none-failed", "skip", "open"), ok, ""},
		{rule(airflow.TriggerRuleAlways, "always", "work"), ok, ""},
		{rule(airflow.TriggerRuleAllDoneMinOneSuccess, "one-of-all-done", "work", "open"), ok, ""},

		// Failures and time.
		{with(bash("retried", `test "$MLOPS_TRY" = 3`), func(t *airflow.TaskSpec) {
			t.Retries, t.RetryDelay, t.RetryBackoff, t.MaxRetryDelay = 3, soon, 2, 2*soon
			t.On = airflow.Callbacks{Retry: airflow.Callback{Webhook: hook.URL}, Success: airflow.Callback{Bash: `echo "$MLOPS_EVENT $MLOPS_TASK_ID $MLOPS_TRY" > "` + dir + `/success"`}}
		}), ok, ""},
		{with(bash("failing", "exit 1"), func(t *airflow.TaskSpec) { t.On.Failure = airflow.Callback{Webhook: hook.URL} }), failed, ""},
		{with(bash("slow", "sleep 60"), func(t *airflow.TaskSpec) { t.Timeout = 2 * time.Second }), failed, ""},

		// Waits.
		{airflow.TaskSpec{ID: "wait-for", Wait: &airflow.WaitFor{For: time.Second}}, ok, ""},
		{airflow.TaskSpec{ID: "wait-until", Wait: &airflow.WaitFor{Until: time.Now().Add(5 * time.Second)}}, ok, ""},
		{airflow.TaskSpec{ID: "wait-file", Wait: &airflow.WaitFor{File: filepath.Join(dir, "made", "*.txt"), Every: time.Second}}, ok, ""},
		{bash("make-file", `mkdir -p "`+dir+`/made" && touch "`+dir+`/made/a.txt"`, "text"), ok, ""},
		{airflow.TaskSpec{ID: "wait-asset", Wait: &airflow.WaitFor{Asset: &asset, Every: 2 * time.Second}}, ok, ""},
		{with(bash("make-asset", "true"), func(t *airflow.TaskSpec) { t.Outlets = []airflow.AssetSpec{asset} }), ok, ""},
		{airflow.TaskSpec{ID: "wait-in-vain", Wait: &airflow.WaitFor{File: dir + "/never", Every: time.Second, Timeout: 2 * time.Second}, RetryDelay: soon}, failed, ""},

		// Decisions.
		{airflow.TaskSpec{ID: "approve", Decision: &airflow.DecisionSpec{Subject: "{{ x }}?", Body: hostile}, RetryDelay: soon}, ok, ""},
		{bash("approved", "true", "approve"), ok, ""},
		{airflow.TaskSpec{ID: "choose", Decision: &airflow.DecisionSpec{Subject: "which?", Options: []string{"one", "two"}, Next: map[string]string{"one": "first", "two": "second"}}, RetryDelay: soon}, ok, ""},
		{bash("first", "true", "choose"), skipped, ""},
		{bash("second", "true", "choose"), ok, ""},
		{airflow.TaskSpec{ID: "unasked", Decision: &airflow.DecisionSpec{Subject: "?", Options: []string{"a", "b"}, Defaults: []string{"b"}, Timeout: time.Second}, RetryDelay: soon}, ok, ""},
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// say is a program of a project.
const say = `import json, os, sys
with open(os.environ["MLOPS_RETURN_FILE"], "w") as out:
    json.dump({"args": sys.argv[1:], "loss": json.loads(os.environ["METRICS"])["loss"], "said": os.environ["SAID"]}, out)
`

func TestLiveEachFeatureOfADeclarationDoesWhatItSays(t *testing.T) {
	s, c, ctx := openLive(t)
	folder, dir := dags(t, s), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "say.py"), []byte(say), 0o644))
	hook := newTold(t)
	asset := airflow.AssetSpec{Name: s.Name("asset"), URI: "s3://" + s.Name("bucket") + "/data"}
	features := featuresOf(dir, hook, asset)
	params, err := airflow.ParamsOf(struct {
		Rank int    `json:"rank" jsonschema:"of the adapter"`
		Name string `json:"name"`
	}{8, "a"})
	require.NoError(t, err)
	params["rank"]["maximum"] = 64
	d := airflow.DAGSpec{ID: s.Name("features"), Description: hostile, Params: params, MaxActiveRuns: 2, MaxActiveTasks: 12, Tags: []string{"{{ tag }}"},
		On: airflow.Callbacks{Failure: airflow.Callback{Webhook: hook.URL}}, Deadline: &airflow.Deadline{After: time.Second, Call: airflow.Callback{Webhook: hook.URL}}}
	for _, f := range features {
		d.Tasks = append(d.Tasks, f.TaskSpec)
	}
	begun := time.Now()
	_, err = c.Declare(ctx, folder, d, airflow.DeclareOptions{Python: interpreter(t)})
	require.NoError(t, err)
	t.Cleanup(func() { remove(ctx, c, folder, d.ID) })
	t.Logf("declared after %v", time.Since(begun).Round(time.Millisecond))

	run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{Conf: map[string]any{"rank": 16}, LogicalDate: day(2026, 2, 1)})
	require.NoError(t, err)
	decide(t, ctx, c, run, "approve", "Approve")
	decide(t, ctx, c, run, "choose", "two")
	_, err = c.Wait(ctx, d.ID, run.ID, airflow.WaitOptions{})
	require.Error(t, err, "some of its tasks fail")
	t.Logf("ended after %v", time.Since(begun).Round(time.Millisecond))

	states, instances := map[string]airflow.State{}, map[string]int{}
	for ti, err := range c.Tasks.All(ctx, d.ID, run.ID) {
		require.NoError(t, err)
		if states[ti.TaskID] != airflow.StateFailed {
			states[ti.TaskID] = ti.State
		}
		instances[ti.TaskID]++
	}
	for _, f := range features {
		t.Run(f.ID, func(t *testing.T) {
			require.Equal(t, f.state, states[f.ID])
			if f.value != "" {
				require.JSONEq(t, f.value, xcom(t, ctx, c, d.ID, run.ID, f.TaskSpec))
			}
		})
	}
	t.Run("mapped tasks have an instance for each item", func(t *testing.T) {
		require.Equal(t, 2, instances["mapped"])
		require.Equal(t, 3, instances["mapped-of"])
	})
	t.Run("callbacks are called", func(t *testing.T) {
		for _, want := range []struct{ event, task string }{{"retry", "retried"}, {"failure", "failing"}, {"failure", ""}, {"deadline", ""}} {
			require.Eventually(t, func() bool { return hook.has(want.event, run, want.task) }, time.Minute, 100*time.Millisecond, "%v", want)
		}
		require.Eventually(t, func() bool {
			said, err := os.ReadFile(filepath.Join(dir, "success"))
			return err == nil && string(said) == "success retried 3\n"
		}, time.Minute, 100*time.Millisecond)
	})
	t.Run("the server knows its limits and texts", func(t *testing.T) {
		details, err := c.DAGs.Details(ctx, d.ID)
		require.NoError(t, err)
		require.Equal(t, 2, details.MaxActiveRuns)
		require.Equal(t, 12, details.MaxActiveTasks)
		require.Equal(t, hostile, details.Description)
		require.Contains(t, details.Tags, "{{ tag }}")
	})
	t.Run("what the server refuses the check refuses", func(t *testing.T) {
		bad := map[string]any{"rank": 100}
		require.ErrorContains(t, d.Params.Check(bad), "rank is 100")
		_, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{Conf: bad})
		require.ErrorContains(t, err, "rank")
	})
}

func TestLiveAWaitForATaskEndsAsTheTaskDid(t *testing.T) {
	s, c, ctx := openLive(t)
	folder := dags(t, s)
	of := airflow.DAGSpec{ID: s.Name("of"), Tasks: []airflow.TaskSpec{{ID: "good", Bash: "true"}, {ID: "none", Bash: "exit 99"}, {ID: "bad", Bash: "exit 1"}}}
	waits := airflow.DAGSpec{ID: s.Name("waits")}
	for _, task := range of.Tasks {
		waits.Tasks = append(waits.Tasks, airflow.TaskSpec{ID: task.ID, Wait: &airflow.WaitFor{Task: &airflow.TaskOf{DAG: of.ID, Task: task.ID}, Every: time.Second}, RetryDelay: soon})
	}
	for _, d := range []airflow.DAGSpec{of, waits} {
		_, err := c.Declare(ctx, folder, d, airflow.DeclareOptions{Python: interpreter(t)})
		require.NoError(t, err)
		t.Cleanup(func() { remove(ctx, c, folder, d.ID) })
		_, err = c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: "r", LogicalDate: day(2026, 2, 1)})
		require.NoError(t, err)
	}
	_, err := c.Wait(ctx, waits.ID, "r", airflow.WaitOptions{})
	require.Error(t, err, "one of them fails")
	got := map[string]airflow.State{}
	for ti, err := range c.Tasks.All(ctx, waits.ID, "r") {
		require.NoError(t, err)
		got[ti.TaskID] = ti.State
	}
	require.Equal(t, map[string]airflow.State{"good": airflow.StateSuccess, "none": airflow.StateSkipped, "bad": airflow.StateFailed}, got)
}

func TestLiveADAGRunsWhenItsDeclarationSays(t *testing.T) {
	s, c, ctx := openLive(t)
	folder := dags(t, s)
	a, b := airflow.AssetSpec{Name: s.Name("a")}, airflow.AssetSpec{URI: "s3://" + s.Name("b") + "/x"}
	for name, tt := range map[string]struct {
		when airflow.DAGSpec // with a part of its ID
		ok   func(t *testing.T, d airflow.DAGDetails)
	}{
		"by cron in a time zone": {airflow.DAGSpec{ID: "cron", Schedule: "0 3 * * *", TimeZone: "Europe/Berlin", Start: day(2026, 1, 1)}, func(t *testing.T, d airflow.DAGDetails) {
			require.Contains(t, []int{1, 2}, d.NextRun.UTC().Hour(), "3 o'clock in Berlin is %v", d.NextRun)
			require.False(t, d.Catchup)
		}},
		"by an interval, with what has passed": {airflow.DAGSpec{ID: "every", Every: 90 * time.Minute, Start: day(2026, 1, 1), Catchup: true}, func(t *testing.T, d airflow.DAGDetails) {
			require.Equal(t, "1:30:00", d.Schedule)
			require.True(t, d.Catchup)
			require.Equal(t, 2026, d.NextRun.Year())
			require.Equal(t, time.January, d.NextRun.Month(), "%v", d.NextRun)
		}},
		"after two assets": {airflow.DAGSpec{ID: "all", Assets: airflow.AllOf(a, b)}, func(t *testing.T, d airflow.DAGDetails) {
			require.Len(t, d.Assets["all"], 2, "%v", d.Assets)
		}},
		"after one of two, or by cron": {airflow.DAGSpec{ID: "any", Assets: &airflow.AssetRule{Any: []airflow.AssetRule{{Asset: &a}, *airflow.AllOf(a, b)}}, Schedule: "@daily", Start: day(2026, 1, 1)}, func(t *testing.T, d airflow.DAGDetails) {
			require.Len(t, d.Assets["any"], 2, "%v", d.Assets)
			require.False(t, d.NextRun.IsZero())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := tt.when
			d.ID, d.Paused, d.Tasks = s.Name(d.ID), true, []airflow.TaskSpec{{ID: "one", Bash: "true"}}
			ctx := context.WithoutCancel(ctx)
			_, err := c.Declare(ctx, folder, d, airflow.DeclareOptions{Python: interpreter(t)})
			require.NoError(t, err)
			t.Cleanup(func() { remove(ctx, c, folder, d.ID) })
			details, err := c.DAGs.Details(ctx, d.ID)
			require.NoError(t, err)
			tt.ok(t, details)
		})
	}
}

// decide answers for a person whenever the task asks.
func decide(t *testing.T, ctx context.Context, c *airflow.Client, run airflow.DAGRun, task, option string) {
	t.Helper()
	ref := airflow.TaskRef{DAGID: run.DAGID, RunID: run.ID, TaskID: task}
	require.Eventually(t, func() bool {
		ti, err := c.Tasks.Get(ctx, ref)
		if err == nil && ti.State == airflow.StateAwaitingInput {
			_ = c.Decisions.Decide(ctx, ref, []string{option}, nil)
		}
		return err == nil && ti.State == airflow.StateSuccess
	}, 4*time.Minute, 200*time.Millisecond, "task %s", task)
}

// xcom is the value of a task, the first of a mapped one, as JSON.
func xcom(t *testing.T, ctx context.Context, c *airflow.Client, dag, run string, task airflow.TaskSpec) string {
	t.Helper()
	ref := airflow.TaskRef{DAGID: dag, RunID: run, TaskID: task.ID}
	if task.Each != nil || task.EachOf != "" {
		ref.Index = new(0)
	}
	x, err := c.XComs.Get(ctx, ref, "return_value")
	require.NoError(t, err)
	return string(x.Value)
}
