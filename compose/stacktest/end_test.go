package stacktest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose"
)

const endVariable = "MLOPS_STACKTEST_END"

// victim is what a test binary tells of its stack before it ends.
type victim struct {
	Home      string
	Databases string // a folder outside of home; empty in containers
	Project   string // what the engine calls it; empty for processes
	Guard     int
	Addresses []string
}

// TestVictim is the test binary that comes to the end which is asked for.
func TestVictim(t *testing.T) {
	end := os.Getenv(endVariable)
	if end == "" {
		t.Skip("is run by another test")
	}
	services := []Service{MLflow, S3}
	if end == "wait without MLflow" { // which takes its time to start
		services = []Service{Postgres, S3}
	}
	s := Start(t, services...)
	st, err := s.stack.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, os.Getenv("MLOPS_RUNTIME"), st.Runtime)
	v := victim{Home: s.Home, Guard: st.Supervisor.PID}
	if st.Runtime == compose.DockerRuntime {
		v.Guard = shared.guard
		v.Project = strings.Fields(engineSays(t, "ps", "--filter", "label=com.docker.compose.project.working_dir="+filepath.Join(s.Home, "docker", "docker"),
			"--format", `{{.Label "com.docker.compose.project"}}`))[0]
	} else {
		root, err := os.ReadFile(filepath.Join(s.Home, "data", "postgres.folder"))
		require.NoError(t, err)
		v.Databases = string(root)
	}
	for _, of := range append(services, Postgres) {
		u, err := url.Parse(s.Endpoint(of).URL)
		require.NoError(t, err)
		v.Addresses = append(v.Addresses, u.Host)
	}
	require.NoError(t, json.NewEncoder(os.Stdout).Encode(v))
	if end == "panic" {
		panic("as planned")
	}
	select {} // until it is killed
}

// run starts a test binary and returns what it tells when its servers answer.
func run(t *testing.T, runtime, end string) (*exec.Cmd, victim) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), endVariable+"="+end, "MLOPS_RUNTIME="+runtime)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer stderr.Close()
	cmd.Stderr = stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	var v victim
	var said strings.Builder
	for v.Home == "" && lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		_ = json.Unmarshal(lines.Bytes(), &v)
	}
	if v.Home == "" {
		b, _ := os.ReadFile(stderr.Name())
		t.Fatalf("the test binary did not start its servers:\n%s%s", said.String(), b)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return cmd, v
}

// leavesNothing waits until all that a test binary had is gone.
func leavesNothing(t *testing.T, v victim) {
	t.Helper()
	for _, path := range []string{v.Home, v.Home + lockSuffix, v.Databases} {
		if path == "" {
			continue
		}
		until(t, path+" is gone", func() bool { _, err := os.Lstat(path); return os.IsNotExist(err) })
	}
	until(t, "no process is left", func() bool { return len(processesOf(t, v.Home)) == 0 })
	if v.Project != "" {
		for _, kind := range kinds {
			require.Empty(t, engineSays(t, append(kind, "--filter", "label=com.docker.compose.project="+v.Project)...), kind)
		}
	}
	for _, at := range v.Addresses {
		c, err := net.DialTimeout("tcp", at, 10*time.Second)
		if err == nil {
			c.Close()
		}
		require.Error(t, err, "a process still listens on %s", at)
	}
}

// kinds are what the engine is asked for that a stack has in it.
var kinds = [][]string{{"ps", "--all", "--quiet"}, {"volume", "ls", "--quiet"}, {"network", "ls", "--quiet"}}

// engineSays asks the engine's own client.
func engineSays(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// processesOf lists the processes that carry the home of a stack.
func processesOf(t *testing.T, home string) (out []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	require.NotEmpty(t, all, "only Linux shows the environment of processes")
	for _, p := range all {
		environ, _ := os.ReadFile(filepath.Join(p, "environ"))
		cmdline, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if bytes.Contains(environ, []byte(home)) || bytes.Contains(cmdline, []byte(home)) {
			out = append(out, filepath.Base(p)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	return out
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func TestNothingIsLeftWhenATestBinaryEnds(t *testing.T) {
	live(t)
	nothingIsLeft(t, compose.ProcessRuntime)
}

func TestNothingIsLeftInTheEngineWhenATestBinaryEnds(t *testing.T) {
	containers(t)
	nothingIsLeft(t, compose.DockerRuntime)
}

func nothingIsLeft(t *testing.T, runtime string) {
	t.Run("by a panic in a test", func(t *testing.T) {
		t.Parallel()
		cmd, v := run(t, runtime, "panic")
		require.Error(t, cmd.Wait())
		leavesNothing(t, v)
	})
	t.Run("by kill -9", func(t *testing.T) {
		t.Parallel()
		cmd, v := run(t, runtime, "wait")
		require.NotEmpty(t, processesOf(t, v.Home), "the look-up finds nothing while the servers run")
		if v.Project != "" {
			for _, kind := range kinds {
				require.NotEmpty(t, engineSays(t, append(kind, "--filter", "label=com.docker.compose.project="+v.Project)...), "the look-up finds no %s", kind)
			}
		}
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		leavesNothing(t, v)
	})
	t.Run("by kill -9 of it and of its guard", func(t *testing.T) {
		t.Parallel()
		cmd, v := run(t, runtime, "wait without MLflow")
		require.NoError(t, syscall.Kill(v.Guard, syscall.SIGKILL))
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		require.NoError(t, sweep(t.Context(), filepath.Dir(v.Home), t.Logf), "as the next test binary does")
		leavesNothing(t, v)
	})
}
