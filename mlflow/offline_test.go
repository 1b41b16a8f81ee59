package mlflow_test

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// offline is a program that knows nothing but its project.
type offline struct {
	job
	uri string
}

// newOffline prepares one that logs to a project in dir, with a home of its own.
func newOffline(t testing.TB, dir, uri string, everything bool) offline {
	t.Helper()
	return offline{job{Do: "project", Experiment: dir, Journals: t.TempDir(), To: 1000, Points: everything, EndTimeout: time.Second}, "MLOPS_MLFLOW_URI=" + uri}
}

// spool is where its journals are.
func (o offline) spool() string { return filepath.Join(o.Journals, "home", "spool", "mlflow") }

// run runs it to its end. It returns the UID of its run, how long all took from
// FromProject to End, and how many records waited then.
func (o offline) run(t testing.TB) (uid string, took time.Duration, waiting int) {
	t.Helper()
	p := startProgram(t, o.job, o.uri)
	require.NoError(t, p.wait(), "a server that is away is no reason to fail")
	uid, ok := p.word("uid")
	require.True(t, ok)
	said, _ := p.word("took")
	var micros int64
	_, err := fmt.Sscan(said, &micros, &waiting)
	require.NoError(t, err)
	return uid, time.Duration(micros) * time.Microsecond, waiting
}

// sync sends what it left, from another process.
func (o offline) sync(t testing.TB) {
	t.Helper()
	j := o.job
	j.Do = "project-sync"
	require.NoError(t, startProgram(t, j, o.uri).wait())
	empty(t, o.spool())
}

func TestAProgramDoesNotWaitForAServerThatIsAway(t *testing.T) {
	for _, tt := range []struct {
		name       string
		silent     bool
		everything bool
		runs       int
		most       time.Duration // loose: the machine may be busy
		calls      int           // in the journal
		records    int
	}{
		{"refused", false, false, 10, 2 * time.Second, 1001, 1001},
		{"refused, with params, tags, inputs and artifacts", false, true, 10, 2 * time.Second, 1006, 1009},
		{"black-holed", true, false, 2, 3 * time.Second, 1001, 1001},
		{"black-holed, with params, tags, inputs and artifacts", true, true, 2, 3 * time.Second, 1006, 1009},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, nil)
			if tt.silent {
				g.Silence()
			}
			dir := t.TempDir()
			var all []time.Duration
			for range tt.runs {
				o := newOffline(t, dir, g.URL, tt.everything)
				uid, took, waiting := o.run(t)
				require.Less(t, took, tt.most)
				require.Equal(t, tt.records, waiting)
				all = append(all, took)
				list, err := mlops.Collect(mlflow.Backlogs(o.spool()))
				require.NoError(t, err)
				require.Len(t, list, 1)
				b := list[0]
				require.Equal(t, uid, b.Run)
				require.False(t, b.Held)
				require.Equal(t, tt.calls, b.Waiting, "all calls have to wait in the journal")
				require.Zero(t, b.Lost+b.Dropped)
			}
			slices.Sort(all)
			figures(t, "offline (%s): runs=%d min=%s median=%s max=%s EndTimeout=1s", tt.name, tt.runs, all[0], all[len(all)/2], all[len(all)-1])
		})
	}
}

// seenByPython is all that MLflow's Python client tells of runs.
const seenByPython = `
import hashlib, json, os, sys, tempfile
from mlflow import MlflowClient
c = MlflowClient()
def files(run, path=None):
    for f in c.list_artifacts(run, path):
        if f.is_dir:
            yield from files(run, f.path)
        else:
            with tempfile.TemporaryDirectory() as d:
                b = open(c.download_artifacts(run, f.path, d), "rb").read()
            yield f.path, [len(b), f.file_size, hashlib.sha256(b).hexdigest()]
def seen(run):
    r = c.get_run(run)
    points = {k: c.get_metric_history(run, k) for k in r.data.metrics}
    times = [m.timestamp for h in points.values() for m in h]
    return {
        "name": r.info.run_name, "status": r.info.status, "experiment": r.info.experiment_id,
        "stage": r.info.lifecycle_stage, "user": r.info.user_id,
        "params": r.data.params, "tags": {k: v for k, v in r.data.tags.items() if k != "mlops.run_uid"},
        "metrics": {k: [[m.value, m.step] for m in h] for k, h in points.items()}, "latest": r.data.metrics,
        "artifacts": dict(files(run)),
        "inputs": [[i.dataset.to_dictionary(), [[t.key, t.value] for t in i.tags]] for i in r.inputs.dataset_inputs],
    }, [r.info.start_time, min(times), max(times), r.info.end_time]
print(json.dumps([seen(r) for r in sys.argv[1:]]))
`

