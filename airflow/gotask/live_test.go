package gotask_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

func TestLiveTasksInGoRunInAChainFailAndAreEnded(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs the real Airflow and its DAGs folder: only with MLOPS_LIVE=1")
	}
	s := cassette.Open(t, "airflow")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	c, err := airflow.New(airflow.Options{URL: s.URL, Auth: s.Auth, PollEvery: 300 * time.Millisecond})
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	tidied := filepath.Join(t.TempDir(), "tidied")
	task := func(id, name string) airflow.TaskSpec {
		return airflow.TaskSpec{ID: id, Go: &airflow.GoTask{Program: self, Task: name}, RetryDelay: time.Second}
	}
	train, score, ended := task("train", "train"), task("score", "score"), task("ended", "waits")
	train.Inputs, train.Retries = map[string]string{"DATA": "prepare"}, 1
	score.EachOf = "train"
	ended.Timeout, ended.Env = 5*time.Second, map[string]string{"TIDY": tidied}
	d := airflow.DAGSpec{ID: s.Name("in-go"), Tasks: []airflow.TaskSpec{task("prepare", "prepare"), train, score, task("panics", "panics"), task("skips", "skips"), ended}}
	_, err = c.Declare(ctx, stack.DAGs, d, airflow.DeclareOptions{Python: stack.Pythons["airflow"]})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Remove(context.WithoutCancel(ctx), stack.DAGs, d.ID, "")) })
	run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{Conf: map[string]any{"rows": 7}})
	require.NoError(t, err)
	_, err = c.Wait(ctx, d.ID, run.ID, airflow.WaitOptions{})
	require.Error(t, err, "some of its tasks fail")

	states, tries := map[string]airflow.State{}, map[string]int{}
	for ti, err := range c.Tasks.All(ctx, d.ID, run.ID) {
		require.NoError(t, err)
		states[ti.TaskID], tries[ti.TaskID] = ti.State, ti.Try
	}
	require.Equal(t, map[string]airflow.State{"prepare": "success", "train": "success", "score": "success", "panics": "failed", "skips": "skipped", "ended": "failed"}, states)
	require.Equal(t, 2, tries["train"])
	for id, want := range map[string]string{"prepare": `{"rows": 7, "run": "` + run.ID + `"}`, "train": `[7, 8]`, "score": `81`} {
		ref := airflow.TaskRef{DAGID: d.ID, RunID: run.ID, TaskID: id}
		if id == "score" {
			ref.Index = new(1)
		}
		x, err := c.XComs.Get(ctx, ref, airflow.XComReturn)
		require.NoError(t, err, id)
		require.JSONEq(t, want, string(x.Value), id)
	}
	var said []string
	for line, err := range c.Logs(ctx, d.ID, run.ID, "panics", airflow.LogOptions{}) {
		require.NoError(t, err)
		said = append(said, line.Event)
	}
	require.Contains(t, said, "panic: runtime error: index out of range [0] with length 0")
	require.FileExists(t, tidied, "the task was killed before it could tidy up")
}
