package cli_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/internal/stranger"
)

// TestStack has the stack of MLOPS_HOME for itself: it runs the demo, lets the
// upstream clients judge it, kills servers and the supervisor, takes their
// ports, and stops everything. Its parts build on each other.
func TestStack(t *testing.T) {
	if os.Getenv("MLOPS_LIVE_STACK") == "" {
		t.Skip("kills the servers of the running stack: set MLOPS_LIVE_STACK=1 (make test does)")
	}
	if os.Getenv("MLOPS_HOME") == "" {
		t.Fatal("MLOPS_HOME is not set: this test must not end a stack that somebody uses")
	}
	s := newStackSuite(t, os.Getenv("MLOPS_HOME"))
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"demo runs, and runs again", s.demo},
		{"upstream clients agree", s.judges},
		{"secrets stay secret", s.canary},
		{"a hostile repository gets nothing", s.hostile},
		{"fourteen projects share the machine", s.share},
		{"a hot machine rests, and no agent that dies leaves it so", s.hot},
		{"start twice changes nothing", s.startTwice},
		{"what is killed comes back on its port", s.kill},
		{"a new supervisor adopts", s.killSupervisor},
		{"stop leaves nothing", s.stop},
		{"strangers take the ports that are free", s.takeLeftPorts},
		{"a hostile repository gets nothing while the stack is stopped", s.hostile},
		{"taken ports are left to their owners", s.portsTaken},
		{"the first DAG run after a cold start succeeds", s.coldRun},
		{"every listener is on the loopback interface", s.loopback},
		{"stop leaves nothing again", s.stop},
		{"strangers learned nothing", s.strangersLearnedNothing},
	} {
		if !t.Run(part.name, part.run) {
			t.Fatal("the parts after this one build on it")
		}
	}
}

type stackSuite struct {
	suite   *testing.T // of all parts
	home    string
	before  map[string]bool                                 // listeners before a cold start
	scratch string                                          // the demo's project; empty: where it has it in the process runtime
	airflow func(t *testing.T, args ...string) (out string) // Airflow's own CLI; nil: the process runtime's

	environment map[string]string           // secrets of no server of the stack
	left        map[int]string              // ports that services had, and whose they were
	strangers   map[string]*stranger.Server // who must learn no secret, by what they are
}

// ctl runs mlopsctl and returns stdout; want is the exit code.
func (s *stackSuite) ctl(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, stderr, code := run(t, "mlopsctl", args...)
	if code != want {
		t.Fatalf("mlopsctl %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), code, want, out, stderr)
	}
	return out
}

func run(t *testing.T, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatalf("%s: %v", name, err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func (s *stackSuite) status(t *testing.T) compose.Status {
	t.Helper()
	out, stderr, _ := run(t, "mlopsctl", "status", "--json")
	var st compose.Status
	require.NoError(t, json.Unmarshal([]byte(out), &st), "%s%s", out, stderr)
	return st
}

// pids are those of the services that run: an optional one may not.
func pids(st compose.Status) map[string]int {
	m := map[string]int{}
	for _, s := range st.Services {
		if s.PID > 0 {
			m[s.Name] = s.PID
		}
	}
	return m
}

func (s *stackSuite) service(t *testing.T, name string) compose.ServiceStatus {
	t.Helper()
	for _, v := range s.status(t).Services {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("status shows no %s", name)
	return compose.ServiceStatus{}
}

// until polls ok until it holds.
func until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, limit)
		case <-tick.C:
		}
	}
}

func (s *stackSuite) demo(t *testing.T) {
	for range 2 {
		out := s.ctl(t, 0, "demo", "--json")
		var steps []struct{ Step, Result, URL string }
		require.NoError(t, json.Unmarshal([]byte(out), &steps))
		byName := map[string]string{}
		for _, st := range steps {
			byName[st.Step] = st.Result
		}
		var accuracy float64
		_, err := fmt.Sscanf(byName["score held-out rows"], "accuracy %f", &accuracy)
		require.NoError(t, err, byName)
		require.Greater(t, accuracy, 0.9, "the served answers are worse than any sound model of this data set")
		require.Contains(t, byName["drift: like data"], "drift false")
		require.Contains(t, byName["drift: shifted data"], "drift true")
		t.Log(out)
	}
}

