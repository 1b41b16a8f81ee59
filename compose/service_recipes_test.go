package compose

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// lightSite is a site without PostgreSQL.
func lightSite(t *testing.T) *site {
	t.Helper()
	s := &site{home: t.TempDir(), light: true, log: t.Output(), ports: map[string]int{}}
	t.Cleanup(func() { _ = os.RemoveAll(rayFolder(s.home)) }) // it may lie outside of the home
	for i, sv := range []service{mlflowService(true), evidentlyService(), rayService(), s3Service()} {
		for j, p := range sv.ports {
			s.ports[sv.name+"/"+p.name] = 20000 + 100*i + j
		}
	}
	return s
}

func TestServersListenOnLoopbackAndTheirArgumentsHoldNoSecret(t *testing.T) {
	s := lightSite(t)
	for _, sv := range []service{mlflowService(true), evidentlyService(), rayService(), s3Service()} {
		require.NoError(t, sv.prepare(t.Context(), s), sv.name)
		require.NoError(t, sv.prepare(t.Context(), s), "%s: prepare runs before every start", sv.name)
		c, err := sv.command(s)
		require.NoError(t, err)
		args := strings.Join(c.args, " ")
		require.Regexp(t, `127\.0\.0\.1`, args, "%s does not say where to listen", sv.name)
		for _, p := range sv.ports {
			if p.name != "serve" { // Ray opens it with the first application
				require.Contains(t, args, strconv.Itoa(s.port(sv.name, p.name)), "%s does not use its port %q", sv.name, p.name)
			}
		}
		files, err := filepath.Glob(filepath.Join(s.home, "secrets", "*"))
		require.NoError(t, err)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			require.NotContains(t, args, string(b), "%s shows the secret %s in the process list", sv.name, filepath.Base(f))
			info, err := os.Stat(f)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		}
		for _, v := range c.env {
			require.False(t, strings.HasPrefix(v, "PYTHONDONTWRITEBYTECODE"), sv.name)
		}
	}
	for _, f := range []string{"basic_auth.ini", "pgpass"} {
		info, err := os.Stat(s.data("mlflow", f))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "%s holds a password", f)
	}
}

func TestRaySocketsFitWhereverTheHomeIs(t *testing.T) {
	s := lightSite(t)
	s.home = filepath.Join(s.home, strings.Repeat("long", 30))
	require.NoError(t, rayPrepare(t.Context(), s))
	temp, err := rayTemp(s)
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(temp)) })
	socket := temp + "/session_2026-11-23_06-56-36_656907_4194304/sockets/plasma_store.99"
	require.LessOrEqual(t, len(socket), 103, "macOS takes no longer path of a socket")
	info, err := os.Stat(filepath.Dir(temp))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "Ray opens its own folder to everybody")

	require.NoError(t, os.MkdirAll(filepath.Join(temp, "session_old"), 0o777))
	require.NoError(t, rayPrepare(t.Context(), s))
	require.NoDirExists(t, filepath.Join(temp, "session_old"), "Ray refuses to start beside an old session")
}

func TestThePasswordLeavesTheDatabaseAddress(t *testing.T) {
	address, pgpass, err := parted(`postgresql+psycopg2://mlops:a%3Ab%5Cc@127.0.0.1:5439/mlflow?sslmode=disable`)
	require.NoError(t, err)
	require.Equal(t, "postgresql+psycopg2://mlops@127.0.0.1:5439/mlflow?sslmode=disable", address)
	require.Equal(t, `127.0.0.1:5439:*:mlops:a\:b\\c`+"\n", pgpass)
	_, _, err = parted("postgresql://mlops:top secret\x7f@h/x")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}

// at makes the site see h behind a service's port.
func at(t *testing.T, s *site, port string, h http.Handler) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	require.NoError(t, err)
	s.ports[port], err = strconv.Atoi(u.Port())
	require.NoError(t, err)
}

