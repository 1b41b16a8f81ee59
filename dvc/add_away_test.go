package dvc_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// twoRemotes are two empty repositories, each with a remote, and data outside.
func twoRemotes(t *testing.T, w *world) (ext, theirs, ours, remA, remB string, r *dvc.Repo) {
	t.Helper()
	ext = w.dir()
	write(t, ext, map[string]string{"file.txt": "a file", "dir/a": "1", "dir/same": "1", "dir/sub/b é": "2", "exec": "x"})
	require.NoError(t, os.Chmod(filepath.Join(ext, "exec"), 0o755))
	theirs, _ = w.repo()
	ours, r = w.repo()
	remA, remB = filepath.Join(w.dir(), "rem"), filepath.Join(w.dir(), "rem")
	for dir, rem := range map[string]string{theirs: remA, ours: remB} {
		require.NoError(t, os.MkdirAll(rem, 0o755))
		write(t, dir, map[string]string{"s/keep": "", "own": "mine", ".dvc/config.local": "[core]\n    remote = s\n['remote \"s\"']\n    url = " + rem + "\n"})
	}
	return ext, theirs, ours, remA, remB, r
}

func objectsOf(t *testing.T, rem string) map[string]string {
	t.Helper()
	all := snapshot(t, rem)
	for name := range all {
		if strings.HasSuffix(name, ".tmp") { // dvc leaves its temporary files
			delete(all, name)
		}
	}
	return all
}

func TestLiveDataFromElsewhereIsAddedAsDVCAddsIt(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	ext, theirs, ours, remA, remB, r := twoRemotes(t, w)
	plain := httptest.NewServer(http.FileServer(http.Dir(ext)))
	defer plain.Close()
	for _, c := range []struct {
		from string
		o    dvc.AddOptions
	}{
		{filepath.Join(ext, "file.txt"), dvc.AddOptions{Out: "got.txt"}},
		{filepath.Join(ext, "dir"), dvc.AddOptions{Out: "s"}},
		{filepath.Join(ext, "exec"), dvc.AddOptions{Out: "run"}},
		{filepath.Join(ext, "exec"), dvc.AddOptions{Out: "got.txt", Force: true}},
		{plain.URL + "/file.txt", dvc.AddOptions{Out: "h.txt"}},
		{filepath.Join(ext, "dir"), dvc.AddOptions{Out: "far", ToRemote: true}},
		{filepath.Join(ext, "exec"), dvc.AddOptions{ToRemote: true, Remote: "s"}},
		{plain.URL + "/file.txt", dvc.AddOptions{Out: "far h.txt", ToRemote: true}},
		{"own", dvc.AddOptions{ToRemote: true}},
	} {
		args := []string{"add", "-q", c.from}
		for flag, val := range map[string]string{"--out": c.o.Out, "--remote": c.o.Remote} {
			if val != "" {
				args = append(args, flag, val)
			}
		}
		for flag, set := range map[string]bool{"--force": c.o.Force, "--to-remote": c.o.ToRemote} {
			if set {
				args = append(args, flag)
			}
		}
		w.dvc(theirs, args...)
		_, err := r.Add(bg(t), []string{c.from}, c.o)
		require.NoError(t, err, "%v", c)
		sameTracked(t, theirs, ours, strings.Join(args, " "))
		require.Empty(t, differ(objectsOf(t, remA), objectsOf(t, remB)), "the remotes after %v", args)
	}
	require.NotEmpty(t, objectsOf(t, remB))
	require.NoFileExists(t, filepath.Join(ours, "far h.txt"))
	w.dvc(ours, "pull", "-q", "far.dvc", "exec.dvc")
	_, err := r.Pull(bg(t), dvc.PullOptions{Targets: []string{"far h.txt.dvc"}})
	require.NoError(t, err)
	require.Equal(t, "2", read(t, ours, "far/sub/b é"))
	require.Equal(t, "a file", read(t, ours, "far h.txt"))
}

