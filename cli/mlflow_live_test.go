package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/cli"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// freePort is an address of this machine on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
	return p
}

// TestMLflowsCommandsDriveARealServer needs MLflow alone: it starts one.
func TestMLflowsCommandsDriveARealServer(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: starts a real MLflow (make test)")
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	venv := filepath.Dir(filepath.Dir(stack.Pythons["mlflow"]))
	at := freePort(t)
	t.Setenv("MLOPS_HOME", t.TempDir())
	t.Setenv("MLFLOW_TRACKING_URI", "http://"+at)
	mlopsctl(t, 0, "run", "start", "-p", "walk", "--name", "late") // nobody listens yet
	serveMLflow(t, stack.Pythons["mlflow"], t.TempDir(), at)
	start := func(t *testing.T, args ...string) string {
		t.Helper()
		return strings.TrimSpace(mlopsctl(t, 0, append([]string{"run", "start", "-p", "walk", "--require-sent"}, args...)...))
	}

	t.Run("an agent sends what was logged while the server was away", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		listen := freePort(t)
		ended := make(chan int, 1)
		go func() {
			ended <- cli.Main(ctx, []string{"agent", "--listen", listen, "--every", "100ms"}, strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer))
		}()
		until(t, time.Minute, "the agent has sent all", func() bool {
			resp, err := http.Get("http://" + listen + "/health")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			var h struct{ Sent, Waiting int }
			return json.NewDecoder(resp.Body).Decode(&h) == nil && h.Sent > 0 && h.Waiting == 0
		})
		stop()
		require.Equal(t, 0, <-ended, "to be ended is what an agent is for")
		require.Contains(t, mlopsctl(t, 0, "run", "list", "-p", "walk", "--filter", "attributes.run_name = 'late'"), "\tlate\t")
		require.Empty(t, mlopsctl(t, 0, "sync", "--status"))
	})

	t.Run("runs are shown and compared", func(t *testing.T) {
		a, b := start(t, "--name", "a", "--tag", "k=v", "--description", "why"), start(t, "--name", "b")
		for run, loss := range map[string]string{a: "0.5", b: "0.25"} {
			mlopsctl(t, 0, "metric", "log", "--run", run, "--step", "2", "loss="+loss, "acc=0.9", "bad=nan")
			mlopsctl(t, 0, "param", "log", "--run", run, "rank=16", "only"+loss+"=1")
			mlopsctl(t, 0, "run", "end", "--run", run)
		}
		out := mlopsctl(t, 0, "run", "compare", a, b)
		require.Contains(t, out, "name\ta\tb\nstatus\tFINISHED\tFINISHED\n")
		require.Contains(t, out, "metrics.loss\t0.5\t0.25*\n")
		require.Contains(t, out, "params.only0.25\t-\t1\n")
		require.NotContains(t, out, "rank", "what is the same is left out")
		require.NotContains(t, out, "acc")
		require.Contains(t, mlopsctl(t, 0, "run", "compare", a, b, "--all", "--max", "loss"), "metrics.loss\t0.5*\t0.25\n")
		require.Contains(t, mlopsctl(t, 0, "run", "compare", a, b, "--all"), "params.rank\t16\t16\n")
		type compared struct {
			Runs    []struct{ ID string }
			Metrics []struct {
				Key    string
				Values []any
				Equal  bool
				Lower  bool `json:"lower_is_better"`
				Best   []string
			}
		}
		c := documents[compared](t, "run", "compare", "-p", "walk", "--filter", "params.rank = '16'", "--limit", "2")
		require.Len(t, c.Runs, 2)
		require.Equal(t, "loss", c.Metrics[2].Key)
		require.True(t, c.Metrics[2].Lower)
		require.Equal(t, []string{b}, c.Metrics[2].Best)
		require.Contains(t, mlopsctl(t, 0, "run", "compare", "-p", "walk", "--limit", "1"), "name\tb\n")
		mlopsctl(t, 3, "run", "compare", a, strings.Repeat("0", 32))

		show := mlopsctl(t, 0, "run", "show", a)
		require.Contains(t, show, "param\trank\t16")
		require.Contains(t, show, "tag\tmlflow.note.content\twhy")
		require.Contains(t, show, "metric\tloss\t0.5\t2")
		shown := documents[map[string]any](t, "run", "show", b)
		require.NotEmpty(t, shown["ended"])
		mlopsctl(t, 3, "run", "show", strings.Repeat("0", 32))
		mlopsctl(t, 0, "run", "delete", a)
		require.Contains(t, mlopsctl(t, 0, "run", "show", a), "FINISHED, deleted")
		uid := shown["uid"].(string)
		mlopsctl(t, 0, "run", "delete", uid)
		mlopsctl(t, 0, "run", "restore", uid)
		mlopsctl(t, 3, "run", "delete", strings.Repeat("0", 32), b)
		require.Equal(t, true, documents[map[string]any](t, "run", "show", b)["deleted"], "the others are deleted all the same")
		require.Contains(t, mlopsctl(t, 0, append([]string{"run", "exec", "-p", "walk"}, "--", "sh", "-c", "echo $MLFLOW_TRACKING_URI")...), at)
		require.Contains(t, mlopsctl(t, 0, "run", "list", "-p", "walk"), "FINISHED")
	})

	t.Run("artifacts go up and come down", func(t *testing.T) {
		run := start(t)
		dir := filepath.Join(t.TempDir(), "report")
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "deep"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "deep", "a.html"), []byte("<a>"), 0o644))
		mlopsctl(t, 0, "artifact", "log", "--run", run, dir, file(t, "note.txt", "hello"))
		mlopsctl(t, 0, "artifact", "log", "--run", run, dir+"/.", "--to", "flat")
		require.Equal(t, "flat/deep/a.html\t3\nnote.txt\t5\nreport/deep/a.html\t3\n", mlopsctl(t, 0, "artifact", "list", run))
		require.Equal(t, "report/deep/a.html\t3\n", mlopsctl(t, 0, "artifact", "list", run, "report"))
		into := filepath.Join(t.TempDir(), "new")
		require.Equal(t, into+"\n", mlopsctl(t, 0, "artifact", "get", run, "--into", into))
		require.FileExists(t, filepath.Join(into, "report", "deep", "a.html"))
		mlopsctl(t, 0, "artifact", "get", run, "note.txt", "--into", into+"2")
		b, err := os.ReadFile(filepath.Join(into+"2", "note.txt"))
		require.NoError(t, err)
		require.Equal(t, "hello", string(b))
		require.Equal(t, "hello", mlopsctl(t, 0, "artifact", "get", run, "note.txt", "--into", "-"))
		mlopsctl(t, 2, "artifact", "get", run, "--into", "-")
		mlopsctl(t, 3, "artifact", "get", run, "nothing", "--into", into)
		mlopsctl(t, 3, "artifact", "get", run, "nothing", "--into", "-")
		mlopsctl(t, 3, "artifact", "log", "--run", run, filepath.Join(dir, "nothing"))
		mlopsctl(t, 3, "artifact", "list", strings.Repeat("0", 32))
		require.Contains(t, mlopsctl(t, 0, "run", "show", run), "artifact\treport\tfolder")
		mlopsctl(t, 0, "run", "end", "--run", run)
	})

	t.Run("experiments by name or ID", func(t *testing.T) {
		id := strings.TrimSpace(mlopsctl(t, 0, "experiment", "create", "walk-on", "--tag", "a=b"))
		mlopsctl(t, 5, "experiment", "create", "walk-on")
		mlopsctl(t, 2, "experiment", "create", "other", "--tag", "a")
		mlopsctl(t, 2, "experiment", "tag", "walk-on", "c")
		mlopsctl(t, 0, "experiment", "tag", id, "c=d")
		type listed struct {
			ID   string
			Tags map[string]string
		}
		list := documents[[]listed](t, "experiment", "list", "--filter", "name = 'walk-on'")
		require.Len(t, list, 1)
		require.NotEmpty(t, list[0].Tags["mlops.create_uid"], "by which a lost answer is found")
		delete(list[0].Tags, "mlops.create_uid")
		require.Equal(t, listed{id, map[string]string{"a": "b", "c": "d"}}, list[0])
		mlopsctl(t, 0, "experiment", "delete", id)
		require.NotContains(t, mlopsctl(t, 0, "experiment", "list"), "walk-on")
		for _, verb := range [][]string{{"start"}, {"exec", "--", "echo", "it ran"}} {
			out := mlopsctl(t, 5, append([]string{"run", verb[0], "-p", "walk-on"}, verb[1:]...)...)
			require.Empty(t, out, "no run begins on a deleted experiment")
		}
		mlopsctl(t, 0, "sync") // a journal of a refused run would be refused again, each time
		mlopsctl(t, 0, "experiment", "restore", "walk-on")
		mlopsctl(t, 3, "experiment", "delete", "nothing-like-it")
	})

	t.Run("models are registered, tagged, copied and deleted", func(t *testing.T) {
		run := start(t)
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "model.py"), []byte("import mlflow\n\n\nclass M(mlflow.pyfunc.PythonModel):\n    def predict(self, context, model_input, params=None):\n        return model_input\n\n\nmlflow.models.set_model(M())\n"), 0o644))
		mlopsctl(t, 3, "model", "register", run, "--name", "wine")
		id := strings.TrimSpace(mlopsctl(t, 0, "model", "log", dir, "--run", run, "--pyfunc", "model.py", "--venv", venv))
		require.Equal(t, "1\n", mlopsctl(t, 0, "model", "register", run, "--name", "wine", "--alias", "champion", "--tag", "a=b", "--description", "d"))
		require.Equal(t, "2\n", mlopsctl(t, 0, "model", "register", "models:/"+id, "--name", "wine"))
		mlopsctl(t, 0, "artifact", "log", "--run", run, file(t, "MLmodel", "artifact_path: out\n"), "--to", "out")
		v := documents[map[string]any](t, "model", "register", run, "--path", "out", "--name", "wine")
		require.Equal(t, []any{"3", "wine", run}, []any{v["version"], v["name"], v["run_id"]})
		mlopsctl(t, 3, "model", "register", run, "--path", "nowhere", "--name", "wine")
		require.Equal(t, "1\n", mlopsctl(t, 0, "model", "copy", "wine", "1", "prod.wine"))
		mlopsctl(t, 3, "model", "copy", "wine", "9", "prod.wine")
		mlopsctl(t, 0, "model", "tag", "wine", "team=nlp", "x=y")
		mlopsctl(t, 0, "model", "tag", "wine", "--version", "2", "checked=yes")
		mlopsctl(t, 3, "model", "tag", "nothing", "a=b")
		out := mlopsctl(t, 0, "model", "list", "wine")
		require.Contains(t, out, "wine\t1\tREADY\tchampion\t"+run)
		mlopsctl(t, 0, "model", "delete", "wine", "2", "3")
		mlopsctl(t, 3, "model", "delete", "wine", "2")
		require.Equal(t, 1, strings.Count(mlopsctl(t, 0, "model", "list", "wine"), "\n"))
		mlopsctl(t, 0, "model", "delete", "wine", "--all")
		require.NotContains(t, "\n"+mlopsctl(t, 0, "model", "list"), "\nwine\t")
		mlopsctl(t, 3, "model", "delete", "wine", "--all")
		mlopsctl(t, 0, "run", "end", "--run", run)
	})

	t.Run("a folder of runs is imported once", func(t *testing.T) {
		type row struct {
			Experiment, Name, Outcome, ID string
			OldID                         string `json:"old_id"`
			Points                        int
		}
		const from = "../testdata/mlflow/mlruns"
		outcome := func(list []row, name string) string {
			for _, r := range list {
				if r.Name == name {
					return r.Outcome
				}
			}
			return ""
		}
		require.Equal(t, "new", outcome(documents[[]row](t, "import", from, "--dry-run"), "first"))
		list := documents[[]row](t, "import", from)
		require.Equal(t, "imported deleted", outcome(list, "child")+" "+outcome(list, "gone"))
		require.Contains(t, mlopsctl(t, 0, "import", from), "\tstill going\tpresent\t")
		for _, r := range list {
			if r.Name == "first" {
				require.Equal(t, r.ID, documents[map[string]any](t, "run", "show", r.OldID)["id"], "its old ID works")
			}
		}
		broken := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(broken, "0", "r", "metrics"), 0o755))
		for name, text := range map[string]string{"meta.yaml": "name: Default", "r/meta.yaml": "run_id: r\nrun_name: torn\nstatus: 3", "r/metrics/loss": "1 2 3 4\n"} {
			require.NoError(t, os.WriteFile(filepath.Join(broken, "0", name), []byte(text), 0o644))
		}
		var out, talk bytes.Buffer
		require.Equal(t, 1, cli.Main(t.Context(), []string{"import", broken}, strings.NewReader(""), &out, &talk))
		require.Contains(t, out.String(), "\ttorn\timported\t")
		require.Contains(t, talk.String(), "loss:1: ")
	})
}
