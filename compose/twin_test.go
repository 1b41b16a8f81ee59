package compose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
)

func TestATwinSharesWhatIsInstalledAndNothingElse(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	mine := start(t, s)
	home := filepath.Join(t.TempDir(), "twin")
	twin, err := s.Twin(home)
	require.NoError(t, err)
	again, err := s.Twin(home)
	require.NoError(t, err, "the same twin once more")
	theirs := start(t, again)
	require.NotEqual(t, mine.Supervisor.PID, theirs.Supervisor.PID)
	require.NotEqual(t, of(mine, "app").Ports, of(theirs, "app").Ports)
	for _, d := range installed {
		a, err := os.Stat(filepath.Join(s.home, d))
		require.NoError(t, err)
		b, err := os.Stat(filepath.Join(home, d))
		require.NoError(t, err)
		require.True(t, os.SameFile(a, b), d)
	}
	installedFile := filepath.Join(s.home, "venvs", "kept")
	require.NoError(t, os.WriteFile(installedFile, nil, 0o600))

	require.NoError(t, twin.Destroy(t.Context()))
	require.True(t, gone(home))
	require.Empty(t, proc.Listeners(of(theirs, "app").Ports["http"]))
	require.FileExists(t, installedFile, "what is installed is the original's")
	st, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, of(mine, "app").PID, of(st, "app").PID, "the original was touched")
	require.Equal(t, StateHealthy, st.State)
}

func TestOfATwinWhoseSupervisorWasKilledNothingIsLeft(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	twin, err := s.Twin(filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
	require.NoError(t, err)
	st := start(t, twin)
	socket, err := socketPath(twin.home)
	require.NoError(t, err)
	require.False(t, strings.HasPrefix(socket, twin.home), "the home is not too long for a socket")
	kill(t, st.Supervisor.PID)
	eventually(t, "the supervisor is dead", func() bool { _, err := proc.Inspect(st.Supervisor.PID); return err != nil })
	require.NoError(t, twin.Destroy(t.Context()))
	require.True(t, gone(twin.home))
	require.True(t, gone(filepath.Dir(socket)), "the socket's folder is left")
	require.Empty(t, proc.Listeners(of(st, "app").Ports["http"]))
}

func TestOnlyATwinIsDestroyedWithItsHome(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(s.home, "venvs"))) // on a larger disk
	require.ErrorIs(t, s.Destroy(t.Context()), mlops.ErrUnsupported)
	require.DirExists(t, s.home)
}

func TestNoTwinIsMadeInTheHomeOfAnotherStack(t *testing.T) {
	s := stackOf(t)
	other := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(other, "data"), 0o700))
	_, err := s.Twin(other)
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	home := filepath.Join(t.TempDir(), "twin")
	_, err = s.Twin(home)
	require.NoError(t, err)
	third := *s
	third.home = t.TempDir()
	_, err = third.Twin(home)
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
}

func TestDatabasesOfATwinLieApart(t *testing.T) {
	s := stackOf(t)
	root := t.TempDir()
	t.Setenv(postgresFolder, root)
	script(t, filepath.Join(fetchedFolder(root), "bin", "postgres"), "echo ours")
	require.NoError(t, os.Chmod(filepath.Dir(root), 0o755)) // PostgreSQL's user has to get there, if we are root
	twin, err := s.Twin(filepath.Join(t.TempDir(), "twin"))
	require.NoError(t, err)
	theirs, err := postgresRoot(twin.home)
	require.NoError(t, err)
	require.NotEqual(t, root, theirs)
	require.FileExists(t, filepath.Join(fetchedFolder(theirs), "bin", "postgres"), "the programs are shared")
	require.NoError(t, twin.Destroy(t.Context()))
	require.True(t, gone(theirs))
	require.FileExists(t, filepath.Join(fetchedFolder(root), "bin", "postgres"))
}