// pythonSees asks Python about runs: what two runs of one program have in
// common, and the times of each: start, first and last metric, end.
func pythonSees(t testing.TB, s *server, runs ...string) (all []map[string]any, times [][4]int64) {
	t.Helper()
	var answer [][2]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(s.Python(seenByPython, runs...)), &answer))
	require.Len(t, answer, len(runs))
	for _, a := range answer {
		var is map[string]any
		var at [4]int64
		require.NoError(t, json.Unmarshal(a[0], &is))
		require.NoError(t, json.Unmarshal(a[1], &at))
		all, times = append(all, is), append(times, at)
	}
	return all, times
}

func TestARunLoggedWithoutAServerEqualsOneLoggedWithIt(t *testing.T) {
	s := sharedServer(t)
	dir := t.TempDir()
	g := newGate(t, s)
	refused := newOffline(t, dir, g.URL, true)
	refusedUID, _, waiting := refused.run(t)
	require.NotZero(t, waiting)
	g.Silence()
	silent := newOffline(t, dir, g.URL, true)
	silentUID, _, waiting := silent.run(t)
	require.NotZero(t, waiting)
	ended := time.Now().UnixMilli()

	g.Open()
	online := newOffline(t, dir, g.URL, true)
	online.EndTimeout = time.Minute
	onlineUID, _, waiting := online.run(t)
	require.Zero(t, waiting)
	empty(t, online.spool())
	refused.sync(t)
	silent.sync(t)

	c := s.Client()
	e, err := c.ExperimentByName(t.Context(), "suite-offline")
	require.NoError(t, err)
	var ids []string
	for _, uid := range []string{onlineUID, refusedUID, silentUID} {
		ids = append(ids, runOf(t, c, e.ID, uid).ID)
	}
	all, times := pythonSees(t, s, ids...)
	want := all[0]
	require.Equal(t, map[string]any{"lr": "0.1", "layers": "3", "deep": "True", "name": "ü"}, want["params"])
	require.Equal(t, "FINISHED", want["status"])
	require.Equal(t, "offline", want["name"])
	require.Len(t, want["metrics"].(map[string]any)["loss"], 1000)
	require.Len(t, want["artifacts"], 2)
	require.Len(t, want["inputs"], 1)
	require.Subset(t, want["tags"], map[string]any{"team": "ü", "stage": "late", "mlops.project": "suite-offline"})
	for i, name := range []string{"refused", "black-holed"} {
		got := all[i+1]
		for k := range want {
			require.Equal(t, want[k], got[k], "%s: Python sees other %s than of the same program online", name, k)
		}
		at := times[i+1]
		require.True(t, slices.IsSorted(at[:]), "%s: start, metrics and end are out of order: %v", name, at)
		require.LessOrEqual(t, at[3], ended, "%s: the run ended with its program, not with Sync", name)
	}
	tags := want["tags"].(map[string]any)
	var names []string
	for k := range tags {
		names = append(names, k)
	}
	slices.Sort(names)
	t.Logf("tags compared: %s", strings.Join(names, " "))
}

func TestTheEndOfARunDoesNotWaitTwiceForASilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	c, err := mlflow.New(mlflow.Options{URL: "http://" + l.Addr().String(), Journal: mlflow.Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	run, err := c.ResumeRun(t.Context(), strings.Repeat("ab", 16), mlflow.RunOptions{AnswerTimeout: time.Millisecond, EndTimeout: 24 * time.Hour})
	require.NoError(t, err)
	require.NoError(t, run.LogMetric(t.Context(), 1, "loss", 1))
	require.NoError(t, run.End(t.Context(), nil), "it would wait for a day")
	require.GreaterOrEqual(t, run.Pending(), 2, "the metric and the end wait in the journal")
}
