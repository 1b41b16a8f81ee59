package client_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestASilentServerHoldsUpNoOther(t *testing.T) {
	home, dir := filepath.Join(t.TempDir(), "home"), t.TempDir()
	require.NoError(t, os.Mkdir(home, 0o700))
	var syncing, gaveUp atomic.Bool
	var asked sync.WaitGroup
	asked.Add(2)
	both := make(chan struct{})
	go func() { asked.Wait(); close(both) }()
	server := func() *httptest.Server {
		var once sync.Once
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if syncing.Load() {
				once.Do(asked.Done)
				select {
				case <-both: // silent until the other is asked as well
				case <-r.Context().Done():
					gaveUp.Store(true)
				}
			}
			http.Error(w, "no", http.StatusBadRequest)
		}))
		t.Cleanup(s.Close)
		return s
	}
	named, ofStack := server(), server()
	leave := func() {
		p, err := client.FromProject(t.Context(), "demo", client.WithHome(home), client.In(dir))
		require.NoError(t, err)
		run, err := p.StartRun(t.Context(), mlflow.RunOptions{SampleEvery: -1})
		require.NoError(t, err)
		require.NoError(t, run.LogMetric(t.Context(), 1, "loss", 1))
		_ = p.Close() // it tells that the record waits
	}
	require.NoError(t, stackfile.Write(stackfile.Stack{Home: home, Endpoints: map[string]stackfile.Endpoint{stackfile.MLflow: {URL: ofStack.URL}}}))
	t.Setenv("MLFLOW_TRACKING_URI", "")
	leave()
	t.Setenv("MLFLOW_TRACKING_URI", named.URL)
	leave()

	c, err := client.Open(t.Context(), client.WithHome(home), client.In(dir))
	require.NoError(t, err)
	defer c.Close()
	syncing.Store(true)
	list, err := c.Sync(t.Context(), mlflow.SyncOptions{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.False(t, gaveUp.Load(), "one server was asked only when the other had not answered in time")
	select {
	case <-both:
	default:
		t.Error("one server was not asked at all")
	}
}