// env is what status --env gives to Python programs.
func (s *stackSuite) env(t *testing.T) []string {
	t.Helper()
	var vars map[string]string
	require.NoError(t, json.Unmarshal([]byte(s.ctl(t, 0, "status", "--env", "--json")), &vars))
	env := os.Environ()
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	return env
}

// judge runs an upstream tool of one of the stack's environments.
func (s *stackSuite) judge(t *testing.T, dir string, env []string, venv, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.home, "venvs", venv, "bin", program), args...)
	cmd.Dir, cmd.Env = dir, env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s %s: %s%s", program, strings.Join(args, " "), out, stderr.String())
	return string(out)
}

func (s *stackSuite) judges(t *testing.T) {
	env := s.env(t)
	project := cmp.Or(s.scratch, filepath.Join(s.home, "demo"))

	t.Run("mlflow loads the champion and predicts", func(t *testing.T) {
		out := s.judge(t, project, env, "mlflow", "python", "-c", `
import mlflow, pandas as pd
frame = pd.read_csv("data/heldout.csv")
model = mlflow.pyfunc.load_model("models:/breast-cancer@champion")
right = (model.predict(frame.drop(columns="target")) == frame["target"]).mean()
run = mlflow.get_run(model.metadata.run_id)
assert run.info.status == "FINISHED", run.info.status
assert run.data.params["alpha"] == "0.001", run.data.params
assert "val_loss" in run.data.metrics, run.data.metrics
assert any(k.startswith("system/cpu") for k in run.data.metrics), run.data.metrics
print(f"accuracy {right:.3f}")
`)
		require.Contains(t, out, "accuracy 0.9")
	})

	t.Run("dvc status and dvc pull in a clone are clean", func(t *testing.T) {
		// Real dvc must not read or write this user's folders.
		env := append(env, "HOME="+t.TempDir(), "DVC_SITE_CACHE_DIR="+t.TempDir(), "DVC_GLOBAL_CONFIG_DIR="+t.TempDir(), "DVC_SYSTEM_CONFIG_DIR="+t.TempDir(), "DVC_NO_ANALYTICS=1")
		s.judge(t, project, env, "dvc", "dvc", "status", "--quiet")
		clone := filepath.Join(t.TempDir(), "clone")
		_, stderr, code := run(t, "git", "clone", "--quiet", project, clone)
		require.Zero(t, code, stderr)
		local, err := os.ReadFile(filepath.Join(project, ".dvc", "config.local"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(clone, ".dvc", "config.local"), local, 0o600))
		s.judge(t, clone, env, "dvc", "dvc", "pull", "--quiet")
		s.judge(t, clone, env, "dvc", "dvc", "status", "--quiet")
		s.judge(t, clone, env, "dvc", "dvc", "status", "--cloud", "--quiet")
	})

	t.Run("serve status shows RUNNING", func(t *testing.T) {
		out := s.judge(t, project, env, "ray", "serve", "status")
		require.Contains(t, out, "breast-cancer.classifier")
		require.Contains(t, out, "status: RUNNING")
	})

	t.Run("Airflow's own CLI shows the run successful", func(t *testing.T) {
		airflow := s.airflow
		if airflow == nil {
			airflow = func(t *testing.T, args ...string) string {
				return s.judge(t, project, s.airflowEnv(t, env), "airflow", "airflow", args...)
			}
		}
		out := airflow(t, "dags", "list-runs", "breast-cancer.train", "-o", "json")
		var runs []struct{ State string }
		require.NoError(t, json.Unmarshal([]byte(out[strings.Index(out, "[{"):]), &runs), out)
		require.GreaterOrEqual(t, len(runs), 2)
		for _, r := range runs {
			require.Equal(t, "success", r.State)
		}
	})

	t.Run("Evidently's client finds the project and its service lists the snapshots", func(t *testing.T) {
		out := s.judge(t, project, env, "evidently", "python", "-c", `
import json, os, urllib.request
from evidently.ui.workspace import RemoteWorkspace
w = RemoteWorkspace(os.environ["MLOPS_EVIDENTLY_URL"], secret=os.environ["MLOPS_EVIDENTLY_SECRET"])
(p,) = w.search_project("breast-cancer")
reading = urllib.request.Request(f"{w.base_url}/api/projects/{p.id}/snapshots", headers={"evidently-secret": w.secret})
with urllib.request.urlopen(reading) as answer:
    print("snapshots", len(json.load(answer)))
try:
    urllib.request.urlopen(reading.full_url)
except urllib.error.HTTPError as refused:
    assert refused.code == 401, refused
else:
    raise AssertionError("reading is open to a stranger")
`)
		var n int
		_, err := fmt.Sscanf(out[strings.LastIndex(out, "snapshots"):], "snapshots %d", &n)
		require.NoError(t, err, out)
		require.GreaterOrEqual(t, n, 4)
	})
}

