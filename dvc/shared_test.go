package dvc_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// Every folder of a shared cache is the group's, whatever made it.
func TestAllFoldersOfASharedCacheAreOfTheGroup(t *testing.T) {
	w := newWorld(t)
	was := syscall.Umask(0o077)
	defer syscall.Umask(was)
	dir, r := w.repo()
	shared := filepath.Join(w.dir(), "new", "cache")
	require.NoError(t, r.AddRemote(bg(t), "store", dir+"-store", dvc.AddRemoteOptions{Default: true}))
	require.NoError(t, r.Set(bg(t), "cache.shared", "group", ""))
	require.NoError(t, r.Set(bg(t), "cache.dir", shared, ""))
	folders := func() (out []string) {
		require.NoError(t, filepath.WalkDir(shared, func(p string, d fs.DirEntry, err error) error {
			require.NoError(t, err)
			if d.IsDir() {
				fi, err := d.Info()
				require.NoError(t, err)
				require.Equal(t, fs.ModeDir|fs.ModeSetgid|0o775, fi.Mode(), p)
				out = append(out, strings.TrimPrefix(p, shared))
			}
			return nil
		}))
		return out
	}
	big := strings.Repeat("big", 1<<20)
	write(t, dir, map[string]string{"f": "f", "big": big, "d/x": "x"})
	_, err := r.Add(bg(t), []string{"f", "big", "d"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.Contains(t, folders(), "/files/md5")
	_, err = r.Doctor(bg(t), "")
	require.NoError(t, err)
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, "big.dvc")))
	_, err = r.GC(bg(t), dvc.GCOptions{Workspace: true, Yes: true, Projects: []string{dir}})
	require.NoError(t, err)
	require.Contains(t, folders(), "/trash")
	require.NoError(t, os.RemoveAll(shared))
	_, err = r.Fetch(bg(t), dvc.FetchOptions{})
	require.NoError(t, err)
	folders()

	// dvc 2.x's layout, and folders that an older version left closed
	write(t, dir, map[string]string{"old.dvc": "outs:\n- md5: " + md5hex("old") + "\n  size: 3\n  path: old\n"})
	object2x := filepath.Join(dir+"-store", md5hex("old")[:2], md5hex("old")[2:])
	require.NoError(t, os.MkdirAll(filepath.Dir(object2x), 0o755))
	require.NoError(t, os.WriteFile(object2x, []byte("old"), 0o644))
	for _, p := range []string{shared, shared + "/files", shared + "/files/md5"} {
		require.NoError(t, os.Chmod(p, 0o755))
	}
	write(t, dir, map[string]string{"n": "n"})
	_, err = r.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	_, err = r.Add(bg(t), []string{"n"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.Contains(t, folders(), "/"+md5hex("old")[:2])
}
