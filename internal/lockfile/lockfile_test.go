package lockfile

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain is, with HOLD set, a child that locks that file, says so on stdout
// and holds the lock until its stdin ends.
func TestMain(m *testing.M) {
	path := os.Getenv("HOLD")
	if path == "" {
		os.Exit(m.Run())
	}
	f, err := Open(path, 0o600)
	if err == nil {
		err = Try(f)
	}
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString("held\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// child starts a process that holds the lock of path; end ends it with SIGKILL.
func child(t *testing.T, path string) (end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HOLD="+path)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = in.Close()
	}
	t.Cleanup(end)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)
	return end
}

func opened(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := Open(path, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestALockEndsWithItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	end := child(t, path)
	f := opened(t, path)
	require.ErrorIs(t, Try(f), ErrHeld)
	require.ErrorIs(t, TryShared(f), ErrHeld)
	require.True(t, Held(path))
	end()
	require.NoError(t, Try(f))
	require.True(t, Held(path), "this process has it now")
	require.NoError(t, Unlock(f))
	require.False(t, Held(path))
}

func TestSharedLocksKeepTheExclusiveOneOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := opened(t, path), opened(t, path)
	require.NoError(t, TryShared(a))
	require.NoError(t, TryShared(b))
	require.False(t, Held(path), "a shared lock holds up no reader")
	require.ErrorIs(t, Try(opened(t, path)), ErrHeld)
}

func TestWaitTakesTheLockWhenItsHolderEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	end := child(t, path)
	told := 0
	require.NoError(t, Wait(t.Context(), opened(t, path), time.Millisecond, func() { told++; end() }))
	require.Equal(t, 1, told)
	require.NoError(t, Wait(t.Context(), opened(t, filepath.Join(t.TempDir(), "free")), time.Hour, func() { t.Error("it did not wait") }))
}

func TestWaitEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	require.NoError(t, Try(opened(t, path)))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("no longer needed")
	require.ErrorIs(t, Wait(ctx, opened(t, path), time.Hour, func() { cancel(why) }), why)
}

func TestALinkIsNotLocked(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(dir, "other"), filepath.Join(dir, "lock")))
	_, err := Open(filepath.Join(dir, "lock"), 0o600)
	require.Error(t, err)
	require.NoFileExists(t, filepath.Join(dir, "other"))
	require.False(t, Held(filepath.Join(dir, "none")))
}

func TestTakeIsOfTheFileThatHasTheName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f, err := Take(path, 0o600)
	require.NoError(t, err)
	_, err = Take(path, 0o600)
	require.ErrorIs(t, err, ErrHeld)
	waits := opened(t, path) // opened before the owner removes it
	require.NoError(t, os.Remove(path))
	require.NoError(t, f.Close())
	require.NoError(t, Try(waits), "it locks a file that has no name any more")
	require.False(t, Current(waits))
	g, err := Take(path, 0o600)
	require.NoError(t, err)
	require.True(t, Current(g))
	require.NoError(t, g.Close())
}

func TestASharedDescriptorHoldsTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	f := opened(t, path)
	require.NoError(t, Try(f))
	again, err := Share(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.True(t, Held(path))
	require.NoError(t, again.Close())
	require.False(t, Held(path))
}
