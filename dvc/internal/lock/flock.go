// Package lock takes the locks that dvc takes: one of the whole repository, and
// entries of the paths that a program reads and writes. It names who has them.
package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// Take opens path and takes its lock, asking again every 50 ms until wait is
// over. The error matches [mlops.ErrConflict] then, and names the holder.
// [Release] releases it; the file stays.
func Take(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	f, err := lockfile.Open(path, 0o666)
	if err != nil {
		return nil, err
	}
	if err := Wait(ctx, f, wait); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// poll is how long a held lock is left alone before it is asked for again.
const poll = 50 * time.Millisecond

var errWaited = errors.New("waited long enough")

// Wait takes the lock of an open file as [Take] does.
func Wait(ctx context.Context, f *os.File, wait time.Duration) error {
	until, cancel := context.WithTimeoutCause(ctx, wait, errWaited)
	defer cancel()
	switch err := lockfile.Wait(until, f, poll, nil); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.Is(err, errWaited):
		return fmt.Errorf("dvc: %w", err)
	}
	if lockfile.Try(f) == nil {
		return nil // it was released since it was last asked for
	}
	holder := make([]byte, 32)
	n, _ := f.ReadAt(holder, 0)
	return fault.New(mlops.ErrConflict, "another program (%s) holds %s; wait for its end, or give a longer lock timeout", nameOf(strings.TrimSpace(string(holder[:n]))), f.Name())
}

// Yield releases a lock for a moment and takes it again.
func Yield(ctx context.Context, f *os.File, wait time.Duration) error {
	if err := lockfile.Unlock(f); err != nil {
		return err
	}
	t := time.NewTimer(poll)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	return Wait(ctx, f, wait)
}

// Release releases the lock, also where a git that is just being started has the
// file still, and closes it.
func Release(held *os.File) {
	_ = lockfile.Unlock(held)
	_ = held.Close()
}

// Sign writes our pid into the lock's file, as dvc does.
func Sign(f *os.File) error {
	pid := fmt.Appendf(nil, " %d\n", os.Getpid())
	_, err := f.WriteAt(pid, 0)
	if err == nil {
		err = f.Truncate(int64(len(pid)))
	}
	return err
}

// nameOf describes a process by its pid as a lock file has it.
func nameOf(pid string) string {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return "of unknown pid"
	}
	p, _ := Inspect(n)
	name := []rune(p.cmd)
	if len(name) == 0 {
		return "pid " + pid
	}
	if len(name) > 100 {
		name = append(name[:100], '…')
	}
	return "pid " + pid + ": " + string(name)
}
