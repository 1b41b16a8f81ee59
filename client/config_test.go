package client

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// alone gives a test a home, a folder and an environment without any settings.
func alone(t *testing.T) (home, dir string) {
	t.Helper()
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		for _, prefix := range []string{"MLOPS_", "MLFLOW_", "RAY_", "EVIDENTLY_", "AIRFLOW_"} {
			if strings.HasPrefix(name, prefix) {
				t.Setenv(name, "")
			}
		}
	}
	user := t.TempDir()
	t.Setenv("HOME", user)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(user, ".config"))
	home, dir = t.TempDir(), filepath.Join(t.TempDir(), "project", "deep")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return home, dir
}

// running writes the file of a stack whose servers have the passwords given.
func running(t *testing.T, home string) {
	t.Helper()
	secret := func(name string) string {
		f := filepath.Join(home, name)
		require.NoError(t, os.WriteFile(f, []byte("secret-of-"+name), 0o600))
		return f
	}
	require.NoError(t, stackfile.Write(stackfile.Stack{
		Runtime: "process", Home: home, DVCRemote: filepath.Join(home, "remote"), DAGs: filepath.Join(home, "dags"), ServeDir: filepath.Join(home, "serve"),
		Pythons: map[string]string{"evidently": "/py"},
		Endpoints: map[string]stackfile.Endpoint{
			stackfile.MLflow:    {URL: "http://127.0.0.1:5001", Username: "admin", SecretFile: secret("mlflow")},
			stackfile.Airflow:   {URL: "http://127.0.0.1:8081", Username: "admin", SecretFile: secret("airflow")},
			stackfile.Ray:       {URL: "http://127.0.0.1:8266", SecretFile: secret("ray")},
			stackfile.Serve:     {URL: "http://127.0.0.1:8002"},
			stackfile.Evidently: {URL: "http://127.0.0.1:8003", SecretFile: secret("evidently")},
		},
	}))
}

