package rayserve_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/rayserve"
)

// A restart is played by taking the application away and telling the state
// folder that it was written in another session of Ray.
func TestWhatRayForgotIsAppliedAgain(t *testing.T) {
	var sent []string
	dir := t.TempDir()
	c, s, tracking := open(t, func(o *rayserve.Options) { o.StateDir = dir }, through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
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
	_, err := c.Deploy(ctx, rayserve.App{Name: name, ModelURI: "models:/" + name + "/1", TrackingURI: tracking}, rayserve.DeployOptions{})
	require.NoError(t, err)
	require.NoError(t, rayserve.Reapply(ctx, c), "nothing is forgotten")

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
	after, err := json.Marshal(k)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, after, 0o600))

	sent = nil
	require.NoError(t, rayserve.Reapply(ctx, c))
	require.Len(t, sent, 1)
	require.Contains(t, sent[0], `"model_uri":"models:/`+name+`/1"`, "the kept configuration has to be sent")
	a, err := c.Application(ctx, name)
	require.NoError(t, err)
	require.Equal(t, "models:/"+name+"/1", a.ModelURI)
	require.NoError(t, c.Delete(ctx, name, rayserve.DeleteOptions{}))
	require.NoError(t, rayserve.Reapply(ctx, c))
	_, err = c.Application(ctx, name)
	require.ErrorIs(t, err, mlops.ErrNotFound, "what was deleted must not come back")
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
	_, err := c.Deploy(t.Context(), rayserve.App{Name: name, ModelURI: "models:/" + name + "/1", TrackingURI: tracking}, rayserve.DeployOptions{NoWait: true})
	require.NoError(t, err)
	require.Less(t, time.Since(begin), time.Minute)
	require.NoError(t, c.Delete(t.Context(), name, rayserve.DeleteOptions{}))
}