func TestLiveImportsToARemoteAreWrittenAsDVCWritesThem(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	ext, theirs, ours, remA, remB, r := twoRemotes(t, w)
	for _, c := range [][2]string{{"file.txt", "f"}, {"dir", "d"}, {"exec", "s"}} {
		from := filepath.Join(ext, c[0])
		w.dvc(theirs, "import-url", "-q", "--to-remote", "-j", "2", from, c[1])
		_, err := r.ImportURL(bg(t), from, dvc.ImportURLOptions{Out: c[1], ToRemote: true})
		require.NoError(t, err)
		sameTracked(t, theirs, ours, "import-url --to-remote "+c[0])
		require.Empty(t, differ(objectsOf(t, remA), objectsOf(t, remB)), "the remotes after %v", c)
	}
	require.NoDirExists(t, filepath.Join(ours, ".dvc/cache/files"), "the cache was passed by")
	left, err := filepath.Glob(filepath.Join(ours, ".dvc/tmp/mlops/.*.tmp"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAnAddFromElsewhereIsRefusedAsAWhole(t *testing.T) {
	w := newWorld(t)
	ext, _, ours, _, rem, r := twoRemotes(t, w)
	from := filepath.Join(ext, "dir")
	before := snapshot(t, ours)
	for _, tt := range []struct {
		name  string
		kind  error
		o     dvc.AddOptions
		paths []string
	}{
		{"out takes one", mlops.ErrInvalid, dvc.AddOptions{Out: "x"}, []string{from, filepath.Join(ext, "exec")}},
		{"to-remote takes one", mlops.ErrInvalid, dvc.AddOptions{ToRemote: true}, nil},
		{"no-commit", mlops.ErrInvalid, dvc.AddOptions{Out: "x", NoCommit: true}, []string{from}},
		{"remote alone", mlops.ErrInvalid, dvc.AddOptions{Remote: "s"}, []string{"own"}},
		{"out there", mlops.ErrAlreadyExists, dvc.AddOptions{Out: "own"}, []string{from}},
		{"outside", mlops.ErrInvalid, dvc.AddOptions{Out: "../x"}, []string{from}},
		{"no out", mlops.ErrInvalid, dvc.AddOptions{}, []string{from}},
		{"nothing there", mlops.ErrNotFound, dvc.AddOptions{ToRemote: true}, []string{filepath.Join(ext, "none")}},
		{"no such remote", mlops.ErrNotFound, dvc.AddOptions{ToRemote: true, Remote: "none"}, []string{from}},
		{"a password", mlops.ErrInvalid, dvc.AddOptions{ToRemote: true}, []string{"https://me:pw@example.com/f"}},
	} {
		_, err := r.Add(bg(t), tt.paths, tt.o)
		require.ErrorIs(t, err, tt.kind, tt.name)
	}
	for _, o := range []dvc.ImportURLOptions{{ToRemote: true, NoExec: true}, {ToRemote: true, NoDownload: true}, {Remote: "s"}} {
		_, err := r.ImportURL(bg(t), from, o)
		require.ErrorIs(t, err, mlops.ErrInvalid)
	}
	require.Empty(t, differ(before, snapshot(t, ours)))
	left, err := os.ReadDir(rem)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestLiveFetchTakesMetricsOrPlotsAlone(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir := w.dir()
	w.git(dir, "init", "-q", "-b", "main")
	w.dvc(dir, "init", "-q")
	write(t, dir, map[string]string{
		"dvc.yaml": "stages:\n  one:\n    cmd: echo 1 > o; echo 2 > m.json; echo 3 > p.csv; echo 4 > q.csv\n    outs: [o]\n    metrics: [m.json]\n    plots:\n    - p.csv\n    - q.csv:\n        x: a\n",
		"k.json":   "5",
	})
	w.dvc(dir, "repro", "-q")
	w.dvc(dir, "add", "-q", "k.json")
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "all")
	rem := filepath.Join(w.dir(), "rem")
	w.dvc(dir, "remote", "add", "-q", "-d", "s", rem)
	w.dvc(dir, "push", "-q")
	for _, types := range [][]dvc.OutputType{{dvc.OutputMetrics}, {dvc.OutputPlots}, {dvc.OutputPlots, dvc.OutputMetrics}} {
		r, err := dvc.Open(dir)
		require.NoError(t, err)
		args := []string{"fetch", "-q"}
		for _, kind := range types {
			args = append(args, "--type", string(kind))
		}
		cache := filepath.Join(dir, ".dvc/cache/files")
		require.NoError(t, os.RemoveAll(cache))
		w.dvc(dir, args...)
		want := objectsOf(t, cache)
		require.NotEmpty(t, want)
		require.NoError(t, os.RemoveAll(cache))
		_, err = r.Fetch(bg(t), dvc.FetchOptions{Types: types})
		require.NoError(t, err)
		require.Empty(t, differ(want, objectsOf(t, cache)), "%v", args)
	}
	r, err := dvc.Open(dir)
	require.NoError(t, err)
	_, err = r.Fetch(bg(t), dvc.FetchOptions{Types: []dvc.OutputType{"models"}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func TestLiveCommitOfAFolderLeavesFilesAsTheyAre(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	theirs, _ := w.repo()
	ours, r := w.repo()
	for _, dir := range []string{theirs, ours} {
		write(t, dir, map[string]string{"a/x": "1", "a/b/y": "2", "z": "3", ".dvc/config": "[cache]\n    type = hardlink\n"})
		w.dvc(dir, "add", "-q", "a/x", "a/b/y", "z")
		for _, p := range []string{"a/x", "a/b/y", "z"} {
			require.NoError(t, os.Remove(filepath.Join(dir, p)))
		}
		write(t, dir, map[string]string{"a/x": "new", "a/b/y": "newer", "z": "newest"})
	}
	w.dvc(theirs, "commit", "-q", "-f", "--no-relink", "-R", "a")
	out, err := r.Commit(bg(t), dvc.CommitOptions{Targets: []string{"a"}, Scope: dvc.Scope{Recursive: true}, NoRelink: true, Force: true})
	require.NoError(t, err)
	require.Len(t, out, 2)
	sameTracked(t, theirs, ours, "commit -R")
	fi, err := os.Stat(filepath.Join(ours, "a/x"))
	require.NoError(t, err)
	require.NotZero(t, fi.Mode()&0o200, "it is no link to the cache")
	_, err = r.Commit(bg(t), dvc.CommitOptions{})
	require.ErrorIs(t, err, mlops.ErrConflict, "z changed, too")
}