func open(t *testing.T, home, dir string, more ...Option) *Project {
	t.Helper()
	p, err := FromProject(t.Context(), "demo", append([]Option{WithHome(home), In(dir)}, more...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestEachSourceOfConfigurationBeatsTheNext(t *testing.T) {
	home, dir := alone(t)

	p := open(t, home, dir)
	require.Equal(t, "http://127.0.0.1:5000", p.Config.MLflowURI)
	require.Equal(t, "default", p.Config.Source("mlflow.uri"))

	running(t, home)
	p = open(t, home, dir)
	require.Equal(t, "http://127.0.0.1:5001", p.Config.MLflowURI)
	require.Equal(t, "the running stack", p.Config.Source("mlflow.uri"))

	file := filepath.Join(filepath.Dir(dir), FileName) // above the project's folder
	require.NoError(t, os.WriteFile(file, []byte("mlflow:\n  uri: http://file:1\ndvc:\n  remote: data\nnamespace: team-a\n"), 0o644))
	p = open(t, home, dir)
	require.Equal(t, "http://file:1", p.Config.MLflowURI)
	require.Equal(t, file, p.Config.Source("mlflow.uri"))
	require.Equal(t, filepath.Join(filepath.Dir(file), "data"), p.Config.DVCRemote, "a relative remote starts at the file that names it")
	require.Equal(t, "http://127.0.0.1:8081", p.Config.AirflowURL, "what the file does not say still comes from the stack")

	t.Setenv("MLFLOW_TRACKING_URI", "http://tool:1")
	require.Equal(t, "http://tool:1", open(t, home, dir).Config.MLflowURI)

	t.Setenv("MLOPS_MLFLOW_URI", "http://ours:1")
	p = open(t, home, dir)
	require.Equal(t, "http://ours:1", p.Config.MLflowURI)
	require.Equal(t, "MLOPS_MLFLOW_URI", p.Config.Source("mlflow.uri"))

	p = open(t, home, dir, WithConfig(Config{MLflowURI: "http://code:1"}))
	require.Equal(t, "http://code:1", p.Config.MLflowURI)
	require.Equal(t, "code", p.Config.Source("mlflow.uri"))
}

func TestTheStacksCredentialsGoToTheStackAlone(t *testing.T) {
	home, dir := alone(t)
	running(t, home)
	p := open(t, home, dir)
	require.Equal(t, mlops.Auth{Username: "admin", Password: "secret-of-mlflow"}, p.Config.MLflowAuth)
	require.Equal(t, mlops.Auth{Token: "secret-of-ray"}, p.Config.RayAuth)
	require.Equal(t, mlops.Auth{Token: "secret-of-evidently", Header: "evidently-secret"}, p.Config.EvidentlyAuth)

	t.Setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5009")
	require.True(t, open(t, home, dir).Config.MLflowAuth.IsZero(), "another port is another server")

	t.Setenv("MLFLOW_TRACKING_USERNAME", "u")
	t.Setenv("MLFLOW_TRACKING_PASSWORD", "p")
	require.Equal(t, mlops.Auth{Username: "u", Password: "p"}, open(t, home, dir).Config.MLflowAuth)

	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("from-file"), 0o600))
	t.Setenv("RAY_AUTH_TOKEN_PATH", token)
	require.Equal(t, mlops.Auth{Token: "from-file"}, open(t, home, dir).Config.RayAuth)
	require.NoError(t, os.Chmod(token, 0o644))
	_, err := FromProject(t.Context(), "demo", WithHome(home), In(dir))
	require.ErrorContains(t, err, "chmod 600")
}

func TestWrongConfigurationIsToldInOneSentence(t *testing.T) {
	for _, tt := range []struct{ name, file, env, value, want string }{
		{"a Ray client's address", "", "RAY_ADDRESS", "ray://head:10001", "RAY_DASHBOARD_ADDRESS"},
		{"not a URL", "", "MLFLOW_TRACKING_URI", "localhost:5000", "mlflow.uri (from MLFLOW_TRACKING_URI)"},
		{"a secret in the file", "airflow:\n  password: x\n", "", "", "MLOPS_AIRFLOW_PASSWORD"},
		{"an unknown key", "mlfow:\n  uri: x\n", "", "", "unknown key mlfow.uri"},
		{"broken YAML", "mlflow: [", "", "", "cannot be read"},
		{"a namespace", "", "MLOPS_NAMESPACE", "Team A", "lower-case"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home, dir := alone(t)
			if tt.file != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, FileName), []byte(tt.file), 0o644))
			}
			if tt.env != "" {
				t.Setenv(tt.env, tt.value)
			}
			_, err := FromProject(t.Context(), "demo", WithHome(home), In(dir))
			require.ErrorIs(t, err, mlops.ErrInvalid)
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestTheProjectsNameIsFoundOrAskedFor(t *testing.T) {
	home, dir := alone(t)
	_, err := FromProject(t.Context(), "", WithHome(home), In(dir))
	require.ErrorIs(t, err, ErrNoProject)

	require.NoError(t, os.WriteFile(filepath.Join(dir, FileName), []byte("project: from-file\n"), 0o644))
	p, err := FromProject(t.Context(), "", WithHome(home), In(dir))
	require.NoError(t, err)
	require.Equal(t, "from-file", p.Name)

	t.Setenv("MLOPS_PROJECT", "from-env")
	p, err = FromProject(t.Context(), "", WithHome(home), In(dir))
	require.NoError(t, err)
	require.Equal(t, "from-env", p.Name)

	for _, bad := range []string{"Demo", "-x", "a_b", "a/b", "..", strings.Repeat("a", 64), "ä"} {
		_, err := FromProject(t.Context(), bad, WithHome(home), In(dir))
		require.ErrorIs(t, err, mlops.ErrInvalid, bad)
	}
}

