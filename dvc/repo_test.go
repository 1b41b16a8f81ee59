package dvc_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

func TestPathsAreRelativeToWhatWasOpened(t *testing.T) {
	w := newWorld(t)
	dir, _ := w.repo()
	write(t, dir, map[string]string{"data/train.csv": "1", "data/d/x": "2"})
	sub, err := dvc.Open(filepath.Join(dir, "data"))
	require.NoError(t, err)
	require.Equal(t, dir, sub.Root())
	outs, err := sub.Add(bg(t), []string{"train.csv", filepath.Join(dir, "data", "d")}, dvc.AddOptions{})
	require.NoError(t, err)
	require.Equal(t, "train.csv.dvc", outs[0].DVCFile)
	require.Equal(t, "d", outs[1].Path)

	v, err := sub.Version(bg(t), "train.csv")
	require.NoError(t, err)
	require.Equal(t, dvc.Version{Path: "train.csv", Hash: md5hex("1"), SizeBytes: 1}, v)
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "x")
	v, err = sub.Version(bg(t), "d/x")
	require.NoError(t, err)
	require.Equal(t, md5hex("2"), v.Hash)
	require.Len(t, v.GitRevision, 40)
	_, err = sub.Version(bg(t), "nope")
	require.ErrorIs(t, err, mlops.ErrNotFound)

	_, err = dvc.Open(w.dir())
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = dvc.Init(dir)
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	_, err = dvc.Init(w.dir())
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func TestRemotesAreReadAndWritten(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	_, err := r.DefaultRemote()
	require.ErrorIs(t, err, mlops.ErrNotFound)
	write(t, dir, map[string]string{".dvc/config": "# mine\n[core]\n    analytics = false\n['remote \"Old\"']\n    url = ../old # here\n"})
	require.NoError(t, r.AddRemote(bg(t), "New", "store", dvc.AddRemoteOptions{Default: true}))
	require.Equal(t, "# mine\n[core]\n    analytics = false\n    remote = new\n['remote \"Old\"']\n    url = ../old # here\n['remote \"new\"']\n    url = ../store\n", read(t, dir, ".dvc/config"))
	require.ErrorIs(t, r.AddRemote(bg(t), "old", "x", dvc.AddRemoteOptions{}), mlops.ErrAlreadyExists)
	require.ErrorIs(t, r.AddRemote(bg(t), "p", "webdavs://u:pw@h/x", dvc.AddRemoteOptions{}), mlops.ErrInvalid)
	require.NoError(t, r.AddRemote(bg(t), "p", "webdavs://u:pw@h/x", dvc.AddRemoteOptions{Level: dvc.LevelLocal}))
	all, err := r.Remotes()
	require.NoError(t, err)
	require.Equal(t, []dvc.Remote{
		{Name: "new", URL: filepath.Join(dir, "store"), Level: "repo", Default: true},
		{Name: "old", URL: filepath.Join(dir, "old"), Level: "repo"},
		{Name: "p", URL: "webdavs://u@h/x", Level: "local"},
	}, all)
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	write(t, dir, map[string]string{"a": "1"})
	_, err = r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	_, err = r.Push(bg(t), dvc.PushOptions{Remote: "p"})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
}

func TestLinkTypesAreHonoured(t *testing.T) {
	w := newWorld(t)
	for _, kind := range []string{"hardlink", "symlink", "copy"} {
		t.Run(kind, func(t *testing.T) {
			dir, r := w.repo()
			write(t, dir, map[string]string{".dvc/config": "[cache]\n    type = " + kind + "\n", "d/x": "x", "d/none": "", "f": "f"})
			_, err := r.Add(bg(t), []string{"d", "f"}, dvc.AddOptions{})
			require.NoError(t, err)
			for _, again := range []bool{false, true} {
				obj, err := os.Stat(filepath.Join(dir, ".dvc/cache/files/md5", md5hex("x")[:2], md5hex("x")[2:]))
				require.NoError(t, err)
				fi, err := os.Stat(filepath.Join(dir, "d/x"))
				require.NoError(t, err)
				require.Equal(t, kind != "copy", os.SameFile(obj, fi))
				if again {
					break
				}
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
				_, err = r.Checkout(bg(t), dvc.CheckoutOptions{})
				require.NoError(t, err)
			}
			st, err := r.Status(bg(t), dvc.StatusOptions{})
			require.NoError(t, err)
			require.True(t, st.Clean(), "%v", st)
		})
	}
}

// A clone may hold a folder that git takes for a bare repository, whose config
// names programs.
func TestNoProgramOfAFolderThatLooksLikeARepositoryRuns(t *testing.T) {
	w := newWorld(t)
	outer := w.dir()
	w.git(outer, "init", "-q")
	dir, trap := filepath.Join(outer, "sub"), filepath.Join(w.dir(), "trap")
	require.NoError(t, os.WriteFile(trap, []byte("#!/bin/sh\ntouch $0.ran\ncat\n"), 0o755))
	for _, d := range []string{"objects", "refs/heads", ".dvc/tmp"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	write(t, dir, map[string]string{
		"HEAD":        "ref: refs/heads/main\n",
		"config":      "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n\tfsmonitor = " + trap + "\n",
		".dvc/config": "[core]\n    autostage = true\n", "data": "1",
	})
	r, err := dvc.Open(dir)
	require.NoError(t, err)
	_, added := r.Add(bg(t), []string{"data"}, dvc.AddOptions{})
	_, differs := r.Diff(bg(t), dvc.DiffOptions{})
	_, collected := r.GC(bg(t), dvc.GCOptions{AllCommits: true})
	t.Log(added, differs, collected)
	require.NoFileExists(t, trap+".ran")
	require.ErrorContains(t, added, "bareRepository")
}
