package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// fileCase is one file of a home that something happens to.
type fileCase struct {
	service string // what is started
	file    string // below the home; "databases/…": below the folder of PostgreSQL
	how     string
	running bool // while the stack runs, or while it is stopped
	fix     bool // doctor --fix is asked before the next start
}

func (c fileCase) String() string {
	when, then := "stopped", "start"
	if c.running {
		when = "running"
	}
	if c.fix {
		then = "fix"
	}
	return fmt.Sprintf("%s %s, %s, %s", c.file, c.how, when, then)
}

// fileCases are the files that the suite takes, and those of other servers,
// which are taken with MLOPS_HOME_FILES=all only.
func fileCases() (usual, rest []fileCase) {
	for _, f := range []struct {
		service, file string
		only          string // "running": it is not there, or means nothing, while the stack is stopped
	}{
		{"postgres", "home.id", ""}, {"postgres", "databases/home.id", ""}, {"postgres", "data/postgres.folder", ""},
		{"postgres", "secrets/postgres", ""}, {"postgres", "run/state.json", ""}, {"postgres", "stack.json", "running"},
		{"postgres", "run/supervisor.lock", "running"}, {"postgres", "run/supervisor.sock", "running"},
		{"mlflow", "secrets/mlflow", ""}, {"mlflow", "secrets/mlflow-session", ""}, {"mlflow", "data/mlflow/basic_auth.ini", ""},
		{"mlflow", "data/mlflow/pgpass", ""}, {"mlflow", "data/mlflow/tables", ""},
		{"evidently", "secrets/evidently", ""}, {"ray", "secrets/ray", ""}, {"s3", "secrets/s3.aws", ""},
		{"airflow", "secrets/airflow", ""}, {"airflow", "data/airflow/fernet", ""},
	} {
		for _, how := range []string{"removed", "emptied", "opened to others", "given to another user"} {
			if how == "emptied" && strings.HasPrefix(f.file, "run/supervisor.") || how == "given to another user" && os.Geteuid() != 0 {
				continue
			}
			for _, running := range []bool{true, false} {
				for _, fix := range []bool{false, true} {
					c := fileCase{f.service, f.file, how, running, fix}
					switch {
					case f.only == "running" && !running:
					case f.service == "postgres" || f.service == "mlflow":
						usual = append(usual, c)
					default:
						rest = append(rest, c)
					}
				}
			}
		}
	}
	return usual, rest
}

// fileSuite is a home of its own, a twin of the one that the suites run on.
type fileSuite struct {
	home, databases string
	kept            map[string][]byte // each file as it was when all was well
	services        []string          // what runs

	tried, named, fixes, mended int
}

// ctl runs mlopsctl on the suite's home and fails if it takes longer.
func (s *fileSuite) ctl(t *testing.T, limit time.Duration, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var out, talk bytes.Buffer
	cmd := exec.CommandContext(ctx, "mlopsctl", args...)
	cmd.Env = append(os.Environ(), "MLOPS_HOME="+s.home, "MLOPS_RUNTIME=process")
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "mlopsctl %s does not end within %s\n%s%s", strings.Join(args, " "), limit, out.String(), talk.String())
	if _, exited := err.(*exec.ExitError); err != nil {
		require.True(t, exited, err)
	}
	return out.String(), talk.String(), cmd.ProcessState.ExitCode()
}

const usualStart = 4 * time.Minute

func (s *fileSuite) start(t *testing.T, service string) {
	t.Helper()
	_, talk, code := s.ctl(t, usualStart, "start", service)
	require.Zero(t, code, talk)
	s.services = []string{service}
}

func (s *fileSuite) stop(t *testing.T) {
	t.Helper()
	_, talk, code := s.ctl(t, 30*time.Second, "stop")
	require.Zero(t, code, talk)
	_, talk, code = s.ctl(t, 10*time.Second, "status")
	require.Equal(t, 12, code, "something still runs: %s", talk)
	s.services = nil
}

func (s *fileSuite) path(file string) string {
	if name, ok := strings.CutPrefix(file, "databases/"); ok {
		return filepath.Join(s.databases, name)
	}
	return filepath.Join(s.home, file)
}

// names reports whether doctor names the file; what the supervisor has mended
// by itself, which doctor tells, counts if healed does.
func (s *fileSuite) names(t *testing.T, file string, healed bool) bool {
	t.Helper()
	out, talk, _ := s.ctl(t, 10*time.Second, "doctor", "--json")
	var all []compose.Finding
	require.NoError(t, json.Unmarshal([]byte(out), &all), "%s%s", out, talk)
	return slices.ContainsFunc(all, func(f compose.Finding) bool {
		return f.Severity != compose.SeverityOK && (f.Check != "mended" || healed) && strings.Contains(f.Message, s.path(file))
	})
}

func (c fileCase) damage(t *testing.T, path string) {
	t.Helper()
	switch c.how {
	case "removed":
		require.NoError(t, os.Remove(path))
	case "emptied":
		require.NoError(t, os.Truncate(path, 0))
	case "opened to others":
		require.NoError(t, os.Chmod(path, 0o644))
	case "given to another user":
		require.NoError(t, os.Chown(path, 12345, 12345))
	}
}

// keep remembers each file as it is, the first time that it is there.
func (s *fileSuite) keep(t *testing.T, all []fileCase) {
	t.Helper()
	for _, c := range all {
		if s.kept[c.file] != nil || strings.HasPrefix(c.file, "run/") || c.file == "stack.json" {
			continue
		}
		if b, err := os.ReadFile(s.path(c.file)); err == nil {
			s.kept[c.file] = b
		}
	}
}

