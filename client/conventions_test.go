package client

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestMLflowsCredentialsComeInTheirOrder(t *testing.T) {
	home, dir := alone(t)
	t.Setenv("HOME", t.TempDir())
	running(t, home)
	auth := func() mlops.Auth { return open(t, home, dir).Config.MLflowAuth }
	file := filepath.Join(os.Getenv("HOME"), ".mlflow", "credentials")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte("[mlflow]\nmlflow_tracking_username=f\nmlflow_tracking_password=g\n"), 0o600))
	require.Equal(t, mlops.Auth{Username: "admin", Password: "secret-of-mlflow"}, auth(), "the stack has its own, the file names no server")

	t.Setenv("MLFLOW_TRACKING_URI", "http://elsewhere:1")
	require.Equal(t, mlops.Auth{Username: "f", Password: "g"}, auth())
	t.Setenv("MLFLOW_TRACKING_TOKEN", "t")
	require.Equal(t, mlops.Auth{Username: "f", Password: "g"}, auth(), "as Python has it")
	require.NoError(t, os.Remove(file))
	require.Equal(t, mlops.Auth{Token: "t"}, auth())
	t.Setenv("MLFLOW_TRACKING_USERNAME", "u")
	t.Setenv("MLFLOW_TRACKING_PASSWORD", "p")
	require.Equal(t, mlops.Auth{Username: "u", Password: "p"}, auth())
	t.Setenv("MLOPS_MLFLOW_PASSWORD", "ours")
	require.Equal(t, mlops.Auth{Username: "u", Password: "ours"}, auth())
	t.Setenv("MLOPS_MLFLOW_TOKEN", "o")
	require.Equal(t, mlops.Auth{Token: "o"}, auth())
	t.Setenv("MLOPS_MLFLOW_TOKEN", "")
	t.Setenv("MLOPS_MLFLOW_PASSWORD", "")
	t.Setenv("MLFLOW_TRACKING_URI", "http://x:y@127.0.0.1:5001")
	require.True(t, auth().IsZero(), "those in the URL are used")
}

func TestMLflowsVariablesReachItsClient(t *testing.T) {
	home, dir := alone(t)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("MLFLOW_WORKSPACE", "team")
	t.Setenv("MLFLOW_EXPERIMENT_NAME", "e")
	var seen string
	way := &http.Client{Transport: refusing(func(r *http.Request) { seen = r.Header.Get("X-MLFLOW-WORKSPACE") })}
	p := open(t, home, dir, WithHTTP(way))
	_, err := p.MLflow.Version(t.Context())
	require.Error(t, err)
	require.Equal(t, "team", seen)
	require.Equal(t, mlflow.Target{Experiment: "e"}, p.MLflow.Target())

	t.Setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
	_, err = FromProject(t.Context(), "demo", WithHome(home), In(dir))
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	open(t, home, dir, WithHTTP(way)) // which may sign
	t.Setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "soon")
	_, err = FromProject(t.Context(), "demo", WithHome(home), In(dir), WithHTTP(way))
	require.ErrorIs(t, err, mlops.ErrInvalid)
	t.Setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "")
	t.Setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
	_, err = FromProject(t.Context(), "demo", WithHome(home), In(dir), WithHTTP(way))
	require.ErrorContains(t, err, "mlflow.uri (from MLFLOW_TRACKING_URI)")
	require.ErrorContains(t, err, "mlflow server --backend-store-uri")
}

// refusing shows a request and answers that it may not be.
type refusing func(*http.Request)

func (f refusing) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return &http.Response{StatusCode: 403, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}
