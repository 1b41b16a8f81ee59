package mlflow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/mlflow"
)

// server is a real MLflow of a test's own, which may be killed and started again.
type server struct {
	URL string

	t      testing.TB
	python string
	port   int
	dir    string
	cmd    *exec.Cmd
	gone   chan error
}

// needsServer skips a test where no server may be started.
func needsServer(t testing.TB) {
	t.Helper()
	if !cassette.Live() {
		t.Skip("not live: this needs an MLflow of its own to kill (make test)")
	}
	if testing.Short() {
		t.Skip("starts an MLflow of its own, which a short run does not")
	}
}

// newServer prepares a server on a free port; Start starts it.
func newServer(t testing.TB) *server {
	t.Helper()
	needsServer(t)
	s := prepare(t, t.TempDir())
	t.Cleanup(s.Kill)
	return s
}

// prepare chooses a port for a server in dir.
func prepare(t testing.TB, dir string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("MLOPS_CRASH_PORT"))
	if err != nil { // the one that was asked for is taken
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	return &server{URL: fmt.Sprintf("http://127.0.0.1:%d", port), t: t, python: python(t), port: port, dir: dir}
}

var shared *server

// sharedServer is a running server for tests that do not kill it. TestMain ends it.
func sharedServer(t testing.TB) *server {
	t.Helper()
	needsServer(t)
	if shared == nil {
		dir, err := os.MkdirTemp("", "mlflow-shared-")
		require.NoError(t, err)
		s := prepare(t, dir)
		mlflow.AtEnd(func() {
			s.Kill()
			_ = os.RemoveAll(dir)
		})
		s.Start()
		shared = s
	}
	s := *shared
	s.t = t
	return &s
}

// python is the interpreter of the running stack that has MLflow.
func python(t testing.TB) string {
	t.Helper()
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	require.NotEmpty(t, stack.Pythons["mlflow"], "the running stack has no Python for MLflow")
	return stack.Pythons["mlflow"]
}

// Start starts the server and waits until it answers.
func (s *server) Start() {
	s.t.Helper()
	s.Spawn()
	s.Ready()
}

// Spawn starts the server.
func (s *server) Spawn() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(s.t, err)
	defer log.Close()
	cmd := exec.Command(s.python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", strconv.Itoa(s.port), "--workers", "1",
		"--backend-store-uri", "sqlite:///"+filepath.Join(s.dir, "mlflow.db"),
		"--serve-artifacts", "--artifacts-destination", filepath.Join(s.dir, "artifacts"))
	cmd.Env = append(withoutMLflow(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_DISABLE_TELEMETRY=true")
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(s.t, cmd.Start())
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	s.cmd, s.gone = cmd, gone
}

// withoutMLflow is the environment without the variables of a stack.
func withoutMLflow() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MLFLOW_") && !strings.HasPrefix(kv, "MLOPS_") {
			env = append(env, kv)
		}
	}
	return env
}

// Ready waits until the server answers.
func (s *server) Ready() {
	s.t.Helper()
	within(s.t, 5*time.Minute, "the server answers", func() bool {
		select {
		case err := <-s.gone:
			s.gone <- err
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("the server ended (%v):\n%s", err, tail(string(log), 30))
		default:
		}
		resp, err := http.Get(s.URL + "/version")
		if err != nil {
			return false
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return errors.Join(err, resp.Body.Close()) == nil && resp.StatusCode == 200
	})
}

// Kill ends the server and all it started, at once.
func (s *server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.gone
	s.cmd = nil
}

// Client speaks to the server itself and keeps no journal.
func (s *server) Client() *mlflow.Client {
	s.t.Helper()
	c, err := mlflow.New(mlflow.Options{URL: s.URL, Journal: mlflow.Journal{Off: true}})
	require.NoError(s.t, err)
	return c
}

// Python runs a program against the server and returns what it prints.
func (s *server) Python(program string, args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.python, append([]string{"-c", program}, args...)...)
	cmd.Env = append(withoutMLflow(), "MLFLOW_TRACKING_URI="+s.URL, "MLFLOW_DISABLE_TELEMETRY=true")
	cmd.Dir = s.dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(s.t, err, "%s", stderr.String())
	return string(out)
}

// within waits until ok, by asking again and again.
func within(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
