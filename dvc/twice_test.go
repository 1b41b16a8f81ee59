package dvc_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// twice makes a repository with outputs that two .dvc files have each: x of
// one content, y of two, and the folder d. The files in other are the later.
func twice(t *testing.T, w *world) (string, *dvc.Repo) {
	t.Helper()
	dir, r := w.repo()
	require.NoError(t, r.AddRemote(bg(t), "store", dir+"-store", dvc.AddRemoteOptions{Default: true}))
	write(t, dir, map[string]string{"x": "1\n", "y": "old\n", "d/a": "a"})
	_, err := r.Add(bg(t), []string{"x", "y", "d"}, dvc.AddOptions{})
	require.NoError(t, err)
	for _, name := range []string{"x", "y", "d"} {
		write(t, dir, map[string]string{"other/" + name + ".dvc": strings.Replace(read(t, dir, name+".dvc"), "path: ", "path: ../", 1)})
	}
	old := read(t, dir, "other/y.dvc")
	require.NoError(t, os.Remove(filepath.Join(dir, "other/y.dvc")))
	for _, name := range []string{"x", "d"} {
		require.NoError(t, os.Rename(filepath.Join(dir, "other", name+".dvc"), filepath.Join(dir, name+".later")))
	}
	write(t, dir, map[string]string{"y": "new\n"})
	_, err = r.Add(bg(t), []string{"y"}, dvc.AddOptions{})
	require.NoError(t, err)
	for _, name := range []string{"x", "d"} {
		require.NoError(t, os.Rename(filepath.Join(dir, name+".later"), filepath.Join(dir, "other", name+".dvc")))
	}
	write(t, dir, map[string]string{"other/y.dvc": old})
	return dir, r
}

func TestOneOutputInTwoFilesStopsOnlyWhatWrites(t *testing.T) {
	w := newWorld(t)
	dir, r := twice(t, w)
	s, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	require.Equal(t, []dvc.Change{{DVCFile: "other/y.dvc", Path: "y", State: dvc.ChangeModified}}, s.Changes)
	moved, err := r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.Equal(t, 5, moved.Objects, "what either file names")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/cache")))
	for _, name := range []string{"x", "y", "d"} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
	}
	_, err = r.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, "old\n", read(t, dir, "y"), "the later file's")
	require.NoError(t, os.Remove(filepath.Join(dir, "x")))
	_, err = r.Checkout(bg(t), dvc.CheckoutOptions{})
	require.NoError(t, err)
	require.Equal(t, "1\n", read(t, dir, "x"))
	g, err := r.GC(bg(t), dvc.GCOptions{Workspace: true})
	require.NoError(t, err)
	require.Empty(t, g.Cache, "both contents are kept")
	_, err = r.DataStatus(bg(t), dvc.DataStatusOptions{})
	require.NoError(t, err)
	_, err = r.Push(bg(t), dvc.PushOptions{Targets: []string{"other/y.dvc"}})
	require.NoError(t, err)

	write(t, dir, map[string]string{"z": "z"})
	before := snapshot(t, dir)
	for name, do := range map[string]func() error{
		"add":       func() error { _, err := r.Add(bg(t), []string{"z"}, dvc.AddOptions{}); return err },
		"add again": func() error { _, err := r.Add(bg(t), []string{"y"}, dvc.AddOptions{}); return err },
		"import-url": func() error {
			_, err := r.ImportURL(bg(t), filepath.Join(dir, "z"), dvc.ImportURLOptions{Out: "i"})
			return err
		},
		"push of it": func() error { _, err := r.Push(bg(t), dvc.PushOptions{Targets: []string{"x"}}); return err },
	} {
		err := do()
		require.ErrorIs(t, err, mlops.ErrConflict, name)
		require.ErrorContains(t, err, "is an output of", name)
	}
	require.Equal(t, before, snapshot(t, dir))
}

func TestLiveOneOutputInTwoFilesIsAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, r := twice(t, w)
	s, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	ours, err := json.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, w.dvc(dir, "status", "--json"), string(ours))
	w.dvc(dir, "push", "-q")
	for _, tool := range []string{"ours", "dvc"} {
		require.NoError(t, os.Remove(filepath.Join(dir, "y")))
		if tool == "dvc" {
			w.dvc(dir, "checkout", "-q")
		} else {
			_, err = r.Checkout(bg(t), dvc.CheckoutOptions{})
			require.NoError(t, err)
		}
		require.Equal(t, "old\n", read(t, dir, "y"), tool)
	}
	_, err = w.try(dir, "add", "x")
	require.ErrorContains(t, err, "is specified in")
	_, err = w.try(dir, "push", "x")
	require.ErrorContains(t, err, "is specified in")
}
