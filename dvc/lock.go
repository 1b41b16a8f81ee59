package dvc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
)

// lock takes the lock that dvc takes: flock on .dvc/tmp/lock. It waits
// LockTimeout for another holder, then returns an error that matches
// [mlops.ErrConflict].
func (r *Repo) lock(ctx context.Context) (unlock func(), err error) {
	cfg, err := r.config()
	if err != nil {
		return nil, err
	}
	if cfg.boolean("core", "hardlink_lock") {
		return nil, fail(mlops.ErrUnsupported, "core.hardlink_lock is set; its lock protocol is not spoken here")
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
		s.save()
		_ = f.Close()
	}, nil
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
			return nil, fail(mlops.ErrConflict, "another program (pid %s) holds %s", strings.TrimSpace(string(holder[:n])), path)
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

// holder is one entry of dvc's rwlock file.
type holder struct {
	PID int    `json:"pid"`
	Cmd string `json:"cmd"`
}

// claims checks dvc's .dvc/tmp/rwlock: which paths a running dvc repro reads
// and writes although it has let go of the main lock. A live holder of an
// overlapping path is an error that matches [mlops.ErrConflict].
func (r *Repo) claims(ctx context.Context, writing bool, rels []string) error {
	tmp := filepath.Join(r.root, ".dvc", "tmp")
	file := filepath.Join(tmp, "rwlock")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := flock(ctx, filepath.Join(tmp, "rwlock.lock"), r.lockTimeout)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := os.ReadFile(file)
	if err != nil || len(data) == 0 {
		return err
	}
	var held struct {
		Write map[string]holder   `json:"write"`
		Read  map[string][]holder `json:"read"`
	}
	if err := json.Unmarshal(data, &held); err != nil {
		return fmt.Errorf("dvc: %s: %w: %w", file, mlops.ErrInvalid, err)
	}
	check := func(p string, h holder, verb string) error {
		for _, rel := range rels {
			abs := r.abs(rel)
			if h.PID != os.Getpid() && (within(abs, p) || within(p, abs)) && alive(h.PID) {
				return fail(mlops.ErrConflict, "%s is being %s by %q (pid %d)", r.show(rel), verb, h.Cmd, h.PID)
			}
		}
		return nil
	}
	for p, h := range held.Write {
		if err := check(p, h, "written"); err != nil {
			return err
		}
	}
	if writing {
		for p, hs := range held.Read {
			for _, h := range hs {
				if err := check(p, h, "read"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// within reports whether p is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return pid > 0 && (err == nil || errors.Is(err, syscall.EPERM))
}
