package client_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

const echoModel = `import mlflow


class Double(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["x"].to_numpy() * 2


mlflow.models.set_model(Double())
`

// TestAProjectUsesAllFiveTools goes through the front door only, on the running
// stack; each part registers what it needs by itself.
func TestAProjectUsesAllFiveTools(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: a project needs the running stack (make test)")
	}
	ctx := t.Context()
	name := fmt.Sprintf("suite-%08x", rand.Uint32())
	dir := t.TempDir()
	for _, args := range [][]string{{"init", "-q"}, {"-c", "user.name=suite", "-c", "user.email=suite@example.com", "commit", "-q", "--allow-empty", "-m", "start"}} {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	write := func(file, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	p, err := client.FromProject(ctx, name, client.In(dir))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	require.Empty(t, p.Workspace().MLflowExperimentID, "nothing is registered yet")

	t.Run("data", func(t *testing.T) {
		_, err := p.Data.Add(ctx, "data")
		require.ErrorIs(t, err, mlops.ErrNotFound, "the folder is no DVC repository yet")
		require.NoError(t, p.Data.Init(ctx))
		write("data/a.csv", "x\n1\n")
		out, err := p.Data.Add(ctx, "data")
		require.NoError(t, err)
		require.Equal(t, 1, out[0].Files)
		st, err := p.Data.Status(ctx, dvc.StatusOptions{Cloud: true})
		require.NoError(t, err)
		require.False(t, st.Clean(), "nothing was pushed yet")
		moved, err := p.Data.Push(ctx, dvc.PushOptions{})
		require.NoError(t, err)
		require.Equal(t, 2, moved.Objects)
		st, err = p.Data.Status(ctx, dvc.StatusOptions{Cloud: true})
		require.NoError(t, err)
		require.True(t, st.Clean(), "%+v is not at %s", st, p.Workspace().DVCRemotePath)
		v, err := p.Data.Version(ctx, "data")
		require.NoError(t, err)
		require.Equal(t, out[0].Hash, v.Hash)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "data")))
		_, err = p.Data.Pull(ctx, dvc.PullOptions{Targets: []string{"data"}})
		require.NoError(t, err)
		require.FileExists(t, filepath.Join(dir, "data", "a.csv"))
	})

	var model mlflow.ModelVersion
	t.Run("runs and models", func(t *testing.T) {
		run, err := p.StartRun(ctx, mlflow.RunOptions{Name: "first"})
		require.NoError(t, err)
		require.NoError(t, run.LogMetric(ctx, 1, "loss", 0.5))
		require.NoError(t, p.LogData(ctx, run, "data", "data/a.csv"))
		write("model/model.py", echoModel)
		home := os.Getenv("MLOPS_HOME")
		model, err = run.LogModel(ctx, filepath.Join(dir, "model"), mlflow.ModelSpec{Name: name, Flavors: []mlflow.Flavor{mlflow.PyFunc{Code: "model.py"}}, Venv: filepath.Join(home, "venvs", "ray"), Aliases: []string{"champion"}})
		require.NoError(t, err)
		require.NoError(t, run.End(ctx, nil))
		id, err := run.ID(ctx)
		require.NoError(t, err)

		all, err := mlops.Collect(p.Runs(ctx, ""))
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, id, all[0].ID)
		require.Equal(t, name, all[0].Tags["mlops.project"])
		v, err := p.Data.Version(ctx, "data")
		require.NoError(t, err)
		require.Equal(t, v.Hash, all[0].Tags["mlops.data.data"])
		used, err := p.MLflow.RunInfo(ctx, id)
		require.NoError(t, err)
		require.Len(t, used.Inputs, 2, "the run names the data that it used")
		require.Len(t, all[0].Tags["mlflow.source.git.commit"], 40)
		require.Equal(t, "true", all[0].Tags["mlflow.source.git.dirty"], "what Init staged is not committed")
		_, sampled := all[0].Metric("system/system_memory_usage_percentage")
		require.True(t, sampled, "the machine was not sampled")

		again, err := p.ResumeRun(ctx, run.UID, mlflow.RunOptions{KeepStatus: true})
		require.NoError(t, err)
		require.NoError(t, again.LogMetric(ctx, 2, "loss", 0.25))
		require.NoError(t, again.Flush(ctx))
		require.NoError(t, again.Close())
		info, err := p.MLflow.RunInfo(ctx, id)
		require.NoError(t, err)
		require.Equal(t, mlflow.RunFinished, info.Status)
	})

	t.Run("pipelines", func(t *testing.T) {
		_, err := p.DeclareDAG(ctx, airflow.DAGSpec{ID: "say", Tasks: []airflow.TaskSpec{{ID: "hello", Bash: `echo "hello from $MLOPS_PROJECT"; command -v mlopsctl; test -n "$MLOPS_HOME"`}}})
		require.NoError(t, err)
		r, err := p.Trigger(ctx, "say", airflow.TriggerOptions{})
		require.NoError(t, err)
		_, err = p.Airflow.Wait(ctx, r.DAGID, r.ID, airflow.WaitOptions{})
		require.NoError(t, err)
		lines, err := mlops.Collect(p.Airflow.Logs(ctx, r.DAGID, r.ID, "hello", airflow.LogOptions{}))
		require.NoError(t, err)
		said := false
		for _, l := range lines {
			said = said || l.Event == "hello from "+name
		}
		require.True(t, said, lines)
		dags, err := mlops.Collect(p.DAGs(ctx))
		require.NoError(t, err)
		require.Len(t, dags, 1)
		require.NoError(t, p.RemoveDAG(ctx, "say"))
	})

	t.Run("serving", func(t *testing.T) {
		app, err := p.Deploy(ctx, name+"@champion", client.DeployOptions{})
		require.NoError(t, err)
		require.Equal(t, "models:/"+name+"/"+model.Version, app.ModelURI)
		require.Equal(t, map[string]string{"mlops.project": name, "mlops.model": name, "mlops.model_version": model.Version, "mlops.model_alias": "champion", "mlops.run_id": model.RunID}, app.Metadata)
		out, err := p.Predict(ctx, name, rayserve.DataframeSplit{Columns: []string{"x"}, Data: [][]any{{1.0}, {2.5}}})
		require.NoError(t, err)
		got, err := out.Floats()
		require.NoError(t, err)
		require.Equal(t, []float64{2, 5}, got)
		mine, err := mlops.Collect(p.Deployments(ctx))
		require.NoError(t, err)
		require.Len(t, mine, 1)
		require.NoError(t, p.Undeploy(ctx, name))
		require.ErrorIs(t, p.Undeploy(ctx, name), mlops.ErrNotFound)
		_, err = p.Deploy(ctx, name+"/99", client.DeployOptions{})
		require.ErrorIs(t, err, mlops.ErrNotFound)
	})

	t.Run("drift", func(t *testing.T) {
		reference, current := "x,y\n", "x,y\n"
		for i := range 200 {
			reference += fmt.Sprintf("%d.5,%d.25\n", i%40, i%31)
			current += fmt.Sprintf("%d.5,%d.25\n", i%40+100, i%31)
		}
		write("ref.csv", reference)
		write("cur.csv", current)
		r, err := p.Drift(ctx, "ref.csv", "cur.csv", evidently.DriftOptions{Name: "x moved"})
		require.NoError(t, err)
		require.Equal(t, 1, r.DriftedColumns)
		require.True(t, r.Drifted, "half of the columns is the drift share")
		_, err = p.Drift(ctx, "ref.csv", "nothing.csv", evidently.DriftOptions{})
		require.ErrorIs(t, err, mlops.ErrInvalid)
		all, err := mlops.Collect(p.Snapshots(ctx))
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, name, all[0].Metadata["mlops.project"])
	})

	t.Run("the registry", func(t *testing.T) {
		w, err := p.Register(ctx)
		require.NoError(t, err)
		found := client.Workspace{}
		for each, err := range p.Projects(ctx) {
			require.NoError(t, err)
			if each.Project == name {
				found = each
			}
		}
		require.Equal(t, w, found, "the record is in MLflow")
	})
	require.NoError(t, p.MLflow.DeleteExperiment(ctx, p.Workspace().MLflowExperimentID))
	require.NoError(t, p.Airflow.Pools.Delete(ctx, p.Workspace().AirflowPool))
}
