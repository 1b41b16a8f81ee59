package dvc_test

import (
	"crypto/md5"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// object puts a text under its name into a cache or remote.
func object(t testing.TB, dir, name, text string) {
	t.Helper()
	p := filepath.Join(dir, "files/md5", name[:2], name[2:])
	require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
	_ = os.Remove(p)
	require.NoError(t, os.WriteFile(p, []byte(text), 0o444))
}

func TestPullVerifiesWhatItGets(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	rem := w.dir()
	write(t, dir, map[string]string{"a": "right", "d/x": "x", "d/y": "y"})
	_, err := r.Add(bg(t), []string{"a", "d"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	n := 0
	tr, err := r.Push(bg(t), dvc.PushOptions{Transfers: dvc.Transfers{Progress: func(p dvc.Progress) { n = p.Done }}})
	require.NoError(t, err)
	require.Equal(t, 4, tr.Objects)
	require.Equal(t, 4, n)
	tr, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.Zero(t, tr.Objects)
	require.Equal(t, 4, tr.Present)

	object(t, rem, md5hex("right"), "wrong")
	object(t, rem, md5hex("y"), "Y")
	clone, cr := w.clone(dir)
	_, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NoFileExists(t, filepath.Join(clone, "a"))
	require.NoDirExists(t, filepath.Join(clone, "d"), "a directory that is not whole is not checked out")
	require.NoFileExists(t, filepath.Join(clone, ".dvc/cache/files/md5", md5hex("right")[:2], md5hex("right")[2:]))

	require.NoError(t, os.Remove(filepath.Join(rem, "files/md5", md5hex("right")[:2], md5hex("right")[2:])))
	_, err = cr.Pull(bg(t), dvc.PullOptions{Targets: []string{"a"}})
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestAPoisonedCacheReachesNeitherWorkspaceNorRemote(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	rem := w.dir()
	write(t, dir, map[string]string{"a": "right"})
	_, err := r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	object(t, filepath.Join(dir, ".dvc/cache"), md5hex("right"), "wrong")
	require.NoError(t, os.Remove(filepath.Join(dir, "a")))
	_, err = r.Checkout(bg(t), dvc.CheckoutOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NoFileExists(t, filepath.Join(dir, "a"))
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NoDirExists(t, filepath.Join(rem, "files/md5", md5hex("right")[:2], md5hex("right")[2:]))
}

func TestPushWithoutAChildFailsAndKeepsTheListingBack(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	rem := w.dir()
	write(t, dir, map[string]string{"d/x": "x", "d/y": "y", "e/z": "z"})
	outs, err := r.Add(bg(t), []string{"d", "e"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	require.NoError(t, os.Remove(filepath.Join(dir, ".dvc/cache/files/md5", md5hex("y")[:2], md5hex("y")[2:])))
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.ErrorIs(t, err, dvc.ErrNotCached)
	require.ErrorContains(t, err, md5hex("y"))
	require.ErrorContains(t, err, "d/y")
	require.NoFileExists(t, filepath.Join(rem, "files/md5", outs[0].Hash[:2], outs[0].Hash[2:]))
	require.FileExists(t, filepath.Join(rem, "files/md5", outs[1].Hash[:2], outs[1].Hash[2:]), "the whole directory goes up")
}

func TestCheckoutLosesNothingWithoutForce(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "1", "d/x": "x", "d/y": "y"})
	_, err := r.Add(bg(t), []string{"a", "d"}, dvc.AddOptions{})
	require.NoError(t, err)
	for _, tt := range []struct {
		name, file, text string
	}{
		{"changed file", "a", "edited"},
		{"changed file in a directory", "d/x", "edited"},
		{"untracked file in a directory", "d/mine", "untracked"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write(t, dir, map[string]string{tt.file: tt.text})
			_ = os.Remove(filepath.Join(dir, "d/y"))
			_, err := r.Checkout(bg(t), dvc.CheckoutOptions{})
			require.ErrorIs(t, err, mlops.ErrConflict)
			require.ErrorContains(t, err, tt.file)
			require.Equal(t, tt.text, read(t, dir, tt.file))
			require.NoFileExists(t, filepath.Join(dir, "d/y"), "refused before the first write")
			tr, err := r.Checkout(bg(t), dvc.CheckoutOptions{Force: true})
			require.NoError(t, err)
			require.NotEmpty(t, tr.Modified)
			st, err := r.Status(bg(t), dvc.StatusOptions{})
			require.NoError(t, err)
			require.True(t, st.Clean(), "%v", st)
		})
	}
	t.Run("content in the cache is replaced", func(t *testing.T) {
		write(t, dir, map[string]string{"a": "x", "d/copy": "y"})
		_, err := r.Checkout(bg(t), dvc.CheckoutOptions{})
		require.NoError(t, err)
		require.Equal(t, "1", read(t, dir, "a"))
		require.NoFileExists(t, filepath.Join(dir, "d/copy"))
	})
	t.Run("what a killed checkout left is removed", func(t *testing.T) {
		write(t, dir, map[string]string{"d/.P_-6fVG5-GTmEiHuOYnXpA.tmp": "half"})
		_, err := r.Checkout(bg(t), dvc.CheckoutOptions{})
		require.NoError(t, err)
		require.NoFileExists(t, filepath.Join(dir, "d/.P_-6fVG5-GTmEiHuOYnXpA.tmp"))
	})
	t.Run("ignored file in the way", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(dir, "d/x")))
		write(t, dir, map[string]string{".dvcignore": "/d/x\n", "d/x": "private"})
		_, err := r.Checkout(bg(t), dvc.CheckoutOptions{})
		require.ErrorIs(t, err, mlops.ErrConflict)
		require.Equal(t, "private", read(t, dir, "d/x"))
		write(t, dir, map[string]string{".dvcignore": ""})
	})
	t.Run("symlink out of the repository in the way", func(t *testing.T) {
		out := w.dir()
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
		require.NoError(t, os.Symlink(out, filepath.Join(dir, "d")))
		_, err := r.Checkout(bg(t), dvc.CheckoutOptions{})
		require.ErrorIs(t, err, mlops.ErrConflict)
		_, err = r.Checkout(bg(t), dvc.CheckoutOptions{Force: true})
		require.NoError(t, err)
		entries, err := os.ReadDir(out)
		require.NoError(t, err)
		require.Empty(t, entries, "nothing is written through the link")
		require.Equal(t, "x", read(t, dir, "d/x"))
	})
	t.Run("file for directory and back", func(t *testing.T) {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "d")))
		write(t, dir, map[string]string{"d": "x"})
		require.NoError(t, os.Remove(filepath.Join(dir, "a")))
		write(t, dir, map[string]string{"a/b/c": "y"})
		_, err := r.Checkout(bg(t), dvc.CheckoutOptions{})
		require.NoError(t, err)
		require.Equal(t, "1", read(t, dir, "a"))
		require.Equal(t, "y", read(t, dir, "d/y"))
	})
}

