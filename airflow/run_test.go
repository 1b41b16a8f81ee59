package airflow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
)

// hostile is what a user may well write into a command, a description or a
// variable.
const hostile = "''' \"\"\" it''s \\ \\n {{ run_id }} {% raw %} ü → 🧊 \u2028 </script> %s $(exit 9)'"

func TestADeclaredDAGRunsAsItWasWritten(t *testing.T) {
	s, c, ctx := open(t)
	dir := dags(t, s)
	d := airflow.DAGSpec{
		ID:          s.Name("declared"),
		Description: hostile,
		Tags:        []string{"mlops-test", s.Name("tag")},
		DefaultArgs: airflow.DefaultArgs{Owner: "ada", Env: map[string]string{"HOSTILE": hostile, "SHARED": "all"}},
		Tasks: []airflow.TaskSpec{
			{ID: "text", Bash: "printf '%s\\n' \"$HOSTILE\"\ncat <<'EOF'\n" + hostile + "\nEOF\necho run.sh"},
			{ID: "about", After: []string{"text"}, Env: map[string]string{"SHARED": "mine"}, Dir: "/tmp",
				Bash: `echo "dag=$MLOPS_DAG_ID run=$MLOPS_RUN_ID task=$MLOPS_TASK_ID try=$MLOPS_TRY shared=$SHARED in=$PWD path=${PATH:+set}"; echo "conf=$MLOPS_CONF_JSON"`},
			{ID: "script", After: []string{"text", "about"}, Bash: "echo not a file: .sh", PoolSlots: 1, Timeout: time.Minute},
		},
	}
	dag := deploy(t, ctx, c, dir, d)
	require.Equal(t, d.Hash(), dag.Hash())
	require.Equal(t, hostile, dag.Description, "the description changed on its way through Python")
	require.Equal(t, []string{"ada"}, dag.Owners)
	require.False(t, dag.Paused, "a declared DAG has to run without a further step")
	require.True(t, strings.HasSuffix(dag.File, "/"+d.ID+".py"), "the server takes %s for the DAG's file", dag.File)

	runID := s.Name("run")
	conf := map[string]any{"rank": float64(16), "text": hostile, "list": []any{true, nil}}
	run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: runID, Conf: conf, Note: "first"})
	require.NoError(t, err)
	require.Equal(t, runID, run.ID)
	require.Equal(t, "first", run.Note)

	var states []airflow.State
	still := 0
	run, err = c.Wait(ctx, d.ID, runID, airflow.WaitOptions{
		OnState: func(r airflow.DAGRun) { states = append(states, r.State) },
		OnStill: func(airflow.DAGRun) { still++ }, Still: time.Nanosecond,
	})
	require.NoError(t, err)
	require.Equal(t, airflow.StateSuccess, run.State)
	require.Equal(t, conf, run.Conf)
	require.Positive(t, still, "the run was in one state for longer than a nanosecond")
	require.Equal(t, airflow.StateSuccess, states[len(states)-1], "the last state is not told")

	tasks, err := mlops.Collect(c.Tasks.All(ctx, d.ID, runID))
	require.NoError(t, err)
	require.Len(t, tasks, 3)
	for _, ti := range tasks {
		require.Equal(t, airflow.StateSuccess, ti.State)
		require.Equal(t, 1, ti.Try)
		require.Equal(t, -1, ti.MapIndex)
		require.Equal(t, "default_pool", ti.Pool)
	}

	said := func(task string) []string {
		var out []string
		for line, err := range c.Logs(ctx, d.ID, runID, task, airflow.LogOptions{}) {
			require.NoError(t, err)
			require.Equal(t, 1, line.Try)
			out = append(out, line.Event)
		}
		return out
	}
	text := said("text")
	count := 0
	for _, line := range text {
		if line == hostile {
			count++
		}
	}
	require.Equal(t, 2, count, "the text was not passed as it is, in a variable and in the command:\n%s", strings.Join(text, "\n"))
	about := said("about")
	require.Contains(t, about, fmt.Sprintf("dag=%s run=%s task=about try=1 shared=mine in=/tmp path=set", d.ID, runID))
	for _, line := range about {
		if js, ok := strings.CutPrefix(line, "conf="); ok {
			var got map[string]any
			require.NoError(t, json.Unmarshal([]byte(js), &got))
			require.Equal(t, conf, got)
			count++
		}
	}
	require.Equal(t, 3, count, "the task did not see its conf")
	require.Contains(t, said("script"), "not a file: .sh")

	t.Run("taken ID", func(t *testing.T) {
		_, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: runID})
		require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	})
	t.Run("own ID", func(t *testing.T) {
		run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{})
		require.NoError(t, err)
		require.Regexp(t, `^mlops__\d{8}T\d{6}Z_[0-9a-f]{16}$`, run.ID)
		_, err = c.Wait(ctx, d.ID, run.ID, airflow.WaitOptions{})
		require.NoError(t, err)
	})
	t.Run("lists", func(t *testing.T) {
		runs, err := mlops.Collect(c.Runs.All(ctx, d.ID, airflow.DAGRunQuery{Newest: true, States: []airflow.State{airflow.StateSuccess}, Type: "manual"}))
		require.NoError(t, err)
		require.Len(t, runs, 2)
		require.Equal(t, runID, runs[1].ID, "the newest comes first")
		paused := false
		found, err := mlops.Collect(c.DAGs.All(ctx, airflow.DAGQuery{Prefix: "declared", Tags: d.Tags, Paused: &paused}))
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, d.ID, found[0].ID)
		for run, err := range c.Runs.All(ctx, "~", airflow.DAGRunQuery{After: run.RunAfter}) {
			require.NoError(t, err)
			require.NotEmpty(t, run.DAGID)
			break
		}
	})
	t.Run("pause", func(t *testing.T) {
		require.NoError(t, c.DAGs.Pause(ctx, d.ID))
		dag, err := c.DAGs.Get(ctx, d.ID)
		require.NoError(t, err)
		require.True(t, dag.Paused)
		require.NoError(t, c.DAGs.Unpause(ctx, d.ID))
	})
	t.Run("new declaration", func(t *testing.T) {
		old := d.Hash()
		d.Description = "another"
		require.NotEqual(t, old, d.Hash())
		dag := deploy(t, ctx, c, dir, d)
		require.Equal(t, "another", dag.Description, "the wait ended before the server had the new version")
	})
}

