package compose

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/stackfile"
)

// aRay is a stack whose Ray answers what it is told to, and was given back the
// applications that are kept.
func aRay(t *testing.T, answer func() string, keptState string) (*Stack, Status) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		body := `{"ray_version":"2.60.0","session_name":"now"}`
		if r.URL.Path == "/api/serve/applications/" {
			body = answer()
		}
		if body == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	home := t.TempDir()
	dir := filepath.Join(home, "data", "serve")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "serve.json"), []byte(keptState), 0o600))
	require.NoError(t, stackfile.Write(stackfile.Stack{Runtime: "process", Home: home, ServeDir: dir, Endpoints: map[string]stackfile.Endpoint{stackfile.Ray: {URL: srv.URL}}}))
	s, err := New(Options{Home: home})
	require.NoError(t, err)
	return s, Status{State: StateHealthy, Services: []ServiceStatus{{Name: "ray", State: StateReady}}}
}

const keptLin = `{"session":"now","config":{"applications":[{"name":"demo.lin","route_prefix":"/demo/lin"}]},"returned":["demo.lin"]}`

func appNow(status, message string) string {
	b, err := json.Marshal(map[string]any{"applications": map[string]any{"demo.lin": map[string]any{
		"status": status, "message": "Failed to update the deployments.", "deployed_app_config": map[string]any{"name": "demo.lin"},
		"deployments": map[string]any{"model": map[string]any{"status": "UNHEALTHY", "message": message}},
	}}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestTheStatusNamesDeploymentsThatDidNotComeBack(t *testing.T) {
	for name, tt := range map[string]struct {
		kept, ray string
		state     State
		message   string
		stack     State
	}{
		"it runs":                 {keptLin, appNow("RUNNING", ""), StateReady, "", StateHealthy},
		"it is on its way":        {keptLin, appNow("DEPLOYING", "A replica failed to start. Retrying."), StateStarting, "Retrying", StateStarting},
		"it failed":               {keptLin, appNow("DEPLOY_FAILED", "No module named 'x'"), StateFailed, "No module named 'x'", StateDegraded},
		"it fails again":          {keptLin, appNow("UNHEALTHY", "No module named 'x'"), StateFailed, "No module named 'x'", StateDegraded},
		"Ray has not been given":  {`{"session":"before","config":{"applications":[{"name":"demo.lin"}]}}`, `{"applications":{}}`, StateStarting, "does not have it yet", StateStarting},
		"Ray does not answer":     {keptLin, "", StateStarting, "Ray does not answer", StateStarting},
		"what is kept is damaged": {`{"session":`, `{"applications":{}}`, StateFailed, "is damaged", StateDegraded},
	} {
		t.Run(name, func(t *testing.T) {
			s, st := aRay(t, func() string { return tt.ray }, tt.kept)
			got := s.withDeployments(t.Context(), st)
			require.Len(t, got.Deployments, 1)
			require.Equal(t, tt.state, got.Deployments[0].State)
			require.Contains(t, got.Deployments[0].Message, tt.message)
			require.Equal(t, tt.stack, got.State)
			if name != "what is kept is damaged" {
				require.Equal(t, "demo.lin", got.Deployments[0].Name)
			}
		})
	}
	for name, kept := range map[string]string{
		"nothing is kept":         `{"session":"now","config":{"applications":[]}}`,
		"it was deployed anew":    `{"session":"now","config":{"applications":[{"name":"demo.lin"}]}}`,
		"it was taken away since": `{"session":"now","config":{"applications":[{"name":"gone"}]},"returned":["gone"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, st := aRay(t, func() string { return appNow("DEPLOY_FAILED", "x") }, kept)
			require.Equal(t, st, s.withDeployments(t.Context(), st), "only what was given back concerns the stack")
		})
	}
	s, st := aRay(t, func() string { return appNow("DEPLOY_FAILED", "x") }, keptLin)
	st.Services[0].State, st.State = StateStopped, StateStopped
	require.Equal(t, st, s.withDeployments(t.Context(), st))
}

func TestAStartWaitsForDeploymentsAndNotForEver(t *testing.T) {
	answers := []string{appNow("DEPLOYING", ""), appNow("DEPLOYING", ""), appNow("RUNNING", "")}
	s, st := aRay(t, func() string {
		now := answers[0]
		answers = answers[min(1, len(answers)-1):]
		return now
	}, keptLin)
	var told []Event
	s.progress = func(e Event) { told = append(told, e) }
	got, err := s.awaitDeployments(t.Context(), st, time.Minute)
	require.NoError(t, err)
	require.Equal(t, StateHealthy, got.State)
	require.Len(t, told, 1)
	require.Contains(t, told[0].Message, "demo.lin")

	s, st = aRay(t, func() string { return appNow("DEPLOYING", "waits for 64 CPUs") }, keptLin)
	got, err = s.awaitDeployments(t.Context(), st, 100*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, StateStarting, got.State)
	require.Equal(t, []DeploymentStatus{{"demo.lin", StateStarting, "waits for 64 CPUs"}}, got.Deployments)

	ctx, cancel := context.WithCancel(t.Context())
	s.progress = func(Event) { cancel() }
	_, err = s.awaitDeployments(ctx, st, time.Minute)
	require.ErrorIs(t, err, context.Canceled)
}