func TestAStrangerOnThePortIsNotReady(t *testing.T) {
	answer := func(status int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	version := func(venv, name string) string {
		v, err := lockedVersion(venv, name)
		require.NoError(t, err)
		return v
	}
	for _, tt := range []struct {
		name, port string
		ready      func(context.Context, *site) error
		stranger   http.Handler
		want       string
	}{
		{"AirPlay", "mlflow/http", mlflowReady, answer(403, ""), "that is not our MLflow"},
		{"an open MLflow", "mlflow/http", mlflowReady, answer(200, version("mlflow", "mlflow")), "answers 200 to a stranger"},
		{"another's MLflow", "mlflow/http", mlflowReady, answer(401, ""), "does not take the password"},
		{"an open Evidently", "evidently/http", evidentlyReady, answer(200, `{"version":"`+version("evidently", "evidently")+`"}`), "answers 200 to a read without a secret"},
		{"an Evidently that guards changes only", "evidently/http", evidentlyReady, upstreamEvidently(version("evidently", "evidently")), "answers 200 to a read without a secret"},
		{"an Evidently that guards reads only", "evidently/http", evidentlyReady, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" && r.URL.Path != "/api/version" && r.Header.Get("evidently-secret") == "" {
				w.WriteHeader(401)
			}
			_, _ = w.Write([]byte(`{"version":"` + version("evidently", "evidently") + `"}`))
		}), "answers 200 to a change without a secret"},
		{"another's Evidently", "evidently/http", evidentlyReady, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/version" {
				w.WriteHeader(401)
			}
			_, _ = w.Write([]byte(`{"version":"` + version("evidently", "evidently") + `"}`))
		}), "answers 401 to a read with our secret"},
		{"another Evidently", "evidently/http", evidentlyReady, answer(200, `{"version":"0.6"}`), "was due"},
		{"a web page", "evidently/http", evidentlyReady, answer(200, `<html>`), "not JSON"},
		{"an open Ray", "ray/dashboard", rayReady, answer(200, `{"ray_version":"`+version("ray", "ray")+`"}`), "that is not our Ray"},
		{"another's Ray", "ray/dashboard", rayReady, answer(401, ""), "answered 401"},
		{"an open S3", "s3/http", s3Ready, answer(200, ""), "that is not our S3"},
		{"something else that refuses", "s3/http", s3Ready, answer(403, ""), "that is not our S3"},
		{"another's S3", "s3/http", s3Ready, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "VERSITYGW")
			w.WriteHeader(403)
		}), "answers 403 to our key"},
		{"an older Airflow", "airflow-api-server/http", airflowReady, answer(200, `{"version":"3.0.0"}`), "was due"},
		{"another's Airflow", "airflow-api-server/http", airflowReady, answer(200, `{"version":"`+version("airflow", "apache-airflow")+`"}`), "answers 200 to a login"},
		{"an Airflow that is not well", "airflow-api-server/http", airflowWarm, answer(200, `{"status":"no"}`), `says "no"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := lightSite(t)
			at(t, s, tt.port, tt.stranger)
			require.ErrorContains(t, tt.ready(t.Context(), s), tt.want)
		})
	}
}

// upstreamEvidently answers as Evidently does when it is started without our
// guard: reading is open, changes want the secret.
func upstreamEvidently(version string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "GET":
			_, _ = w.Write([]byte(`{"version":"` + version + `"}`))
		case r.Header.Get("evidently-secret") == "":
			w.WriteHeader(403)
		default:
			w.WriteHeader(204)
		}
	})
}

func TestAHeartbeatFromBeforeTheStartDoesNotCount(t *testing.T) {
	s := lightSite(t)
	started := time.Now().UTC()
	require.NoError(t, writePrivate(s.data("airflow", "airflow-scheduler.started"), started.Format(time.RFC3339Nano)))
	last := started.Add(-time.Second)
	at(t, s, "airflow-api-server/http", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"metadatabase":{"status":"healthy"},"scheduler":{"status":"healthy","latest_scheduler_heartbeat":"` + last.Format(time.RFC3339Nano) + `"},"triggerer":{"status":null,"latest_triggerer_heartbeat":null}}`))
	}))
	ready := beats("airflow-scheduler", "scheduler")
	require.ErrorContains(t, ready(t.Context(), s), "no heartbeat yet")
	last = started.Add(time.Second)
	require.NoError(t, ready(t.Context(), s))
}

func TestAProbeDoesNotCarryCredentialsToAnotherAddress(t *testing.T) {
	s := lightSite(t)
	met := false
	at(t, s, "evidently/http", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { met = true }))
	elsewhere := s.url("evidently", "http")
	at(t, s, "mlflow/http", http.RedirectHandler(elsewhere, http.StatusTemporaryRedirect))
	status, _, err := probe(t.Context(), "GET", s.url("mlflow", "http"), mlops.Auth{Token: "x"}, time.Minute)
	require.NoError(t, err)
	require.Equal(t, http.StatusTemporaryRedirect, status)
	require.False(t, met)
}