func TestAFailedRunNamesItsTasks(t *testing.T) {
	s, c, ctx := open(t)
	d := airflow.DAGSpec{ID: s.Name("failing"), Tasks: []airflow.TaskSpec{
		{ID: "good", Bash: "echo fine"},
		{ID: "bad", Bash: "echo about to fail; exit 3", Retries: 1, RetryDelay: time.Second},
		{ID: "after", Bash: "echo never", After: []string{"bad"}},
	}}
	deploy(t, ctx, c, dags(t, s), d)
	runID := s.Name("run")
	_, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: runID})
	require.NoError(t, err)

	// Followed from the start, both attempts are told.
	tries := map[int]int{}
	raised := false
	for line, err := range c.Logs(ctx, d.ID, runID, "bad", airflow.LogOptions{Follow: true}) {
		require.NoError(t, err)
		if line.Event == "about to fail" {
			tries[line.Try]++
		}
		raised = raised || strings.Contains(line.String(), "exit code 3")
	}
	require.Equal(t, map[int]int{1: 1, 2: 1}, tries, "each attempt's line is told once")
	require.True(t, raised, "what was raised is not told")

	run, err := c.Wait(ctx, d.ID, runID, airflow.WaitOptions{})
	require.EqualError(t, err, "airflow: Wait: run "+runID+" of DAG "+d.ID+" ended failed: task bad (try 2) failed")
	failed, ok := errors.AsType[*airflow.RunError](err)
	require.True(t, ok)
	require.Equal(t, airflow.StateFailed, run.State)
	require.Len(t, failed.Failed, 1)

	t.Run("one attempt", func(t *testing.T) {
		lines, err := mlops.Collect(c.Logs(ctx, d.ID, runID, "bad", airflow.LogOptions{Try: 1, Follow: true}))
		require.NoError(t, err)
		for _, line := range lines {
			require.Equal(t, 1, line.Try)
		}
		_, err = mlops.Collect(c.Logs(ctx, d.ID, runID, "bad", airflow.LogOptions{Try: 7, Follow: true}))
		require.ErrorIs(t, err, mlops.ErrNotFound)
		_, err = mlops.Collect(c.Logs(ctx, d.ID, runID, "nobody", airflow.LogOptions{}))
		require.ErrorIs(t, err, mlops.ErrNotFound)
	})
	t.Run("never started", func(t *testing.T) {
		lines, err := mlops.Collect(c.Logs(ctx, d.ID, runID, "after", airflow.LogOptions{Follow: true}))
		require.NoError(t, err)
		require.NotEmpty(t, lines)
		require.Contains(t, lines[len(lines)-1].Event, "upstream")
	})
	t.Run("cleared", func(t *testing.T) {
		require.NoError(t, c.Runs.Clear(ctx, d.ID, runID, airflow.ClearOptions{OnlyFailed: true}))
		_, err := c.Wait(ctx, d.ID, runID, airflow.WaitOptions{})
		require.ErrorContains(t, err, "task bad (try 4) failed", "the run was not begun again")
	})
}

