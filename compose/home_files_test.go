package compose

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// mended runs Mend and returns what it did to a file, and what Doctor says of it
// before and after.
func mended(t *testing.T, s *Stack, file string) (before, did, after Finding) {
	t.Helper()
	about := func(all []Finding, err error) Finding {
		require.NoError(t, err)
		for _, f := range all {
			if f.Check == "file" && len(f.Message) > len(file) && f.Message[:len(file)+1] == file+" " {
				return f
			}
		}
		return Finding{}
	}
	before = about(s.Doctor(t.Context()))
	did = about(s.Mend(t.Context()))
	return before, did, about(s.Doctor(t.Context()))
}

func TestDoctorMendsWhatIsSafeAndSaysWhatItDid(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		do         func(t *testing.T, file string)
		did        string // empty: it cannot be mended
	}{
		{"a secret that others may read", "secrets/mlflow", func(t *testing.T, f string) { require.NoError(t, os.Chmod(f, 0o644)) }, "mode 0600 again"},
		{"a secret in MLflow's configuration", "secrets/mlflow", func(t *testing.T, f string) { require.NoError(t, os.Remove(f)) }, "restored from"},
		{"an empty secret in the password file", "secrets/postgres", func(t *testing.T, f string) { require.NoError(t, os.Truncate(f, 0)) }, "restored from"},
		{"a secret of which there is no copy", "secrets/postgres", func(t *testing.T, f string) {
			require.NoError(t, os.Remove(f))
			require.NoError(t, os.Remove(filepath.Join(filepath.Dir(f), "..", "data", "mlflow", "pgpass")))
		}, ""},
		{"a secret that a server is given at its start", "secrets/mlflow-session", func(t *testing.T, f string) { require.NoError(t, os.Remove(f)) }, "made again"},
		{"the home's ID", "home.id", func(t *testing.T, f string) { require.NoError(t, os.Truncate(f, 0)) }, "written again"},
		{"the note of the folder", "data/postgres.folder", func(t *testing.T, f string) { require.NoError(t, os.Remove(f)) }, "written again"},
		{"what MLflow reads", "data/mlflow/basic_auth.ini", func(t *testing.T, f string) { require.NoError(t, os.Truncate(f, 0)) }, "written again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLife(t)
			only(t, t.TempDir()) // nothing that takes time to look at
			t.Setenv(postgresFolder, "")
			s, err := New(Options{Home: l.home, Command: os.Args[0]})
			require.NoError(t, err)
			here := s.siteOf(map[string]int{"postgres/sql": 5432, "mlflow/http": 5000}, false, nil)
			here.looks = false
			require.NoError(t, mlflowFiles(here))
			_, _, err = here.secret("mlflow-session")
			require.NoError(t, err)
			require.NoError(t, writePrivate(here.data("mlflow", "tables"), "3"))
			require.NoError(t, state{Version: stateVersion, Home: l.home, Boot: proc.BootID(), Ports: here.ports}.write(l.home))
			whole := tree(t, l.home)
			file := filepath.Join(l.home, tt.file)

			tt.do(t, file)
			before, did, after := mended(t, s, file)
			require.NotEmpty(t, before, "doctor does not name it")
			require.Equal(t, "mlopsctl doctor --fix", before.Fix)
			if tt.did == "" {
				require.Equal(t, SeverityFail, did.Severity)
				require.Contains(t, did.Message, "put it back from a backup")
				require.Equal(t, before, after)
				return
			}
			require.Equal(t, SeverityOK, did.Severity)
			require.Contains(t, did.Message, tt.did)
			require.Empty(t, after, "it was not mended")
			if tt.did != "made again" {
				require.Equal(t, whole, tree(t, l.home), "it is another than it was")
			}
		})
	}
}

func TestWhatTheSupervisorKeepsIsPutBack(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	only(t, t.TempDir())
	st := start(t, s)
	for _, file := range []string{"run/state.json", "run/supervisor.sock", "run/supervisor.lock", "stack.json"} {
		path := filepath.Join(s.home, file)
		if _, err := os.Lstat(path); err != nil {
			continue // the socket of a long home lies elsewhere
		}
		for how, do := range map[string]func() error{
			"removed": func() error { return os.Remove(path) },
			"opened":  func() error { return os.Chmod(path, 0o666) },
		} {
			require.NoError(t, do())
			now, err := s.Status(t.Context())
			require.NoError(t, err)
			require.Equal(t, StateHealthy, now.State, "%s was %s, and the stack counts as lost", file, how)
			require.Equal(t, st.Supervisor.PID, now.Supervisor.PID)
			eventually(t, file+" is there again", func() bool { return privateFile(path) == nil })
		}
	}
	all, err := s.Doctor(t.Context())
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(all, func(f Finding) bool { return f.Check == "mended" && f.Severity == SeverityWarn }), "nobody is told")
	require.NoError(t, s.Stop(t.Context(), StopOptions{}))
	require.Empty(t, proc.Listeners(of(st, "app").Ports["http"]))
}

func TestDoctorNamesAHomeThatCannotBeWrittenTo(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	require.Empty(t, s.checkHome(t.Context(), Status{}))
	for err, text := range map[error]string{unix.EROFS: "/h is on a file system that is mounted read-only", unix.EACCES: "/h cannot be written to: permission denied"} {
		f := homeFinding("/h", err)
		require.Equal(t, SeverityFail, f.Severity)
		require.Equal(t, text, f.Message)
		require.NotEmpty(t, f.Fix)
	}
}

func TestDoctorOfAStackInContainersMakesNoSecrets(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	require.NoError(t, makeHome(s.home))
	e.containers(t, recorded(t))
	_, err := s.Doctor(t.Context())
	require.NoError(t, err)
	found, err := filepath.Glob(filepath.Join(s.home, "secrets", "*"))
	require.NoError(t, err)
	require.Empty(t, found, "a question made secrets")
}

func TestASupervisorThatEndsTakesNothingBack(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	require.NoError(t, makeHome(s.home))
	sup := newSupervisor(s, slog.New(slog.DiscardHandler))
	l, err := takeLock(s.home)
	require.NoError(t, err)
	sup.locked, sup.lockedAs = l, stampOf(lockPath(s.home))
	sup.endHealing()
	l.release()
	sup.heal()
	require.NoFileExists(t, lockPath(s.home), "the next supervisor cannot begin")
	require.False(t, held(s.home))
}
