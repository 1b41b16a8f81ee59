package local_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
	"github.com/mlops-integration/mlops/dvc/remote/local"
	"github.com/mlops-integration/mlops/dvc/remote/remotetest"
)

func TestADirectoryConformsAsRemote(t *testing.T) {
	remotetest.Conformance(t, func(t *testing.T) remote.Store { return local.New(filepath.Join(t.TempDir(), "remote")) })
}

func TestObjectsAreReadOnlyBeforeTheyHaveTheirName(t *testing.T) {
	dir := t.TempDir()
	body, sum := remotetest.Body(1, 10)
	require.NoError(t, local.New(dir).Put(t.Context(), "files/md5/ab/cdef", remote.Blob{Body: body, MD5: sum}))
	info, err := os.Stat(filepath.Join(dir, "files/md5/ab/cdef"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o444), info.Mode(), "DVC trusts objects of this mode only")
}

func TestWhatAKilledProgramLeftIsFoundAndDiscarded(t *testing.T) {
	dir := t.TempDir()
	s := local.New(dir)
	body, sum := remotetest.Body(1, 10)
	require.NoError(t, s.Put(t.Context(), "files/md5/ab/cdef", remote.Blob{Body: body, MD5: sum}))
	left := filepath.Join(dir, "files/md5/ab/.0123456789abcdefghijkl.tmp")
	require.NoError(t, os.WriteFile(left, []byte("half"), 0o600))
	for o, err := range s.List(t.Context(), "") {
		require.NoError(t, err)
		require.Equal(t, "files/md5/ab/cdef", o.Key)
	}
	var found []remote.Upload
	for u, err := range s.Unfinished(t.Context()) {
		require.NoError(t, err)
		found = append(found, u)
	}
	require.Len(t, found, 1)
	require.Equal(t, "files/md5/ab/.0123456789abcdefghijkl.tmp", found[0].ID)
	require.False(t, found[0].Began.IsZero())
	require.NoError(t, s.Discard(t.Context(), found[0]))
	require.NoFileExists(t, left)
	require.ErrorIs(t, s.Discard(t.Context(), remote.Upload{ID: "files/md5/ab/cdef"}), mlops.ErrInvalid)
	require.FileExists(t, filepath.Join(dir, "files/md5/ab/cdef"))
}

func TestADirectoryIsNoObject(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "files", "md5", "ab"), 0o755))
	missing, err := local.New(dir).Missing(t.Context(), []string{"files/md5/ab"})
	require.NoError(t, err)
	require.Equal(t, []string{"files/md5/ab"}, missing)
}

func TestTheDriverOpensFolders(t *testing.T) {
	dir := t.TempDir()
	s, err := remote.Open(t.Context(), remote.Config{Name: "r", URL: dir})
	require.NoError(t, err)
	body, sum := remotetest.Body(1, 1)
	require.NoError(t, s.Put(t.Context(), "k", remote.Blob{Body: body, MD5: sum}))
	require.FileExists(t, filepath.Join(dir, "k"))
	_, err = remote.Open(t.Context(), remote.Config{Name: "r", URL: "relative"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = remote.Open(t.Context(), remote.Config{Name: "r", URL: "gopher://x"})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
}
