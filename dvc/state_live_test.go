package dvc_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// swap changes a file's content so that a tool sees it only by reading it.
func swap(t *testing.T, path, text string) {
	t.Helper()
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.Len(t, text, int(fi.Size()))
	require.NoError(t, os.Chmod(path, 0o644))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	require.NoError(t, os.Chmod(path, fi.Mode().Perm()))
	require.NoError(t, os.Chtimes(path, time.Time{}, fi.ModTime()))
}

func TestLiveWhatOneToolHashedTheOtherDoesNotHash(t *testing.T) {
	files := map[string]string{"d/x": "x", "d/é it's": "y", "one": "z"}
	for _, links := range []string{"copy", "hardlink", "symlink"} {
		t.Run(links, func(t *testing.T) {
			w := newWorld(t)
			w.bin = realDVC(t)
			dir, r := w.repo()
			w.dvc(dir, "config", "-q", "cache.type", links)
			write(t, dir, files)
			_, err := r.Add(bg(t), []string{"d", "one"}, dvc.AddOptions{})
			require.NoError(t, err)
			for p := range files {
				swap(t, filepath.Join(dir, p), "?")
			}
			w.dvc(dir, "status", "-q") // fails if dvc reads what we hashed

			require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/cache")))
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "one")))
			write(t, dir, files)
			w.dvc(dir, "add", "-q", "d", "one")
			got, err := r.DVCKnows(bg(t), time.Now().Add(time.Minute), "d/x", "d/é it's", "one")
			require.NoError(t, err)
			require.Equal(t, map[string]string{"d/x": md5hex("x"), "d/é it's": md5hex("y"), "one": md5hex("z")}, got)

			require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
			_, err = r.Checkout(bg(t), dvc.CheckoutOptions{})
			require.NoError(t, err)
			swap(t, filepath.Join(dir, "d/x"), "?")
			w.dvc(dir, "status", "-q") // nor what we checked out
		})
	}
}

func TestLiveDVCTakesOurDatabaseForItsOwn(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "1", "b": "2"})
	_, err := r.Add(bg(t), []string{"a"}, dvc.AddOptions{}) // makes the database
	require.NoError(t, err)
	w.dvc(dir, "add", "-q", "b")
	got, err := r.DVCKnows(bg(t), time.Now().Add(time.Minute), "a", "b")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": md5hex("1"), "b": md5hex("2")}, got)
}
