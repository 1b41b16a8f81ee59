package compose

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/rayserve"
)

var (
	//go:embed mlops_ray_start.py
	rayStartHook string
	//go:embed ray_sitecustomize.py
	raySitecustomize string
)

// rayService is a Ray head with its dashboard, through which Serve is
// configured. "serve" is the port of deployed models; Ray opens it when the
// first application comes.
func rayService() service {
	return service{
		name:  "ray",
		after: []string{"mlflow"}, // replicas load their models from it
		ports: []port{
			{name: "dashboard", first: 8265},
			{name: "serve", first: 8001, late: true},
			{name: "gcs", first: 6380},
			{name: "agent", first: 52365},
			{name: "metrics", first: 8266},
		},
		venv:    "ray",
		prepare: rayPrepare,
		command: rayCommand,
		ready:   rayReady,
		settled: rayReapply,
		endpoints: func(s *site) map[string]stackfile.Endpoint {
			_, file, err := s.secret("ray")
			if err != nil {
				return nil
			}
			return map[string]stackfile.Endpoint{
				stackfile.Ray:   {URL: s.url("ray", "dashboard"), SecretFile: file},
				stackfile.Serve: {URL: s.url("ray", "serve")},
			}
		},
		grace: 20 * time.Second,
	}
}

// serveDir is where the desired Serve configuration is kept.
func serveDir(s *site) string { return s.data("serve") }

// rayTemp is Ray's folder for sessions. Ray opens that folder to everybody, so
// it lies in one that only we may enter. Ray puts sockets 70 characters below
// it, and a socket's path has at most 103: a long home gets a folder in /tmp.
func rayTemp(s *site) (string, error) {
	dir := rayFolder(s.home)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s is not a folder of ours; remove it and start again", dir)
	}
	return filepath.Join(dir, "s"), os.Chmod(dir, 0o700)
}

func rayFolder(home string) string {
	dir := filepath.Join(home, "data", "ray")
	if len(dir) > 30 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(home))
		dir = fmt.Sprintf("/tmp/mlops-ray-%d-%016x", os.Getuid(), h.Sum64())
	}
	return dir
}

// rayPrepare removes what an earlier session left: Ray refuses to start beside
// the remains of one, and its state does not outlive it anyway.
func rayPrepare(_ context.Context, s *site) error {
	for _, dir := range []string{s.data("ray-hook"), serveDir(s), s.data()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	temp, err := rayTemp(s)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	return errors.Join(
		writePrivate(s.data("ray-hook", "mlops_ray_start.py"), rayStartHook),
		writePrivate(s.data("ray-hook", "sitecustomize.py"), raySitecustomize),
	)
}

func rayCommand(s *site) (command, error) {
	temp, err := rayTemp(s)
	if err != nil {
		return command{}, err
	}
	_, tokenFile, err := s.secret("ray")
	if err != nil {
		return command{}, err
	}
	password, _, err := s.secret("mlflow")
	if err != nil {
		return command{}, err
	}
	number := func(name string) string { return fmt.Sprint(s.port("ray", name)) }
	return command{
		path: s.bin("ray", "ray"),
		args: []string{
			"start", "--head", "--block",
			"--node-ip-address=127.0.0.1", "--port=" + number("gcs"),
			"--include-dashboard=true", "--dashboard-host=127.0.0.1", "--dashboard-port=" + number("dashboard"),
			"--dashboard-agent-listen-port=" + number("agent"), "--metrics-export-port=" + number("metrics"),
			"--min-worker-port=0", "--max-worker-port=0", // any free one
			"--num-cpus=4", "--object-store-memory=200000000",
			"--temp-dir=" + temp, "--disable-usage-stats", "--log-color=false", "--include-log-monitor=false", "--no-monitor",
		},
		env: append(pythonEnv(),
			"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0", // without it Linux listens on all interfaces
			"RAY_AUTH_MODE=token",
			"RAY_AUTH_TOKEN_PATH="+tokenFile,
			"RAY_DASHBOARD_STARTUP_TIMEOUT_S=200",
			"RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT=120",
			"RAY_START_HOOK=mlops_ray_start.start",
			"PYTHONPATH="+s.data("ray-hook"),
			"RAY_enable_worker_prestart=0",
			"RAY_prestart_worker_first_driver=0",
			"RAY_USAGE_STATS_ENABLED=0",
			// Replicas load models with these; they have them from us, and no
			// Serve configuration repeats them. The mark is that of the process
			// which they sign in to, and to no other.
			"MLOPS_MLFLOW_MARK="+strings.TrimPrefix(proc.Mark(s.home, "mlflow"), proc.MarkVariable+"="),
			"MLFLOW_TRACKING_URI="+s.url("mlflow", "http"),
			"MLFLOW_TRACKING_USERNAME=admin",
			"MLFLOW_TRACKING_PASSWORD="+string(password),
			"MLFLOW_DISABLE_TELEMETRY=true",
		),
		dir: s.data("ray-hook"),
	}, nil
}

// rayReady takes only a head of our version that refuses strangers and takes
// our token.
func rayReady(ctx context.Context, s *site) error {
	token, _, err := s.secret("ray")
	if err != nil {
		return err
	}
	want, err := lockedVersion("ray", "ray")
	if err != nil {
		return err
	}
	at := s.url("ray", "dashboard") + "/api/version"
	status, _, err := probe(ctx, "GET", at, mlops.Auth{}, 20*time.Second)
	if err != nil {
		return err
	}
	if status != http.StatusUnauthorized {
		return fmt.Errorf("%s answers %d to a stranger; that is not our Ray", at, status)
	}
	var v struct {
		Version string `json:"ray_version"`
	}
	if err := probeJSON(ctx, at, mlops.Auth{Token: token}, 20*time.Second, &v); err != nil {
		return err
	}
	if strings.TrimSpace(v.Version) != want {
		return fmt.Errorf("%s is Ray %q, %s was due", at, v.Version, want)
	}
	return rayNode(ctx, s.url("ray", "dashboard")+"/nodes?view=summary", token)
}

// rayNode wants the head's own node alive: the dashboard answers before there
// is anything that could run a replica.
func rayNode(ctx context.Context, at string, token mlops.Secret) error {
	var nodes struct {
		Data struct {
			Summary []struct{ Raylet struct{ State string } }
		}
	}
	if err := probeJSON(ctx, at, mlops.Auth{Token: token}, 20*time.Second, &nodes); err != nil {
		return err
	}
	for _, n := range nodes.Data.Summary {
		if n.Raylet.State == "ALIVE" {
			return nil
		}
	}
	return errors.New("the dashboard answers, the node is not alive yet")
}

// rayReapply gives back to Ray what it forgot with its head. A head without it
// still serves a new deployment, so that a configuration which Ray does not take
// any more fails no start; status names what it holds.
func rayReapply(ctx context.Context, s *site) error {
	token, _, err := s.secret("ray")
	if err != nil {
		return err
	}
	c, err := rayserve.New(rayserve.Options{
		URL:      s.url("ray", "dashboard"),
		ServeURL: s.url("ray", "serve"),
		Auth:     mlops.Auth{Token: token},
		StateDir: serveDir(s),
		MLflow:   s.url("mlflow", "http"),
	})
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := rayserve.Reapply(within, c); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		fmt.Fprintf(s.log, "what was deployed before is not given back to Ray: %v\n", err)
	}
	return nil
}
