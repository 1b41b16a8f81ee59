package compose

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gnet "github.com/shirou/gopsutil/v4/net"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// liveStack is the stack that runs for the suites.
func liveStack(t *testing.T) *Stack {
	t.Helper()
	if os.Getenv("MLOPS_LIVE") == "" {
		t.Skip("needs the running stack: only with MLOPS_LIVE=1")
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	s, err := New(Options{Home: home})
	require.NoError(t, err)
	return s
}

// liveProcesses is liveStack and its state on record, for tests that look at
// processes and files of this machine. Containers have their own (TestDockerStack).
func liveProcesses(t *testing.T) (*Stack, state) {
	t.Helper()
	s := liveStack(t)
	d, err := s.containers()
	require.NoError(t, err)
	if d != nil {
		t.Skip("of the process runtime: this stack is in containers")
	}
	st, err := readState(s.home)
	require.NoError(t, err)
	require.NotEmpty(t, st.Services, "no stack runs in %s; run: mlopsctl start", s.home)
	return s, st
}

// familyOf returns the numbers of all processes of a stack.
func familyOf(t *testing.T, s *Stack, st state) map[int32]string {
	t.Helper()
	all, err := proc.All()
	require.NoError(t, err)
	marks := proc.Remembered(proc.MarkIn)
	out := map[int32]string{}
	for name, r := range st.Services {
		for _, p := range all.Members(proc.Family{Main: r.Main, Seen: r.Seen, Mark: proc.Mark(s.home, name)}, marks) {
			out[int32(p.PID)] = name
		}
	}
	return out
}

func TestLiveServersAnswerAsTheirRecipesWant(t *testing.T) {
	d, err := liveStack(t).containers()
	require.NoError(t, err)
	if d != nil {
		require.NoError(t, d.confirm(t.Context(), d.services(false)))
		return
	}
	s, rec := liveProcesses(t)
	here := s.siteOf(rec.Ports, rec.Light, t.Output())
	for _, v := range s.recipes(rec.Light) {
		if rec.Services[v.name] == nil {
			continue
		}
		require.NoError(t, v.ready(t.Context(), here), v.name)
		if v.settled != nil {
			require.NoError(t, v.settled(t.Context(), here), "%s: settled runs again after every restart", v.name)
		}
	}
	if !rec.Light {
		require.NoError(t, airflowTables(t.Context(), here), "tables that are there are left alone")
	}
}

func TestLiveListenersAreForTheLoopbackInterface(t *testing.T) {
	s, rec := liveProcesses(t)
	ours := familyOf(t, s, rec)
	all, err := gnet.ConnectionsWithContext(t.Context(), "tcp")
	require.NoError(t, err)
	n := 0
	for _, c := range all {
		name, ok := ours[c.Pid]
		if !ok || c.Status != "LISTEN" {
			continue
		}
		n++
		ip, err := netip.ParseAddr(c.Laddr.IP)
		require.NoError(t, err)
		require.True(t, ip.Unmap().IsLoopback(), "%s listens on %s:%d, open to the network", name, c.Laddr.IP, c.Laddr.Port)
	}
	require.GreaterOrEqual(t, n, 4, "the listeners of the stack were not found")
}

func TestLiveSecretsAreInNoLogAndNoArgument(t *testing.T) {
	s, rec := liveProcesses(t)
	secrets := map[string]string{}
	files, err := filepath.Glob(filepath.Join(s.home, "secrets", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range append(files, filepath.Join(s.home, "data", "airflow", "fernet")) {
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f)
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		secrets[filepath.Base(f)] = strings.TrimSpace(string(b))
	}
	check := func(where string, text []byte) {
		t.Helper()
		for name, secret := range secrets {
			require.NotContains(t, string(text), secret, "%s shows the secret %s", where, name)
		}
	}
	for pid, name := range familyOf(t, s, rec) {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
			check(name+"'s arguments", b)
		}
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err == nil && strings.HasPrefix(name, "airflow") && !bytes.Contains(b, []byte("MLFLOW_RUN_ID=")) { // what mlopsctl run exec runs in a task is given MLflow's
			check(name+"'s environment, which tasks inherit,", b)
		}
	}
	logs, err := filepath.Glob(filepath.Join(s.home, "logs", "*.log*"))
	require.NoError(t, err)
	require.NotEmpty(t, logs)
	for _, f := range append(logs, filepath.Join(s.home, "stack.json"), statePath(s.home)) {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		check(f, b)
	}
}

func TestLiveDoctorFindsNothingWrong(t *testing.T) {
	s := liveStack(t)
	all, err := s.Doctor(t.Context())
	require.NoError(t, err)
	for _, f := range all {
		require.NotEqual(t, SeverityFail, f.Severity, "%+v", f)
	}
	vars, err := s.Env(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, vars)
}
