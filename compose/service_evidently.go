package compose

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

//go:embed docker/parts/evidently_ui.py
var evidentlyUI string

// evidentlyService is Evidently's UI service behind a guard of ours, without
// which its secret guards changes only and any local user can read.
func evidentlyService() service {
	return service{
		name:  "evidently",
		ports: []port{{name: "http", first: 8000}},
		venv:  "evidently",
		prepare: func(_ context.Context, s *site) error {
			return errors.Join(
				os.MkdirAll(s.data("evidently", "workspace"), 0o700),
				writePrivate(s.data("evidently", "evidently_ui.py"), evidentlyUI),
			)
		},
		command: func(s *site) (command, error) {
			secret, _, err := s.secret("evidently")
			return command{
				path: s.bin("evidently", "python"),
				args: []string{
					"-I", s.data("evidently", "evidently_ui.py"),
					"127.0.0.1", fmt.Sprint(s.port("evidently", "http")), s.data("evidently", "workspace"),
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

// evidentlyReady takes only a server of our version that refuses both a read
// and a change without our secret and takes them with it. The change is the
// deletion of a project that cannot exist, which Evidently answers with 204.
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
	ours := mlops.Auth{Token: secret, Header: "evidently-secret"}
	for _, c := range []struct {
		what, method, path string
		due                int
	}{
		{"a read", "GET", "/api/projects", http.StatusOK},
		{"a change", "DELETE", "/api/projects/00000000-0000-0000-0000-000000000000", http.StatusNoContent},
	} {
		status, _, err := probe(ctx, c.method, at+c.path, mlops.Auth{}, 20*time.Second)
		if err != nil {
			return err
		}
		if status != http.StatusUnauthorized {
			return fmt.Errorf("%s answers %d to %s without a secret; that is not our Evidently, or that of an older mlopsctl: run mlopsctl stop, then mlopsctl start", at, status, c.what)
		}
		status, _, err = probe(ctx, c.method, at+c.path, ours, 20*time.Second)
		if err != nil {
			return err
		}
		if status != c.due {
			return fmt.Errorf("%s answers %d to %s with our secret", at, status, c.what)
		}
	}
	return nil
}

// BrowserURL returns an address at which a browser enters a service of the
// running stack. Evidently's works once and within a minute, and gives the
// browser a cookie; the others show their own login where they have one.
//
// The error matches [mlops.ErrNotFound] if the stack or the service does not
// run, or has no pages.
func (s *Stack) BrowserURL(ctx context.Context, service string) (string, error) {
	st, err := stackfile.Read(s.home)
	if err != nil {
		return "", err
	}
	e, ok := st.Endpoints[service]
	if !ok || slices.Contains([]string{stackfile.Postgres, stackfile.S3, stackfile.AirflowReader}, service) {
		return "", &mlops.Error{Kind: mlops.ErrNotFound, Service: "compose", Op: "BrowserURL", Message: fmt.Sprintf("no service %q with pages is running; mlopsctl status lists the services", service)}
	}
	if service != stackfile.Evidently {
		return e.URL, nil
	}
	secret, err := e.Secret()
	if err != nil {
		return "", err
	}
	status, body, err := probe(ctx, "POST", e.URL+"/mlops/once", mlops.Auth{Token: secret, Header: "evidently-secret"}, 20*time.Second)
	if err != nil {
		return "", &mlops.Error{Kind: mlops.ErrUnavailable, Service: "compose", Op: "BrowserURL", Cause: err, Message: err.Error()}
	}
	var out struct{ Path string }
	if status != http.StatusCreated || json.Unmarshal(body, &out) != nil || out.Path == "" {
		return "", &mlops.Error{Kind: mlops.ErrUnavailable, Service: "compose", Op: "BrowserURL", Message: fmt.Sprintf("%s answered %d and no address; run: mlopsctl stop, then mlopsctl start", e.URL, status)}
	}
	return e.URL + out.Path, nil
}
