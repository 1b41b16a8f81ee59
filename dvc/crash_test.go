package dvc_test

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// TestMain runs one operation instead of the tests when the crash test starts
// this program again.
func TestMain(m *testing.M) {
	op, dir := os.Getenv("DVC_TEST_OP"), os.Getenv("DVC_TEST_DIR")
	if op == "" {
		os.Exit(m.Run())
	}
	r, err := dvc.Open(dir)
	if err == nil {
		err = operate(context.Background(), r, op)
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func operate(ctx context.Context, r *dvc.Repo, op string) error {
	var err error
	switch op {
	case "add":
		_, err = r.Add(ctx, "d")
	case "push":
		_, err = r.Push(ctx, dvc.PushOptions{})
	case "pull":
		_, err = r.Pull(ctx, dvc.PullOptions{})
	}
	return err
}

// whole checks what must hold however a program was stopped: what has mode
// 0444 is what its name says, and a listing in the remote has all its files.
func whole(t *testing.T, store string, children bool) {
	t.Helper()
	base := filepath.Join(store, "files/md5")
	_ = filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(p, ".tmp") {
			return nil
		}
		fi, err := d.Info()
		require.NoError(t, err)
		name := filepath.Base(filepath.Dir(p)) + filepath.Base(p)
		require.Equal(t, fs.FileMode(0o444), fi.Mode().Perm(), name)
		text := read(t, p)
		require.Equal(t, strings.TrimSuffix(name, ".dir"), md5hex(text), "an object that dvc would trust is torn")
		if children && strings.HasSuffix(name, ".dir") {
			for _, part := range strings.Split(text, `"md5": "`)[1:] {
				require.FileExists(t, filepath.Join(base, part[:2], part[2:32]))
			}
		}
		return nil
	})
}

func TestKilledOperationsLeaveNothingTorn(t *testing.T) {
	w := newWorld(t)
	self, err := os.Executable()
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(3, 4))
	files := map[string]string{"d/big": strings.Repeat("0123456789abcdef", 1<<18)}
	for i := range 400 {
		files["d/"+itoa(i)] = strings.Repeat(itoa(i), 500)
	}
	killed := 0
	run := func(dir, op string, kill bool) error {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "DVC_TEST_OP="+op, "DVC_TEST_DIR="+dir)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		if kill {
			timer := time.AfterFunc(time.Duration(2+rnd.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
		}
		err := cmd.Wait()
		if err != nil {
			killed++
		}
		return err
	}
	for range 3 {
		dir, r := w.repo()
		rem := w.dir()
		write(t, dir, files)
		require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
		for _, op := range []string{"add", "push"} {
			for range 3 {
				_ = run(dir, op, true)
				whole(t, filepath.Join(dir, ".dvc/cache"), false)
				whole(t, rem, true)
			}
			require.NoError(t, run(dir, op, false), "the next %s completes", op)
		}
		clone, cr := w.clone(dir)
		for range 3 {
			_ = run(clone, "pull", true)
			whole(t, filepath.Join(clone, ".dvc/cache"), false)
			for p, v := range files {
				if b, err := os.ReadFile(filepath.Join(clone, p)); err == nil {
					require.Equal(t, v, string(b), "a workspace file is whole or absent")
				}
			}
		}
		require.NoError(t, run(clone, "pull", false))
		st, err := cr.Status(bg(t), dvc.StatusOptions{})
		require.NoError(t, err)
		require.True(t, st.Clean(), "%v", st)
	}
	require.Positive(t, killed, "nothing was killed: the delays are too long for this machine")
}
