package airflow_test

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// open starts a suite. Played answers need no waiting between two looks.
func open(t *testing.T) (*cassette.Session, *airflow.Client, context.Context) {
	t.Helper()
	s := cassette.Open(t, "airflow")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return s, client(t, s, s.HTTP.Transport, s.Auth), ctx
}

func client(t *testing.T, s *cassette.Session, rt http.RoundTripper, auth mlops.Auth) *airflow.Client {
	t.Helper()
	every := time.Microsecond
	if s.Live {
		every = 300 * time.Millisecond
	}
	c, err := airflow.New(airflow.Options{URL: s.URL, Auth: auth, HTTP: &http.Client{Transport: rt}, PollEvery: every})
	require.NoError(t, err)
	return c
}

// dags is the folder that the server reads; a scratch folder when answers are
// played.
func dags(t *testing.T, s *cassette.Session) string {
	t.Helper()
	if !s.Live {
		return t.TempDir()
	}
	if dir := os.Getenv("MLOPS_LIVE_DAGS"); dir != "" {
		return dir
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	require.NotEmpty(t, stack.DAGs, "neither MLOPS_LIVE_DAGS nor the stack file tells the DAGs folder")
	return stack.DAGs
}

// deploy writes a DAG and waits until the server runs it.
func deploy(t *testing.T, ctx context.Context, c *airflow.Client, dir string, d airflow.DAGSpec) airflow.DAG {
	t.Helper()
	_, err := airflow.WriteDAG(dir, d)
	require.NoError(t, err)
	t.Cleanup(func() { remove(ctx, c, dir, d.ID) })
	dag, err := c.WaitDAG(ctx, d)
	require.NoError(t, err)
	return dag
}

func remove(ctx context.Context, c *airflow.Client, dir, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	_ = airflow.RemoveDAG(dir, id, "")
	_ = c.DAGs.Delete(ctx, id)
}

// tap stands between a client and its server: it counts what passes, and may
// do harm.
type tap struct {
	next http.RoundTripper
	harm func(n int, req *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error)

	mu   sync.Mutex
	sent []string // "POST /api/v2/…"
}

func (t *tap) RoundTrip(req *http.Request) (*http.Response, error) {
	t.mu.Lock()
	line := req.Method + " " + req.URL.Path
	t.sent = append(t.sent, line)
	n := t.countLocked(line)
	t.mu.Unlock()
	next := t.next
	if next == nil {
		next = http.DefaultTransport
	}
	if t.harm != nil {
		return t.harm(n, req, next.RoundTrip)
	}
	return next.RoundTrip(req)
}

func (t *tap) countLocked(line string) (n int) {
	for _, s := range t.sent {
		if s == line {
			n++
		}
	}
	return n
}

func (t *tap) count(line string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.countLocked(line)
}
