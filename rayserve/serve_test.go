package rayserve_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/rayserve"
)

func TestAnApplicationFromFirstDeployToDelete(t *testing.T) {
	c, s, tracking := open(t)
	name := s.Name("times")
	register(t, s, name, 10, 20, 0)
	takeDown(t, s, c, name)
	ctx := t.Context()

	v, err := c.Version(ctx)
	require.NoError(t, err)
	require.Regexp(t, `^2\.\d+`, v)
	_, err = ask(ctx, c, name)
	require.ErrorIs(t, err, mlops.ErrNotFound, "nothing is deployed yet")

	app := rayserve.AppSpec{Name: name, ModelURI: "models:/" + name + "/1", TrackingURI: tracking, Metadata: map[string]string{"run": "r1"}}
	var states []rayserve.State
	got, err := c.Deploy(ctx, app, rayserve.DeployOptions{OnState: func(a rayserve.App) { states = append(states, a.Status) }})
	require.NoError(t, err)
	require.Equal(t, rayserve.StateRunning, got.Status)
	require.Equal(t, app.ModelURI, got.ModelURI)
	require.Equal(t, app.Metadata, got.Metadata, "lineage has to be readable from Ray alone")
	require.Equal(t, tracking, got.TrackingURI)
	require.True(t, strings.HasSuffix(got.URL, "/"+name), got.URL)
	require.Equal(t, []rayserve.Deployment{{Name: "model", Status: "HEALTHY", Replicas: 1, Target: 1}}, got.Deployments)
	require.Equal(t, rayserve.StateDeploying, states[0])
	require.Equal(t, rayserve.StateRunning, states[len(states)-1])
	x, err := ask(ctx, c, name)
	require.NoError(t, err)
	require.Equal(t, 30.0, x)
	status, body := plain(t, s, "GET", got.URL, "", "")
	require.Equal(t, 200, status, "the URL that deploy prints has to answer: %s", body)
	require.Contains(t, body, app.ModelURI)
	for _, rows := range []string{`{"dataframe_split":{"columns":["x"],"data":[["a"]]}}`, `{"inputs":`, `{"inputs":[[{}]]}`} {
		status, body = plain(t, s, "POST", got.URL+"/invocations", "application/json", rows)
		require.GreaterOrEqual(t, status, 400, rows)
		for _, word := range []string{"stack_trace", "Traceback", "site-packages", ".py", "/tmp/"} {
			require.NotContains(t, body, word, "%s: callers of a model are shown the server's code and paths", rows)
		}
	}
	status, body = plain(t, s, "POST", got.URL+"/invocations", "text/csv", "x\n3\n")
	require.Equal(t, 200, status, body)

	_, err = c.Invoke(ctx, name, rayserve.Inputs{Value: "not a table"})
	require.Error(t, err)
	_, err = c.Invoke(ctx, name, rayserve.DataframeSplit{Columns: []string{"x", "y"}, Data: [][]any{{1}}})
	require.ErrorIs(t, err, mlops.ErrInvalid, "the row is too short")
	e, ok := errors.AsType[*mlops.Error](err)
	require.True(t, ok)
	require.Equal(t, 400, e.Status)
	require.NotContains(t, err.Error(), "site-packages")

	app.ModelURI, app.Metadata = "models:/"+name+"/2", map[string]string{"run": "r2"}
	got, err = c.Deploy(ctx, app, rayserve.DeployOptions{})
	require.NoError(t, err)
	require.Equal(t, app.ModelURI, got.ModelURI)
	x, err = ask(ctx, c, name)
	require.NoError(t, err)
	require.Equal(t, 60.0, x)

	broken := app
	broken.ModelURI = "models:/" + name + "/3"
	_, err = c.Deploy(ctx, broken, rayserve.DeployOptions{})
	failed, ok := errors.AsType[*rayserve.DeployError](err)
	require.True(t, ok, "%v", err)
	require.Contains(t, err.Error(), "these weights cannot be read", "the cause has to be in the error")
	require.NotContains(t, err.Error(), "site-packages", "no paths of the server")
	require.NotContains(t, err.Error(), "\x1b")
	require.Equal(t, app.ModelURI, failed.Restored)
	got, err = c.Application(ctx, name)
	require.NoError(t, err)
	require.Equal(t, app.ModelURI, got.ModelURI, "the version before has to be back")
	require.Equal(t, rayserve.StateRunning, got.Status)
	x, err = ask(ctx, c, name)
	require.NoError(t, err)
	require.Equal(t, 60.0, x)

	require.NoError(t, c.Delete(ctx, name, rayserve.DeleteOptions{}))
	_, err = c.Application(ctx, name)
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.ErrorIs(t, c.Delete(ctx, name, rayserve.DeleteOptions{}), mlops.ErrNotFound)
}

