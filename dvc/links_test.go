package dvc_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// cacheType makes a repository whose links are of a type.
func (w *world) cacheType(kind string) (string, *dvc.Repo) {
	w.t.Helper()
	dir, _ := w.repo()
	write(w.t, dir, map[string]string{".dvc/config": "[cache]\n    type = " + kind + "\n"})
	r, err := dvc.Open(dir)
	require.NoError(w.t, err)
	return dir, r
}

func objectOf(dir, text string) string {
	return filepath.Join(dir, ".dvc/cache/files/md5", md5hex(text)[:2], md5hex(text)[2:])
}

func TestWithHardlinksTheFileItselfBecomesTheObject(t *testing.T) {
	w := newWorld(t)
	dir, r := w.cacheType("hardlink")
	write(t, dir, map[string]string{"d/a": "alone", "d/twin": "alone", "d/empty": "", "d/shared": "shared", "one": "single"})
	require.NoError(t, os.Link(filepath.Join(dir, "d/shared"), filepath.Join(dir, "elsewhere")))
	before := map[string]fs.FileInfo{}
	for _, p := range []string{"one", "d/shared"} {
		fi, err := os.Stat(filepath.Join(dir, p))
		require.NoError(t, err)
		before[p] = fi
	}
	_, err := r.Add(bg(t), []string{"d", "one"}, dvc.AddOptions{})
	require.NoError(t, err)
	for p, text := range map[string]string{"d/a": "alone", "d/twin": "alone", "d/shared": "shared", "one": "single"} {
		a, err := os.Stat(filepath.Join(dir, p))
		require.NoError(t, err)
		b, err := os.Stat(objectOf(dir, text))
		require.NoError(t, err)
		require.True(t, os.SameFile(a, b), "%s is a link to its object", p)
		require.Equal(t, fs.FileMode(0o444), a.Mode().Perm(), p)
		require.Equal(t, text, read(t, dir, p))
	}
	fi, err := os.Stat(filepath.Join(dir, "one"))
	require.NoError(t, err)
	require.True(t, os.SameFile(before["one"], fi), "nothing was copied")
	fi, err = os.Stat(filepath.Join(dir, "elsewhere"))
	require.NoError(t, err)
	require.True(t, os.SameFile(before["d/shared"], fi))
	require.Equal(t, fs.FileMode(0o644), fi.Mode().Perm(), "another name of a file is not made read-only")
	fi, err = os.Stat(filepath.Join(dir, "d/empty"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o644), fi.Mode().Perm())

	st, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	require.True(t, st.Clean(), "%v", st)
	_, err = r.Add(bg(t), []string{"d", "one"}, dvc.AddOptions{})
	require.NoError(t, err, "again")
}

func TestWithSymlinksTheFileMovesIntoTheCache(t *testing.T) {
	w := newWorld(t)
	dir, r := w.cacheType("symlink")
	write(t, dir, map[string]string{"d/a": "a", "one": "single"})
	_, err := r.Add(bg(t), []string{"d", "one"}, dvc.AddOptions{})
	require.NoError(t, err)
	for p, text := range map[string]string{"d/a": "a", "one": "single"} {
		target, err := os.Readlink(filepath.Join(dir, p))
		require.NoError(t, err)
		require.Equal(t, objectOf(dir, text), target)
		require.Equal(t, text, read(t, dir, p))
	}
	st, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	require.True(t, st.Clean(), "%v", st)
}

func TestCheckoutLeavesNothingBehind(t *testing.T) {
	for _, kind := range []string{"copy", "hardlink", "symlink"} {
		w := newWorld(t)
		dir, r := w.cacheType(kind)
		write(t, dir, map[string]string{"d/a": "a", "d/sub/b": "b", "d/sub/e": ""})
		_, err := r.Add(bg(t), []string{"d"}, dvc.AddOptions{})
		require.NoError(t, err)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
		_, err = r.Checkout(bg(t), dvc.CheckoutOptions{})
		require.NoError(t, err)
		left, err := os.ReadDir(filepath.Join(dir, ".dvc/tmp/mlops"))
		require.NoError(t, err)
		require.Len(t, left, 1, "the state alone")
		require.Equal(t, "b", read(t, dir, "d/sub/b"))
	}
}

func TestOneFileOfADirectoryIsLinkedToo(t *testing.T) {
	w := newWorld(t)
	dir, r := w.cacheType("symlink")
	write(t, dir, map[string]string{"d/a": "a"})
	_, err := r.Add(bg(t), []string{"d"}, dvc.AddOptions{})
	require.NoError(t, err)
	write(t, dir, map[string]string{"d/new": "new"})
	_, err = r.Add(bg(t), []string{"d/new"}, dvc.AddOptions{})
	require.NoError(t, err)
	target, err := os.Readlink(filepath.Join(dir, "d/new"))
	require.NoError(t, err)
	require.Equal(t, objectOf(dir, "new"), target)
}

func TestAnUnchangedOutputOfDVC2IsLinkedByAdd(t *testing.T) {
	w := newWorld(t)
	dir, r := w.cacheType("hardlink")
	write(t, dir, map[string]string{"one": "text", "one.dvc": "outs:\n- md5: " + md5hex("text") + "\n  size: 4\n  path: one\n"})
	_, err := r.Add(bg(t), []string{"one"}, dvc.AddOptions{})
	require.NoError(t, err)
	a, err := os.Stat(filepath.Join(dir, "one"))
	require.NoError(t, err)
	b, err := os.Stat(filepath.Join(dir, ".dvc/cache", md5hex("text")[:2], md5hex("text")[2:]))
	require.NoError(t, err)
	require.True(t, os.SameFile(a, b))
}
