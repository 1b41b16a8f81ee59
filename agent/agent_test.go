package agent

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestTheAgentTellsWhatWaitsAndWhy(t *testing.T) {
	home := t.TempDir()
	t.Setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
	p, err := client.FromProject(t.Context(), "demo", client.WithHome(home), client.In(t.TempDir()))
	require.NoError(t, err)
	run, err := p.StartRun(t.Context(), mlflow.RunOptions{SampleEvery: -1})
	require.NoError(t, err)
	require.NoError(t, run.LogMetric(t.Context(), 1, "loss", 1))
	_ = p.Close() // it tells that the record waits

	a := New(Options{Home: home, Client: []client.Option{client.In(t.TempDir())}})
	a.look(t.Context())
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	var h Health
	require.NoError(t, json.Unmarshal(ask("GET", "/health").Body.Bytes(), &h))
	require.Equal(t, Name, h.Name)
	require.Equal(t, home, h.Home)
	require.Equal(t, 1, h.Journals)
	require.Positive(t, h.Waiting)
	require.Contains(t, h.Error, "127.0.0.1:9")
	require.Contains(t, ask("GET", "/metrics").Body.String(), "mlops_agent_journals 1\n")
	require.Equal(t, 404, ask("GET", "/").Code)
	require.Equal(t, 405, ask("POST", "/health").Code)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, a.Run(ctx), "its end is no error")
	require.NotContains(t, ask("GET", "/metrics").Body.String(), "machine_", "who does not run reads no machine")

	ctx, cancel = context.WithCancel(t.Context())
	over := make(chan error)
	go func() { over <- a.Run(ctx) }()
	require.Eventually(t, func() bool {
		return strings.Contains(ask("GET", "/metrics").Body.String(), "\nmachine_memory_bytes ")
	}, time.Minute, 10*time.Millisecond, "the machine's readings are there for Prometheus")
	cancel()
	require.NoError(t, <-over)
}