// airflowEnv is the environment of the running scheduler, so that Airflow's CLI
// sees what the servers see.
func (s *stackSuite) airflowEnv(t *testing.T, env []string) []string {
	t.Helper()
	pid := pids(s.status(t))["airflow-scheduler"]
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	require.NoError(t, err)
	return append(env, strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")...)
}

// canary looks for every secret of the stack where none may be.
func (s *stackSuite) canary(t *testing.T) {
	s.lookAround(t)
	look := func(where string, text []byte) { s.look(t, where, text) }
	look("the output of status", []byte(s.ctl(t, 0, "status", "--json")))
	look("the output of list-deployments", []byte(s.ctl(t, 0, "list-deployments", "--all", "--json")))

	stack, err := stackfile.Read(s.home)
	require.NoError(t, err)
	ray := stack.Endpoints[stackfile.Ray]
	token, err := ray.Secret()
	require.NoError(t, err)
	for _, path := range []string{"/api/serve/applications/", "/api/v0/actors?detail=1", "/api/jobs/"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ray.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+string(token))
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, b.String())
		look("GET "+path, b.Bytes())
	}
}

func (s *stackSuite) startTwice(t *testing.T) {
	before := pids(s.status(t))
	s.ctl(t, 0, "start")
	require.Equal(t, before, pids(s.status(t)))
}

func (s *stackSuite) kill(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(pids(s.status(t)))) {
		t.Run(name, func(t *testing.T) {
			// What depends on the one that was killed before has ended too.
			until(t, 5*time.Minute, "all are healthy", func() bool { return s.status(t).State == compose.StateHealthy })
			before := s.service(t, name)
			require.Positive(t, before.PID, "0 would be this test's own process group")
			require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
			begin := time.Now()
			var now compose.ServiceStatus
			until(t, 5*time.Minute, name+" comes back", func() bool {
				now = s.service(t, name)
				return now.State == compose.StateReady && now.PID != before.PID
			})
			require.Equal(t, before.Ports, now.Ports, "it came back on other ports")
			t.Logf("%s: back after %.1f s", name, time.Since(begin).Seconds())
		})
	}
	until(t, 5*time.Minute, "all are healthy again", func() bool { return s.status(t).State == compose.StateHealthy })
	until(t, 3*time.Minute, "the deployment is back without being asked for", func() bool {
		out, _, code := run(t, "mlopsctl", "list-deployments", "-p", "breast-cancer", "--json")
		return code == 0 && strings.Contains(out, `"RUNNING"`)
	})
}

func (s *stackSuite) killSupervisor(t *testing.T) {
	st := s.status(t)
	require.NotZero(t, st.Supervisor.PID)
	require.NoError(t, syscall.Kill(st.Supervisor.PID, syscall.SIGKILL))
	until(t, 10*time.Second, "the supervisor is gone", func() bool { return syscall.Kill(st.Supervisor.PID, 0) != nil })
	s.ctl(t, 0, "start")
	now := s.status(t)
	require.Equal(t, pids(st), pids(now), "the servers were restarted, not adopted")
	require.NotEqual(t, st.Supervisor.PID, now.Supervisor.PID)
}

