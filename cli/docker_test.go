package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// TestDockerSmoke has a stack in containers of its own, in the home MLOPS_HOME:
// PostgreSQL, S3 and MLflow. Its parts build on each other.
func TestDockerSmoke(t *testing.T) {
	s := dockerSuiteOf(t, "MLOPS_LIVE_DOCKER")
	s.parts(t, []part{
		{"MLflow starts on PostgreSQL and S3", s.startMLflow},
		{"a run lies in PostgreSQL and its artifact in S3", s.logRun},
		{"a deleted record is made again of what runs", s.recordDeleted},
		{"only the loopback interface is published", s.published},
		{"no container runs as root", s.users},
		{"secrets are in no inspection, log or argument", s.secretsStayInside},
		{"what is killed comes back with all it had", s.killed},
		{"stop and start keep everything", s.stopAndStart},
		{"two stacks live side by side", s.sideBySide},
		{"destroy leaves nothing of ours and all of others", s.destroy},
	})
}

type part struct {
	name string
	run  func(*testing.T)
}

type dockerSuite struct {
	*stackSuite
	run     string // the ID of the logged run
	project string // what the engine calls this stack
}

// dockerSuiteOf needs an engine; compose/ci/engine.sh makes one.
func dockerSuiteOf(t *testing.T, variable string) *dockerSuite {
	t.Helper()
	if os.Getenv(variable) == "" {
		t.Skip("starts containers: set " + variable + "=1 (make test-docker does)")
	}
	home := os.Getenv("MLOPS_HOME")
	if home == "" {
		t.Fatal("MLOPS_HOME is not set: this test must not destroy a stack that somebody uses")
	}
	t.Setenv("MLOPS_RUNTIME", "")
	s := &dockerSuite{stackSuite: newStackSuite(t, home)}
	if _, err := os.Stat(filepath.Join(home, "run", "docker.json")); err == nil {
		s.ctl(t, 0, "destroy", "--yes") // what a run left that was cut short
	}
	return s
}

func (s *dockerSuite) parts(t *testing.T, parts []part) {
	t.Helper()
	for _, p := range parts {
		began := time.Now()
		if !t.Run(p.name, p.run) {
			out, _, _ := run(t, "mlopsctl", "status")
			t.Fatal("the parts after this one build on it\n" + out)
		}
		t.Logf("%s: %.0f s", p.name, time.Since(began).Seconds())
	}
}

// engine runs the engine's client, which must succeed.
func (s *dockerSuite) engine(t *testing.T, args ...string) string {
	t.Helper()
	out, stderr, code := run(t, "docker", args...)
	require.Zero(t, code, "docker %s: %s%s", strings.Join(args, " "), out, stderr)
	return out
}

// containers are the IDs of this stack's, or of one service.
func (s *dockerSuite) containers(t *testing.T, service string) []string {
	t.Helper()
	args := []string{"ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=" + s.project}
	if service != "" {
		args = append(args, "--filter", "label=com.docker.compose.service="+service)
	}
	return strings.Fields(s.engine(t, args...))
}

// inside runs Python in a container of a service, with what its server has.
func (s *dockerSuite) inside(t *testing.T, service, program string) string {
	t.Helper()
	return s.engine(t, "exec", s.containers(t, service)[0], "python", "-c", program)
}

func (s *dockerSuite) startMLflow(t *testing.T) {
	s.ctl(t, 0, "start", "--runtime", "docker", "mlflow")
	st := s.status(t)
	require.Equal(t, compose.DockerRuntime, st.Runtime)
	require.Equal(t, compose.StateHealthy, st.State)
	for _, name := range []string{"postgres", "s3", "mlflow"} {
		require.Equal(t, compose.StateReady, s.service(t, name).State, name)
	}
	require.Equal(t, compose.StateStopped, s.service(t, "redis").State)
	pid := s.service(t, "mlflow").PID
	s.findProject(t)
	s.ctl(t, 0, "start", "mlflow")
	require.Equal(t, pid, s.service(t, "mlflow").PID, "what ran was started again")
}

func (s *dockerSuite) findProject(t *testing.T) {
	out := s.engine(t, "ps", "--all", "--filter", "label=com.docker.compose.project.working_dir="+filepath.Join(s.home, "docker", "docker"),
		"--format", `{{.Label "com.docker.compose.project"}}`)
	s.project = strings.Fields(out)[0]
}

