package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/rayserve"
)

// TestDockerStack has the whole stack in containers, in the home MLOPS_HOME,
// with two Celery workers. Its parts build on each other.
func TestDockerStack(t *testing.T) {
	s := &wholeSuite{dockerSuite: dockerSuiteOf(t, "MLOPS_LIVE_DOCKER")}
	s.parts(t, []part{
		{"everything starts", s.startAll},
		{"the demo passes, and passes again", s.demo},
		{"upstream clients agree", s.upstream},
		{"a run lies in PostgreSQL and its artifact in S3", s.logRun},
		{"only the loopback interface is published", s.published},
		{"no container runs as root", s.users},
		{"secrets are in no inspection, log or argument", s.secretsStayInside},
		{"forty tasks succeed although a Celery worker is killed", s.fortyTasks},
		{"a model served on two nodes outlives the loss of one", s.twoNodes},
		{"the engine is killed and comes back with all of it", s.killEngine},
		{"stop and start keep everything", s.stopAndStartAll},
		{"what is killed comes back with all it had", s.killEach},
		{"destroy leaves nothing of ours and all of others", s.destroy},
	})
}

type wholeSuite struct {
	*dockerSuite
	client *client.Project
	dag    airflow.DAGRun
	state  string // of the DAG run's tasks
}

func (s *wholeSuite) startAll(t *testing.T) {
	began := time.Now()
	s.ctl(t, 0, "setup", "--runtime", "docker")
	t.Logf("images: %.0f s", time.Since(began).Seconds())
	began = time.Now()
	s.ctl(t, 0, "start", "--scale", "airflow-worker=2", "--wait-timeout", "15m")
	t.Logf("healthy: %.0f s", time.Since(began).Seconds())
	s.findProject(t)
	var pss int64
	for _, v := range s.status(t).Services {
		require.Equal(t, compose.StateReady, v.State, v.Name)
		t.Logf("%-22s PSS %5d MiB", v.Name, v.PSSBytes>>20)
		pss += v.PSSBytes
	}
	t.Logf("%-22s PSS %5d MiB", "all", pss>>20)
	t.Log(s.engine(t, "images", "--filter", "reference=mlops/*", "--format", "{{.Repository}} {{.Size}}"))
	require.Len(t, s.containers(t, "airflow-worker"), 2)
	// As a project would have it that finds this stack in MLOPS_HOME.
	p, err := client.FromProject(t.Context(), "containers", client.In(t.TempDir()), client.WithHome(s.home))
	require.NoError(t, err)
	s.client = p
	s.scratch = filepath.Join(s.home, "projects", "demo")
}

// upstream has the upstream clients on this machine; only Airflow's own CLI,
// which wants its database, runs in a container.
func (s *wholeSuite) upstream(t *testing.T) {
	s.ctl(t, 0, "setup", "mlflow", "dvc", "ray", "evidently")
	s.stackSuite.airflow = func(t *testing.T, args ...string) string {
		worker := s.containers(t, "airflow-worker")[0]
		return s.engine(t, append([]string{"exec", worker, "sh", "/opt/mlops/airflow.sh"}, args...)...)
	}
	s.judges(t)
}

// killContainer ends the first process of a container, as a crash would.
func (s *wholeSuite) killContainer(t *testing.T, id string) {
	t.Helper()
	require.NoError(t, syscall.Kill(s.processOf(t, id), syscall.SIGKILL))
}

func (s *wholeSuite) fortyTasks(t *testing.T) {
	spec := airflow.DAGSpec{ID: "forty", DefaultArgs: airflow.DefaultArgs{Retries: 3, RetryDelay: time.Second}}
	for i := range 40 {
		spec.Tasks = append(spec.Tasks, airflow.TaskSpec{ID: fmt.Sprintf("t%02d", i), Bash: "mlopsctl version >/dev/null && sleep 5 && hostname"})
	}
	dag, err := s.client.DeclareDAG(t.Context(), spec)
	require.NoError(t, err)
	r, err := s.client.Trigger(t.Context(), "forty", airflow.TriggerOptions{})
	require.NoError(t, err)
	victim := s.containers(t, "airflow-worker")[0]
	host := strings.TrimSpace(s.engine(t, "inspect", "--format", "{{.Config.Hostname}}", victim))
	until(t, 5*time.Minute, "the worker runs a task", func() bool {
		for ti, err := range s.client.Airflow.Tasks.All(t.Context(), dag.ID, r.ID) {
			require.NoError(t, err)
			if ti.State == airflow.StateRunning && ti.Host == host {
				return true
			}
		}
		return false
	})
	s.killContainer(t, victim)
	began := time.Now()
	r, err = s.client.Airflow.Wait(t.Context(), dag.ID, r.ID, airflow.WaitOptions{})
	require.NoError(t, err)
	hosts, again := map[string]int{}, 0
	for ti, err := range s.client.Airflow.Tasks.All(t.Context(), dag.ID, r.ID) {
		require.NoError(t, err)
		require.Equal(t, airflow.StateSuccess, ti.State, ti.TaskID)
		hosts[ti.Host]++
		if ti.Try > 1 {
			again++
		}
	}
	require.Len(t, hosts, 2, "one worker did it all")
	require.NotZero(t, again, "no task was lost with the worker: the kill proves nothing")
	t.Logf("done %.0f s after the kill, %d tasks tried again, by worker: %v", time.Since(began).Seconds(), again, hosts)
	s.dag = r
	s.state = s.tasks(t)
}