func TestAddRefuses(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	outside := w.dir()
	write(t, outside, map[string]string{"f": "x"})
	write(t, dir, map[string]string{
		"real/f": "1", "ign/.dvcignore": "x\n", "sub/.dvc/config": "", "sub/f": "1", "over/f": "1", "over/f.dvc": "outs: []\n",
		"ingit": "1", "tracked/a": "1", "parent/child": "1", ".dvcignore": "/skipped\n", "skipped": "1", "broken/ok": "1", "one": "1",
	})
	w.git(dir, "add", "ingit")
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "linkdir")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "broken/link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644))
	_, err := r.Add(bg(t), []string{"tracked", "parent/child"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "real/bad\xff"), nil, 0o644))
	before := snapshot(t, dir)
	for _, tt := range []struct {
		name, path string
		kind       error
	}{
		{"missing", "nope", mlops.ErrNotFound},
		{"outside", filepath.Join(outside, "f"), mlops.ErrInvalid},
		{"above", "../x", mlops.ErrInvalid},
		{"behind a symlink", "linkdir/f", mlops.ErrInvalid},
		{"symlink to a directory", "linkdir", mlops.ErrInvalid},
		{"dvcignore inside", "ign", mlops.ErrInvalid},
		{"a repository", "sub", mlops.ErrInvalid},
		{"a .dvc file inside", "over", mlops.ErrConflict},
		{"a .dvc file", "parent/child.dvc", mlops.ErrInvalid},
		{"tracked by git", "ingit", mlops.ErrInvalid},
		{"missing part of a tracked directory", "tracked/nope", mlops.ErrNotFound},
		{"parent of tracked data", "parent", mlops.ErrConflict},
		{"ignored", "skipped", mlops.ErrInvalid},
		{"broken symlink inside", "broken", mlops.ErrNotFound},
		{"pipe", "pipe", mlops.ErrInvalid},
		{"name that is not UTF-8", "real", mlops.ErrInvalid},
		{"the repository", ".", mlops.ErrInvalid},
		{"git's folder", ".git/HEAD", mlops.ErrInvalid},
		{"dvc's folder", ".dvc/config", mlops.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.Add(bg(t), []string{"one", tt.path}, dvc.AddOptions{})
			require.ErrorIs(t, err, tt.kind)
			require.Equal(t, before, snapshot(t, dir), "nothing is written, for the good path neither")
		})
	}
}

func TestTheLockIsHonoured(t *testing.T) {
	w := newWorld(t)
	dir, _ := w.repo()
	write(t, dir, map[string]string{"a": "1"})
	r, err := dvc.Open(dir, dvc.LockTimeout(0))
	require.NoError(t, err)
	f, err := os.OpenFile(filepath.Join(dir, ".dvc/tmp/lock"), os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	_, err = r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_UN))
	holder := exec.Command("cat")
	in, err := holder.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	defer func() { _ = in.Close(); _ = holder.Wait() }()
	lock := func(pid int) {
		write(t, dir, map[string]string{".dvc/tmp/rwlock": strings.NewReplacer("PATH", dir+"/a", "PID", itoa(pid)).Replace(`{"write": {"PATH": {"pid": PID, "cmd": "train.py"}}, "read": {}}`)})
	}
	lock(holder.Process.Pid)
	_, err = r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, "train.py")
	lock(1 << 30)
	_, err = r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err, "the claim of a dead process does not count")
}
