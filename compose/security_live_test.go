package compose

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	gnet "github.com/shirou/gopsutil/v4/net"
	"github.com/stretchr/testify/require"
)

var updateSecurity = flag.Bool("update-security", false, "write the rows of SECURITY.md that the running services have")

// reached are the requests that a second user makes without credentials, by
// service and port.
var reached = map[string][]string{
	"mlflow http":             {"/", "/health", "/version", "/api/2.0/mlflow/experiments/get?experiment_id=0", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0", "/api/2.0/mlflow-artifacts/artifacts"},
	"airflow-api-server http": {"/", "/api/v2/version", "/api/v2/monitor/health", "/api/v2/dags", "/api/v2/connections", "/execution/health", "/docs", "/openapi.json"},
	"ray dashboard":           {"/", "/api/version", "/api/serve/applications/", "/api/jobs/", "/api/v0/actors", "/nodes?view=summary"},
	"ray metrics":             {"/metrics"},
	"ray gcs":                 {"/"},
	"ray agent":               {"/"},
	"ray serve":               {"/-/healthz", "/-/routes"},
	"evidently http":          {"/", "/api/version", "/api/projects", "/static/js/x"},
	"s3 http":                 {"/", "/mlops"},
	"agent http":              {"/health", "/"},
}

// TestLiveWhatASecondUserCanReadAndReach makes a user of this machine and lets
// it look: SECURITY.md has a row for each thing that it can read or reach.
func TestLiveWhatASecondUserCanReadAndReach(t *testing.T) {
	s, rec := liveProcesses(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can make a second user")
	}
	second := secondUser(t)
	ours := familyOf(t, s, rec)

	t.Run("files", func(t *testing.T) {
		home, err := os.Stat(s.home)
		require.NoError(t, err)
		require.Zero(t, home.Mode().Perm()&0o077, "the home is open to others, whatever folder it is in")
		databases, err := postgresRoot(s.home)
		require.NoError(t, err)
		ports, err := reservations()
		require.NoError(t, err)
		for _, dir := range []string{s.home, databases, rayFolder(s.home), ports} {
			out := second(t, `if [ -r "$1" ] || [ -w "$1" ]; then echo "$1"; fi; find "$1" -mindepth 1 2>/dev/null`, dir)
			require.Empty(t, out, "a second user sees what is in %s", dir)
		}
		held := heldFiles(t, ours)
		require.NotEmpty(t, held, "no open file of the stack was found")
		out := second(t, `for f; do if [ -r "$f" ] || [ -w "$f" ]; then echo "$f"; fi; done`, held...)
		require.Empty(t, out, "a second user can read or write what the stack's processes have open")
	})

	t.Run("processes", func(t *testing.T) {
		var pids []string
		for pid := range ours {
			pids = append(pids, strconv.Itoa(int(pid)))
		}
		out := second(t, `for p; do if cat "/proc/$p/environ" >/dev/null 2>&1; then echo "$p"; fi; done`, pids...)
		require.Empty(t, out, "a second user can read the environment of the stack's processes")
	})

	rows := map[string]string{}
	all, err := gnet.ConnectionsWithContext(t.Context(), "tcp")
	require.NoError(t, err)
	for _, c := range all {
		service, ok := ours[c.Pid]
		if !ok || c.Status != "LISTEN" {
			continue
		}
		name := service + " (another port)"
		for port, n := range rec.Ports {
			if owner, of, _ := strings.Cut(port, "/"); owner == service && n == int(c.Laddr.Port) {
				name = service + " " + of
			}
		}
		paths := reached[name]
		if paths == nil {
			paths = []string{"/"}
		}
		var answers []string
		for _, p := range paths {
			answers = append(answers, fmt.Sprintf("`%s` %s", p, stranger(t, fmt.Sprintf("http://127.0.0.1:%d%s", c.Laddr.Port, p))))
		}
		row := strings.Join(answers, ", ")
		if before := rows[name]; before != "" { // several ports without a name of ours
			both := append(strings.Split(before, "; "), row)
			slices.Sort(both)
			row = strings.Join(slices.Compact(both), "; ")
		}
		rows[name] = row
	}
	require.NotEmpty(t, rows)
	checkTable(t, rows)
}

// stranger is how a server answers who shows no credentials.
func stranger(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	require.NoError(t, err)
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		return "no HTTP"
	}
	resp.Body.Close()
	return strconv.Itoa(resp.StatusCode)
}

