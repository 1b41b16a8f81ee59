package rayserve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/rayserve"
)

// look is how often a live suite looks: each answer is 6 kB on the tape.
const look = 5 * time.Second

// open returns a client for a live or recorded Ray, and the address of the
// MLflow its replicas load from; empty in containers, where they have another
// one than we do, by Ray's own environment.
func open(t *testing.T, edits ...func(*rayserve.Options)) (c *rayserve.Client, s *cassette.Session, tracking string) {
	t.Helper()
	s = cassette.Open(t, stackfile.Ray)
	opt := rayserve.Options{
		URL: s.URL, Auth: s.Auth, HTTP: s.HTTP, StateDir: t.TempDir(),
		ServeURL: "http://serve.invalid:8001", PollEvery: time.Millisecond,
	}
	if s.Live {
		opt.PollEvery = look
		opt.ServeURL, _ = endpoint(t, stackfile.Serve)
		if tracking, _ = endpoint(t, stackfile.MLflow); inContainers() {
			tracking = ""
		}
	} else {
		b, err := os.ReadFile(filepath.Join("..", "testdata", "ray", t.Name()+".json"))
		require.NoError(t, err)
		if m := regexp.MustCompile(`\\"tracking_uri\\":\\"([^"\\]+)`).FindSubmatch(b); m != nil {
			tracking = string(m[1])
		}
	}
	for _, edit := range edits {
		edit(&opt)
	}
	c, err := rayserve.New(opt)
	require.NoError(t, err)
	return c, s, tracking
}

// inContainers reports whether the running stack's servers are in containers.
func inContainers() bool {
	home, err := mlops.Home()
	if err != nil {
		return false
	}
	stack, err := stackfile.Read(home)
	return err == nil && stack.Runtime == "docker"
}

// through puts something before the server that watches or makes faults.
func through(wrap func(next http.RoundTripper, r *http.Request) (*http.Response, error)) func(*rayserve.Options) {
	return func(o *rayserve.Options) {
		next := o.HTTP.Transport
		if next == nil {
			next = http.DefaultTransport
		}
		o.HTTP = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) { return wrap(next, r) })}
	}
}

// inTime runs f by the real clock against a live server, and by one that
// jumps where recorded answers are played.
func inTime(t *testing.T, s *cassette.Session, f func(*testing.T)) {
	if s.Live {
		f(t)
		return
	}
	synctest.Test(t, f)
}

// endpoint is a server of the running stack, or the one at
// MLOPS_LIVE_<NAME>=http://user:password@host:port.
func endpoint(t *testing.T, name string) (string, mlops.Auth) {
	t.Helper()
	if v := os.Getenv("MLOPS_LIVE_" + strings.ToUpper(name)); v != "" {
		u, err := url.Parse(v)
		require.NoError(t, err)
		pw, _ := u.User.Password()
		auth := mlops.Auth{Username: u.User.Username(), Password: mlops.Secret(pw)}
		u.User = nil
		return u.String(), auth
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	e, ok := stack.Endpoints[name]
	require.True(t, ok, "the running stack has no %s", name)
	secret, err := e.Secret()
	require.NoError(t, err)
	return e.URL, mlops.Auth{Username: e.Username, Password: secret}
}

// register makes a registered model of which version i multiplies by
// factors[i-1]; a factor of 0 makes a version that cannot be loaded.
// Recorded answers need no model.
func register(t *testing.T, s *cassette.Session, name string, factors ...int) {
	t.Helper()
	if !s.Live {
		return
	}
	base, auth := endpoint(t, stackfile.MLflow)
	call := func(method, path, body string) map[string]json.RawMessage {
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		auth.Apply(req.Header)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, "MLflow: %s %s: %s", method, path, b)
		out := map[string]json.RawMessage{}
		if len(bytes.TrimSpace(b)) > 0 {
			require.NoError(t, json.Unmarshal(b, &out))
		}
		return out
	}
	call("POST", "/api/2.0/mlflow/registered-models/create", fmt.Sprintf(`{"name":%q}`, name))
	for i, factor := range factors {
		var run struct {
			Info struct {
				ID   string `json:"run_id"`
				Root string `json:"artifact_uri"`
			} `json:"info"`
		}
		out := call("POST", "/api/2.0/mlflow/runs/create", fmt.Sprintf(`{"experiment_id":"0","start_time":%d}`, time.Now().UnixMilli()))
		require.NoError(t, json.Unmarshal(out["run"], &run))
		folder := strings.TrimPrefix(run.Info.Root, "mlflow-artifacts:") + "/model"
		code := fmt.Sprintf(`import mlflow


class Times(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [float(x) * %d for x in model_input.iloc[:, 0]]


mlflow.models.set_model(Times())
`, factor)
		if factor == 0 {
			code = "raise ValueError('these weights cannot be read')\n"
		}
		mlmodel := "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    model_code_path: model.py\n"
		call("PUT", "/api/2.0/mlflow-artifacts/artifacts"+folder+"/MLmodel", mlmodel)
		call("PUT", "/api/2.0/mlflow-artifacts/artifacts"+folder+"/model.py", code)
		out = call("POST", "/api/2.0/mlflow/model-versions/create", fmt.Sprintf(`{"name":%q,"source":%q,"run_id":%q}`, name, run.Info.Root+"/model", run.Info.ID))
		require.Contains(t, string(out["model_version"]), fmt.Sprintf(`"version": "%d"`, i+1))
	}
}

// ask is what the application makes of 3.
func ask(ctx context.Context, c *rayserve.Client, name string) (float64, error) {
	p, err := c.Invoke(ctx, name, rayserve.DataframeSplit{Columns: []string{"x"}, Data: [][]any{{3}}})
	if err != nil {
		return 0, err
	}
	f, err := p.Floats()
	if err == nil && len(f) != 1 {
		err = fmt.Errorf("%d predictions for one row", len(f))
	}
	if err != nil {
		return 0, err
	}
	return f[0], nil
}

// takeDown removes applications when the test ends.
func takeDown(t *testing.T, s *cassette.Session, c *rayserve.Client, names ...string) {
	if !s.Live {
		return
	}
	t.Cleanup(func() {
		for _, n := range names {
			if err := c.Delete(context.WithoutCancel(t.Context()), n, rayserve.DeleteOptions{}); err != nil {
				require.ErrorIs(t, err, mlops.ErrNotFound)
			}
		}
	})
}
