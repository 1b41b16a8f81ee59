package mlflow_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/mlflow"
)

// spellings are values that Python and Go spell alike as params: the keys are
// those of pythonSpellings.
var spellings = map[string]any{
	"float": 0.1, "whole": 3.0, "small": 1e-05, "large": 1e16, "nan": math.NaN(), "inf": math.Inf(-1),
	"int": -7, "bool": true, "none": nil, "text": "ü 'quoted'\n", "list": []any{1, 2.5, "x", false}, "map": map[string]any{"a": []int{1}},
}

const pythonSpellings = `
import json, os, sys
os.environ.update(json.loads(sys.argv[1]) or {})
import mlflow
from mlflow import MlflowClient
values = {
    "float": 0.1, "whole": 3.0, "small": 0.00001, "large": 1e16, "nan": float("nan"), "inf": float("-inf"),
    "int": -7, "bool": True, "none": None, "text": "ü 'quoted'\n", "list": [1, 2.5, "x", False], "map": {"a": [1]},
}
def seen(run):
    c = MlflowClient()
    r = c.get_run(run)
    return {"status": r.info.status, "params": r.data.params, "m": [[m.step, m.value] for m in c.get_metric_history(run, "m")],
        "who": r.data.tags.get("who"), "uid": r.data.tags.get("mlops.run_uid", "")}
`

// pythonBegins makes a run, and logs to another that is being written in Go.
const pythonBegins = pythonSpellings + `
c = MlflowClient()
run = c.create_run("0", run_name="turns").info.run_id
for r in [run, sys.argv[2]]:
    c.set_tag(r, "who", "python")
    for k, v in values.items():
        c.log_param(r, k, v)
    for i in range(5):
        c.log_metric(r, "m", i / 2, step=i)
print(json.dumps([run, seen(sys.argv[2])]))
`

// pythonGoesOn takes up the run that MLFLOW_RUN_ID names.
const pythonGoesOn = pythonSpellings + `
with mlflow.start_run() as run:
    mlflow.log_params(values)
    mlflow.set_tag("who", "python again")
    for i in range(10, 15):
        mlflow.log_metric("m", i / 2, step=i)
print(json.dumps([seen(run.info.run_id), seen(sys.argv[2])]))
`

// seenRun is what one language sees of a run that both wrote.
type seenRun struct {
	Status mlflow.RunStatus  `json:"status"`
	Params map[string]string `json:"params"`
	M      [][2]float64      `json:"m"` // step and value
	Who    string            `json:"who"`
	UID    string            `json:"uid"`
}

func goSees(t testing.TB, c *mlflow.Client, id string) seenRun {
	t.Helper()
	r, err := c.RunInfo(t.Context(), id)
	require.NoError(t, err)
	out := seenRun{Status: r.Status, Params: r.Params, Who: r.Tags["who"], UID: r.UID}
	for p, err := range c.MetricHistory(t.Context(), id, "m") {
		require.NoError(t, err)
		out.M = append(out.M, [2]float64{float64(p.Step), p.Value})
	}
	return out
}

// halves are the points of metric m in some steps.
func halves(steps ...int) [][2]float64 {
	var out [][2]float64
	for _, n := range steps {
		out = append(out, [2]float64{float64(n), float64(n) / 2})
	}
	return out
}

func TestPythonAndGoWriteOneRunInTurns(t *testing.T) {
	s := sharedServer(t)
	c, err := mlflow.New(mlflow.Options{URL: s.URL, Journal: mlflow.Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	write := func(r *mlflow.Run, who string, from int) {
		t.Helper()
		require.NoError(t, r.LogParams(t.Context(), spellings))
		require.NoError(t, r.SetTag(t.Context(), "who", who))
		for n := from; n < from+5; n++ {
			require.NoError(t, r.LogMetric(t.Context(), int64(n), "m", float64(n)/2))
		}
	}
	ask := func(into []any, program string, env map[string]string, args ...string) {
		t.Helper()
		b, err := json.Marshal(env)
		require.NoError(t, err)
		decodeList(t, tail(s.Python(program, append([]string{string(b)}, args...)...), 1), into...) // MLflow prints where to look
	}
	patient := mlflow.RunOptions{EndTimeout: time.Minute}

	// One run begins in Go and stays open while Python logs to it, the other begins in Python.
	mine, err := c.StartRun(t.Context(), mlflow.Experiment{ID: "0"}, patient)
	require.NoError(t, err)
	mineID, err := mine.ID(t.Context())
	require.NoError(t, err)
	var theirsID string
	var early seenRun
	ask([]any{&theirsID, &early}, pythonBegins, nil, mineID)
	require.Equal(t, mlflow.RunRunning, early.Status)
	require.Equal(t, mine.UID, early.UID)
	write(mine, "go", 5)
	require.NoError(t, mine.Flush(t.Context()), "params that are spelled alike do not conflict")

	theirs, err := c.ResumeRun(t.Context(), theirsID, patient)
	require.NoError(t, err)
	write(theirs, "go", 5)
	require.NoError(t, theirs.End(t.Context(), nil), "params that are spelled alike do not conflict")
	require.Equal(t, mlflow.RunFinished, goSees(t, c, theirsID).Status)

	// Python goes on with the one that ended, and reads both.
	var theirsSeen, mineSeen seenRun
	ask([]any{&theirsSeen, &mineSeen}, pythonGoesOn, map[string]string{"MLFLOW_RUN_ID": theirsID}, mineID)
	require.Len(t, theirsSeen.Params, len(spellings))
	require.Equal(t, early.Params, theirsSeen.Params)
	require.Equal(t, early.Params, mineSeen.Params)
	require.Equal(t, halves(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), mineSeen.M)
	require.Equal(t, halves(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14), theirsSeen.M)
	require.Equal(t, "go", mineSeen.Who)
	require.Equal(t, "python again", theirsSeen.Who)
	require.Equal(t, theirsSeen, goSees(t, c, theirsID), "both see the same")

	// Go has the last word, in both.
	for _, id := range []string{theirsID, mineID} {
		r := mine
		if id == theirsID {
			r, err = c.ResumeRun(t.Context(), id, patient)
			require.NoError(t, err)
		}
		require.Equal(t, mlflow.RunRunning, goSees(t, c, id).Status)
		write(r, "go at last", 15)
		require.NoError(t, r.End(t.Context(), nil))
	}
	last := goSees(t, c, theirsID)
	require.Equal(t, mlflow.RunFinished, last.Status)
	require.Equal(t, halves(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19), last.M)
	require.Equal(t, "go at last", last.Who)

	// A value that differs conflicts, and takes nothing with it.
	r, err := c.ResumeRun(t.Context(), theirsID, patient)
	require.NoError(t, err)
	require.NoError(t, r.LogParams(t.Context(), map[string]any{"float": 0.2, "new": 1}))
	require.ErrorContains(t, r.End(t.Context(), nil), "float")
	last = goSees(t, c, theirsID)
	require.Equal(t, "0.1", last.Params["float"])
	require.Equal(t, "1", last.Params["new"])
}

// decodeList reads a JSON list into its targets, one by one.
func decodeList(t testing.TB, text string, into ...any) {
	t.Helper()
	var parts []json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &parts), text)
	require.Len(t, parts, len(into))
	for i, p := range parts {
		require.NoError(t, json.Unmarshal(p, into[i]))
	}
}
