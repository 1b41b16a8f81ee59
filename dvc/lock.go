package dvc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
)

// lock takes the lock that dvc takes: flock on .dvc/tmp/lock, until held is
// closed. It waits LockTimeout for another holder, then returns an error that
// matches [mlops.ErrConflict] and names it. The configuration says whether it is
// that kind of lock; what another holder changed in it is read again.
func (r *Repo) lock(ctx context.Context) (held *os.File, cfg *config, err error) {
	at := stampOf(r.levels())
	if cfg, err = flockConfig(r, at); err != nil {
		return nil, nil, err
	}
	tmp := filepath.Join(r.dir, ".dvc", "tmp")
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return nil, nil, err
	}
	held, err = flock(ctx, filepath.Join(tmp, "lock"), r.lockTimeout)
	if err != nil {
		return nil, nil, err
	}
	if now := stampOf(r.levels()); now != at {
		cfg, err = flockConfig(r, now)
	}
	if err == nil {
		err = signLock(held)
	}
	if err != nil {
		unlock(held)
		return nil, nil, err
	}
	return held, cfg, nil
}

// unlock releases the lock, also where a git that is just being started has the
// file still, and closes it.
func unlock(held *os.File) {
	_ = syscall.Flock(int(held.Fd()), syscall.LOCK_UN)
	_ = held.Close()
}

// flockConfig reads the configuration, which must not ask for dvc's other kind
// of lock: a file that is linked, which flock would disturb.
func flockConfig(r *Repo, stamp string) (*config, error) {
	cfg, err := r.config()
	if err == nil && cfg.boolean("core", "hardlink_lock") {
		err = fail(mlops.ErrUnsupported, "core.hardlink_lock is set, and that kind of lock is not spoken here; run: dvc config --unset core.hardlink_lock")
	}
	if err != nil {
		return nil, err
	}
	cfg.stamp = stamp
	return cfg, nil
}

// stampOf changes when a file of the configuration does.
func stampOf(all []level) string {
	var b strings.Builder
	for _, l := range all {
		if fi, err := os.Stat(l.file); err == nil {
			ino := uint64(0)
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				ino = st.Ino
			}
			fmt.Fprintln(&b, l.name, fi.ModTime().UnixNano(), fi.Size(), ino)
		}
	}
	return b.String()
}

// signLock writes our pid into the lock's file, as dvc does.
func signLock(f *os.File) error {
	pid := fmt.Appendf(nil, " %d\n", os.Getpid())
	_, err := f.WriteAt(pid, 0)
	if err == nil {
		err = f.Truncate(int64(len(pid)))
	}
	return err
}

// pause releases the lock for a moment and takes it again. The error matches
// [mlops.ErrConflict] if the configuration, which the call has read, changed
// meanwhile.
func (c *call) pause(ctx context.Context) error {
	f := c.held
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN); err != nil {
		return err
	}
	t := time.NewTimer(lockPoll)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	if err := takeLock(ctx, f, c.lockTimeout); err != nil {
		return err
	}
	if stampOf(c.levels()) != c.cfg.stamp {
		return fail(mlops.ErrConflict, "the configuration was changed by another program meanwhile; run it again")
	}
	return signLock(f)
}

// nameOf tells what a process is, by its pid as a lock file has it.
func nameOf(pid string) string {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return "of unknown pid"
	}
	p, _ := inspect(n)
	name := []rune(p.cmd)
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
	if err := takeLock(ctx, f, wait); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// lockPoll is how long a held lock is left alone before it is asked for again.
const lockPoll = 50 * time.Millisecond

func takeLock(ctx context.Context, f *os.File, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("dvc: lock %s: %w", f.Name(), err)
		}
		if !time.Now().Before(deadline) {
			holder := make([]byte, 32)
			n, _ := f.ReadAt(holder, 0)
			return fail(mlops.ErrConflict, "another program (%s) holds %s; wait for its end, or give a longer lock timeout", nameOf(strings.TrimSpace(string(holder[:n]))), f.Name())
		}
		t := time.NewTimer(lockPoll)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}
