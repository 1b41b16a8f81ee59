package cli

import (
	"os"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
)

// handedOn are the variables by which a run's command finds its server and
// signs in. They are replaced together: a password that was not for this
// server would be sent there, because the address is now in the environment, too.
var handedOn = []string{
	"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
	"MLOPS_MLFLOW_URI", "MLOPS_MLFLOW_USERNAME", "MLOPS_MLFLOW_PASSWORD", "MLOPS_MLFLOW_TOKEN",
}

// trackingEnv is the environment with the address of an MLflow server and its
// credentials in MLflow's own variables.
func trackingEnv(uri string, a mlops.Auth) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(handedOn, name)
	})
	env = append(env, "MLFLOW_TRACKING_URI="+uri)
	switch {
	case a.Token != "":
		env = append(env, "MLFLOW_TRACKING_TOKEN="+string(a.Token))
	case a.Username != "":
		env = append(env, "MLFLOW_TRACKING_USERNAME="+a.Username, "MLFLOW_TRACKING_PASSWORD="+string(a.Password))
	}
	return env
}