func (s *dockerSuite) logRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "weights.bin")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("weights "), 1<<17), 0o644))
	s.ctl(t, 0, "run", "exec", "-p", "smoke", "--name", "first", "--", "sh", "-c",
		`mlopsctl metric log --run "$MLFLOW_RUN_ID" --step 3 loss=0.25 && mlopsctl artifact log --run "$MLFLOW_RUN_ID" `+file)
	var runs []struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(s.ctl(t, 0, "run", "list", "-p", "smoke", "--json")), &runs))
	require.Len(t, runs, 1)
	s.run = runs[0].ID
	s.keptRun(t)
}

// keptRun lets MLflow's and S3's own clients look for the run.
func (s *dockerSuite) keptRun(t *testing.T) {
	out := s.inside(t, "mlflow", fmt.Sprintf(`
import os, boto3, mlflow
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = "/run/mlops/aws"
os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
os.environ["MLFLOW_TRACKING_PASSWORD"] = open("/run/secrets/mlflow").read()
mlflow.set_tracking_uri("http://127.0.0.1:5000")
run = mlflow.get_run("%[1]s")
assert run.info.status == "FINISHED", run.info.status
assert run.data.metrics["loss"] == 0.25, run.data.metrics
path = mlflow.artifacts.download_artifacts("runs:/%[1]s/weights.bin", dst_path="/tmp/kept")
s3 = boto3.client("s3", endpoint_url="http://s3:7070", region_name="us-east-1")
(kept,) = [o for o in s3.list_objects_v2(Bucket="mlflow")["Contents"] if o["Key"].endswith("%[1]s/artifacts/weights.bin")]
print("kept", os.path.getsize(path), kept["Size"])
`, s.run))
	require.Contains(t, out, "kept 1048576 1048576")
}

func (s *dockerSuite) recordDeleted(t *testing.T) {
	before := s.service(t, "mlflow")
	require.NoError(t, os.Remove(filepath.Join(s.home, "run", "docker.json")))
	s.ctl(t, 0, "start", "mlflow")
	now := s.service(t, "mlflow")
	require.Equal(t, before.PID, now.PID, "what ran was started again")
	require.Equal(t, before.Ports, now.Ports)
	require.FileExists(t, filepath.Join(s.home, "run", "docker.json"))
	s.keptRun(t)
}

// published asks the kernel, not the engine, who listens where.
func (s *dockerSuite) published(t *testing.T) {
	want := map[int]string{}
	for _, v := range s.status(t).Services {
		for name, n := range v.Ports {
			if v.State != compose.StateStopped {
				want[n] = v.Name + "/" + name
			}
		}
	}
	require.NotEmpty(t, want)
	found := map[string]bool{}
	for at := range listeners(t) {
		host, number, err := net.SplitHostPort(at)
		require.NoError(t, err)
		n, err := strconv.Atoi(number)
		require.NoError(t, err)
		if name, ours := want[n]; ours {
			found[name] = true
			require.True(t, net.ParseIP(host).IsLoopback(), "%s listens on %s", name, at)
		}
	}
	require.Len(t, found, len(want), "a published port has no listener: the look-up proves nothing")
	for _, id := range s.containers(t, "") {
		for _, line := range strings.Split(s.engine(t, "port", id), "\n") {
			if line != "" {
				require.Contains(t, line, "127.0.0.1:")
			}
		}
	}
}

func (s *dockerSuite) users(t *testing.T) {
	for _, id := range s.containers(t, "") {
		out := s.engine(t, "inspect", "--format", `{{index .Config.Labels "com.docker.compose.service"}} {{.Config.User}} {{.State.Pid}}`, id)
		f := strings.Fields(out)
		require.Len(t, f, 3, "%s has no user of its own", out)
		for _, line := range strings.Split(strings.TrimSpace(s.engine(t, "top", id, "-eo", "uid,pid,args")), "\n")[1:] {
			require.NotEqual(t, "0", strings.Fields(line)[0], "%s: %s", f[0], line)
		}
		t.Logf("%s runs as %s", f[0], f[1])
	}
}

