package compose

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// evidentlyService is Evidently's UI service. Its secret guards what changes
// something; reading is open to whoever reaches the loopback interface.
func evidentlyService() service {
	return service{
		name:  "evidently",
		ports: []port{{name: "http", first: 8000}},
		venv:  "evidently",
		prepare: func(_ context.Context, s *site) error {
			return os.MkdirAll(s.data("evidently", "workspace"), 0o700)
		},
		command: func(s *site) (command, error) {
			secret, _, err := s.secret("evidently")
			return command{
				path: s.bin("evidently", "evidently"),
				args: []string{
					"ui", "--host", "127.0.0.1", "--port", fmt.Sprint(s.port("evidently", "http")),
					"--workspace", s.data("evidently", "workspace"),
				},
				env: append(pythonEnv(), "EVIDENTLY_SECRET="+string(secret)),
				dir: s.data("evidently"),
			}, err
		},
		ready: evidentlyReady,
		endpoints: func(s *site) map[string]stackfile.Endpoint {
			_, file, err := s.secret("evidently")
			if err != nil {
				return nil
			}
			return map[string]stackfile.Endpoint{stackfile.Evidently: {URL: s.url("evidently", "http"), SecretFile: file}}
		},
	}
}

// evidentlyReady takes only a server of our version that refuses a change
// without our secret and takes it with it. The change is the deletion of a
// project that cannot exist, which Evidently answers with 204.
func evidentlyReady(ctx context.Context, s *site) error {
	secret, _, err := s.secret("evidently")
	if err != nil {
		return err
	}
	want, err := lockedVersion("evidently", "evidently")
	if err != nil {
		return err
	}
	at := s.url("evidently", "http")
	var v struct{ Application, Version string }
	if err := probeJSON(ctx, at+"/api/version", mlops.Auth{}, 20*time.Second, &v); err != nil {
		return err
	}
	if v.Version != want {
		return fmt.Errorf("%s is %q %q, Evidently %s was due", at, v.Application, v.Version, want)
	}
	nothing := at + "/api/projects/00000000-0000-0000-0000-000000000000"
	status, _, err := probe(ctx, "DELETE", nothing, mlops.Auth{}, 20*time.Second)
	if err != nil {
		return err
	}
	if status != http.StatusForbidden && status != http.StatusUnauthorized {
		return fmt.Errorf("%s answers %d to a change without a secret; that is not our Evidently", at, status)
	}
	status, _, err = probe(ctx, "DELETE", nothing, mlops.Auth{Token: secret, Header: "evidently-secret"}, 20*time.Second)
	if err != nil {
		return err
	}
	if status != http.StatusNoContent {
		return fmt.Errorf("%s answers %d to a change with our secret", at, status)
	}
	return nil
}
