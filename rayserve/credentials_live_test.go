package rayserve_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/rayserve"
)

// stranger is a server that keeps every byte it receives.
type stranger struct {
	*httptest.Server
	mu  sync.Mutex
	got bytes.Buffer
}

func newStranger(t *testing.T) *stranger {
	s := &stranger{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))}
	s.Listener = heard{s.Listener, s}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func (s *stranger) received() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// heard notes what its connections read.
type heard struct {
	net.Listener
	s *stranger
}

func (l heard) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return heardConn{c, l.s}, err
}

type heardConn struct {
	net.Conn
	s *stranger
}

func (c heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.got.Write(b[:n])
	return n, err
}

// A replica has MLflow's password in its environment. Whatever address a
// deployment or a model names, it goes to the stack's MLflow alone.
func TestReplicasSignInAtTheStacksMLflowAlone(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs a running stack: MLOPS_LIVE=1")
	}
	if inContainers() {
		t.Skip("of the process runtime: a listener of this test cannot be reached from containers")
	}
	c, s, _ := open(t)
	base, auth := endpoint(t, stackfile.MLflow)
	secrets := []string{
		string(auth.Password),
		base64.StdEncoding.EncodeToString([]byte(auth.Username + ":" + string(auth.Password))),
	}
	name := s.Name("bound")
	register(t, s, name, 10)
	other := newStranger(t)
	host := other.Listener.Addr().String()
	for what, app := range map[string]rayserve.AppSpec{
		"the address in the arguments": {ModelURI: "models:/" + name + "/1", TrackingURI: other.URL},
		"it under another name":        {ModelURI: "models:/" + name + "/1", TrackingURI: "http://localhost:" + portOf(t, host)},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			app.Name = s.Name(fmt.Sprintf("bound-%x", len(what)))
			takeDown(t, s, c, app.Name)
			_, err := c.Deploy(t.Context(), app, rayserve.DeployOptions{})
			require.Error(t, err, "a stranger serves no model")
			for _, secret := range secrets {
				require.NotContains(t, err.Error(), secret)
				require.NotContains(t, other.received(), secret, "MLflow's password was sent to a stranger")
			}
		})
	}
	t.Run("the stack's own", func(t *testing.T) {
		takeDown(t, s, c, name)
		_, err := c.Deploy(t.Context(), rayserve.AppSpec{Name: name, ModelURI: "models:/" + name + "/1", TrackingURI: base}, rayserve.DeployOptions{})
		require.NoError(t, err)
	})
	t.Cleanup(func() {
		require.Contains(t, other.received(), "GET ", "no replica asked the stranger, so nothing was tested")
		require.NotContains(t, other.received(), "Authorization")
	})
}

func portOf(t *testing.T, host string) string {
	_, port, err := net.SplitHostPort(host)
	require.NoError(t, err)
	return port
}

// What MLflow's own client does with addresses that models, runs and versions
// name: older servers than ours take any as the source of a version.
func TestMLflowsClientSignsInAtTheBoundServerAlone(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs a running stack: MLOPS_LIVE=1")
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	python := stack.Pythons["ray"]
	if python == "" {
		t.Skip("of the process runtime: there is no Python of Ray's on this machine")
	}
	base, auth := endpoint(t, stackfile.MLflow)
	other := newStranger(t)
	cmd := exec.CommandContext(t.Context(), python, "-c", `
import os, sys
from mlops_serve.app import bind_credentials
from mlflow import MlflowClient
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

own, other = os.environ["MLFLOW_TRACKING_URI"], sys.argv[1]
bind_credentials(own)
for ask in (
    lambda: MlflowClient(other).search_experiments(),
    lambda: MlflowClient(own, registry_uri=other).search_registered_models(),
    lambda: HttpArtifactRepository(other + "/m")._download_file("a", os.devnull),
    lambda: MlflowArtifactsRepository("mlflow-artifacts://" + other[7:] + "/m").list_artifacts(),
):
    try:
        ask()
    except Exception as e:
        print(type(e).__name__)
print(len(MlflowClient(own).search_experiments()), "own")
os.environ["MLOPS_MLFLOW_MARK"] = "/nobody:mlflow"
try:
    MlflowClient(own).search_experiments()
except RuntimeError as e:
    print(e)
`, other.URL)
	cmd.Env = append(os.Environ(), "PYTHONPATH=python", "PYTHONDONTWRITEBYTECODE=1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES=0",
		"MLFLOW_TRACKING_URI="+base, "MLFLOW_TRACKING_USERNAME="+auth.Username, "MLFLOW_TRACKING_PASSWORD="+string(auth.Password))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `[1-9]\d* own`, string(out), "the stack's MLflow has to be signed in to")
	require.Contains(t, string(out), "nothing was sent there", "a process without the mark may be a stranger")
	require.GreaterOrEqual(t, strings.Count(other.received(), "HTTP/1.1"), 4, "the stranger was not asked: %s", out)
	require.NotContains(t, other.received(), "Authorization")
}
