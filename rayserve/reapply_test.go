package rayserve_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/rayserve"
)

// A restart is played by taking the application away and telling the state
// folder that it was written in another session of Ray, in the form of an
// earlier version: with the address that MLflow had then.
func TestWhatRayForgotIsAppliedAgain(t *testing.T) {
	var sent []string
	away := false
	dir := t.TempDir()
	c, s, _ := open(t, func(o *rayserve.Options) {
		o.StateDir, o.MLflow = dir, "http://127.0.0.1:5000"
		if cassette.Live() {
			o.MLflow, _ = endpoint(t, stackfile.MLflow)
		}
	}, through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if away {
			return nil, errors.New("connection refused")
		}
		if r.Method == "PUT" && strings.HasSuffix(r.URL.Path, "/applications/") {
			body, err := r.GetBody()
			require.NoError(t, err)
			b, err := io.ReadAll(body)
			require.NoError(t, err)
			sent = append(sent, string(b))
		}
		return next.RoundTrip(r)
	}))
	name := s.Name("kept")
	register(t, s, name, 10)
	takeDown(t, s, c, name)
	ctx := t.Context()
	require.NoError(t, rayserve.Reapply(ctx, c), "nothing is kept")
	_, err := c.Deploy(ctx, rayserve.AppSpec{Name: name, ModelURI: "models:/" + name + "/1"}, rayserve.DeployOptions{})
	require.NoError(t, err)
	require.NoError(t, rayserve.Reapply(ctx, c), "nothing is forgotten")
	back, err := c.Returned(ctx)
	require.NoError(t, err)
	require.Empty(t, back)

	file := filepath.Join(dir, "serve.json")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, c.Delete(ctx, name, rayserve.DeleteOptions{}))
	var k map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(before, &k))
	k["session"] = json.RawMessage(`"an earlier session"`)
	k["config"] = json.RawMessage(strings.Replace(string(k["config"]), `"form":1`, `"tracking_uri":"http://127.0.0.1:9"`, 1))
	require.Contains(t, string(k["config"]), "127.0.0.1:9")
	after, err := json.Marshal(k)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, after, 0o600))

	// Ray is back, and knows nothing yet.
	recovering := func(apps []rayserve.App) {
		t.Helper()
		require.Len(t, apps, 1, "what is kept has to be listed, never nothing")
		require.Equal(t, rayserve.StateRecovering, apps[0].Status)
		require.Equal(t, "models:/"+name+"/1", apps[0].ModelURI)
		require.NotEmpty(t, apps[0].Cause())
	}
	list := func() (apps []rayserve.App, err error) {
		for a, e := range c.Applications(ctx) {
			if e != nil {
				return apps, e
			}
			if a.Name == name {
				apps = append(apps, a)
			}
		}
		return apps, nil
	}
	apps, err := list()
	require.NoError(t, err)
	recovering(apps)
	back, err = c.Returned(ctx)
	require.NoError(t, err)
	recovering(back)
	_, err = ask(ctx, c, name)
	require.ErrorIs(t, err, mlops.ErrUnavailable, "it is not gone")
	away = true
	apps, err = list()
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	recovering(apps)
	away = false

	sent = nil
	require.NoError(t, rayserve.Reapply(ctx, c))
	require.Len(t, sent, 1)
	require.Contains(t, sent[0], `"model_uri":"models:/`+name+`/1"`, "the kept configuration has to be sent")
	require.NotContains(t, sent[0], "127.0.0.1:9", "a stranger may listen there now")
	back, err = c.Returned(ctx)
	require.NoError(t, err)
	require.Len(t, back, 1)
	require.NotEqual(t, rayserve.StateRecovering, back[0].Status)
	a, err := c.Application(ctx, name)
	require.NoError(t, err)
	require.Equal(t, "models:/"+name+"/1", a.ModelURI)
	require.NoError(t, c.Delete(ctx, name, rayserve.DeleteOptions{}))
	require.NoError(t, rayserve.Reapply(ctx, c))
	_, err = c.Application(ctx, name)
	require.ErrorIs(t, err, mlops.ErrNotFound, "what was deleted must not come back")
	back, err = c.Returned(ctx)
	require.NoError(t, err)
	require.Empty(t, back)
}

// Serve answers a DELETE before it has stopped; a PUT then finds a dying
// controller.
func TestADeploymentWaitsForAServeThatIsGoingDown(t *testing.T) {
	puts := 0
	c, s, tracking := open(t, through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if r.Method == "PUT" && strings.HasSuffix(r.URL.Path, "/applications/") {
			if puts++; puts <= 6 {
				return &http.Response{
					StatusCode: 500, Status: "500 Internal Server Error", Header: http.Header{"Content-Type": {"text/plain"}}, Request: r,
					Body: io.NopCloser(strings.NewReader("Traceback (most recent call last):\n  File \"/a/b/c.py\", line 1, in d\nray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.")),
				}, nil
			}
		}
		return next.RoundTrip(r)
	}))
	name := s.Name("patient")
	register(t, s, name, 10)
	takeDown(t, s, c, name)
	begin := time.Now()
	_, err := c.Deploy(t.Context(), rayserve.AppSpec{Name: name, ModelURI: "models:/" + name + "/1", TrackingURI: tracking}, rayserve.DeployOptions{NoWait: true})
	require.NoError(t, err)
	require.Less(t, time.Since(begin), time.Minute)
	require.NoError(t, c.Delete(t.Context(), name, rayserve.DeleteOptions{}))
}
