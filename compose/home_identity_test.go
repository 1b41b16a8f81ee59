package compose

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// life makes a home that has run on databases in root, or a part of one.
type life struct{ home, root string }

func newLife(t *testing.T) life {
	t.Helper()
	l := life{home: filepath.Join(t.TempDir(), "home"), root: filepath.Join(t.TempDir(), "databases")}
	require.NoError(t, makeHome(l.home))
	require.NoError(t, makeSecret(l.home, "postgres"))
	l.initdb(t)
	require.NoError(t, databasesOf(l.home, l.root).claim())
	require.NoError(t, writePrivate(filepath.Join(l.home, "data", "mlflow", "pgpass"), "127.0.0.1:5432:*:mlops:"+string(l.secret(t))+"\n"))
	return l
}

func (l life) initdb(t *testing.T) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(l.root, "data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(l.root, "data", "PG_VERSION"), []byte("15\n"), 0o600))
}

func (l life) secret(t *testing.T) mlops.Secret {
	t.Helper()
	pw, _, err := readSecret(l.home, "postgres")
	require.NoError(t, err)
	return pw
}

func (l life) remove(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		require.NoError(t, os.RemoveAll(filepath.Join(l.home, n)))
	}
}

// judged returns what becomes of the databases that the home finds.
func (l life) judged(t *testing.T) (root string, aside bool, err error) {
	t.Helper()
	root, err = postgresRoot(l.home)
	require.NoError(t, err)
	aside, err = databasesOf(l.home, root).judge()
	return root, aside, err
}

func TestAHomeGoesOnWithItsOwnDatabasesOnly(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, l *life)
		want string // of the conflict; empty: it goes on with its databases
	}{
		{"nothing happened", func(*testing.T, *life) {}, ""},
		{"the note of the folder is gone", func(t *testing.T, l *life) { l.remove(t, "data/postgres.folder") }, ""},
		{"the home's ID is gone", func(t *testing.T, l *life) { l.remove(t, "home.id") }, ""},
		{"the home's ID is empty", func(t *testing.T, l *life) {
			require.NoError(t, os.Truncate(identityPath(l.home), 0))
		}, ""},
		{"the folder's ID is gone", func(t *testing.T, l *life) { require.NoError(t, os.Remove(identityPath(l.root))) }, ""},
		{"run and logs are gone", func(t *testing.T, l *life) { l.remove(t, "run", "logs", "stack.json") }, ""},
		{"a home of before IDs", func(t *testing.T, l *life) {
			l.remove(t, "home.id")
			require.NoError(t, os.Remove(identityPath(l.root)))
		}, ""},
		{"the home was renamed", func(t *testing.T, l *life) { l.rename(t) }, ""},
		{"the home was renamed and lost the note", func(t *testing.T, l *life) { l.rename(t); l.remove(t, "data/postgres.folder") }, ""},

		{"the secret is gone", func(t *testing.T, l *life) { l.remove(t, "secrets/postgres") }, "secrets/postgres is missing"},
		{"the secret is empty", func(t *testing.T, l *life) {
			require.NoError(t, os.Truncate(filepath.Join(l.home, "secrets", "postgres"), 0))
		}, "secrets/postgres is empty"},
		{"all secrets are gone", func(t *testing.T, l *life) { l.remove(t, "secrets") }, "secrets/postgres is missing"},
		{"the secret and the ID are gone", func(t *testing.T, l *life) { l.remove(t, "secrets", "home.id") }, "secrets/postgres is missing"},
		{"all but the ID and the note is gone", func(t *testing.T, l *life) { l.remove(t, "secrets", "data/mlflow") }, "secrets/postgres is missing"},
		{"the databases are gone", func(t *testing.T, l *life) { require.NoError(t, os.RemoveAll(l.root)) }, "had its databases in"},
		{"the databases are gone, of a home of before IDs", func(t *testing.T, l *life) {
			require.NoError(t, os.RemoveAll(l.root))
			l.remove(t, "home.id")
		}, "had its databases in"},
		{"the databases of another home are there", func(t *testing.T, l *life) {
			other := newLife(t)
			require.NoError(t, os.RemoveAll(l.root))
			require.NoError(t, os.Rename(other.root, l.root))
		}, "do not belong together"},
		{"the home was copied", func(t *testing.T, l *life) { l.copy(t) }, "is a copy of"},
		{"the home was copied and lost its ID", func(t *testing.T, l *life) { l.copy(t); l.remove(t, "home.id") }, "is a copy of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLife(t)
			tt.do(t, &l)
			before := tree(t, l.home)
			root, aside, err := l.judged(t)
			require.False(t, aside, "the databases were set aside, and it began with empty ones")
			if tt.want == "" {
				require.NoError(t, err)
				require.Equal(t, l.root, root)
				require.NoError(t, databasesOf(l.home, root).claim())
				own, deed := readIdentity(l.home), readIdentity(l.root)
				require.NotEmpty(t, own.ID)
				require.Equal(t, own.ID, deed.ID)
				require.Equal(t, l.home, deed.Home)
				return
			}
			require.ErrorIs(t, err, mlops.ErrConflict)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, l.home, "one of both is not named")
			require.ErrorContains(t, err, l.root, "one of both is not named")
			require.Equal(t, before, tree(t, l.home), "it changed something")
		})
	}
}