// refuse fails the test on any request.
type refuse struct{ t *testing.T }

func (r refuse) RoundTrip(req *http.Request) (*http.Response, error) {
	r.t.Errorf("a request to %s", req.URL.Path)
	return nil, context.Canceled
}

func TestFromProjectMakesNoRequest(t *testing.T) {
	home, dir := alone(t)
	running(t, home)
	p := open(t, home, dir, WithHTTP(&http.Client{Transport: refuse{t}}))
	w := p.Workspace()
	require.Equal(t, Workspace{
		Project: "demo", MLflowExperiment: "demo", DVCRemotePath: filepath.Join(home, "remote", "demo"),
		AirflowDAGPrefix: "demo.", AirflowPool: "mlops.demo", ServingEndpoint: "http://127.0.0.1:8002/demo",
	}, w)
	require.Equal(t, "demo.train", p.DAGID("train"))
	require.Equal(t, "demo.train", p.DAGID("demo.train"))
}

func TestTheNamespaceSetsEqualNamesApart(t *testing.T) {
	home, dir := alone(t)
	running(t, home)
	t.Setenv("MLOPS_DVC_REMOTE", "s3://bucket/dvc/")
	w := open(t, home, dir, WithConfig(Config{Namespace: "team-a"})).Workspace()
	require.Equal(t, Workspace{
		Project: "demo", Namespace: "team-a", MLflowExperiment: "team-a/demo", DVCRemotePath: "s3://bucket/dvc/team-a/demo",
		AirflowDAGPrefix: "team-a.demo.", AirflowPool: "mlops.team-a.demo", ServingEndpoint: "http://127.0.0.1:8002/team-a/demo",
	}, w)
}

func TestModelReferences(t *testing.T) {
	for ref, want := range map[string][3]string{
		"sentiment@champion":         {"sentiment", "champion", ""},
		"sentiment/3":                {"sentiment", "", "3"},
		"models:/sentiment@champion": {"sentiment", "champion", ""},
		"models:/sentiment/3":        {"sentiment", "", "3"},
		"with space@a":               {"with space", "a", ""},
		"sentiment":                  {},
		"sentiment@":                 {},
		"@champion":                  {},
		"sentiment/3/4":              {},
		"sentiment@a@b":              {},
		"runs:/1/model":              {},
		"models:/../x@a":             {},
		"models:/":                   {},
		"":                           {},
	} {
		n, a, v, err := parseModel(ref)
		if want == [3]string{} {
			require.ErrorIs(t, err, mlops.ErrInvalid, ref)
			continue
		}
		require.NoError(t, err, ref)
		require.Equal(t, want, [3]string{n, a, v}, ref)
	}
}

func BenchmarkFromProject(b *testing.B) {
	home, dir := b.TempDir(), b.TempDir()
	begin := time.Now()
	for b.Loop() {
		if _, err := FromProject(b.Context(), "demo", WithHome(home), In(dir)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(time.Since(begin).Milliseconds())/float64(b.N), "ms/open")
}

func TestUserInformationIsNotPublished(t *testing.T) {
	require.Equal(t, "https://git.example.com/a/b", publicURL("https://me:token@git.example.com/a/b"))
	require.Equal(t, "git@example.com:a/b", publicURL("git@example.com:a/b"))
	require.Equal(t, "/a/b", publicURL("/a/b"))
}

func TestReplicasInContainersFindTheirMLflowThemselves(t *testing.T) {
	home, dir := alone(t)
	running(t, home)
	require.False(t, open(t, home, dir).Config.apart)
	s, err := stackfile.Read(home)
	require.NoError(t, err)
	s.Runtime = "docker"
	require.NoError(t, stackfile.Write(s))
	require.True(t, open(t, home, dir).Config.apart)
	t.Setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com")
	require.False(t, open(t, home, dir).Config.apart, "another MLflow has to be named to the replicas")
}