// tasks is where and when each task of the DAG run ran, as Airflow remembers it.
func (s *wholeSuite) tasks(t *testing.T) string {
	t.Helper()
	r, err := s.client.Airflow.Runs.Get(t.Context(), s.dag.DAGID, s.dag.ID)
	require.NoError(t, err)
	require.Equal(t, airflow.StateSuccess, r.State)
	all, err := mlops.Collect(s.client.Airflow.Tasks.All(t.Context(), s.dag.DAGID, s.dag.ID))
	require.NoError(t, err)
	require.Len(t, all, 40)
	b, err := json.Marshal(all)
	require.NoError(t, err)
	return string(b)
}

// twoNodes serves a model with two replicas so large that no node takes both.
func (s *wholeSuite) twoNodes(t *testing.T) {
	s.inside(t, "mlflow", `
import os
os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
os.environ["MLFLOW_TRACKING_PASSWORD"] = open("/run/secrets/mlflow").read()
import mlflow, pandas as pd
from sklearn.linear_model import LinearRegression
mlflow.set_tracking_uri("http://127.0.0.1:5000")
x = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
with mlflow.start_run():
    mlflow.sklearn.log_model(LinearRegression().fit(x, [1.0, 3.0, 5.0]), name="line", registered_model_name="line", input_example=x)
`)
	_, err := s.client.Deploy(t.Context(), "line/1", client.DeployOptions{Replicas: 2, NumCPUs: 3})
	require.NoError(t, err)
	require.True(t, s.predicts(t))
	s.killContainer(t, s.containers(t, "ray-worker")[0])
	asked, failed := 0, 0
	began := time.Now()
	row := 0
	until(t, 5*time.Minute, "it answers fifty times in a row", func() bool {
		asked++
		if s.predicts(t) {
			row++
		} else {
			row, failed = 0, failed+1
		}
		return row == 50
	})
	t.Logf("%d of %d requests failed within %.0f s of the loss", failed, asked, time.Since(began).Seconds())
	until(t, 5*time.Minute, "the node is back, and with it the second replica", func() bool {
		for a, err := range s.client.Deployments(t.Context()) {
			if err == nil && a.Status == rayserve.StateRunning && s.service(t, "ray-worker").State == compose.StateReady {
				return true
			}
		}
		return false
	})
}

func (s *wholeSuite) predicts(t *testing.T) bool {
	out, err := s.client.Predict(t.Context(), "line", rayserve.DataframeSplit{Columns: []string{"x"}, Data: [][]any{{10.0}}})
	if err != nil {
		return false
	}
	got, err := out.Floats()
	require.NoError(t, err)
	require.InDelta(t, 21, got[0], 1e-6)
	return true
}

// kept looks for all that the parts before have made.
func (s *wholeSuite) kept(t *testing.T) {
	t.Helper()
	s.keptRun(t)
	require.Equal(t, s.state, s.tasks(t), "Airflow's history is another")
	s.ctl(t, 0, "start") // declares again what a Ray head that died has forgotten
	until(t, 5*time.Minute, "the model answers", func() bool { return s.predicts(t) })
}

func (s *wholeSuite) healthy(t *testing.T) {
	t.Helper()
	until(t, 10*time.Minute, "all are ready", func() bool {
		for _, v := range s.status(t).Services {
			if v.State != compose.StateReady {
				return false
			}
		}
		return true
	})
}

func (s *wholeSuite) killEach(t *testing.T) {
	for _, v := range s.status(t).Services {
		id := s.containers(t, v.Name)[0]
		before := s.processOf(t, id)
		began := time.Now()
		s.killContainer(t, id)
		until(t, 5*time.Minute, v.Name+" is another process", func() bool {
			pid, err := strconv.Atoi(strings.TrimSpace(s.engine(t, "inspect", "--format", "{{.State.Pid}}", id)))
			return err == nil && pid != 0 && pid != before
		})
		s.healthy(t)
		t.Logf("%s: back after %.0f s", v.Name, time.Since(began).Seconds())
	}
	s.kept(t)
}

// killEngine ends the engine as a crash would, finds that mlopsctl says so, and
// starts the engine and the stack again.
func (s *wholeSuite) killEngine(t *testing.T) {
	socket, found := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	pidfile := filepath.Join(filepath.Dir(socket), "dockerd.pid")
	b, err := os.ReadFile(pidfile)
	if !found || err != nil {
		t.Skip("the engine is not one that compose/ci/engine.sh made; others' are not killed")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	before := pids(s.status(t))
	began := time.Now()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	until(t, time.Minute, "the engine is gone", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
	_, stderr, code := run(t, "mlopsctl", "status")
	require.Equal(t, 6, code, stderr)
	require.Contains(t, stderr, "no Docker engine answers")
	cmd := exec.CommandContext(t.Context(), filepath.Join("..", "compose", "ci", "engine.sh"), "start")
	cmd.Env = append(os.Environ(), "MLOPS_HOME="+filepath.Dir(filepath.Dir(socket)))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	// Docker 20.10 ends what outlived it and takes that for our wish.
	s.ctl(t, 0, "start", "--wait-timeout", "15m")
	for name, now := range pids(s.status(t)) {
		require.NotEqual(t, before[name], now, "%s outlived its engine: the kill proves nothing", name)
	}
	t.Logf("all back after %.0f s", time.Since(began).Seconds())
	s.kept(t)
}

func (s *wholeSuite) stopAndStartAll(t *testing.T) {
	s.ctl(t, 0, "stop")
	s.ctl(t, 12, "status")
	require.NoFileExists(t, stackfile.Path(s.home))
	began := time.Now()
	s.ctl(t, 0, "start", "--wait-timeout", "15m")
	t.Logf("healthy again after %.0f s", time.Since(began).Seconds())
	require.Len(t, s.containers(t, "airflow-worker"), 2, "the scale was forgotten")
	s.kept(t)
}
