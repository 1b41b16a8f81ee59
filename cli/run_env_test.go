package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestTheCommandOfARunGetsTheCredentialsOfItsServerAndNoOthers(t *testing.T) {
	for _, name := range handedOn {
		t.Setenv(name, "inherited")
	}
	for _, tt := range []struct {
		name string
		auth mlops.Auth
		want []string
	}{
		{"password", mlops.Auth{Username: "u", Password: "p"}, []string{"MLFLOW_TRACKING_USERNAME=u", "MLFLOW_TRACKING_PASSWORD=p"}},
		{"token", mlops.Auth{Token: "t"}, []string{"MLFLOW_TRACKING_TOKEN=t"}},
		{"a token wins, as it does here", mlops.Auth{Username: "u", Password: "p", Token: "t"}, []string{"MLFLOW_TRACKING_TOKEN=t"}},
		{"none", mlops.Auth{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, kv := range trackingEnv("http://m:1", tt.auth) {
				if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "MLFLOW_TRACKING_") || strings.HasPrefix(name, "MLOPS_MLFLOW_") {
					got = append(got, kv)
				}
			}
			require.Equal(t, append([]string{"MLFLOW_TRACKING_URI=http://m:1"}, tt.want...), got)
		})
	}
}
