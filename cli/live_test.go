package cli_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/cli"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// mlopsctl runs a command within this process and returns stdout.
func mlopsctl(t *testing.T, want int, args ...string) string {
	t.Helper()
	var out, talk bytes.Buffer
	code := cli.Main(t.Context(), args, strings.NewReader(""), &out, &talk)
	require.Equal(t, want, code, "mlopsctl %s\n%s%s", strings.Join(args, " "), out.String(), talk.String())
	if want != 0 && want < 10 {
		require.Empty(t, out.String(), "data on stdout of a command that failed")
	}
	return out.String()
}

// documents is mlopsctl with --json.
func documents[T any](t *testing.T, args ...string) T {
	t.Helper()
	var v T
	out := mlopsctl(t, 0, append(args, "--json")...)
	require.NoError(t, json.Unmarshal([]byte(out), &v), out)
	return v
}

// scratchFolder is where the demo may work: where the tasks of a stack in
// containers see it.
func scratchFolder(t *testing.T) string {
	t.Helper()
	home, err := mlops.Home()
	require.NoError(t, err)
	s, err := compose.New(compose.Options{Home: home})
	require.NoError(t, err)
	below, err := s.Projects()
	require.NoError(t, err)
	if below == "" {
		return filepath.Join(t.TempDir(), "demo")
	}
	dir, err := os.MkdirTemp(below, "suite-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755)) // the user inside is another
	return filepath.Join(dir, "demo")
}

// TestCommandsDriveTheRealServers walks through all commands that do not stop
// anything, on the running stack, the demo first.
func TestCommandsDriveTheRealServers(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: commands need the running stack (make test)")
	}
	scratch := scratchFolder(t)
	mlopsctl(t, 0, "demo", "--scratch", scratch)
	project := []string{"-p", "breast-cancer", "-C", scratch}
	with := func(args ...string) []string { return append(args, project...) }
	write := func(name, text string) string {
		p := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
		return p
	}

	t.Run("the stack tells how it is", func(t *testing.T) {
		require.Contains(t, mlopsctl(t, 0, "status"), "mlflow\tready")
		env := documents[map[string]string](t, "status", "--env")
		require.NotEmpty(t, env["MLFLOW_TRACKING_PASSWORD"])
		require.Contains(t, mlopsctl(t, 0, "status", "--env"), "export MLFLOW_TRACKING_URI='http://127.0.0.1:")
		require.Contains(t, mlopsctl(t, 0, "start", "--dry-run"), "keep\tmlflow")
		require.NotEmpty(t, mlopsctl(t, 0, "logs", "mlflow", "-n", "5"))
		for _, f := range documents[[]map[string]any](t, "doctor") {
			require.NotEqual(t, "fail", f["state"], f)
		}
	})

	t.Run("projects", func(t *testing.T) {
		w := documents[map[string]any](t, with("register")...)
		require.Equal(t, "mlops.breast-cancer", w["airflow_pool"])
		require.Contains(t, mlopsctl(t, 0, "projects"), "breast-cancer")
	})

	t.Run("runs", func(t *testing.T) {
		id := strings.TrimSpace(mlopsctl(t, 0, with("run", "start", "--name", "by hand", "--tag", "k=v")...))
		require.Regexp(t, "^[0-9a-f]{32}$", id)
		lines := write("metrics.ndjson", "{\"step\": 1, \"loss\": 0.5, \"odd\": NaN}\n\n{\"step\": 2, \"loss\": 0.25, \"odd\": -Infinity}\n")
		mlopsctl(t, 0, "metric", "log", "--run", id, "--file", lines, "--step", "3", "loss=-1e-3")
		mlopsctl(t, 0, "param", "log", "--run", id, "--file", write("params.json", `{"lr": 1.0, "bf16": true, "none": null}`), "rank=16")
		mlopsctl(t, 0, "run", "end", "--run", id)
		type row struct {
			ID, Name, Status string
			Metrics          map[string]any
			Params           map[string]string
		}
		var found row
		for _, r := range documents[[]row](t, with("run", "list")...) {
			if r.ID == id {
				found = r
			}
		}
		require.Equal(t, row{id, "by hand", "FINISHED", map[string]any{"loss": -0.001, "odd": -1.7976931348623157e308}, map[string]string{"lr": "1.0", "bf16": "True", "none": "None", "rank": "16"}}, found)
		require.Contains(t, mlopsctl(t, 0, with("run", "list", "--limit", "1")...), "\n")

		mlopsctl(t, 0, "metric", "log", "--run", id, "late=1")
		require.Contains(t, mlopsctl(t, 0, with("run", "list", "--filter", "metrics.late = 1")...), "FINISHED", "logging to a run that has ended must not start it again")

		require.Equal(t, "33", strings.TrimSpace(mlopsctl(t, 0, append(with("run", "exec"), "--", "sh", "-c", "echo $MLFLOW_RUN_ID | wc -c")...)), "the command knows the run")
		mlopsctl(t, 7, append(with("run", "exec", "--name", "fails"), "--", "sh", "-c", "exit 7")...)
		require.Contains(t, mlopsctl(t, 0, with("run", "list", "--filter", "attributes.run_name = 'fails'")...), "FAILED")

		mlopsctl(t, 3, "metric", "log", "--run", strings.Repeat("0", 32), "a=1")
		mlopsctl(t, 2, "metric", "log", "--run", id)
		mlopsctl(t, 2, "metric", "log", "--run", id, "a")
		mlopsctl(t, 2, "metric", "log", "--run", id, "a=b")
		mlopsctl(t, 1, "metric", "log", "--run", id, "--file", write("bad", "{"))
		mlopsctl(t, 2, "param", "log", "--run", id, "a=1", "a=2")
		mlopsctl(t, 2, "param", "log", "a=1")
	})

	t.Run("models", func(t *testing.T) {
		id := strings.TrimSpace(mlopsctl(t, 0, with("run", "start")...))
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "model.py"), []byte(`import mlflow


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


mlflow.models.set_model(Echo())
`), 0o644))
		log := []string{"model", "log", dir, "--run", id, "--pyfunc", "model.py", "--venv", filepath.Join(os.Getenv("MLOPS_HOME"), "venvs", "mlflow")}
		require.Regexp(t, "^m-", mlopsctl(t, 0, log...))
		v := strings.TrimSpace(mlopsctl(t, 0, append(log, "--name", "cli-echo", "--alias", "first")...))
		require.Equal(t, v+"\n", mlopsctl(t, 0, "model", "alias", "cli-echo", "second", v))
		require.Contains(t, mlopsctl(t, 0, "model", "list", "cli-echo"), "first,second")
		mlopsctl(t, 0, "run", "end", "--run", id, "--failed")
		mlopsctl(t, 3, "model", "alias", "no-such-model", "a", "1")
		mlopsctl(t, 3, "model", "log", dir, "--run", id, "--sklearn", "nothing.skops", "--name", "x")
		mlopsctl(t, 2, "model", "log", dir, "--run", id, "--pyfunc", "model.py", "--columns", write("c.csv", "a,b\n"), "--target", "c")
	})

	t.Run("data", func(t *testing.T) {
		require.NoError(t, os.WriteFile(filepath.Join(scratch, "more.txt"), []byte(rand.Text()), 0o644))
		added := documents[[]map[string]any](t, append([]string{"dvc-add", "more.txt"}, project...)...)
		require.Equal(t, "more.txt", added[0]["path"])
		pushed := documents[map[string]any](t, with("dvc-push")...)
		require.EqualValues(t, 1, pushed["objects"])
		require.NoError(t, os.Remove(filepath.Join(scratch, "more.txt")))
		require.Contains(t, mlopsctl(t, 0, with("dvc-pull")...), "1 added and 0 modified in the workspace")
		require.FileExists(t, filepath.Join(scratch, "more.txt"))
		require.Contains(t, mlopsctl(t, 0, with("dvc-pull")...), "everything is up to date")
		mlopsctl(t, 2, with("dvc-add")...)
		mlopsctl(t, 3, "dvc-push", "-C", t.TempDir())
	})

	t.Run("DAGs", func(t *testing.T) {
		require.Contains(t, mlopsctl(t, 0, with("dag", "list")...), "breast-cancer.train\tfalse")
		r := documents[map[string]any](t, with("dag", "trigger", "train", "--conf", `{"a": 1}`, "--wait")...)
		require.Equal(t, "success", r["state"])
		require.Equal(t, "success\n", mlopsctl(t, 0, with("dag", "wait", "train", r["dag_run_id"].(string))...))
		require.Contains(t, mlopsctl(t, 0, with("dag", "logs", "train", r["dag_run_id"].(string), "train")...), "run ")
		require.Contains(t, mlopsctl(t, 0, with("dag", "logs", "train", r["dag_run_id"].(string), "pull", "--json")...), `"event"`)
		mlopsctl(t, 5, with("dag", "trigger", "train", "--run-id", r["dag_run_id"].(string))...)
		mlopsctl(t, 3, with("dag", "trigger", "nothing")...)
		mlopsctl(t, 2, with("dag", "trigger", "train", "--conf", "x")...)
	})

	t.Run("deployments", func(t *testing.T) {
		versions := documents[[]map[string]any](t, "model", "list", "breast-cancer")
		url := strings.TrimSpace(mlopsctl(t, 0, with("deploy", "breast-cancer", versions[0]["version"].(string), "--name", "second")...))
		require.True(t, strings.HasSuffix(url, "/breast-cancer/second"), url)
		require.Contains(t, mlopsctl(t, 0, with("list-deployments")...), "breast-cancer.second\tRUNNING")
		mlopsctl(t, 0, with("undeploy", "second")...)
		require.NotContains(t, mlopsctl(t, 0, "list-deployments", "--all"), "breast-cancer.second")
		mlopsctl(t, 3, with("undeploy", "second")...)
		mlopsctl(t, 3, with("deploy", "breast-cancer@nobody")...)
		mlopsctl(t, 2, with("deploy", "breast-cancer")...)
	})

	t.Run("drift", func(t *testing.T) {
		train, shifted := filepath.Join(scratch, "data", "train.csv"), filepath.Join(scratch, "drift", "shifted.csv")
		require.Contains(t, mlopsctl(t, 10, with("drift", "check", train, shifted, "--column", "mean radius", "--method", "psi")...), "mean radius\tyes\t")
		r := documents[map[string]any](t, with("drift", "check", train, train, "--column", "mean radius", "--threshold", "0.05")...)
		require.Equal(t, false, r["drifted"])
		require.Contains(t, mlopsctl(t, 0, with("drift", "list")...), r["snapshot_id"])
		mlopsctl(t, 3, with("drift", "check", train, "nothing.csv")...)
	})
}