// plain is a request as curl sends it.
func plain(t *testing.T, s *cassette.Session, method, url, kind, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := s.HTTP.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

func TestTwoDeploymentsAtOnceBothSurvive(t *testing.T) {
	c, s, tracking := open(t)
	names := []string{s.Name("left"), s.Name("right")}
	register(t, s, names[0], 10)
	takeDown(t, s, c, names...)
	var g errgroup.Group
	for _, n := range names {
		g.Go(func() error {
			_, err := c.Deploy(t.Context(), rayserve.AppSpec{Name: n, ModelURI: "models:/" + names[0] + "/1", TrackingURI: tracking}, rayserve.DeployOptions{})
			return err
		})
	}
	require.NoError(t, g.Wait())
	apps, err := mlops.Collect(c.Applications(t.Context()))
	require.NoError(t, err)
	running := map[string]rayserve.State{}
	for _, a := range apps {
		running[a.Name] = a.Status
	}
	for _, n := range names {
		require.Equal(t, rayserve.StateRunning, running[n], "a PUT without %s took it down", n)
	}
	_, err = c.Deploy(t.Context(), rayserve.AppSpec{Name: "third", RoutePrefix: "/" + names[0], ModelURI: "models:/x/1"}, rayserve.DeployOptions{})
	require.ErrorIs(t, err, mlops.ErrConflict, "the route is taken")
}

func TestADeploymentThatFindsNoResourcesEndsWithRaysWords(t *testing.T) {
	c, s, tracking := open(t, func(o *rayserve.Options) { o.PollEvery = look })
	name := s.Name("hungry")
	register(t, s, name, 10)
	takeDown(t, s, c, name)
	opt := rayserve.DeployOptions{Timeout: 55 * time.Second} // Ray speaks after 30 s
	if !s.Live {
		opt.Timeout = 40 * time.Second // of a clock that no test waits for; the tape holds more
	}
	inTime(t, s, func(t *testing.T) {
		_, err := c.Deploy(t.Context(), rayserve.AppSpec{Name: name, ModelURI: "models:/" + name + "/1", TrackingURI: tracking, NumCPUs: 512}, opt)
		require.ErrorIs(t, err, mlops.ErrUnavailable)
		failed, ok := errors.AsType[*rayserve.DeployError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, rayserve.StateDeploying, failed.Status)
		require.Contains(t, err.Error(), `"CPU": 512`, "Ray says what it lacks; the user has to read it")
		_, err = ask(t.Context(), c, name)
		require.ErrorIs(t, err, mlops.ErrUnavailable, "a request would hang: there is no replica")
		require.NoError(t, c.Delete(t.Context(), name, rayserve.DeleteOptions{}))
	})
}

func TestAWrongTokenIsForbiddenAndNotShown(t *testing.T) {
	s := cassette.Open(t, stackfile.Ray)
	var log bytes.Buffer
	c, err := rayserve.New(rayserve.Options{
		URL: s.URL, Auth: mlops.Auth{Token: "canary-token"}, HTTP: s.HTTP, StateDir: t.TempDir(),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	_, err = mlops.Collect(c.Applications(t.Context()))
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.NotContains(t, err.Error()+log.String(), "canary-token")
	require.NotEmpty(t, log.String())
}

func TestAMissingTokenIsUnauthenticated(t *testing.T) {
	s := cassette.Open(t, stackfile.Ray)
	c, err := rayserve.New(rayserve.Options{URL: s.URL, HTTP: s.HTTP, StateDir: t.TempDir()})
	require.NoError(t, err)
	_, err = c.Version(t.Context())
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)
	require.Contains(t, err.Error(), "RAY_AUTH_TOKEN")
}

// Only a real server can show that no request is lost.
func TestUpgradesLoseNoRequest(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs a running stack: MLOPS_LIVE=1")
	}
	c, s, tracking := open(t)
	name := s.Name("steady")
	register(t, s, name, 10, 20, 0)
	takeDown(t, s, c, name)
	app := rayserve.AppSpec{Name: name, TrackingURI: tracking, ModelURI: "models:/" + name + "/1"}
	_, err := c.Deploy(t.Context(), app, rayserve.DeployOptions{})
	require.NoError(t, err)

	during := func(version string) error {
		ctx, cancel := context.WithCancel(t.Context())
		var (
			wg         sync.WaitGroup
			sent, lost int
			slowest    time.Duration
			first      error
		)
		wg.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				begin := time.Now()
				_, err := ask(t.Context(), c, name)
				sent++
				slowest = max(slowest, time.Since(begin))
				if err != nil {
					lost++
					first = cmp.Or(first, err)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
		app.ModelURI = "models:/" + name + "/" + version
		_, err := c.Deploy(t.Context(), app, rayserve.DeployOptions{})
		cancel()
		wg.Wait()
		t.Logf("to version %s: %d requests, %d lost, slowest %v", version, sent, lost, slowest.Round(time.Millisecond))
		require.Greater(t, sent, 20)
		assert.Zero(t, lost, "the first one: %v", first)
		return err
	}
	require.NoError(t, during("2"))
	err = during("3")
	require.ErrorContains(t, err, "these weights cannot be read")
	x, err := ask(t.Context(), c, name)
	require.NoError(t, err)
	require.Equal(t, 60.0, x)
}

// The token is for the dashboard; models are asked without it.
func TestModelsAreNotSentTheToken(t *testing.T) {
	var seen []string
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		seen = append(seen, r.URL.Host+" "+r.Header.Get("Authorization"))
		return nil, errors.New("cut")
	})
	c, err := rayserve.New(rayserve.Options{URL: "http://ray.invalid", ServeURL: "http://serve.invalid", Auth: mlops.Auth{Token: "t"}, HTTP: &http.Client{Transport: rt}, StateDir: t.TempDir()})
	require.NoError(t, err)
	rayserve.Know(c, "a", "/a")
	_, err = ask(t.Context(), c, "a")
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.Equal(t, []string{"serve.invalid "}, seen, "one request, without credentials: it may have reached the model")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