func TestACancelledRunEnds(t *testing.T) {
	s, c, ctx := open(t)
	d := airflow.DAGSpec{ID: s.Name("long"), Tasks: []airflow.TaskSpec{{ID: "wait", Bash: "echo begun; sleep 300"}}}
	deploy(t, ctx, c, dags(t, s), d)
	runID := s.Name("run")
	_, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: runID})
	require.NoError(t, err)
	for line, err := range c.Logs(ctx, d.ID, runID, "wait", airflow.LogOptions{Follow: true}) {
		require.NoError(t, err)
		if line.Event == "begun" {
			break
		}
	}
	require.NoError(t, c.Runs.Cancel(ctx, d.ID, runID))
	run, err := c.Wait(ctx, d.ID, runID, airflow.WaitOptions{})
	require.ErrorContains(t, err, "ended failed")
	require.Equal(t, airflow.StateFailed, run.State)
	// The task hears of it later; until then its DAG cannot be deleted.
	for _, err := range c.Logs(ctx, d.ID, runID, "wait", airflow.LogOptions{Follow: true}) {
		require.NoError(t, err)
	}
}

func TestALostAnswerStartsNoSecondRun(t *testing.T) {
	for _, tt := range []struct {
		name  string
		runID bool
	}{{"own ID", true}, {"made ID", false}} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			s, c, ctx := open(t)
			d := airflow.DAGSpec{ID: s.Name("lost"), Paused: true, Tasks: []airflow.TaskSpec{{ID: "only", Bash: "true"}}}
			deploy(t, ctx, c, dags(t, s), d)

			// The server acts, and its answer is lost.
			var made string
			post := "POST /api/v2/dags/" + d.ID + "/dagRuns"
			cut := &tap{next: s.HTTP.Transport}
			cut.harm = func(n int, req *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
				if made != "" && req.Method == "GET" && !s.Live && !tt.runID {
					// The made ID differs from the recorded one.
					req = req.Clone(req.Context())
					req.URL.Path = "/api/v2/dags/" + d.ID + "/dagRuns/" + made
				}
				resp, err := send(req)
				if req.Method == "POST" && strings.HasSuffix(req.URL.Path, "/dagRuns") && err == nil {
					var run struct {
						ID string `json:"dag_run_id"`
					}
					require.NoError(t, json.NewDecoder(resp.Body).Decode(&run))
					resp.Body.Close()
					made = run.ID
					return nil, errors.New("connection reset by peer")
				}
				return resp, err
			}
			opt := airflow.TriggerOptions{Conf: map[string]any{"n": 1}, Note: "once"}
			if tt.runID {
				opt.RunID = s.Name("run")
			}
			run, err := client(t, s, cut, s.Auth).Trigger(ctx, d.ID, opt)
			require.NoError(t, err)
			require.Equal(t, made, run.ID)
			require.Equal(t, 1, cut.count(post), "the run was started again although its ID was known")
			runs, err := mlops.Collect(c.Runs.All(ctx, d.ID, airflow.DAGRunQuery{}))
			require.NoError(t, err)
			require.Len(t, runs, 1)

			if tt.runID {
				// Somebody else's run under this ID is not ours.
				opt.Conf = map[string]any{"n": 2}
				_, err = client(t, s, cut, s.Auth).Trigger(ctx, d.ID, opt)
				require.ErrorIs(t, err, mlops.ErrAlreadyExists)
			}
		})
	}
}

func TestManyTriggersAtOnceMakeAsManyRuns(t *testing.T) {
	s, c, ctx := open(t)
	d := airflow.DAGSpec{ID: s.Name("many"), Paused: true, Tasks: []airflow.TaskSpec{{ID: "only", Bash: "true"}}}
	deploy(t, ctx, c, dags(t, s), d)

	const workers, each = 8, 10
	pass := &tap{next: s.HTTP.Transport}
	many := client(t, s, pass, s.Auth)
	var mu sync.Mutex
	ids := map[string]bool{}
	var wg sync.WaitGroup
	begin := time.Now()
	for range workers {
		wg.Go(func() {
			for range each {
				run, err := many.Trigger(ctx, d.ID, airflow.TriggerOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids[run.ID] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if s.Live {
		t.Logf("%d triggers on %d goroutines took %v", workers*each, workers, time.Since(begin))
	}
	require.Len(t, ids, workers*each)
	require.Equal(t, workers*each, pass.count("POST /api/v2/dags/"+d.ID+"/dagRuns"), "an answer of 5xx was repeated")
	require.Equal(t, 1, pass.count("POST /auth/token"), "each caller logged in by itself")
	seen := 0
	for run, err := range c.Runs.All(ctx, d.ID, airflow.DAGRunQuery{}) {
		require.NoError(t, err)
		require.True(t, ids[run.ID], "a run that no caller was told of: %s", run.ID)
		seen++
	}
	require.Equal(t, workers*each, seen)
}
