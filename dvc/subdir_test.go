package dvc_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// monorepo is a git repository without DVC at its root: one DVC repository is
// in team/a, another in team/a/deep. Their data is in remotes alone.
func monorepo(t *testing.T, w *world) string {
	t.Helper()
	dir := w.dir()
	w.git(dir, "init", "-q", "-b", "main")
	write(t, dir, map[string]string{"README": "hi", "team/a/plain": "p", "team/a/data/x": "x", "team/a/f": "f", "team/a/deep/g": "g", "other/o": "o"})
	for _, sub := range []string{"team/a/deep", "team/a"} {
		r, err := dvc.Init(filepath.Join(dir, sub))
		require.NoError(t, err)
		require.NoError(t, r.AddRemote(bg(t), "store", dir+"-"+filepath.Base(sub), dvc.AddRemoteOptions{Default: true}))
		paths := []string{"data", "f"}
		if sub == "team/a/deep" {
			paths = []string{"g"}
		}
		_, err = r.Add(bg(t), paths, dvc.AddOptions{})
		require.NoError(t, err)
		_, err = r.Push(bg(t), dvc.PushOptions{})
		require.NoError(t, err)
		require.NoError(t, os.RemoveAll(filepath.Join(r.Root(), ".dvc/cache")))
	}
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-qm", "x")
	return dir
}

func TestDataOfARepositoryInASubfolderIsFoundFromOutside(t *testing.T) {
	w := newWorld(t)
	from := monorepo(t, w)
	for p, want := range map[string]string{"team/a/data/x": "x", "team/a/f": "f", "team/a/deep/g": "g", "team/a/plain": "p", "README": "hi"} {
		to := w.dir()
		_, err := dvc.Get(bg(t), from, p, dvc.GetOptions{Dir: to})
		require.NoError(t, err, p)
		require.Equal(t, want, read(t, to, filepath.Base(p)))
	}
	to := w.dir()
	_, err := dvc.Get(bg(t), from, "team/a/data", dvc.GetOptions{Dir: to, Rev: "main"})
	require.NoError(t, err)
	require.Equal(t, "x", read(t, to, "data/x"))

	dir, r := w.repo()
	_, err = r.Import(bg(t), from, "team/a/data", dvc.ImportOptions{})
	require.NoError(t, err)
	require.Equal(t, "x", read(t, dir, "data/x"))
	_, err = r.Import(bg(t), from, "team/a/deep/g", dvc.ImportOptions{NoDownload: true})
	require.NoError(t, err)
	_, err = r.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, "g", read(t, dir, "g"))
	_, err = r.Import(bg(t), from, "team/a/nope", dvc.ImportOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)

	src, err := dvc.OpenSource(bg(t), from, dvc.SourceOptions{})
	require.NoError(t, err)
	defer src.Close()
	for p, want := range map[string][]string{
		"team/a": {".dvcignore", ".gitignore", "data", "data.dvc", "deep", "f", "f.dvc", "plain"}, "team/a/data": {"x"}, "other": {"o"},
	} {
		all, err := src.List(bg(t), dvc.ListOptions{Path: p})
		require.NoError(t, err, p)
		var names []string
		for _, e := range all {
			names = append(names, e.Path)
		}
		require.Equal(t, want, names, p)
	}
	plain := w.dir()
	w.git(plain, "init", "-q")
	write(t, plain, map[string]string{"x": "x"})
	w.git(plain, "add", "-A")
	w.git(plain, "commit", "-qm", "x")
	_, err = dvc.OpenSource(bg(t), plain, dvc.SourceOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestLiveDataOfARepositoryInASubfolderIsAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	from := monorepo(t, w)
	src, err := dvc.OpenSource(bg(t), from, dvc.SourceOptions{})
	require.NoError(t, err)
	defer src.Close()
	for _, p := range []string{"team/a/data", "team/a/deep"} {
		all, err := src.List(bg(t), dvc.ListOptions{Path: p})
		require.NoError(t, err)
		got, err := json.Marshal(all)
		require.NoError(t, err)
		require.JSONEq(t, w.dvc(w.dir(), "list", "--json", "--size", "--show-hash", from, p, "--rev", "main"), string(got), p)
	}
	ours, r := w.repo()
	theirs, _ := w.repo()
	_, err = r.Import(bg(t), from, "team/a/data", dvc.ImportOptions{})
	require.NoError(t, err)
	w.dvc(theirs, "import", "-q", from, "team/a/data")
	require.Equal(t, read(t, theirs, "data.dvc"), read(t, ours, "data.dvc"))
}
