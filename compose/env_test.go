package compose

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/stackfile"
)

func TestEnvSpeaksTheUpstreamToolsOwnVariables(t *testing.T) {
	s := stackOf(t)
	secret := func(name string) string {
		f := filepath.Join(s.home, "secrets", name)
		require.NoError(t, os.MkdirAll(filepath.Dir(f), 0o700))
		require.NoError(t, os.WriteFile(f, []byte(name+"-secret"), 0o600))
		return f
	}
	stack := stackfile.Stack{Runtime: "process", Home: s.home, DVCRemote: "/remote", Endpoints: map[string]stackfile.Endpoint{
		stackfile.MLflow:    {URL: "http://127.0.0.1:5000", Username: "admin", SecretFile: secret("mlflow")},
		stackfile.Airflow:   {URL: "http://127.0.0.1:8080", Username: "admin", SecretFile: secret("airflow")},
		stackfile.Ray:       {URL: "http://127.0.0.1:8265", SecretFile: secret("ray")},
		stackfile.Serve:     {URL: "http://127.0.0.1:8001"},
		stackfile.Evidently: {URL: "http://127.0.0.1:8000", SecretFile: secret("evidently")},
		stackfile.S3:        {URL: "http://127.0.0.1:7070", Username: "mlops", SecretFile: secret("s3")},
	}}
	require.NoError(t, stackfile.Write(stack))
	vars, err := s.Env(t.Context())
	require.NoError(t, err)
	got, secrets := map[string]string{}, []string(nil)
	for _, v := range vars {
		got[v.Name] = v.Value
		if v.Secret {
			secrets = append(secrets, v.Name)
		}
	}
	require.Equal(t, map[string]string{
		"MLOPS_HOME":          s.home,
		"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000", "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "mlflow-secret",
		"MLOPS_AIRFLOW_URL": "http://127.0.0.1:8080", "MLOPS_AIRFLOW_USERNAME": "admin", "MLOPS_AIRFLOW_PASSWORD": "airflow-secret",
		"AIRFLOW_HOME":          filepath.Join(s.home, "data", "airflow"),
		"RAY_DASHBOARD_ADDRESS": "http://127.0.0.1:8265", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": filepath.Join(s.home, "secrets", "ray"),
		"MLOPS_SERVE_URL":     "http://127.0.0.1:8001",
		"MLOPS_EVIDENTLY_URL": "http://127.0.0.1:8000", "MLOPS_EVIDENTLY_SECRET": "evidently-secret", "DO_NOT_TRACK": "1",
		"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:7070", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "mlops", "AWS_SECRET_ACCESS_KEY": "s3-secret",
		"MLOPS_DVC_REMOTE": "/remote",
	}, got)
	require.Equal(t, []string{"MLFLOW_TRACKING_PASSWORD", "MLOPS_AIRFLOW_PASSWORD", "MLOPS_EVIDENTLY_SECRET", "AWS_SECRET_ACCESS_KEY"}, secrets, "these a caller must not show")

	stack.Runtime = DockerRuntime
	require.NoError(t, stackfile.Write(stack))
	vars, err = s.Env(t.Context())
	require.NoError(t, err)
	require.Contains(t, vars, Var{Name: "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", Value: "false"}, "Python waits for a store that only containers reach")

	for name, e := range stack.Endpoints {
		if name == stackfile.Ray || e.SecretFile == "" {
			continue
		}
		require.NoError(t, os.Chmod(e.SecretFile, 0o644))
		_, err := s.Env(t.Context())
		require.Error(t, err, "a secret that others can read is handed on")
		require.NoError(t, os.Chmod(e.SecretFile, 0o600))
	}
}
