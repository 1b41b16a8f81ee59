package compose

import (
	"context"
	"path/filepath"

	"github.com/mlops-integration/mlops/internal/stackfile"
)

// Var is a variable that a shell or a Python program needs to use the stack.
type Var struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Secret bool   `json:"secret,omitempty"` // the value is a credential
}

// Env returns the variables with which the upstream tools' own clients find the
// running stack and log in. It asks no server. The error matches
// [mlops.ErrNotFound] if no stack is running.
func (s *Stack) Env(context.Context) ([]Var, error) {
	st, err := stackfile.Read(s.home)
	if err != nil {
		return nil, err
	}
	out := []Var{{Name: "MLOPS_HOME", Value: s.home}}
	add := func(name, value string) {
		if value != "" {
			out = append(out, Var{Name: name, Value: value})
		}
	}
	login := func(e stackfile.Endpoint, userVar, passwordVar string) error {
		pw, err := e.Secret()
		if err != nil {
			return err
		}
		add(userVar, e.Username)
		if pw != "" {
			out = append(out, Var{Name: passwordVar, Value: string(pw), Secret: true})
		}
		return nil
	}
	if e, ok := st.Endpoints[stackfile.MLflow]; ok {
		add("MLFLOW_TRACKING_URI", e.URL)
		if err := login(e, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"); err != nil {
			return nil, err
		}
		if st.Runtime == DockerRuntime {
			// MLflow's client would take signed addresses of the S3 store, which
			// hold between containers only, and wait for them for minutes.
			add("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
			add("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
		}
	}
	if e, ok := st.Endpoints[stackfile.Airflow]; ok {
		add("MLOPS_AIRFLOW_URL", e.URL)
		if err := login(e, "MLOPS_AIRFLOW_USERNAME", "MLOPS_AIRFLOW_PASSWORD"); err != nil {
			return nil, err
		}
		add("AIRFLOW_HOME", filepath.Join(s.home, "data", "airflow"))
	}
	if e, ok := st.Endpoints[stackfile.Ray]; ok {
		add("RAY_DASHBOARD_ADDRESS", e.URL)
		if e.SecretFile != "" {
			add("RAY_AUTH_MODE", "token")
			add("RAY_AUTH_TOKEN_PATH", e.SecretFile)
		}
	}
	if e, ok := st.Endpoints[stackfile.Serve]; ok {
		add("MLOPS_SERVE_URL", e.URL)
	}
	if e, ok := st.Endpoints[stackfile.Evidently]; ok {
		add("MLOPS_EVIDENTLY_URL", e.URL)
		if err := login(e, "MLOPS_EVIDENTLY_USERNAME", "MLOPS_EVIDENTLY_SECRET"); err != nil {
			return nil, err
		}
		add("DO_NOT_TRACK", "1")
	}
	if e, ok := st.Endpoints[stackfile.S3]; ok {
		add("AWS_ENDPOINT_URL_S3", e.URL)
		add("AWS_REGION", gatewayRegion)
		if err := login(e, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"); err != nil {
			return nil, err
		}
	}
	add("MLOPS_DVC_REMOTE", st.DVCRemote)
	return out, nil
}
