package compose

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// mlflowService is the tracking server with its basic-auth application.
//
// The tables of the users live in the same database as the others (MLflow keeps
// a version table of its own for them). The server makes and checks all tables
// itself; only a newer MLflow needs "mlflow db upgrade" first.
func mlflowService(light bool) service {
	sv := service{
		name:    "mlflow",
		ports:   []port{{name: "http", first: 5000}},
		venv:    "mlflow",
		prepare: mlflowPrepare,
		command: mlflowCommand,
		ready:   mlflowReady,
		endpoints: func(s *site) map[string]stackfile.Endpoint {
			return map[string]stackfile.Endpoint{stackfile.MLflow: {URL: s.url("mlflow", "http"), Username: "admin", SecretFile: s.secretFile("mlflow")}}
		},
	}
	if !light {
		sv.after = []string{"postgres"}
	}
	return sv
}

// mlflowStore returns the database address without its password, and the
// password's line for libpq; the latter is empty for SQLite.
func mlflowStore(s *site) (address, pgpass string, err error) {
	if s.light {
		return "sqlite:///" + s.data("mlflow", "mlflow.db"), "", nil
	}
	dsn, err := postgresDSN(s, "postgresql+psycopg2", "mlflow")
	if err != nil {
		return "", "", err
	}
	return parted(dsn)
}

func mlflowPrepare(ctx context.Context, s *site) error {
	if err := mlflowFiles(s); err != nil {
		return err
	}
	store, _, err := mlflowStore(s)
	if err != nil {
		return err
	}
	return mlflowUpgrade(ctx, s, store, mlflowUsers(s, store))
}

// mlflowUsers is the database of MLflow's users.
func mlflowUsers(s *site, store string) string {
	if s.light { // SQLite has one writer per file
		return "sqlite:///" + s.data("mlflow", "users.db")
	}
	return store
}

// mlflowFiles makes the folders and the files of secrets.
func mlflowFiles(s *site) error {
	store, pgpass, err := mlflowStore(s)
	if err != nil {
		return err
	}
	password, _, err := s.secret("mlflow")
	if err != nil {
		return err
	}
	for _, dir := range []string{s.data("mlflow"), s.data("mlflow", "artifacts")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	ini := strings.Join([]string{
		"[mlflow]",
		"default_permission = READ",
		"database_uri = " + strings.ReplaceAll(mlflowUsers(s, store), "%", "%%"),
		"admin_username = admin",
		"admin_password = " + strings.ReplaceAll(string(password), "%", "%%"),
		"authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
		"grant_default_workspace_access = false",
		"auth_cache_ttl_seconds = 60", // a password is hashed once a minute, not at every request
		"",
	}, "\n")
	return errors.Join(
		writePrivate(s.data("mlflow", "basic_auth.ini"), ini),
		writePrivate(s.data("mlflow", "pgpass"), pgpass),
	)
}

// mlflowUpgrade brings tables that an older MLflow made up to this one's.
func mlflowUpgrade(ctx context.Context, s *site, store, users string) error {
	now, err := lockedVersion("mlflow", "mlflow")
	if err != nil {
		return err
	}
	mark := s.data("mlflow", "tables")
	before, err := os.ReadFile(mark)
	if err == nil && len(before) > 0 && string(before) != now {
		fmt.Fprintf(s.log, "the tables are of MLflow %s; upgrading them to %s\n", before, now)
		env, err := mlflowEnv(s)
		if err != nil {
			return err
		}
		for _, args := range [][]string{
			{"-m", "mlflow", "db", "upgrade", store},
			{"-m", "mlflow.server.auth", "db", "upgrade", "--url", users},
		} {
			if err := s.run(ctx, command{path: s.bin("mlflow", "python"), args: args, env: env, dir: s.data("mlflow")}); err != nil {
				return fmt.Errorf("upgrade the tables from MLflow %s to %s: %w", before, now, err)
			}
		}
	}
	return writePrivate(mark, now)
}

func mlflowEnv(s *site) ([]string, error) {
	store, _, err := mlflowStore(s)
	if err != nil {
		return nil, err
	}
	session, _, err := s.secret("mlflow-session")
	if err != nil {
		return nil, err
	}
	at := s.port("mlflow", "http")
	return append(pythonEnv(),
		"MLFLOW_BACKEND_STORE_URI="+store,
		"PGPASSFILE="+s.data("mlflow", "pgpass"),
		"MLFLOW_AUTH_CONFIG_PATH="+s.data("mlflow", "basic_auth.ini"),
		"MLFLOW_FLASK_SERVER_SECRET_KEY="+string(session),
		"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", // else seven more processes
		fmt.Sprintf("MLFLOW_SERVER_ALLOWED_HOSTS=localhost,localhost:%[1]d,127.0.0.1,127.0.0.1:%[1]d,[::1],[::1]:%[1]d", at),
		"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE=5",
		"MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW=10",
		"MLFLOW_DISABLE_TELEMETRY=true",
	), nil
}

func mlflowCommand(s *site) (command, error) {
	env, err := mlflowEnv(s)
	if err != nil {
		return command{}, err
	}
	return command{
		path: s.bin("mlflow", "mlflow"),
		args: []string{
			"server", "--host", "127.0.0.1", "--port", fmt.Sprint(s.port("mlflow", "http")),
			"--workers", "1", "--app-name", "basic-auth",
			"--serve-artifacts", "--artifacts-destination", s.data("mlflow", "artifacts"),
		},
		env: env,
		dir: s.data("mlflow"),
	}, nil
}

// mlflowReady takes only a server of our version that refuses strangers and
// knows our password.
func mlflowReady(ctx context.Context, s *site) error {
	password, file, err := s.secret("mlflow")
	if err != nil {
		return err
	}
	want, err := lockedVersion("mlflow", "mlflow")
	if err != nil {
		return err
	}
	at := s.url("mlflow", "http") + "/version"
	status, _, err := probe(ctx, "GET", at, mlops.Auth{}, 20*time.Second)
	if err != nil {
		return err
	}
	if status != http.StatusUnauthorized {
		return fmt.Errorf("%s answers %d to a stranger; that is not our MLflow", at, status)
	}
	status, body, err := probe(ctx, "GET", at, mlops.Auth{Username: "admin", Password: password}, 20*time.Second)
	switch {
	case err != nil:
		return err
	case status == http.StatusUnauthorized:
		return refusal("MLflow does not take the password in " + file + ": its database was made with another; put that file back")
	case status != http.StatusOK || strings.TrimSpace(string(body)) != want:
		return fmt.Errorf("%s answered %d %.40q, MLflow %s was due", at, status, body, want)
	}
	return nil
}
