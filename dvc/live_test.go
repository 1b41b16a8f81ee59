package dvc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// plant lays out what the add tests add, and returns the targets.
func plant(t testing.TB, dir string, seed uint64) []string {
	t.Helper()
	var targets []string
	for i, name := range hostile {
		rel := filepath.Join("files", name)
		if i%3 == 0 {
			rel = filepath.Join("files", "sub dir", name)
		}
		write(t, dir, map[string]string{rel: fmt.Sprintf("content %d of %q\n", i, name)})
		targets = append(targets, rel)
	}
	grow(t, filepath.Join(dir, "tree"), seed)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "emptydir", "x"), 0o755))
	write(t, dir, map[string]string{
		"run.sh": "#!/bin/sh\n", "plain.txt": "hello\n", "zero": "", "big.bin": strings.Repeat("0123456789abcdef", 1<<17),
		".gitignore": "*.log\nkept", "seen.log": "ignored by git already",
		".dvcignore": "*.skip\n!keep.skip\n/nest/inner/\n", "nest/a": "1", "nest/b.skip": "2", "nest/keep.skip": "3", "nest/inner/c": "4",
	})
	require.NoError(t, os.Chmod(filepath.Join(dir, "run.sh"), 0o744))
	return append(targets, "tree", "emptydir", "run.sh", "plain.txt", "zero", "big.bin", "seen.log", "nest")
}

// twins makes one repository for dvc and one for us, with the same content.
func twins(t *testing.T, w *world, seed uint64) (theirs, ours string, targets []string, r *dvc.Repo) {
	t.Helper()
	theirs = w.dir()
	w.git(theirs, "init", "-q", "-b", "main")
	w.dvc(theirs, "init", "-q")
	ours, r = w.repo()
	require.Equal(t, snapshot(t, theirs), snapshot(t, ours), "what dvc init writes")
	require.Equal(t, w.git(theirs, "status", "--porcelain"), w.git(ours, "status", "--porcelain"))
	plant(t, theirs, seed)
	return theirs, ours, plant(t, ours, seed), r
}

func same(t testing.TB, theirs, ours, what string) {
	t.Helper()
	a, b := snapshot(t, theirs), snapshot(t, ours)
	for p, v := range a {
		if b[p] != v {
			t.Errorf("%s: %s\n dvc:  %.300s\n ours: %.300s", what, p, v, orNone(b[p]))
		}
	}
	for p, v := range b {
		if _, ok := a[p]; !ok {
			t.Errorf("%s: only ours: %s %.300s", what, p, v)
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func TestLiveAddWritesWhatDVCWrites(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	for seed := range uint64(2) {
		theirs, ours, targets, r := twins(t, w, seed)
		w.dvc(theirs, append([]string{"add", "-q", "--"}, targets...)...)
		_, err := r.Add(bg(t), targets, dvc.AddOptions{})
		require.NoError(t, err)
		same(t, theirs, ours, "add")
		if seed == 0 {
			record(t, "add.json", recordable(snapshot(t, theirs)))
		}

		for _, dir := range []string{theirs, ours} {
			f := filepath.Join(dir, "plain.txt.dvc")
			text := strings.Replace(read(t, f), "outs:", "# top\ndesc: about it\nmeta:\n  owner: me   # inline\n\nouts:", 1)
			text = strings.Replace(text, "  path: plain.txt\n", "  path: plain.txt   # the path\n  labels: [a, b]\n  meta: {k: v}\n  remote: r1\n", 1)
			text = strings.Replace(text, "  size: 6\n", "  size: 6 # bytes\n", 1)
			write(t, dir, map[string]string{
				"plain.txt.dvc": text, "plain.txt": "a longer text by far\n", "tree/added": "new", "tree/sub/z.tmp": "changed",
				"nest/a": "other", "run.sh": "#!/bin/sh\necho\n",
			})
			require.NoError(t, os.Chmod(filepath.Join(dir, "run.sh"), 0o644))
		}
		again := []string{"plain.txt", "tree", "run.sh", "zero"}
		w.dvc(theirs, append([]string{"add", "-q"}, again...)...)
		_, err = r.Add(bg(t), again, dvc.AddOptions{})
		require.NoError(t, err)
		same(t, theirs, ours, "add again")

		for _, dir := range []string{theirs, ours} {
			write(t, dir, map[string]string{"tree/sub/z.tmp": "granular", "tree/added": "not this one", "nest/new/f": "n"})
		}
		w.dvc(theirs, "add", "-q", "tree/sub", "nest/new/f")
		_, err = r.Add(bg(t), []string{"tree/sub", "nest/new/f"}, dvc.AddOptions{})
		require.NoError(t, err)
		same(t, theirs, ours, "add of a part")
	}
}

func TestLiveStatusSaysWhatDVCSays(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "1", "b": "2", "c": "3", "e": "5", "d/x": "x", "d/y": "y", "q/z": "z"})
	outs, err := r.Add(bg(t), []string{"a", "b", "c", "d", "q", "e"}, dvc.AddOptions{})
	require.NoError(t, err)
	w.dvc(dir, "status", "-q")
	write(t, dir, map[string]string{"a": "changed", "d/new": "n"})
	require.NoError(t, os.Remove(filepath.Join(dir, "b")))
	for _, o := range outs[2:3] {
		require.NoError(t, os.Remove(filepath.Join(dir, ".dvc/cache/files/md5", o.Hash[:2], o.Hash[2:])))
	}
	st, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	js, err := st.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, w.dvc(dir, "status", "--json"), string(js))
	require.Len(t, st.Changes, 4)

	rem := w.dir()
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	_, err = r.Push(bg(t), dvc.PushOptions{Targets: []string{"b", "q"}})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, ".dvc/cache/files/md5", outs[1].Hash[:2], outs[1].Hash[2:])))
	st, err = r.Status(bg(t), dvc.StatusOptions{Cloud: true})
	require.NoError(t, err)
	js, err = st.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, w.dvc(dir, "status", "-c", "--json"), string(js))
}

func TestLivePushAndPullMeetDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	theirs, ours, targets, r := twins(t, w, 7)
	remA, remB := filepath.Join(w.dir(), "rem"), filepath.Join(w.dir(), "rem")
	w.dvc(theirs, "remote", "add", "-q", "-d", "Store", remA)
	require.NoError(t, r.AddRemote(bg(t), "Store", remB, dvc.AddRemoteOptions{Default: true}))
	require.Equal(t, strings.ReplaceAll(read(t, theirs, ".dvc/config"), remA, remB), read(t, ours, ".dvc/config"))
	w.dvc(theirs, "remote", "add", "-q", "second", "../x # y,z")
	require.NoError(t, r.AddRemote(bg(t), "second", "../x # y,z", dvc.AddRemoteOptions{}))
	require.Equal(t, strings.ReplaceAll(read(t, theirs, ".dvc/config"), remA, remB), read(t, ours, ".dvc/config"))

	w.dvc(theirs, append([]string{"add", "-q", "--"}, targets...)...)
	_, err := r.Add(bg(t), targets, dvc.AddOptions{})
	require.NoError(t, err)
	w.dvc(theirs, "push", "-q")
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	same(t, remA, remB, "the remote")
	w.dvc(ours, "status", "-q")
	w.dvc(ours, "status", "-q", "-c")

	// ours pushed, dvc pulls
	clone, _ := w.clone(ours)
	w.dvc(clone, "pull", "-q")
	require.Equal(t, data(t, ours), data(t, clone))

	// dvc pushed, we pull
	clone, cr := w.clone(theirs)
	_, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, data(t, theirs), data(t, clone))
	w.dvc(clone, "status", "-q")
	st, err := cr.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	require.True(t, st.Clean(), "%v", st)
}

// data is the workspace without DVC's folder and without what no clone has:
// empty directories, and the modes of files in directories.
func data(t testing.TB, dir string) map[string]string {
	out := snapshot(t, dir)
	for p, v := range out {
		switch {
		case strings.HasPrefix(p, ".dvc/"), strings.HasSuffix(p, "/"), strings.HasPrefix(p, "nest/inner/"), p == "nest/b.skip":
			delete(out, p)
		default:
			_, out[p], _ = strings.Cut(v, " ")
		}
	}
	return out
}
