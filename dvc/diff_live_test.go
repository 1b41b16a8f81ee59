package dvc_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// sorted is JSON with its lists in order: dvc's sets have none.
func sorted(t testing.TB, text string) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v), "%s", text)
	var walk func(any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				v[k] = walk(e)
			}
		case []any:
			slices.SortFunc(v, func(a, b any) int {
				x, _ := json.Marshal(a)
				y, _ := json.Marshal(b)
				return strings.Compare(string(x), string(y))
			})
		}
		return v
	}
	return walk(v)
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

// uncache removes the object of a content from the cache.
func uncache(t testing.TB, dir, name string) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(dir, ".dvc/cache/files/md5", name[:2], name[2:])))
}

func move(t testing.TB, dir, from, to string) {
	t.Helper()
	require.NoError(t, os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)))
}

// histories are changes of one repository with a, b, d/{x,y,sub/z} and a
// pipeline, committed once.
var histories = []struct {
	name   string
	change func(t *testing.T, w *world, dir string, r *dvc.Repo)
}{
	{"nothing changed", func(*testing.T, *world, string, *dvc.Repo) {}},
	{"workspace edited", func(t *testing.T, _ *world, dir string, _ *dvc.Repo) {
		write(t, dir, map[string]string{"a": "edited", "d/x": "edited too", "d/new": "n", "loose": "untracked", "sub/loose": "u"})
		require.NoError(t, os.Remove(filepath.Join(dir, "b")))
		require.NoError(t, os.Remove(filepath.Join(dir, "d/sub/z")))
	}},
	{"added, not committed", func(t *testing.T, _ *world, dir string, r *dvc.Repo) {
		write(t, dir, map[string]string{"a": "edited", "d/sub/z": "edited", "c": "fresh", "e/f": "fresh too", "d/u": "x"})
		_, err := r.Add(bg(t), []string{"a", "d", "c", "e"}, dvc.AddOptions{})
		require.NoError(t, err)
		write(t, dir, map[string]string{"a": "and again"})
	}},
	{"renamed", func(t *testing.T, _ *world, dir string, _ *dvc.Repo) {
		move(t, dir, "a", "a2")
		text := strings.Replace(read(t, dir, "a.dvc"), "path: a", "path: a2", 1)
		write(t, dir, map[string]string{"a2.dvc": text})
		require.NoError(t, os.Remove(filepath.Join(dir, "a.dvc")))
		move(t, dir, "d/x", "d/moved")
		move(t, dir, "d/y", "d/sub/y")
	}},
	{"listing lost", func(t *testing.T, _ *world, dir string, r *dvc.Repo) {
		v, err := r.Version(bg(t), "d")
		require.NoError(t, err)
		write(t, dir, map[string]string{"d/x": "other"})
		uncache(t, dir, v.Hash)
		uncache(t, dir, md5hex("1"))
	}},
	{"file for directory", func(t *testing.T, _ *world, dir string, _ *dvc.Repo) {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
		write(t, dir, map[string]string{"d": "file now"})
		require.NoError(t, os.Remove(filepath.Join(dir, "b")))
		write(t, dir, map[string]string{"b/x": "directory now"})
	}},
	{"object lost", func(t *testing.T, _ *world, dir string, _ *dvc.Repo) {
		uncache(t, dir, md5hex("y"))
		uncache(t, dir, md5hex("2"))
		require.NoError(t, os.Remove(filepath.Join(dir, "b")))
	}},
	{"untracked now", func(t *testing.T, _ *world, dir string, _ *dvc.Repo) {
		for _, f := range []string{"a.dvc", "d.dvc"} {
			require.NoError(t, os.Remove(filepath.Join(dir, f)))
		}
	}},
}

// historyRepo makes the repository that histories change.
func historyRepo(t *testing.T, w *world) (string, *dvc.Repo) {
	dir, r := w.repo()
	write(t, dir, map[string]string{
		"a": "1", "b": "2", "d/x": "x", "d/y": "y", "d/sub/z": "z", "in/deep/f": "deep", "m.json": "{}", "o/p": "p",
		"dvc.yaml": "stages:\n  train:\n    cmd: echo\n    outs:\n    - o\n    metrics:\n    - m.json:\n        cache: false\n",
		"dvc.lock": "schema: '2.0'\nstages:\n  train:\n    cmd: echo\n    outs:\n    - path: m.json\n      hash: md5\n      md5: " + md5hex("{}") + "\n      size: 2\n" +
			"    - path: o\n      hash: md5\n      md5: " + md5hex(`[{"md5": "`+md5hex("p")+`", "relpath": "p"}]`) + ".dir\n      size: 1\n      nfiles: 1\n",
		".gitignore": "/o\n",
	})
	_, err := r.Add(bg(t), []string{"a", "b", "d", "in/deep/f"}, dvc.AddOptions{})
	require.NoError(t, err)
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "one")
	return dir, r
}

func TestLiveDiffAndDataStatusSayWhatDVCSays(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	for _, h := range histories {
		t.Run(h.name, func(t *testing.T) {
			w := &world{t: t, bin: w.bin}
			dir, r := historyRepo(t, w)
			h.change(t, w, dir, r)
			d, err := r.Diff(bg(t), dvc.DiffOptions{Hashes: true})
			require.NoError(t, err)
			require.Equal(t, sorted(t, w.dvc(dir, "diff", "--json", "--show-hash")), sorted(t, marshal(t, d)), "diff")
			s, err := r.DataStatus(bg(t), dvc.DataStatusOptions{Granular: true, Unchanged: true, Untracked: true})
			require.NoError(t, err)
			require.Equal(t, sorted(t, w.dvc(dir, "data", "status", "--json", "--granular", "--unchanged", "--untracked-files")), sorted(t, marshal(t, s)), "granular")
			s, err = r.DataStatus(bg(t), dvc.DataStatusOptions{})
			require.NoError(t, err)
			require.Equal(t, sorted(t, w.dvc(dir, "data", "status", "--json")), sorted(t, marshal(t, s)), "by output")
			s, err = r.DataStatus(bg(t), dvc.DataStatusOptions{Granular: true, Unchanged: true, Targets: []string{"d/sub", "a"}})
			require.NoError(t, err)
			require.Equal(t, sorted(t, w.dvc(dir, "data", "status", "--json", "--granular", "--unchanged", "d/sub", "a")), sorted(t, marshal(t, s)), "of targets")

			w.git(dir, "add", "-A")
			w.git(dir, "commit", "-q", "-m", "two", "--allow-empty")
			d, err = r.Diff(bg(t), dvc.DiffOptions{From: "HEAD~1", To: "HEAD"})
			require.NoError(t, err)
			require.Equal(t, sorted(t, w.dvc(dir, "diff", "--json", "HEAD~1", "HEAD")), sorted(t, marshal(t, d)), "of two revisions")
		})
	}
}
