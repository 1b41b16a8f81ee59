package compose

import (
	"context"
	"fmt"
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
			return command{path: s.command, args: []string{"agent", "--listen", strings.TrimPrefix(s.url("agent", "http"), "http://")}, env: []string{"MLOPS_HOME=" + s.home}, dir: s.home}, nil
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
