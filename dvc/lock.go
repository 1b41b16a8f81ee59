package dvc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
)

// lock takes the lock that dvc takes: flock on .dvc/tmp/lock. It waits
// LockTimeout for another holder, then returns an error that matches
// [mlops.ErrConflict] and names it.
func (r *Repo) lock(ctx context.Context) (unlock func(), err error) {
	cfg, err := r.config()
	if err != nil {
		return nil, err
	}
	if cfg.boolean("core", "hardlink_lock") {
		return nil, fail(mlops.ErrUnsupported, "core.hardlink_lock is set, and that kind of lock is not spoken here; run: dvc config --unset core.hardlink_lock")
	}
	tmp := filepath.Join(r.root, ".dvc", "tmp")
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return nil, err
	}
	f, err := flock(ctx, filepath.Join(tmp, "lock"), r.lockTimeout)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, " %d\n", os.Getpid()), 0)
	if err == nil {
		err = f.Truncate(int64(len(fmt.Sprintf(" %d\n", os.Getpid()))))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	s := &state{r: r, new: map[string]*known{}, scanned: map[string]bool{}}
	r.current.Store(s)
	return func() {
		r.current.Store(nil)
		s.temps.end()
		s.save()
		r.unclaim()
		_ = f.Close()
	}, nil
}

// work is what a call that changes what is tracked has at hand.
type work struct {
	c    *cache
	ix   *index
	root *os.Root
	done func()
}

// work takes the lock and opens the rest; the caller calls done.
func (r *Repo) work(ctx context.Context) (w work, err error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return w, err
	}
	if w.c, err = r.cache(); err == nil {
		if w.ix, err = r.index(); err == nil {
			w.root, err = os.OpenRoot(r.root)
		}
	}
	if err != nil {
		unlock()
		return w, err
	}
	w.done = func() {
		_ = w.root.Close()
		unlock()
	}
	return w, nil
}

// nameOf tells what a process is, by its pid as a lock file has it.
func nameOf(pid string) string {
	if _, err := strconv.Atoi(pid); err != nil {
		return "of unknown pid"
	}
	cmd, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil {
		cmd, _ = exec.Command("ps", "-o", "command=", "-p", pid).Output() // systems without /proc
	}
	name := []rune(strings.Join(strings.Fields(strings.ReplaceAll(string(cmd), "\x00", " ")), " "))
	if len(name) == 0 {
		return "pid " + pid
	}
	if len(name) > 100 {
		name = append(name[:100], '…')
	}
	return "pid " + pid + ": " + string(name)
}

// flock opens path and takes its lock, asking again every 50 ms until wait is
// over. Closing the file releases the lock; the file stays.
func flock(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o666)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(wait)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("dvc: lock %s: %w", path, err)
		}
		if !time.Now().Before(deadline) {
			holder := make([]byte, 32)
			n, _ := f.ReadAt(holder, 0)
			_ = f.Close()
			return nil, fail(mlops.ErrConflict, "another program (%s) holds %s; wait for its end, or give a longer lock timeout", nameOf(strings.TrimSpace(string(holder[:n]))), path)
		}
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			_ = f.Close()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

// within reports whether p is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return pid > 0 && (err == nil || errors.Is(err, syscall.EPERM))
}