// secondUser makes a user and returns a way to run shell scripts as that user;
// it is removed after the test.
func secondUser(t *testing.T) func(t *testing.T, script string, args ...string) string {
	t.Helper()
	name := fmt.Sprintf("mlops-second-%06x", rand.N(1<<24))
	out, err := exec.CommandContext(t.Context(), "useradd", "--no-create-home", "--shell", "/bin/sh", name).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Cleanup(func() {
		out, err := exec.Command("userdel", name).CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	u, err := user.Lookup(name)
	require.NoError(t, err)
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	require.NoError(t, err)
	return func(t *testing.T, script string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", script, "sh"}, args...)...)
		cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		out, err := cmd.Output()
		if _, exited := err.(*exec.ExitError); !exited {
			require.NoError(t, err)
		}
		return string(out)
	}
}

// heldFiles are the files and sockets with a name that processes have open,
// without those that belong to the system.
func heldFiles(t *testing.T, ours map[int32]string) []string {
	t.Helper()
	held := map[string]bool{}
	for pid := range ours {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // it may be gone
		for _, fd := range append(fds, fmt.Sprintf("/proc/%d/cwd", pid)) {
			p, err := os.Readlink(fd)
			if err != nil || !filepath.IsAbs(p) || slices.ContainsFunc([]string{"/dev/null", "/dev/urandom", "/dev/pts/", "/proc/", "/sys/", "/usr/", "/lib", "/etc/"}, func(s string) bool { return strings.HasPrefix(p, s) }) {
				continue
			}
			if info, err := os.Stat(p); err == nil && info.Mode()&(fs.ModeDir|fs.ModeCharDevice) == 0 {
				held[p] = true
			}
		}
	}
	sockets, err := gnet.ConnectionsWithContext(t.Context(), "unix")
	require.NoError(t, err)
	for _, c := range sockets {
		if _, ok := ours[c.Pid]; ok && filepath.IsAbs(c.Laddr.IP) {
			held[c.Laddr.IP] = true
		}
	}
	return slices.Sorted(maps.Keys(held))
}

var tableRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$")

// checkTable compares the rows of the services that run with SECURITY.md.
func checkTable(t *testing.T, rows map[string]string) {
	t.Helper()
	b, err := os.ReadFile("../SECURITY.md")
	require.NoError(t, err)
	text := string(b)
	written := map[string]string{}
	for _, m := range tableRow.FindAllStringSubmatch(text, -1) {
		written[m[1]] = m[2]
	}
	if !*updateSecurity {
		for name, row := range rows {
			if strings.HasSuffix(name, "(another port)") { // not all of them are there at any time
				require.Subset(t, strings.Split(written[name], "; "), strings.Split(row, "; "), name)
				continue
			}
			require.Equal(t, written[name], row, "SECURITY.md says something else about %s; look at what changed, then: go test -run SecondUser ./compose -update-security", name)
		}
		return
	}
	maps.Copy(written, rows)
	const begin, end = "<!-- rows -->\n", "<!-- /rows -->"
	before, rest, _ := strings.Cut(text, begin)
	_, after, _ := strings.Cut(rest, end)
	var table strings.Builder
	table.WriteString("| port of | without credentials |\n| --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(written)) {
		fmt.Fprintf(&table, "| `%s` | %s |\n", name, written[name])
	}
	require.NoError(t, os.WriteFile("../SECURITY.md", []byte(before+begin+table.String()+end+after), 0o644))
}
