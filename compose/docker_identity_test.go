package compose

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestVolumesBelongToAHomeNotToItsPath(t *testing.T) {
	home := t.TempDir()
	in := func(home string) *docker {
		t.Helper()
		s, err := New(Options{Home: home, Command: os.Args[0], Runtime: DockerRuntime})
		require.NoError(t, err)
		d, err := s.containers()
		require.NoError(t, err)
		return d
	}
	require.NoError(t, makeHome(home+"/a"))
	first := in(home + "/a")
	require.NoError(t, first.claim())
	name := first.name()
	require.Equal(t, "mlops-"+readIdentity(home + "/a").ID[:8], name)
	require.NoError(t, first.record.write(first.home))

	require.NoError(t, os.Rename(home+"/a", home+"/b"))
	renamed := in(home + "/b")
	require.NoError(t, renamed.claim())
	require.Equal(t, name, renamed.name(), "it would begin with empty volumes")

	require.NoError(t, makeHome(home+"/a"))
	again := in(home + "/a")
	require.NoError(t, again.claim())
	require.NotEqual(t, name, again.name(), "a home that was made again has the volumes of another")

	require.NoError(t, os.CopyFS(home+"/c", os.DirFS(home+"/b")))
	duplicate := in(home + "/c")
	err := duplicate.claim()
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, "is a copy of "+home+"/b")
	require.ErrorContains(t, err, "MLOPS_HOME="+home+"/b mlopsctl start")

	require.NoError(t, os.Remove(identityPath(home+"/b")))
	lost := in(home + "/b")
	require.NoError(t, lost.claim())
	require.Equal(t, name, lost.name(), "the record knows it, too")
}

func TestAStackOfBeforeIDsKeepsItsVolumes(t *testing.T) {
	engineOf(t)
	s := dockerStack(t)
	require.NoError(t, makeHome(s.home))
	d, err := s.containers()
	require.NoError(t, err)
	name := d.name()
	d.record.Ports["mlflow/http"] = 5000
	require.NoError(t, d.claim())
	require.Equal(t, name, d.name())
	require.Equal(t, name, readIdentity(s.home).Containers)
}

func TestACopyNeitherStopsNorDestroysTheOriginal(t *testing.T) {
	e := engineOf(t)
	s := dockerStack(t)
	require.NoError(t, makeHome(s.home))
	d, err := s.containers()
	require.NoError(t, err)
	require.NoError(t, d.claim())
	duplicate := *s
	duplicate.home = s.home + "-copy"
	require.NoError(t, os.CopyFS(duplicate.home, os.DirFS(s.home)))
	require.NoError(t, os.MkdirAll((&docker{base: &duplicate.base}).files(), 0o755))
	require.ErrorIs(t, duplicate.Destroy(t.Context()), mlops.ErrConflict)
	require.ErrorIs(t, duplicate.Stop(t.Context(), StopOptions{}), mlops.ErrConflict)
	require.NotContains(t, e.calls(t), "down")
	require.NotContains(t, e.calls(t), "stop")
}
