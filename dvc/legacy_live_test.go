package dvc_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// legacy makes what dvc 2.x would have made of the data: its .dvc file without
// "hash: md5", and objects right below the cache.
func legacy(t *testing.T, dir, rel string) {
	t.Helper()
	const setup = "from dvc_data.hashfile.hash import file_md5\nfrom dvc_data.hashfile.tree import Tree\nfrom dvc_data.hashfile.hash_info import HashInfo"
	object := func(id, text string) {
		p := filepath.Join(dir, ".dvc/cache", id[:2], id[2:])
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		_ = os.Remove(p)
		require.NoError(t, os.WriteFile(p, []byte(text), 0o444))
	}
	base := filepath.Join(dir, rel)
	fi, err := os.Stat(base)
	require.NoError(t, err)
	if !fi.IsDir() {
		id := pythonValues[string](t, setup, `file_md5(x, name="md5-dos2unix")`, []string{base})[0]
		object(id, read(t, base))
		write(t, dir, map[string]string{rel + ".dvc": "outs:\n- md5: " + id + "\n  size: " + itoa(int(fi.Size())) + "\n  path: " + filepath.Base(rel) + "\n"})
		return
	}
	var files []string
	size := 0
	require.NoError(t, filepath.WalkDir(base, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, p)
			size += len(read(t, p))
		}
		return err
	}))
	ids := pythonValues[string](t, setup, `file_md5(x, name="md5-dos2unix")`, files)
	var entries []string
	for i, f := range files {
		object(ids[i], read(t, f))
		p, err := filepath.Rel(base, f)
		require.NoError(t, err)
		entries = append(entries, `{"md5": "`+ids[i]+`", "relpath": "`+filepath.ToSlash(p)+`"}`)
	}
	listing := "[" + strings.Join(entries, ", ") + "]"
	id := md5hex(listing) + ".dir"
	object(id, listing)
	write(t, dir, map[string]string{rel + ".dvc": "outs:\n- md5: " + id + "\n  size: " + itoa(size) + "\n  nfiles: " + itoa(len(files)) + "\n  path: " + filepath.Base(rel) + "\n"})
}

// oldRepos makes two equal repositories that hold outputs of dvc 2.x and of 3.x.
func oldRepos(t *testing.T, w *world) (theirs, ours string, r *dvc.Repo) {
	t.Helper()
	theirs, _ = w.repo()
	ours, r = w.repo()
	for _, dir := range []string{theirs, ours} {
		write(t, dir, map[string]string{
			".gitignore": "/crlf\n/bin\n/d\n/e\n/new\n", "crlf": "a\r\nb\r\n", "bin": "a\r\n\x00\r\n", "new": "a\r\nb\r\n",
			"d/crlf": "a\r\nb\r\n", "d/lf": "c\nd\n", "d/s/z": "z\r\n", "e/big": strings.Repeat("x", 1<<20-1) + "\r\n" + strings.Repeat("y\r\n", 9), "e/none": "",
		})
		for _, rel := range []string{"crlf", "bin", "d", "e"} {
			legacy(t, dir, rel)
		}
	}
	w.dvc(theirs, "add", "-q", "new")
	_, err := r.Add(bg(t), []string{"new"}, dvc.AddOptions{})
	require.NoError(t, err)
	return theirs, ours, r
}

func TestLiveRepositoriesOf2xAreReadAndMovedAsByDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	theirs, ours, r := oldRepos(t, w)
	same(t, theirs, ours, "before")
	w.dvc(theirs, "status", "-q")
	st, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	require.True(t, st.Clean(), "%v", st)

	remA, remB := filepath.Join(w.dir(), "rem"), filepath.Join(w.dir(), "rem")
	w.dvc(theirs, "remote", "add", "-q", "-d", "s", remA)
	require.NoError(t, r.AddRemote(bg(t), "s", remB, dvc.AddRemoteOptions{Default: true}))
	w.dvc(theirs, "push", "-q")
	tr, err := r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.Positive(t, tr.Objects)
	same(t, remA, remB, "the remote")
	w.dvc(ours, "status", "-q", "-c")
	st, err = r.Status(bg(t), dvc.StatusOptions{Cloud: true})
	require.NoError(t, err)
	require.True(t, st.Clean(), "%v", st)

	clone, _ := w.clone(ours)
	w.dvc(clone, "pull", "-q")
	other, or := w.clone(theirs)
	_, err = or.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, data(t, clone), data(t, other))
	same(t, filepath.Join(clone, ".dvc/cache"), filepath.Join(other, ".dvc/cache"), "the cache after a pull")
	w.dvc(other, "status", "-q")

	require.NoError(t, os.RemoveAll(filepath.Join(other, "d")))
	_, err = or.Checkout(bg(t), dvc.CheckoutOptions{Targets: []string{"d/s"}})
	require.NoError(t, err)
	require.Equal(t, "z\r\n", read(t, other, "d/s/z"))
}

func TestLiveAddUpgradesOutputsOf2xWhenTheyChanged(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	theirs, ours, r := oldRepos(t, w)
	all := []string{"crlf", "bin", "d", "e"}
	w.dvc(theirs, append([]string{"add", "-q"}, all...)...)
	_, err := r.Add(bg(t), all, dvc.AddOptions{})
	require.NoError(t, err)
	same(t, theirs, ours, "add of what has not changed")

	for _, dir := range []string{theirs, ours} {
		write(t, dir, map[string]string{"crlf": "other\r\n", "d/s/z": "y\r\n"})
		require.NoError(t, os.Chmod(filepath.Join(dir, "bin"), 0o744))
	}
	w.dvc(theirs, append([]string{"add", "-q"}, all...)...)
	_, err = r.Add(bg(t), all, dvc.AddOptions{})
	require.NoError(t, err)
	// dvc leaves the listing that it compared with, of files that are not there.
	left, _ := filepath.Glob(filepath.Join(theirs, ".dvc/cache/*/*.dir"))
	for _, p := range left {
		if _, err := os.Stat(filepath.Join(ours, strings.TrimPrefix(p, theirs))); err != nil {
			require.NoError(t, os.RemoveAll(filepath.Dir(p)))
		}
	}
	same(t, theirs, ours, "add of what has changed")
	w.dvc(ours, "status", "-q")

	before := snapshot(t, ours)
	write(t, ours, map[string]string{"e/none": "x"})
	before["e/none"] = snapshot(t, ours)["e/none"]
	_, err = r.Add(bg(t), []string{"e/none"}, dvc.AddOptions{})
	require.Error(t, err, "dvc would mix hashes of both kinds in one listing")
	require.Equal(t, before, snapshot(t, ours))
}
