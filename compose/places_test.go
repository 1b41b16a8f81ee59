package compose

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestEveryPlaceOfAHomeIsNamed(t *testing.T) {
	l := newLife(t)
	disk := t.TempDir()
	require.NoError(t, os.Symlink(disk, filepath.Join(l.home, "venvs")))
	s, err := New(Options{Home: l.home, Command: os.Args[0]})
	require.NoError(t, err)
	require.Equal(t, []string{l.home, l.root, disk}, s.Places())
	err = s.Destroy(t.Context())
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.ErrorContains(t, err, "rm -r "+l.home+" "+l.root+" "+disk)
	require.DirExists(t, l.root)

	l.copy(t)
	s.home = l.home
	own := readIdentity(l.home)
	own.ID = newID()
	require.NoError(t, own.write(l.home))
	require.NotContains(t, s.Places(), l.root, "the databases of another home")
	require.NoError(t, os.WriteFile(twinNote(l.home), []byte("/original"), 0o600))
	require.ErrorIs(t, s.Destroy(t.Context()), mlops.ErrConflict)
	require.DirExists(t, l.root, "a twin deleted the databases of another home")
	require.DirExists(t, l.home)
}

func TestSetupAsksForDiskBeforeItBegins(t *testing.T) {
	for _, name := range environments() {
		require.NotZero(t, sizes[name], "the size of %s is not known", name)
	}
	require.NoError(t, roomFor("/h", servers, 3e9))
	err := roomFor("/h", servers, 6e7)
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.EqualError(t, err, "compose: setup: mlflow, airflow, ray, evidently take 3.0 GB, and /h has 0.1 GB free; make room, or choose a larger disk: MLOPS_HOME=/a/larger/disk mlopsctl setup")
	require.NoError(t, roomFor("/h", []string{"dvc"}, 3e8), "only what is missing has to fit")
}
