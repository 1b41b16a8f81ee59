package client

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

// ears is a server that knows which connections to it are open.
type ears struct {
	*httptest.Server
	mu   sync.Mutex
	open map[net.Conn]bool
	came int
	less chan struct{} // one more is closed
}

func newEars(t *testing.T, answer http.HandlerFunc) *ears {
	t.Helper()
	e := &ears{open: map[net.Conn]bool{}, less: make(chan struct{}, 100)}
	e.Server = httptest.NewUnstartedServer(answer)
	e.Config.ConnState = func(c net.Conn, s http.ConnState) {
		e.mu.Lock()
		defer e.mu.Unlock()
		switch s {
		case http.StateNew:
			e.open[c] = true
			e.came++
		case http.StateClosed:
			delete(e.open, c)
			e.less <- struct{}{}
		}
	}
	e.Start()
	t.Cleanup(e.Close)
	return e
}

func (e *ears) count() (open, came int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.open), e.came
}

func TestCloseLeavesNoConnectionOpen(t *testing.T) {
	type tool interface {
		Version(context.Context) (string, error)
		Close() error
	}
	for name, open := range map[string]func(at string) (tool, error){
		"mlflow": func(at string) (tool, error) { return mlflow.New(mlflow.Options{URL: at, Tries: 1}) },
		"mlflow with a timeout in a workspace": func(at string) (tool, error) {
			return mlflow.New(mlflow.Options{URL: at, Tries: 1, Timeout: time.Minute, Workspace: "w"})
		},
		"airflow":   func(at string) (tool, error) { return airflow.New(airflow.Options{URL: at}) },
		"rayserve":  func(at string) (tool, error) { return rayserve.New(rayserve.Options{URL: at, StateDir: t.TempDir()}) },
		"evidently": func(at string) (tool, error) { return evidently.New(evidently.Options{URL: at}) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEars(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) })
			c, err := open(e.URL)
			require.NoError(t, err)
			_, err = c.Version(t.Context())
			require.Error(t, err)
			_, came := e.count()
			require.NotZero(t, came)
			require.NoError(t, c.Close())
			late := time.After(10 * time.Second)
			for left := 1; left > 0; left, _ = e.count() {
				select {
				case <-e.less:
				case <-late:
					t.Fatal("Close leaves a connection open")
				}
			}
		})
	}
}

func TestCloseEndsALogin(t *testing.T) {
	asked, ended := make(chan struct{}), make(chan struct{})
	e := newEars(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client is gone
		close(asked)
		<-r.Context().Done()
		close(ended)
	})
	c, err := airflow.New(airflow.Options{URL: e.URL, Auth: mlops.Auth{Username: "u", Password: "p"}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = c.Pools.Get(ctx, "x")
	}()
	<-asked
	cancel() // the login continues for other callers
	<-over
	require.NoError(t, c.Close())
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("Close leaves a login")
	}
}
