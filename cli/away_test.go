package cli_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// serveMLflow starts a real MLflow server on SQLite; stop ends it.
func serveMLflow(t *testing.T, python, dir, at string) (stop func()) {
	t.Helper()
	host, port, err := net.SplitHostPort(at)
	require.NoError(t, err)
	cmd := exec.Command(python, "-m", "mlflow", "server", "--host", host, "--port", port, "--workers", "1",
		"--backend-store-uri", "sqlite:///"+filepath.Join(dir, "m.db"), "--artifacts-destination", filepath.Join(dir, "artifacts"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	until(t, 2*time.Minute, "MLflow answers", func() bool {
		resp, err := http.Get("http://" + at + "/version")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return stop
}

func TestWhatWasLoggedWithoutAServerIsThereAfterSync(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: starts a real MLflow (make test)")
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := l.Addr().String()
	require.NoError(t, l.Close())
	t.Setenv("MLOPS_HOME", t.TempDir())
	t.Setenv("MLFLOW_TRACKING_URI", "http://"+at)

	note := filepath.Join(t.TempDir(), "note.txt")
	require.NoError(t, os.WriteFile(note, []byte("hello"), 0o644))
	uid := strings.TrimSpace(mlopsctl(t, 0, "run", "start", "-p", "away", "--name", "by hand"))
	mlopsctl(t, 0, "metric", "log", "--run", uid, "--step", "3", "loss=0.5")
	mlopsctl(t, 0, "param", "log", "--run", uid, "lr=0.1")
	mlopsctl(t, 0, "tag", "set", "--run", uid, "k=v")
	mlopsctl(t, 0, "artifact", "log", "--run", uid, note)
	mlopsctl(t, 0, "run", "end", "--run", uid)

	serveMLflow(t, stack.Pythons["mlflow"], t.TempDir(), at)
	mlopsctl(t, 0, "sync")
	require.Empty(t, mlopsctl(t, 0, "sync", "--status"), "something was left behind")
	type shown struct {
		UID, Name, Status string
		Params, Tags      map[string]string
		Metrics           []struct {
			Key   string
			Value float64
			Step  int64
		}
		Artifacts []struct{ Path string }
	}
	r := documents[shown](t, "run", "show", uid)
	require.Equal(t, []string{uid, "by hand", "FINISHED", "0.1", "v"}, []string{r.UID, r.Name, string(r.Status), r.Params["lr"], r.Tags["k"]})
	require.Len(t, r.Metrics, 1)
	require.Equal(t, 0.5, r.Metrics[0].Value)
	require.EqualValues(t, 3, r.Metrics[0].Step)
	require.Contains(t, r.Artifacts, struct{ Path string }{"note.txt"}, "beside git.diff where the work tree has changes")

	into := t.TempDir()
	mlopsctl(t, 0, "artifact", "get", uid, "note.txt", "--into", into)
	require.FileExists(t, filepath.Join(into, "note.txt"))
	mlopsctl(t, 0, "run", "delete", uid)
	mlopsctl(t, 0, "run", "restore", uid)
	mlopsctl(t, 0, "experiment", "create", "mine", "--tag", "a=b")
	mlopsctl(t, 0, "experiment", "tag", "mine", "c=d")
	mlopsctl(t, 0, "experiment", "delete", "mine")
	require.Contains(t, mlopsctl(t, 0, "experiment", "list", "--deleted"), "\tmine\t")
	mlopsctl(t, 0, "experiment", "restore", "mine")
	require.Contains(t, mlopsctl(t, 0, "run", "compare", uid), "metrics.loss\t0.5")
}
