package mlflow

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// own is a server that the suites start for what the stack's has switched off:
// workspaces, and webhooks to this machine. TestMain ends it.
var own struct {
	once sync.Once
	url  string
	err  error
	stop func()
}

// connectOwn is connect for that server.
func connectOwn(t *testing.T) (*cassette.Session, *Client) {
	t.Helper()
	if cassette.Live() {
		if testing.Short() {
			t.Skip("starts an MLflow of its own, which a short run does not")
		}
		own.once.Do(func() { own.err = startOwn() })
		require.NoError(t, own.err)
	}
	s := cassette.OpenAt(t, "mlflow", own.url, mlops.Auth{})
	c, err := New(Options{URL: s.URL, HTTP: s.HTTP, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	c.newUID = uids(s)
	return s, c
}

// interpreter is a Python with MLflow.
func interpreter() (string, error) {
	if p := os.Getenv("MLOPS_LIVE_PYTHON_MLFLOW"); p != "" {
		return p, nil
	}
	home, err := mlops.Home()
	if err != nil {
		return "", err
	}
	stack, err := stackfile.Read(home)
	if err != nil {
		return "", fmt.Errorf("MLOPS_LIVE_PYTHON_MLFLOW names no Python and no stack runs: %w", err)
	}
	return stack.Pythons["mlflow"], nil
}

// startOwn starts the server in a folder of its own, on SQLite, and waits until
// it tells its version.
func startOwn() error {
	python, err := interpreter()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mlflow-own-")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", fmt.Sprint(port), "--workers", "1", "--enable-workspaces",
		"--backend-store-uri", "sqlite:///"+filepath.Join(dir, "mlflow.db"), "--artifacts-destination", filepath.Join(dir, "artifacts"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_TRACKING_URI=",
		"MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true", "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	own.stop = func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = os.RemoveAll(dir)
	}
	own.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	c, err := New(Options{URL: own.url, Tries: 1})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err = c.Version(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case werr := <-ended:
			ended <- werr
			return tellLog(dir, fmt.Errorf("the server ended: %w", werr))
		case <-ctx.Done():
			return tellLog(dir, errors.Join(err, context.Cause(ctx)))
		}
	}
}

func tellLog(dir string, err error) error {
	b, _ := os.ReadFile(filepath.Join(dir, "log"))
	return fmt.Errorf("%w\n%s", err, b[max(0, len(b)-2000):])
}

// lossy is a client that loses answers.
func lossy(t *testing.T, s *cassette.Session, fault http.RoundTripper) *Client {
	t.Helper()
	c, err := New(Options{URL: s.URL, Auth: s.Auth, HTTP: &http.Client{Transport: fault}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	c.pause = func(context.Context, time.Duration) error { return nil }
	c.newUID = uids(s)
	return c
}

// runPython is python where a variable has that name.
func runPython(t *testing.T, s *cassette.Session, script string, args ...string) string {
	t.Helper()
	return python(t, s, script, args...)
}