// putBack is the cure of a file that there is no copy of.
func (s *fileSuite) putBack(t *testing.T, file string) {
	t.Helper()
	require.NotEmpty(t, s.kept[file], "%s was not mended, and there is nothing to put back", file)
	require.NoError(t, os.RemoveAll(s.path(file)))
	require.NoError(t, os.WriteFile(s.path(file), s.kept[file], 0o600))
}

// TestEachFileOfAHomeMayBeLost does to a file of a home what users, backups and
// full disks do, and wants commands that end, tell the truth and name a cure that
// works; and the databases that were there. It takes a sample of
// MLOPS_HOME_FILES cases, 12 by default, drawn by MLOPS_SEED, or all of them.
func TestEachFileOfAHomeMayBeLost(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: starts servers of its own (make test)")
	}
	if os.Getenv("MLOPS_RUNTIME") == compose.DockerRuntime {
		t.Skip("of the process runtime")
	}
	usual, rest := fileCases()
	var sample []fileCase
	if want := os.Getenv("MLOPS_HOME_FILES"); want == "all" {
		sample = append(slices.Clone(usual), rest...)
	} else {
		n, _ := strconv.Atoi(want)
		if n == 0 {
			n = 12
		}
		seed, _ := strconv.ParseUint(os.Getenv("MLOPS_SEED"), 10, 64)
		if seed == 0 {
			seed = uint64(time.Now().UnixNano())
		}
		t.Logf("MLOPS_SEED=%d", seed)
		r := rand.New(rand.NewPCG(seed, 0))
		for _, i := range r.Perm(len(usual))[:min(n, len(usual))] {
			sample = append(sample, usual[i])
		}
		slices.SortStableFunc(sample, func(a, b fileCase) int { return -strings.Compare(a.service, b.service) }) // postgres, then mlflow
	}
	original, err := mlops.Home()
	require.NoError(t, err)
	whole, err := compose.New(compose.Options{Home: original})
	require.NoError(t, err)
	below, err := os.MkdirTemp("", "hf-") // short: the path of a socket is limited
	require.NoError(t, err)
	twin, err := whole.Twin(filepath.Join(below, "h"))
	require.NoError(t, err)
	s := &fileSuite{home: filepath.Join(below, "h"), kept: map[string][]byte{}}
	t.Cleanup(func() {
		require.NoError(t, twin.Destroy(context.Background()))
		require.NoError(t, os.RemoveAll(below))
	})
	s.start(t, "mlflow") // so that all files are there
	note, err := os.ReadFile(filepath.Join(s.home, "data", "postgres.folder"))
	require.NoError(t, err)
	s.databases = string(note)
	s.keep(t, usual)
	made, err := os.Stat(filepath.Join(s.databases, "data"))
	require.NoError(t, err)
	s.stop(t)

	for _, c := range sample {
		t.Run(c.String(), func(t *testing.T) { s.try(t, c, made, rest) })
	}
	t.Logf("%d of %d cases; doctor named %d; doctor --fix mended %d of %d", s.tried, len(usual)+len(rest), s.named, s.mended, s.fixes)
	require.GreaterOrEqual(t, s.named*10, s.tried*9, "doctor named %d of %d", s.named, s.tried)
}

func (s *fileSuite) try(t *testing.T, c fileCase, made os.FileInfo, rest []fileCase) {
	began := time.Now()
	if !slices.Equal(s.services, []string{c.service}) && (c.running || s.kept[c.file] == nil) {
		if s.services != nil {
			s.stop(t)
		}
		s.start(t, c.service)
		s.keep(t, rest)
	}
	if !c.running && s.services != nil {
		s.stop(t)
	}
	s.tried++
	c.damage(t, s.path(c.file))
	_, talk, code := s.ctl(t, 10*time.Second, "status")
	require.Contains(t, []int{0, 11, 12}, code, talk)
	named := s.names(t, c.file, true)
	if named {
		s.named++
	}
	if c.fix {
		s.fixes++
		_, fixed, _ := s.ctl(t, 10*time.Second, "doctor", "--fix")
		if !s.names(t, c.file, false) {
			s.mended++
		} else {
			t.Logf("not mended: %s", fixed)
		}
	}
	if c.running {
		s.stop(t)
	}
	_, talk, code = s.ctl(t, usualStart, "start", c.service)
	how := "ready at once"
	if code != 0 {
		require.Contains(t, talk, s.path(c.file), "the cause is not named")
		_, fixed, _ := s.ctl(t, 10*time.Second, "doctor", "--fix")
		how = "ready after doctor --fix"
		if s.names(t, c.file, false) {
			require.Contains(t, talk+fixed, "put it back", "no cure is named")
			s.putBack(t, c.file)
			how = "ready after it was put back"
		}
		_, again, code := s.ctl(t, usualStart, "start", c.service)
		require.Zero(t, code, "the cure does not work: %s\nafter: %s\n%s", again, talk, fixed)
	}
	s.services = []string{c.service}
	now, err := os.Stat(filepath.Join(s.databases, "data"))
	require.NoError(t, err)
	require.True(t, os.SameFile(made, now), "it began with empty databases")
	if !strings.HasPrefix(c.file, "run/") {
		require.False(t, s.names(t, c.file, false), "all is well, and doctor still names it")
	}
	t.Logf("named %t, %s, %.0f s", named, how, time.Since(began).Seconds())
}
