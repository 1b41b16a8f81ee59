package local_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
	"github.com/mlops-integration/mlops/dvc/remote/local"
)

func section(text string) (*io.SectionReader, string) {
	sum := md5.Sum([]byte(text))
	return io.NewSectionReader(bytes.NewReader([]byte(text)), 0, int64(len(text))), hex.EncodeToString(sum[:])
}

// files are all files below dir.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, p)
		}
		return err
	}))
	return out
}

func TestAnObjectComesBackAsItWasPut(t *testing.T) {
	dir := t.TempDir()
	s := local.New(dir)
	const key = "files/md5/ab/cdef"
	missing, err := s.Missing(t.Context(), []string{key})
	require.NoError(t, err)
	require.Equal(t, []string{key}, missing)
	_, err = s.Get(t.Context(), key)
	require.ErrorIs(t, err, mlops.ErrNotFound)

	for range 2 { // the second replaces the first, read-only as that is
		body, sum := section("hello")
		require.NoError(t, s.Put(t.Context(), key, body, sum))
	}
	info, err := os.Stat(filepath.Join(dir, key))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o444), info.Mode(), "DVC trusts objects of this mode only")
	r, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.Equal(t, "hello", string(got))
	missing, err = s.Missing(t.Context(), []string{key, "files/md5/00/00"})
	require.NoError(t, err)
	require.Equal(t, []string{"files/md5/00/00"}, missing)
}

func TestABadObjectLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := local.New(dir)
	body, _ := section("hello")
	_, other := section("other")
	require.ErrorIs(t, s.Put(t.Context(), "files/md5/ab/cdef", body, other), mlops.ErrInvalid)
	require.Empty(t, files(t, dir))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body, sum := section("hello")
	require.ErrorIs(t, s.Put(ctx, "files/md5/ab/cdef", body, sum), context.Canceled)
	require.Empty(t, files(t, dir))
	_, err := s.Missing(ctx, []string{"a"})
	require.ErrorIs(t, err, context.Canceled)
}

func TestNoKeyLeadsOutOfTheRemote(t *testing.T) {
	dir := t.TempDir()
	s := local.New(filepath.Join(dir, "remote"))
	for _, key := range []string{"../x", "/etc/hostname", "a/../../x", ""} {
		body, sum := section("x")
		require.ErrorIs(t, s.Put(t.Context(), key, body, sum), mlops.ErrInvalid, key)
		_, err := s.Get(t.Context(), key)
		require.ErrorIs(t, err, mlops.ErrInvalid, key)
		_, err = s.Missing(t.Context(), []string{key})
		require.ErrorIs(t, err, mlops.ErrInvalid, key)
	}
	require.Empty(t, files(t, dir))
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
	body, sum := section("x")
	require.NoError(t, s.Put(t.Context(), "k", body, sum))
	require.FileExists(t, filepath.Join(dir, "k"))
	_, err = remote.Open(t.Context(), remote.Config{Name: "r", URL: "relative"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = remote.Open(t.Context(), remote.Config{Name: "r", URL: "gopher://x"})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
}
