package compose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// postgresStack makes a stack of PostgreSQL alone, in folders of the test.
func postgresStack(t *testing.T, number int) *Stack {
	t.Helper()
	root, err := os.MkdirTemp("", "mlops-pg-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(root, 0o755)) // another user goes in, when we are root
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })
	t.Setenv(postgresFolder, filepath.Join(root, "pg"))
	s := stackOf(t, fake{Name: "postgres", Real: true})
	all := s.catalog(false)
	all[0].ports = []port{{name: "sql", first: number}}
	s.timing.poll = 50 * time.Millisecond
	return s
}

func TestPostgresServesItsOwnDataWithAPassword(t *testing.T) {
	for _, source := range []string{"", "fetch"} {
		name := "of the machine"
		if source == "fetch" {
			name = "fetched"
		}
		t.Run(name, func(t *testing.T) {
			t.Setenv(postgresProgram, source)
			if source == "fetch" && os.Getenv("MLOPS_LIVE") == "" {
				t.Skip("fetches 15 MB: only with MLOPS_LIVE=1")
			}
			s := postgresStack(t, freePort(t))
			require.NoError(t, makeHome(s.home))
			if source == "" {
				if _, err := openPostgres(t.Context(), s.home); err != nil && os.Getenv("MLOPS_LIVE") == "" {
					t.Skip("no PostgreSQL on this machine: ", err)
				}
			}
			require.NoError(t, s.ensurePostgres(t.Context()))
			within(t, s)
			st := start(t, s)
			here := s.siteOf(map[string]int{"postgres/sql": of(st, "postgres").Ports["sql"]}, false, nil)
			for _, db := range []string{"mlflow", "airflow"} {
				c, err := postgresConnect(t.Context(), here, db)
				require.NoError(t, err)
				var version string
				require.NoError(t, c.QueryRow(t.Context(), "select version()").Scan(&version))
				t.Log(version)
				require.NoError(t, c.Close(t.Context()))
			}
			_, pwfile, err := here.secret("postgres")
			require.NoError(t, err)
			b, err := os.ReadFile(pwfile)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(pwfile, []byte("wrong"), 0o600))
			_, err = postgresConnect(t.Context(), here, "mlflow")
			require.ErrorContains(t, err, "password authentication failed", "it serves without the password")
			require.NoError(t, os.WriteFile(pwfile, b, 0o600))

			kill(t, of(st, "postgres").PID)
			eventually(t, "it is back", func() bool {
				now, err := s.Status(t.Context())
				require.NoError(t, err)
				return of(now, "postgres").State == StateReady && of(now, "postgres").PID != of(st, "postgres").PID
			})
			logs := strings.Join(tail(s.logPath("postgres"), 0, 1000), "\n")
			require.NotContains(t, logs, strings.TrimSpace(string(b)), "the password is in the log")
		})
	}
}

func TestPostgresKeepsItsFolder(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, makeHome(home))
	t.Setenv(postgresFolder, "/one")
	root, err := postgresRoot(home)
	require.NoError(t, err)
	require.Equal(t, "/one", root)
	data := filepath.Join(t.TempDir(), "pg")
	require.NoError(t, os.MkdirAll(filepath.Join(data, "data"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(data, "data", "PG_VERSION"), []byte("16\n"), 0o600))
	require.NoError(t, atomicfile.Write(postgresNote(home), []byte(data), 0o600))
	_, err = postgresRoot(home)
	require.ErrorContains(t, err, "the databases are in "+data, "the data moved because a variable was set")
	t.Setenv(postgresFolder, "")
	root, err = postgresRoot(home)
	require.NoError(t, err)
	require.Equal(t, data, root)
}

func TestPostgresVersionsAreRead(t *testing.T) {
	for text, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 18beta1":                          18,
		"postgres (PostgreSQL) 16":                               16,
	} {
		n, err := parsePostgresVersion(text)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	_, err := parsePostgresVersion("cockroach 23")
	require.Error(t, err)
}

func TestAPostgresDSNIsForTheChosenPort(t *testing.T) {
	s := &site{home: t.TempDir(), ports: map[string]int{"postgres/sql": 5433}}
	dsn, err := postgresDSN(s, "postgresql+psycopg2", "airflow")
	require.NoError(t, err)
	pw, _, err := s.secret("postgres")
	require.NoError(t, err)
	require.Equal(t, "postgresql+psycopg2://mlops:"+string(pw)+"@127.0.0.1:5433/airflow", dsn)
}

func TestTheClockIsComparedWithTheServers(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 10, 0, time.UTC)
	require.Equal(t, SeverityOK, clockFinding("Mon, 23 Nov 2026 12:00:09 GMT", now).Severity)
	require.Equal(t, SeverityFail, clockFinding("Mon, 23 Nov 2026 11:00:10 GMT", now).Severity)
	require.Equal(t, SeverityFail, clockFinding("Mon, 23 Nov 2026 12:01:10 GMT", now).Severity)
	require.Equal(t, SeverityWarn, clockFinding("", now).Severity)
}

func TestEnvIsForARunningStackOnly(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	_, err := s.Env(t.Context())
	require.ErrorIs(t, err, mlops.ErrNotFound)
}
