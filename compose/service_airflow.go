package compose

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/fairfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// airflowServices are the four processes of Airflow. None waits for another:
// the first one makes the tables, and all load their code at once.
func airflowServices() []service {
	part := func(name string, args ...string) service {
		return service{
			name:  name,
			group: "airflow",
			after: []string{"postgres"},
			venv:  "airflow",
			prepare: func(ctx context.Context, s *site) error {
				if err := airflowFiles(s); err != nil {
					return err
				}
				if err := airflowTables(ctx, s); err != nil {
					return err
				}
				return writePrivate(s.data("airflow", name+".started"), time.Now().UTC().Format(time.RFC3339Nano))
			},
			command: func(s *site) (command, error) { return airflowCommand(s, args...) },
			grace:   30 * time.Second,
		}
	}
	api := part("airflow-api-server", "api-server")
	api.ports = []port{{name: "http", first: 8080}}
	api.ready = airflowReady
	api.settled = airflowWarm
	api.endpoints = func(s *site) map[string]stackfile.Endpoint {
		return map[string]stackfile.Endpoint{
			stackfile.Airflow:       {URL: s.url("airflow-api-server", "http"), Username: "admin", SecretFile: s.secretFile("airflow")},
			stackfile.AirflowReader: readerEndpoint(s),
		}
	}
	scheduler := part("airflow-scheduler", "scheduler", "--skip-serve-logs")
	scheduler.ready = beats("airflow-scheduler", "scheduler")
	processor := part("airflow-dag-processor", "dag-processor")
	processor.ready = beats("airflow-dag-processor", "dag_processor")
	triggerer := part("airflow-triggerer", "triggerer", "--skip-serve-logs")
	triggerer.ready = beats("airflow-triggerer", "triggerer")
	return []service{api, scheduler, processor, triggerer}
}

// dagsFolder is where Airflow looks for DAG files.
func dagsFolder(s *site) string { return s.data("airflow", "dags") }

