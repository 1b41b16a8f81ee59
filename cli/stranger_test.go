package cli_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose"
)

// TestStackStranger lets a stranger have the port that MLflow left, at a restart
// and beside a Ray that runs on: replicas load their models from MLflow with its
// password, and the stranger receives none of it. It has MLflow and Ray of
// MLOPS_HOME for itself.
func TestStackStranger(t *testing.T) {
	if os.Getenv("MLOPS_LIVE_STACK") == "" || os.Getenv("MLOPS_HOME") == "" {
		t.Skip("stops the servers of the running stack: set MLOPS_LIVE_STACK=1 and MLOPS_HOME (make test does)")
	}
	s := &stackSuite{home: os.Getenv("MLOPS_HOME")}
	t.Chdir(t.TempDir())
	s.ctl(t, 0, "start", "mlflow", "ray")
	after := func(args ...string) { // t.Context has ended by then
		t.Cleanup(func() { _ = exec.Command("mlopsctl", args...).Run() })
	}
	after("stop")
	const project = "stranger"
	require.NoError(t, os.Mkdir("model", 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("model", "model.py"), []byte(`import mlflow


class Times(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [float(x) * 10 for x in model_input.iloc[:, 0]]


mlflow.models.set_model(Times())
`), 0o600))
	id := strings.TrimSpace(s.ctl(t, 0, "run", "start", "-p", project))
	s.ctl(t, 0, "model", "log", "model", "--run", id, "--name", "Times Ten", "--pyfunc", "model.py", "--venv", filepath.Join(s.home, "venvs", "mlflow"), "-p", project)
	s.ctl(t, 0, "run", "end", "--run", id, "-p", project)
	url := strings.TrimSpace(s.ctl(t, 0, "deploy", "Times Ten", "1", "-p", project))
	after("undeploy", "Times Ten", "-p", project)
	resp, err := http.Get(url)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 200, resp.StatusCode, url)
	require.NoError(t, os.WriteFile("rows.csv", []byte("x\n3\n4\n"), 0o600))
	scored := func() {
		t.Helper()
		require.Equal(t, "30.0\n40.0\n", s.ctl(t, 0, "predict", "Times Ten", "rows.csv", "-p", project))
	}
	scored()

	t.Run("at a restart", func(t *testing.T) {
		port := s.service(t, "mlflow").Ports["http"]
		s.ctl(t, 0, "stop")
		keptBefore(t, s.home, port)
		stranger := listen(t, port)
		s.ctl(t, 0, "start", "mlflow", "ray")
		require.NotEqual(t, port, s.service(t, "mlflow").Ports["http"])
		st := s.status(t)
		require.Contains(t, st.Deployments, compose.DeploymentStatus{Name: "stranger.Times~20Ten", State: compose.StateReady}, "start says when they are back")
		scored()
		stranger.knowsNothing(t, s.home)
	})

	t.Run("beside a Ray that runs on", func(t *testing.T) {
		port := s.service(t, "mlflow").Ports["http"]
		s.ctl(t, 0, "stop", "mlflow")
		stranger := listen(t, port)
		killReplica(t, s.home, "stranger.Times~20Ten")
		until(t, 3*time.Minute, "the replica says why it does not start", func() bool {
			out, _, _ := run(t, "mlopsctl", "list-deployments", "-p", project)
			return strings.Contains(out, "nothing was sent there")
		})
		out, _, code := run(t, "mlopsctl", "status")
		require.Equal(t, 11, code, "a deployment that was given back does not serve")
		require.Contains(t, out, "stranger.Times~20Ten\tfailed")
		stranger.knowsNothing(t, s.home)
		stranger.Close()
		_, _, code = run(t, "mlopsctl", "start", "mlflow", "ray")
		require.Contains(t, []int{0, 11}, code, "the replica may not have tried again yet")
		until(t, 3*time.Minute, "it serves again", func() bool { return s.status(t).State == compose.StateHealthy })
		scored()
	})
}

// keptBefore brings the kept deployments into the form of an earlier version,
// which named the address that MLflow had.
func keptBefore(t *testing.T, home string, port int) {
	t.Helper()
	file := filepath.Join(home, "data", "serve", "serve.json")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	old := strings.ReplaceAll(string(b), `"form":1`, fmt.Sprintf(`"tracking_uri":"http://127.0.0.1:%d"`, port))
	require.NotEqual(t, string(b), old)
	require.True(t, json.Valid([]byte(old)))
	require.NoError(t, os.WriteFile(file, []byte(old), 0o600))
}

// killReplica ends the replicas of an application in this home.
func killReplica(t *testing.T, home, app string) {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	n := 0
	for _, p := range procs {
		name, _ := os.ReadFile(p + "/cmdline")
		environ, _ := os.ReadFile(p + "/environ")
		if bytes.Contains(name, []byte("ServeReplica:"+app+":")) && bytes.Contains(environ, []byte("MLOPS_SERVICE="+home+":ray\x00")) {
			pid, err := strconv.Atoi(filepath.Base(p))
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			n++
		}
	}
	require.Positive(t, n, "no replica of %s was found", app)
}

// listener is a server that answers 403 and keeps every byte it receives.
type listener struct {
	net.Listener
	mu  sync.Mutex
	got bytes.Buffer
}

func listen(t *testing.T, port int) *listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	require.NoError(t, err)
	rec := &listener{Listener: l}
	go http.Serve(rec, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(func() { l.Close() })
	return rec
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return recorded{c, l}, err
}

type recorded struct {
	net.Conn
	l *listener
}

func (c recorded) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.got.Write(b[:n])
	return n, err
}

// knowsNothing looks for the secrets of a home in what was received, also as
// they are sent to sign in.
func (l *listener) knowsNothing(t *testing.T, home string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.NotContains(t, l.got.String(), "Authorization")
	files, err := filepath.Glob(filepath.Join(home, "secrets", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		secret := strings.TrimSpace(string(b))
		require.NotEmpty(t, secret, f)
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte("admin:" + secret))} {
			require.NotContains(t, l.got.String(), form, "the stranger received %s", filepath.Base(f))
		}
	}
}
