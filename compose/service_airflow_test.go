package compose

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// airflowSite is a site whose folder has a name that a shell would part.
func airflowSite(t *testing.T) *site {
	t.Helper()
	home := filepath.Join(t.TempDir(), "it's a home")
	return &site{home: home, log: t.Output(), command: "/opt/mlops/mlopsctl", ports: map[string]int{"postgres/sql": 5433, "airflow-api-server/http": 8081}}
}

// Tasks inherit the environment of Airflow's processes, and one that runs
// "env" writes it into a log.
func TestTheEnvironmentOfTasksHoldsNoSecret(t *testing.T) {
	s := airflowSite(t)
	require.NoError(t, airflowFiles(s))
	c, err := airflowCommand(s, "scheduler")
	require.NoError(t, err)
	var secrets []string
	files, err := filepath.Glob(filepath.Join(s.home, "secrets", "*"))
	require.NoError(t, err)
	for _, f := range append(files, s.data("airflow", "fernet"), s.data("airflow", "database"), s.data("airflow", "passwords.json")) {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		secrets = append(secrets, strings.TrimSpace(string(b)))
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f)
	}
	require.Len(t, secrets, 8, "airflow, its JWT, session and Fernet secrets, postgres, and three files of Airflow's form")
	all := strings.Join(append(c.env, c.args...), "\n")
	for i, secret := range secrets {
		require.NotContains(t, all, secret, "secret %d", i)
	}
	require.NotContains(t, all, "MLFLOW_", "tasks reach MLflow by mlopsctl, which reads the stack file")
}

func TestAirflowReadsItsSecretsByCommand(t *testing.T) {
	s := airflowSite(t)
	require.NoError(t, airflowFiles(s))
	c, err := airflowCommand(s, "scheduler")
	require.NoError(t, err)
	got := map[string]string{}
	for _, v := range c.env {
		name, value, _ := strings.Cut(v, "=")
		if name, ok := strings.CutSuffix(name, "_CMD"); ok {
			out, err := exec.Command("sh", "-c", value).Output() // parted as shlex does it
			require.NoError(t, err, value)
			got[name] = string(out)
		}
	}
	dsn, err := postgresDSN(s, "postgresql+psycopg2", "airflow")
	require.NoError(t, err)
	require.Equal(t, dsn, got["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
	require.Contains(t, dsn, ":5433/airflow")
	require.Len(t, got["AIRFLOW__CORE__FERNET_KEY"], 44, "32 bytes in base64")
	require.GreaterOrEqual(t, len(got["AIRFLOW__API_AUTH__JWT_SECRET"]), 64, "a shorter key is warned of")
	require.NotEmpty(t, got["AIRFLOW__API__SECRET_KEY"])
	require.NotEqual(t, got["AIRFLOW__API__SECRET_KEY"], got["AIRFLOW__API_AUTH__JWT_SECRET"])

	before := got["AIRFLOW__CORE__FERNET_KEY"]
	require.NoError(t, airflowFiles(s))
	b, err := os.ReadFile(s.data("airflow", "fernet"))
	require.NoError(t, err)
	require.Equal(t, before, string(b), "what was encrypted before could not be read any more")
}

func TestTasksFindOurCommand(t *testing.T) {
	env, err := airflowEnv(airflowSite(t))
	require.NoError(t, err)
	require.Contains(t, env, "PATH=/opt/mlops"+string(os.PathListSeparator)+os.Getenv("PATH"))
	require.Contains(t, env, "AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://127.0.0.1:8081/execution/")
	require.Contains(t, env, "AIRFLOW__API__HOST=127.0.0.1")
}