func (l *life) rename(t *testing.T) {
	t.Helper()
	to := l.home + "-renamed"
	require.NoError(t, os.Rename(l.home, to))
	l.home = to
}

func (l *life) copy(t *testing.T) {
	t.Helper()
	to := l.home + "-copy"
	require.NoError(t, os.CopyFS(to, os.DirFS(l.home)))
	l.home = to
}

// tree is the names and contents of a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	}))
	return out
}

func TestACopyIsToldTheTwoCommandsThatMakeSense(t *testing.T) {
	l := newLife(t)
	original := l.home
	l.copy(t)
	_, _, err := l.judged(t)
	require.ErrorContains(t, err, "MLOPS_HOME="+original+" mlopsctl start")
	require.ErrorContains(t, err, "rm -r "+identityPath(l.home))
	l.remove(t, "home.id", "secrets", "data") // the second
	root, aside, err := l.judged(t)
	require.NoError(t, err)
	require.False(t, aside)
	require.NotEqual(t, l.root, root, "it has databases of its own")

	require.NoError(t, os.RemoveAll(original)) // it was meant to be moved
	l = newLife(t)
	original = l.home
	l.copy(t)
	require.NoError(t, os.RemoveAll(original))
	root, _, err = l.judged(t)
	require.NoError(t, err)
	require.Equal(t, l.root, root)
}

func TestDatabasesInsideOfAHomeAreCopiedWithIt(t *testing.T) {
	l := life{home: filepath.Join(t.TempDir(), "home")}
	l.root = filepath.Join(l.home, "data", "postgres")
	require.NoError(t, makeHome(l.home))
	require.NoError(t, makeSecret(l.home, "postgres"))
	l.initdb(t)
	require.NoError(t, databasesOf(l.home, l.root).claim())
	l.copy(t)
	root, _, err := l.judged(t)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(l.home, "data", "postgres"), root, "it would work on the original's")
	l.remove(t, "secrets")
	_, aside, err := l.judged(t)
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.False(t, aside)
}

func TestAHomeThatWasMadeAgainBeginsAnewBesideTheOldDatabases(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's databases lie outside of the home")
	}
	old := newLife(t)
	require.NoError(t, os.RemoveAll(old.home))
	require.NoError(t, makeHome(old.home))
	id, err := ensureIdentity(old.home)
	require.NoError(t, err)
	root, aside, err := old.judged(t)
	require.NoError(t, err)
	require.False(t, aside)
	require.Equal(t, filepath.Join(sharedFolder, id.short()), root, "it would be given what a home of before left")
}

