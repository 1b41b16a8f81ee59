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
)

const endVariable = "MLOPS_STACKTEST_END"

// victim is what a test binary tells of its stack before it ends.
type victim struct {
	Home, Databases string
	Guard           int
	Addresses       []string
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
	root, err := os.ReadFile(filepath.Join(s.Home, "data", "postgres.folder"))
	require.NoError(t, err)
	v := victim{Home: s.Home, Databases: string(root), Guard: st.Supervisor.PID}
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
func run(t *testing.T, end string) (*exec.Cmd, victim) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), endVariable+"="+end)
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
		until(t, path+" is gone", func() bool { _, err := os.Lstat(path); return os.IsNotExist(err) })
	}
	until(t, "no process is left", func() bool { return len(processesOf(t, v.Home)) == 0 })
	for _, at := range v.Addresses {
		c, err := net.DialTimeout("tcp", at, 10*time.Second)
		if err == nil {
			c.Close()
		}
		require.Error(t, err, "somebody still listens on %s", at)
	}
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
	t.Run("by a panic in a test", func(t *testing.T) {
		t.Parallel()
		cmd, v := run(t, "panic")
		require.Error(t, cmd.Wait())
		leavesNothing(t, v)
	})
	t.Run("by kill -9", func(t *testing.T) {
		t.Parallel()
		cmd, v := run(t, "wait")
		require.NotEmpty(t, processesOf(t, v.Home), "the look-up finds nothing while the servers run")
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		leavesNothing(t, v)
	})
	t.Run("by kill -9 of it and of its guard", func(t *testing.T) {
		t.Parallel()
		cmd, v := run(t, "wait without MLflow")
		require.NoError(t, syscall.Kill(v.Guard, syscall.SIGKILL))
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())
		require.NoError(t, sweep(t.Context(), filepath.Dir(v.Home)), "as the next test binary does")
		leavesNothing(t, v)
	})
}
