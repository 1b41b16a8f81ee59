package compose

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// agentService is mlopsctl's own always-on part. It sends what programs of
// this home left behind, which needs MLflow and nothing else.
func agentService() service {
	return service{
		name:  "agent",
		after: []string{"mlflow"},
		ports: []port{{name: "http", first: 8010}},
		command: func(s *site) (command, error) {
			return command{path: s.command, args: []string{"agent", "--listen", strings.TrimPrefix(s.url("agent", "http"), "http://")}, env: append(heatSettings(), "MLOPS_HOME="+s.home), dir: s.home}, nil
		},
		ready: func(ctx context.Context, s *site) error {
			var h struct{ Name, Home string }
			at := s.url("agent", "http")
			if err := probeJSON(ctx, at+"/health", mlops.Auth{}, 5*time.Second, &h); err != nil {
				return err
			}
			if h.Name != "mlops agent" || h.Home != s.home {
				return fmt.Errorf("%s is %q of %q; that is not our agent", at, h.Name, h.Home)
			}
			return nil
		},
	}
}

// heatSettings are the variables that say where the heat is read, as the stack's
// start has them: the agent does not read the user's configuration.
func heatSettings() []string {
	var out []string
	for _, name := range []string{"MLOPS_HEAT_FILE", "MLOPS_HEAT_COMMAND"} {
		if v := os.Getenv(name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}