func TestAFolderOutsideOfTheHomeIsNamedByItsIDOrPath(t *testing.T) {
	d := databases{home: "/h", own: identity{ID: newID()}}
	for root, moved := range map[string]bool{namedByID(d.own): false, namedByPath("/h"): false, namedByPath("/h2"): true, "/srv/databases": false} {
		d.root = root
		require.Equal(t, moved, d.moved(), root)
	}
}

func TestAnIDIsMadeOnce(t *testing.T) {
	home := t.TempDir()
	ids := make(chan string, 8)
	for range cap(ids) {
		go func() {
			id, err := ensureIdentity(home)
			if err != nil {
				id.ID = err.Error()
			}
			ids <- id.ID
		}()
	}
	first := <-ids
	require.Regexp(t, identityText, first)
	for range cap(ids) - 1 {
		require.Equal(t, first, <-ids)
	}
	require.NoError(t, privateFile(identityPath(home)))
}

func TestACopiedHomeTouchesNoProcessOfTheOriginal(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	st := start(t, s)
	to := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, exec.Command("cp", "-a", s.home, to).Run()) // as users do, the socket included
	duplicate := *s
	duplicate.home = to
	now, err := duplicate.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateStopped, now.State, "it takes the original's servers for its own")
	require.NoError(t, duplicate.Stop(t.Context(), StopOptions{}))
	still, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateHealthy, still.State)
	require.Equal(t, of(st, "app").PID, of(still, "app").PID, "stop of the copy ended a server of the original")
}

func TestNoSecretIsMadeWhereAServerHasAnother(t *testing.T) {
	l := newLife(t)
	here := &site{home: l.home}
	for name, trace := range map[string]string{"postgres": "mlflow/pgpass", "mlflow": "mlflow/basic_auth.ini", "airflow-fernet": "airflow/fernet"} {
		require.NoError(t, writePrivate(here.data(trace), "something\n"))
		l.remove(t, "secrets/"+name)
		_, _, err := here.secret(name)
		require.ErrorIs(t, err, mlops.ErrConflict, name)
		require.ErrorContains(t, err, here.secretFile(name))
		require.NoFileExists(t, here.secretFile(name))
	}
	_, file, err := here.secret("evidently") // it is given to the server at each start
	require.NoError(t, err)
	require.NoError(t, privateFile(file))

	looks := &site{home: l.home, looks: true}
	_, _, err = looks.secret("ray")
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.NoFileExists(t, looks.secretFile("ray"), "a question made a secret")

	require.NoError(t, os.Chmod(file, 0o644))
	_, _, err = looks.secret("evidently")
	require.ErrorIs(t, err, mlops.ErrForbidden)
	_, _, err = here.secret("evidently")
	require.NoError(t, err, "a start closes it")
	require.NoError(t, privateFile(file))
}

func TestASecretThatCannotBeReadEndsAStartAtOnce(t *testing.T) {
	for name, do := range map[string]func(file string) error{
		"missing": os.Remove,
		"empty":   func(file string) error { return os.Truncate(file, 0) },
		"open":    func(file string) error { return os.Chmod(file, 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			f := fake{Name: "app", Port: freePort(t)}
			s := stackOf(t, f)
			v := f.recipe()
			v.prepare = func(_ context.Context, s *site) error { _, _, err := s.secret("app"); return err }
			v.ready = func(_ context.Context, s *site) error {
				if err := do(s.secretFile("app")); err != nil {
					return err
				}
				_, _, err := s.secret("app")
				return err
			}
			s.catalog = func(bool) []service { return []service{v} }
			within(t, s)
			_, err := s.Start(t.Context(), StartOptions{WaitTimeout: time.Hour})
			require.ErrorIs(t, err, mlops.ErrUnavailable)
			require.ErrorContains(t, err, secretPath(s.home, "app"))
			require.ErrorContains(t, err, "mlopsctl doctor --fix")
		})
	}
}
