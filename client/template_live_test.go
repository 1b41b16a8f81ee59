package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// trainDouble registers a model whose accuracy the file accuracy tells.
const trainDouble = `set -e
mlopsctl metric log accuracy="$(cat accuracy)"
mlopsctl model log model --name "$MODEL_NAME" --pyfunc model.py --venv "$MLOPS_HOME/venvs/ray"`

func TestLiveTheTemplatesRunToTheirEnd(t *testing.T) {
	if !cassette.Live() || os.Getenv("MLOPS_SOAK") == "" {
		t.Skip("not live: needs the running Airflow, MLflow and Ray (make soak)")
	}
	if os.Getenv("MLOPS_RUNTIME") == "docker" {
		t.Skip("not in containers: the tasks need mlopsctl and this machine's folder")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	name, dir := fmt.Sprintf("suite-%08x", rand.Uint32()), t.TempDir()
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "init", "-q").CombinedOutput()
	require.NoError(t, err, "%s", out)
	write := func(file, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	p, err := client.FromProject(ctx, name, client.In(dir))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = p.Airflow.Pools.Delete(context.WithoutCancel(ctx), p.Workspace().AirflowPool)
		require.NoError(t, p.Close())
	})
	require.NoError(t, p.Data.Init(ctx))
	write("model/model.py", echoModel)
	for file, shift := range map[string]int{"reference.csv": 0, "same.csv": 0, "other.csv": 1000} {
		rows := strings.Builder{}
		rows.WriteString("x,y\n")
		for i := range 200 {
			fmt.Fprintf(&rows, "%d,%d\n", i%50+shift, i%7+shift)
		}
		write(file, rows.String())
	}
	retrain := func(o client.RetrainOptions) airflow.DAGSpec {
		d, err := client.RetrainOnDrift(o)
		require.NoError(t, err)
		return d
	}
	// trained is the version that the task train of the last run made.
	var last airflow.DAGRun
	trained := func() (version string) {
		x, err := p.Airflow.XComs.Get(ctx, airflow.TaskRef{DAGID: last.DAGID, RunID: last.ID, TaskID: "train"}, "return_value")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(x.Value, &version))
		return version
	}
	// run declares a DAG, runs it and returns the states of its tasks.
	run := func(d airflow.DAGSpec, during func(airflow.DAGRun)) map[string]airflow.State {
		t.Helper()
		for i := range d.Tasks {
			if d.Tasks[i].Decision != nil { // it may be lost: apache/airflow#72716
				d.Tasks[i].Retries, d.Tasks[i].RetryDelay = 5, time.Second
			}
		}
		dag, err := p.DeclareDAG(ctx, d)
		require.NoError(t, err)
		t.Cleanup(func() {
			if err := p.RemoveDAG(context.WithoutCancel(ctx), d.ID); !errors.Is(err, mlops.ErrNotFound) { // one ID runs thrice
				require.NoError(t, err)
			}
		})
		r, err := p.Trigger(ctx, d.ID, airflow.TriggerOptions{})
		require.NoError(t, err)
		last = r
		if during != nil {
			during(r)
		}
		_, err = p.Airflow.Wait(ctx, dag.ID, r.ID, airflow.WaitOptions{})
		require.NoError(t, err)
		states := map[string]airflow.State{}
		for ti, err := range p.Airflow.Tasks.All(ctx, dag.ID, r.ID) {
			require.NoError(t, err)
			states[ti.TaskID] = ti.State
		}
		return states
	}
	const ok, skipped = airflow.StateSuccess, airflow.StateSkipped
	in := client.PipelineOptions{Dir: dir}

	write("made", "") // the folder of data must not be empty for dvc
	require.Equal(t, map[string]airflow.State{"make": ok, "track": ok, "push": ok},
		run(client.DataRefresh(client.RefreshOptions{PipelineOptions: in, Command: "date > 'made'", Data: []string{"made"}, Asset: &airflow.AssetSpec{Name: name}}), nil))
	require.FileExists(t, filepath.Join(dir, "made.dvc"))
	require.NoError(t, os.Remove(filepath.Join(dir, "made")))

	write("accuracy", "0.5")
	train := client.TrainOptions{PipelineOptions: in, Data: []string{"made"}, Command: trainDouble, Model: name}
	require.Equal(t, map[string]airflow.State{"pull": ok, "train": ok}, run(client.Train(train), nil))
	require.FileExists(t, filepath.Join(dir, "made"), "it was not pulled")
	require.NoError(t, p.MLflow.Models.SetAlias(ctx, name, "champion", trained()))
	first := trained()

	require.Equal(t, map[string]airflow.State{"score": ok, "collect": ok},
		run(client.BatchScore(client.ScoreOptions{PipelineOptions: in, Command: `echo "scored $MLOPS_ITEM"`, Parts: []string{"a", "b"}, Collect: `test "$SCORES" = '["scored a", "scored b"]'`}), nil))

	o := client.RetrainOptions{TrainOptions: train, Reference: "reference.csv", Current: "same.csv", Metric: "accuracy", Margin: 0.1}
	o.Data = nil
	require.Equal(t, map[string]airflow.State{"drift": ok, "train": skipped, "compare": skipped, "promote": skipped}, run(retrain(o), nil), "there is no drift")

	champion := func() string {
		v, err := p.MLflow.Models.VersionByAlias(ctx, name, "champion")
		require.NoError(t, err)
		return v.Version
	}
	o.Current, o.Ask, o.Deploy = "other.csv", true, true
	write("accuracy", "0.55") // better, but not by the margin
	require.Equal(t, map[string]airflow.State{"drift": ok, "train": ok, "compare": ok, "ask": skipped, "promote": skipped, "deploy": skipped}, run(retrain(o), nil))
	require.Equal(t, first, champion())

	write("accuracy", "0.9")
	t.Cleanup(func() {
		if err := p.Undeploy(context.WithoutCancel(ctx), name); !errors.Is(err, mlops.ErrNotFound) {
			require.NoError(t, err)
		}
	})
	states := run(retrain(o), func(r airflow.DAGRun) {
		ref := airflow.TaskRef{DAGID: r.DAGID, RunID: r.ID, TaskID: "ask"}
		require.Eventually(t, func() bool {
			ti, err := p.Airflow.Tasks.Get(ctx, ref)
			if err == nil && ti.State == airflow.StateAwaitingInput {
				_ = p.Airflow.Decisions.Decide(ctx, ref, []string{"Approve"}, nil)
			}
			return err == nil && ti.State == ok
		}, 5*time.Minute, time.Second)
	})
	require.Equal(t, map[string]airflow.State{"drift": ok, "train": ok, "compare": ok, "ask": ok, "promote": ok, "deploy": ok}, states)
	second := trained()
	require.Equal(t, second, champion())
	served, err := mlops.Collect(p.Deployments(ctx))
	require.NoError(t, err)
	require.Len(t, served, 1)
	require.Contains(t, served[0].ModelURI, "/"+second)

	// The new champion is no better than itself, and what does not exist is no version.
	again, err := p.Challenge(ctx, name, first, "accuracy", client.ChallengeOptions{})
	require.NoError(t, err)
	require.Equal(t, client.Challenge{Version: first, Champion: second, Metric: "accuracy", Value: 0.5, Best: 0.9}, again)
	_, err = p.Challenge(ctx, name, "70", "accuracy", client.ChallengeOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
}