// airflowFiles makes the folders and the files of secrets. Airflow keeps the
// password of its simple auth manager in clear, so the files are ours alone.
func airflowFiles(s *site) error {
	for _, dir := range []string{dagsFolder(s), s.data("airflow", "plugins"), s.data("airflow", "logs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	password, _, err := s.secret("airflow")
	if err != nil {
		return err
	}
	b, err := json.Marshal(map[string]string{"admin": string(password)})
	if err != nil {
		return err
	}
	dsn, err1 := postgresDSN(s, "postgresql+psycopg2", "airflow")
	seed, _, err2 := s.secret("airflow-fernet")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	fernet := sha256.Sum256([]byte(seed))
	return errors.Join(
		writePrivate(s.data("airflow", "passwords.json"), string(b)+"\n"),
		writePrivate(s.data("airflow", "database"), dsn),
		writePrivate(s.data("airflow", "fernet"), base64.URLEncoding.EncodeToString(fernet[:])),
	)
}

// printing is the command that prints a file, as Airflow takes it for an option
// that its reference marks as sensitive: "AIRFLOW__SECTION__KEY_CMD".
//
// Source: airflow/_shared/configuration/parser.py, run_command: shlex, no shell.
func printing(file string) string {
	return "cat '" + strings.ReplaceAll(file, "'", `'"'"'`) + "'"
}

// migrating lets one of the four processes make the tables.
var migrating sync.Mutex

// airflowTables makes or upgrades the tables. What "airflow db migrate" left as
// the version of the tables is remembered, so that the next start pays for one
// query instead of a Python program.
func airflowTables(ctx context.Context, s *site) error {
	migrating.Lock()
	defer migrating.Unlock()
	version, err := lockedVersion("airflow", "apache-airflow")
	if err != nil {
		return err
	}
	mark := s.data("airflow", "tables")
	before, _ := os.ReadFile(mark)
	now, err := airflowRevision(ctx, s)
	if err != nil {
		return err
	}
	if now != "" && string(before) == version+" "+now {
		readQueue(ctx, s)
		return nil
	}
	c, err := airflowCommand(s, "db", "migrate")
	if err != nil {
		return err
	}
	if err := s.run(ctx, c); err != nil {
		return fmt.Errorf("make the tables of Airflow: %w", err)
	}
	if now, err = airflowRevision(ctx, s); err != nil {
		return err
	}
	readQueue(ctx, s)
	return writePrivate(mark, version+" "+now)
}

// readQueue lets the agent read Airflow's queue in the database. Without that it
// asks the API, so a failure does not keep Airflow from starting.
func readQueue(ctx context.Context, s *site) {
	if err := makeAirflowReader(ctx, s); err != nil {
		fmt.Fprintln(s.log, err)
	}
}

// airflowRevision is the version of the tables, empty if there are none.
func airflowRevision(ctx context.Context, s *site) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := postgresConnect(ctx, s, "airflow")
	if err != nil {
		return "", fmt.Errorf("database of Airflow: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, "select to_regclass('alembic_version') is not null").Scan(&there); err != nil || !there {
		return "", err
	}
	var v string
	err = conn.QueryRow(ctx, "select version_num from alembic_version").Scan(&v)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return v, err
}

func airflowEnv(s *site) ([]string, error) {
	_, jwt, err1 := s.secret("airflow-jwt")
	_, session, err2 := s.secret("airflow-session")
	slots, err3 := fairfile.Slots(s.home)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	at := s.url("airflow-api-server", "http")
	env := append(pythonEnv(),
		// Tasks inherit the scheduler's environment and may print it, so that
		// it names the files of secrets.
		"AIRFLOW__CORE__FERNET_KEY_CMD="+printing(s.data("airflow", "fernet")),
		"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD="+printing(s.data("airflow", "database")),
		"AIRFLOW__API__SECRET_KEY_CMD="+printing(session),
		"AIRFLOW__API_AUTH__JWT_SECRET_CMD="+printing(jwt),
		"AIRFLOW_HOME="+s.data("airflow"),
		"AIRFLOW__CORE__DAGS_FOLDER="+dagsFolder(s),
		"AIRFLOW__CORE__PLUGINS_FOLDER="+s.data("airflow", "plugins"),
		"AIRFLOW__CORE__LOAD_EXAMPLES=False",
		fmt.Sprintf("AIRFLOW__CORE__PARALLELISM=%d", fairfile.Parallelism(slots)), // 32 by default, all forked in advance
		"AIRFLOW__CORE__EXECUTION_API_SERVER_URL="+at+"/execution/",
		"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=admin:admin",
		"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE="+s.data("airflow", "passwords.json"),
		"AIRFLOW__API__HOST=127.0.0.1",
		fmt.Sprintf("AIRFLOW__API__PORT=%d", s.port("airflow-api-server", "http")),
		"AIRFLOW__API__WORKERS=1",
		"AIRFLOW__API__BASE_URL="+at,
		"AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT=60",          // 5 s by default, too short while the server warms up
		"AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL=0", // else a run within 30 s of a change is one of the DAG before it
		"AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL=5",
		"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL=5",
		"AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL=2",
		"AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES=1",
		"AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False",
		"MLOPS_HOME="+s.home,
	)
	if s.command != "" { // tasks say "mlopsctl …"
		env = append(env, "PATH="+filepath.Dir(s.command)+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	return env, nil
}

func airflowCommand(s *site, args ...string) (command, error) {
	env, err := airflowEnv(s)
	return command{path: s.bin("airflow", "airflow"), args: args, env: env, dir: s.data("airflow")}, err
}

// airflowReady takes only a server of our version that lets us in with our
// password.
func airflowReady(ctx context.Context, s *site) error {
	want, err := lockedVersion("airflow", "apache-airflow")
	if err != nil {
		return err
	}
	at := s.url("airflow-api-server", "http")
	var v struct{ Version string }
	if err := probeJSON(ctx, at+"/api/v2/version", mlops.Auth{}, 20*time.Second, &v); err != nil {
		return err
	}
	if v.Version != want {
		return fmt.Errorf("%s is Airflow %q, %s was due", at, v.Version, want)
	}
	password, file, err := s.secret("airflow")
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"username": "admin", "password": string(password)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", at+"/auth/token", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := probes.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s answers %d to a login with the password in %s", at, resp.StatusCode, file)
	}
	return nil
}

// airflowWarm makes the server build its execution API. It does so at the first
// request, which takes up to a minute and blocks all others; tasks that meet it
// give up and fail.
func airflowWarm(ctx context.Context, s *site) error {
	var v struct{ Status string }
	if err := probeJSON(ctx, s.url("airflow-api-server", "http")+"/execution/health", mlops.Auth{}, 4*time.Minute, &v); err != nil {
		return err
	}
	if v.Status != "healthy" {
		return fmt.Errorf("the execution API of Airflow says %q", v.Status)
	}
	return nil
}

// beats takes a process as ready when the API server has seen a heartbeat of
// it since its start; that of a process before it stays green for half a minute.
func beats(service, part string) func(context.Context, *site) error {
	return func(ctx context.Context, s *site) error {
		b, err := os.ReadFile(s.data("airflow", service+".started"))
		if err != nil {
			return err
		}
		started, err := time.Parse(time.RFC3339Nano, string(b))
		if err != nil {
			return err
		}
		var health map[string]map[string]string
		if err := probeJSON(ctx, s.url("airflow-api-server", "http")+"/api/v2/monitor/health", mlops.Auth{}, 20*time.Second, &health); err != nil {
			return fmt.Errorf("the API server does not tell yet: %w", err)
		}
		h := health[part]
		last, err := time.Parse(time.RFC3339Nano, h["latest_"+part+"_heartbeat"])
		if err != nil || last.Before(started) || h["status"] != "healthy" {
			return fmt.Errorf("no heartbeat yet (status %q, last %q)", h["status"], h["latest_"+part+"_heartbeat"])
		}
		return nil
	}
}
