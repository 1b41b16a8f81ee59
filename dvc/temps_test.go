package dvc_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

func TestOnlyKilledProgramsTemporaryFilesAreRemoved(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	tail := "-ABCDEFGHIJKL.tmp" // of 22 characters, 8 of which are the program's
	temp := map[string]string{
		"dead":    ".dvc/cache/files/md5/aa/.deaddead" + "x" + tail,
		"dead2x":  ".dvc/cache/aa/.deaddead" + "y" + tail,
		"deadrun": ".dvc/cache/runs/aa/bb/.deaddead" + "z" + tail,
		"own":     ".dvc/tmp/mlops/.ownownow" + "x" + tail + "/f",
		"living":  ".dvc/cache/files/md5/aa/.livingon" + "x" + tail,
		"dvcs":    ".dvc/cache/files/md5/aa/.dvcsdvcs" + "x" + tail,
		"data":    "d/.deaddead" + "x" + tail,
		"mark":    ".dvc/cache/mlops/notempty",
	}
	files := map[string]string{".dvc/cache/mlops/deaddead": "", ".dvc/cache/mlops/livingon": ""}
	for _, p := range temp {
		files[p] = "12345"
	}
	write(t, dir, files)
	living, err := os.OpenFile(filepath.Join(dir, ".dvc/cache/mlops/livingon"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer living.Close()
	require.NoError(t, syscall.Flock(int(living.Fd()), syscall.LOCK_EX))

	found, err := r.Doctor(bg(t), "")
	require.NoError(t, err)
	text := ""
	for _, f := range found {
		if f.Check == "temp" {
			require.True(t, f.OK)
			text = f.Text
		}
	}
	require.Contains(t, text, "4 temporary files of killed programs, 20 bytes")
	g, err := r.GC(bg(t), dvc.GCOptions{Workspace: true})
	require.NoError(t, err)
	require.Equal(t, dvc.Trash{Objects: 4, SizeBytes: 20}, g.Temp)
	for _, p := range temp {
		require.FileExists(t, filepath.Join(dir, p), "telling changes nothing")
	}

	write(t, dir, map[string]string{"e/f": "new"})
	_, err = r.Add(bg(t), []string{"e"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, temp["own"]), "a .dvc file was written")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "e")))
	_, err = r.Checkout(bg(t), dvc.CheckoutOptions{})
	require.NoError(t, err)
	for name, p := range temp {
		if strings.HasPrefix(name, "dead") || name == "own" {
			require.NoFileExists(t, filepath.Join(dir, p))
		} else {
			require.FileExists(t, filepath.Join(dir, p), name)
		}
	}
	require.NoFileExists(t, filepath.Join(dir, ".dvc/cache/mlops/deaddead"))
	require.FileExists(t, filepath.Join(dir, ".dvc/cache/mlops/livingon"))

	require.NoError(t, living.Close())
	g, err = r.GC(bg(t), dvc.GCOptions{Workspace: true, Yes: true})
	require.NoError(t, err)
	require.Equal(t, dvc.Trash{Objects: 1, SizeBytes: 5}, g.Temp)
	require.NoFileExists(t, filepath.Join(dir, temp["living"]))
}

func TestMarksOfTemporaryFilesAreNotLookedForBehindSymlinks(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	away := w.dir()
	write(t, away, map[string]string{"deaddead": ""})
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".dvc/cache"), 0o755))
	require.NoError(t, os.Symlink(away, filepath.Join(dir, ".dvc/cache/mlops")))
	write(t, dir, map[string]string{"f": "text"})
	_, err := r.Add(context.Background(), []string{"f"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(away, "deaddead"))
	left, err := os.ReadDir(away)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestFilesOfDVCArePreparedWhereTheNextWriterSweeps(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"sub/f": "text", "g": "text"})
	half := ".dvc/tmp/mlops/.ownownowxABCDEFGHIJKLM.tmp"
	for _, target := range []string{"sub/f", "g"} {
		write(t, dir, map[string]string{half: "outs:"})
		_, err := r.Add(bg(t), []string{target}, dvc.AddOptions{})
		require.NoError(t, err)
		require.NoFileExists(t, filepath.Join(dir, half))
		require.FileExists(t, filepath.Join(dir, target+".dvc"))
		left, err := os.ReadDir(filepath.Join(dir, ".dvc/tmp/mlops"))
		require.NoError(t, err)
		for _, f := range left {
			require.Equal(t, "state", f.Name())
		}
	}
}
