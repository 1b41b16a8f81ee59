package dvc_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// versions makes a repository with two commits and a remote that has both.
func versions(t *testing.T, w *world) (dir, rem string, r *dvc.Repo) {
	dir, r = w.repo()
	rem = filepath.Join(w.dir(), "rem")
	require.NoError(t, r.AddRemote(bg(t), "s", rem, dvc.AddRemoteOptions{Default: true}))
	for i, text := range []string{"old", "new"} {
		write(t, dir, map[string]string{"data/f": text, "data/d/sub/x": text + "\r\n", "data/d/y": "same", "top": text})
		_, err := r.Add(bg(t), []string{"data/f", "data/d", "top"}, dvc.AddOptions{})
		require.NoError(t, err)
		_, err = r.Push(bg(t), dvc.PushOptions{})
		require.NoError(t, err)
		w.git(dir, "add", "-A")
		w.git(dir, "commit", "-q", "-m", text)
		w.git(dir, "tag", "v"+itoa(i+1))
	}
	return dir, rem, r
}

func TestTrackedDataIsAFileSystemAtAnyRevision(t *testing.T) {
	w := newWorld(t)
	dir, _, r := versions(t, w)
	for rev, text := range map[string]string{"v1": "old", "": "new", "HEAD": "new"} {
		for _, cached := range []bool{true, false} {
			if !cached {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/cache")))
			}
			f, err := r.FS(bg(t), rev)
			require.NoError(t, err)
			require.NoError(t, fstest.TestFS(f, "data/f", "data/d/sub/x", "data/d/y", "top"))
			b, err := fs.ReadFile(f, "data/d/sub/x")
			require.NoError(t, err)
			require.Equal(t, text+"\r\n", string(b))
		}
		require.NoDirExists(t, filepath.Join(dir, ".dvc/cache"), "reading does not write")
		_, err := r.Pull(bg(t), dvc.PullOptions{Force: true})
		require.NoError(t, err)
	}
	file, err := r.Open(bg(t), "top", "v1")
	require.NoError(t, err)
	b, err := io.ReadAll(file)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.Equal(t, "old", string(b))
	_, err = r.Open(bg(t), "nope", "v1")
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = r.Open(bg(t), "top", "v9")
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestWhatIsReadIsChecked(t *testing.T) {
	w := newWorld(t)
	dir, rem, r := versions(t, w)
	object(t, filepath.Join(dir, ".dvc/cache"), md5hex("new"), "bad")
	f, err := r.FS(bg(t), "")
	require.NoError(t, err)
	_, err = fs.ReadFile(f, "top")
	require.ErrorIs(t, err, mlops.ErrInvalid, "from the cache")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/cache")))
	object(t, rem, md5hex("new"), "bad")
	_, err = fs.ReadFile(f, "top")
	require.ErrorIs(t, err, mlops.ErrInvalid, "from the remote")
	require.NoError(t, os.RemoveAll(rem))
	_, err = fs.ReadFile(f, "top")
	require.ErrorIs(t, err, dvc.ErrNotCached)
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestAnotherRepositoryIsReadWithoutACheckout(t *testing.T) {
	w := newWorld(t)
	dir, rem, _ := versions(t, w)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/cache")))
	s, err := dvc.OpenSource(bg(t), dir, dvc.SourceOptions{Rev: "v1"})
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(w.git(dir, "rev-parse", "v1")), s.Rev)
	require.NoError(t, fstest.TestFS(s.FS(), "data/f", "data/d/sub/x"))
	b, err := fs.ReadFile(s.FS(), "data/f")
	require.NoError(t, err)
	require.Equal(t, "old", string(b))
	require.NoError(t, s.Close())

	// The same by its URL: the directory that it names as a remote is not ours to read.
	s, err = dvc.OpenSource(bg(t), "file://"+dir, dvc.SourceOptions{})
	require.NoError(t, err)
	_, err = s.Open("top")
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.NoError(t, s.Close())
	s, err = dvc.OpenSource(bg(t), "file://"+dir, dvc.SourceOptions{Trust: true})
	require.NoError(t, err)
	b, err = fs.ReadFile(s.FS(), "top")
	require.NoError(t, err)
	require.Equal(t, "new", string(b))
	require.NoError(t, s.Close())
	require.DirExists(t, rem)

	for url, rev := range map[string]string{dir: "v9", filepath.Join(dir, "none"): "", "--upload-pack=x": "", "ext::sh -c true": ""} {
		_, err = dvc.OpenSource(bg(t), url, dvc.SourceOptions{Rev: rev})
		require.Error(t, err, url)
	}
	plain := w.dir()
	w.git(plain, "init", "-q")
	w.git(plain, "commit", "-q", "--allow-empty", "-m", "x")
	_, err = dvc.OpenSource(bg(t), plain, dvc.SourceOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
}
