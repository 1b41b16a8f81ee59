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

func TestCommandsToCopyQuotePathsWithBlanks(t *testing.T) {
	home := filepath.Join(t.TempDir(), "my home")
	require.NoError(t, os.MkdirAll(home, 0o700))
	s, err := New(Options{Home: home, Command: os.Args[0], Runtime: ProcessRuntime})
	require.NoError(t, err)
	require.ErrorContains(t, s.Destroy(t.Context()), "mlopsctl stop && rm -r '"+home+"'")

	original := databases{home: home, root: "/dbs", own: identity{ID: newID()}}
	require.NoError(t, original.own.write(home))
	d := databases{home: home + "-copy", root: "/dbs", own: original.own, deed: identity{ID: original.own.ID, Home: home}, made: true}
	_, err = d.judge()
	require.ErrorContains(t, err, "MLOPS_HOME='"+home+"' mlopsctl start")
	require.ErrorContains(t, err, "rm -r '"+identityPath(d.home)+"' '"+filepath.Join(d.home, "secrets")+"' '")
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