// family is every process that the stack started, by what it carries in its
// environment or by its files.
func (s *stackSuite) family(t *testing.T) []string {
	t.Helper()
	var out []string
	procs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, p := range procs {
		environ, _ := os.ReadFile(p + "/environ")
		cmdline, _ := os.ReadFile(p + "/cmdline")
		if p == "/proc/"+strconv.Itoa(os.Getpid()) || len(cmdline) == 0 {
			continue
		}
		if bytes.Contains(environ, []byte("MLOPS_SERVICE="+s.home+":")) || bytes.Contains(cmdline, []byte(s.home+"/venvs/")) {
			out = append(out, filepath.Base(p)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return out
}

func (s *stackSuite) stop(t *testing.T) {
	ports := map[int]string{}
	for _, svc := range s.status(t).Services {
		if svc.PID == 0 {
			continue // it keeps its number, but has no port that could be left
		}
		for name, n := range svc.Ports {
			ports[n] = svc.Name + "/" + name
			s.left[n] = ports[n]
		}
	}
	require.NotEmpty(t, s.family(t), "the look-up of the stack's processes finds none while it runs")
	s.ctl(t, 0, "stop")
	s.ctl(t, 12, "status")
	require.Empty(t, s.family(t))
	for at := range listeners(t) {
		_, p, err := net.SplitHostPort(at)
		require.NoError(t, err)
		n, err := strconv.Atoi(p)
		require.NoError(t, err)
		require.NotContains(t, ports, n, "somebody still listens on %s", at)
	}
	require.NoFileExists(t, stackfile.Path(s.home))
	s.ctl(t, 0, "stop") // twice is no error
}

// portsTaken starts the stack while strangers, as AirPlay on a Mac, hold the
// preferred ports.
func (s *stackSuite) portsTaken(t *testing.T) {
	for _, p := range []string{"5000", "8080", "8000"} {
		l, err := stranger.Listen(s.suite, "127.0.0.1:"+p)
		if err != nil {
			t.Logf("port %s is held by a stranger or another program already: %v", p, err)
			continue
		}
		s.strangers["port "+p] = l
	}
	s.before = listeners(t)
	out, stderr, code := run(t, "mlopsctl", "start")
	require.Zero(t, code, "%s%s", out, stderr)
	me := strconv.Itoa(os.Getpid())
	for _, p := range []string{"5000", "8080", "8000"} {
		require.Regexp(t, p+`.*pid `+me, stderr, "the owner of port %s is not named", p)
	}
	for _, svc := range s.status(t).Services {
		for _, n := range svc.Ports {
			require.NotContains(t, []int{5000, 8080, 8000}, n)
		}
	}
}

func (s *stackSuite) coldRun(t *testing.T) {
	s.ctl(t, 0, "dag", "trigger", "train", "-p", "breast-cancer", "--wait")
}

func (s *stackSuite) loopback(t *testing.T) {
	for at := range listeners(t) {
		host, _, err := net.SplitHostPort(at)
		require.NoError(t, err)
		if !s.before[at] && !net.ParseIP(host).IsLoopback() {
			t.Errorf("%s was opened by the stack and is not on the loopback interface", at)
		}
	}
}

// listeners are all listening TCP addresses of this machine.
func listeners(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, f := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, line := range strings.Split(string(b), "\n") {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != "0A" {
				continue
			}
			addr, port, _ := strings.Cut(fields[1], ":")
			raw, err := hex.DecodeString(addr)
			require.NoError(t, err)
			for i := 0; i+4 <= len(raw); i += 4 { // words are in host order
				raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
			}
			n, err := strconv.ParseUint(port, 16, 16)
			require.NoError(t, err)
			out[net.JoinHostPort(net.IP(raw).String(), strconv.FormatUint(n, 10))] = true
		}
	}
	return out
}