func (s *dockerSuite) secretsStayInside(t *testing.T) {
	names, err := os.ReadDir(filepath.Join(s.home, "docker-secrets"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(names), 11)
	info, err := os.Stat(filepath.Join(s.home, "docker-secrets"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "others reach the secrets")
	var seen bytes.Buffer
	for _, id := range s.containers(t, "") {
		out, stderr, code := run(t, "docker", "logs", id)
		require.Zero(t, code)
		seen.WriteString(s.engine(t, "inspect", id) + out + stderr)
		seen.WriteString(s.engine(t, "top", id, "-eo", "pid,args"))
	}
	for _, image := range strings.Fields(s.engine(t, "images", "--quiet", "--filter", "reference=mlops/*")) {
		seen.WriteString(s.engine(t, "history", "--no-trunc", image) + s.engine(t, "inspect", image))
	}
	seen.WriteString(s.ctl(t, 0, "status", "--json"))
	require.Contains(t, seen.String(), "MLFLOW_WORKERS", "the inspections show no environment: the look-up proves nothing")
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(s.home, "docker-secrets", n.Name()))
		require.NoError(t, err)
		require.Len(t, string(b), 64)
		require.NotContains(t, seen.String(), string(b), "the secret %s can be seen", n.Name())
	}
}

// processOf is the container's first process, as this machine counts. Only a
// test that kills it may take the engine's word for that.
func (s *dockerSuite) processOf(t *testing.T, id string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(s.engine(t, "inspect", "--format", "{{.State.Pid}}", id)))
	require.NoError(t, err)
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	require.NoError(t, err)
	require.Contains(t, string(b), id, "process %d is not the container's", pid)
	return pid
}

func (s *dockerSuite) killed(t *testing.T) {
	for _, name := range []string{"postgres", "s3", "mlflow"} {
		id := s.containers(t, name)[0]
		before := s.processOf(t, id)
		began := time.Now()
		require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
		until(t, 5*time.Minute, name+" comes back", func() bool {
			now := s.service(t, name)
			return now.State == compose.StateReady && now.PID != before
		})
		t.Logf("%s: back after %.0f s", name, time.Since(began).Seconds())
		s.keptRun(t)
	}
}

func (s *dockerSuite) stopAndStart(t *testing.T) {
	s.ctl(t, 0, "stop")
	s.ctl(t, 12, "status")
	require.NoFileExists(t, stackfile.Path(s.home))
	s.ctl(t, 0, "stop") // twice is no error
	s.ctl(t, 0, "start", "mlflow")
	s.keptRun(t)
}

// sideBySide starts the S3 store of another home while this stack runs.
func (s *dockerSuite) sideBySide(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	before := s.service(t, "s3")
	s.ctl(t, 0, "--home", other, "start", "--runtime", "docker", "s3")
	var st compose.Status
	require.NoError(t, json.Unmarshal([]byte(s.ctl(t, 0, "--home", other, "status", "--json")), &st))
	i := slices.IndexFunc(st.Services, func(v compose.ServiceStatus) bool { return v.Name == "s3" })
	require.Equal(t, compose.StateReady, st.Services[i].State)
	require.NotEqual(t, before.Ports, st.Services[i].Ports)
	s.ctl(t, 0, "--home", other, "destroy", "--yes")
	require.Equal(t, before.PID, s.service(t, "s3").PID)
	s.keptRun(t)
}

func (s *dockerSuite) destroy(t *testing.T) {
	foreign := foreignContainer(t)
	s.ctl(t, 2, "destroy")
	require.NotEmpty(t, s.containers(t, ""), "destroy without --yes removed something")
	s.ctl(t, 0, "destroy", "--yes")
	require.Empty(t, s.containers(t, ""))
	for _, kind := range []string{"volume", "network"} {
		require.Empty(t, s.engine(t, kind, "ls", "--quiet", "--filter", "label=com.docker.compose.project="+s.project))
	}
	require.NoFileExists(t, stackfile.Path(s.home))
	state, err := foreign.State(t.Context())
	require.NoError(t, err)
	require.True(t, state.Running, "a container that is not ours was touched")
	require.NotEmpty(t, s.engine(t, "image", "ls", "--quiet", "redis:7-bookworm"), "an image that is not ours was removed")
}

// foreignContainer is what somebody else runs on the same engine: here the
// containers of another program's tests.
func foreignContainer(t *testing.T) testcontainers.Container {
	t.Helper()
	t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // its image is nowhere to be had without a registry
	c, err := testcontainers.Run(t.Context(), "redis:7-bookworm", testcontainers.WithExposedPorts("6379/tcp"),
		testcontainers.WithWaitStrategy(wait.ForListeningPort("6379/tcp")))
	testcontainers.CleanupContainer(t, c)
	require.NoError(t, err)
	return c
}
