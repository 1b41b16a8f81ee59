package dvc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/lock"
)

// lock takes the lock that dvc takes: flock on .dvc/tmp/lock, until held is
// closed. It waits LockTimeout for another holder, then returns an error that
// matches [mlops.ErrConflict] and names it. The configuration says whether it is
// that kind of lock; what another holder changed in it is read again.
func (r *Repo) lock(ctx context.Context) (held *os.File, cfg *config.Config, err error) {
	at := stampOf(r.levels())
	if cfg, err = flockConfig(r, at); err != nil {
		return nil, nil, err
	}
	tmp := filepath.Join(r.dir, ".dvc", "tmp")
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return nil, nil, err
	}
	held, err = lock.Take(ctx, filepath.Join(tmp, "lock"), r.lockTimeout)
	if err != nil {
		return nil, nil, err
	}
	if now := stampOf(r.levels()); now != at {
		cfg, err = flockConfig(r, now)
	}
	if err == nil {
		err = lock.Sign(held)
	}
	if err != nil {
		lock.Release(held)
		return nil, nil, err
	}
	return held, cfg, nil
}

// flockConfig reads the configuration, which must not ask for dvc's other kind
// of lock: a file that is linked, which flock would disturb.
func flockConfig(r *Repo, stamp string) (*config.Config, error) {
	cfg, err := r.config()
	if err == nil && cfg.Bool("core", "hardlink_lock") {
		err = fail(mlops.ErrUnsupported, "core.hardlink_lock is set, and that kind of lock is not spoken here; run: dvc config --unset core.hardlink_lock")
	}
	if err != nil {
		return nil, err
	}
	cfg.Stamp = stamp
	return cfg, nil
}

// stampOf changes when a file of the configuration does.
func stampOf(all []config.File) string {
	var b strings.Builder
	for _, l := range all {
		if fi, err := os.Stat(l.Path); err == nil {
			ino := uint64(0)
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				ino = st.Ino
			}
			fmt.Fprintln(&b, l.Level, fi.ModTime().UnixNano(), fi.Size(), ino)
		}
	}
	return b.String()
}

// pause releases the lock for a moment and takes it again. The error matches
// [mlops.ErrConflict] if the configuration, which the call has read, changed
// meanwhile.
func (c *call) pause(ctx context.Context) error {
	if err := lock.Yield(ctx, c.held, c.lockTimeout); err != nil {
		return err
	}
	if stampOf(c.levels()) != c.cfg.Stamp {
		return fail(mlops.ErrConflict, "the configuration was changed by another program meanwhile; run it again")
	}
	return lock.Sign(c.held)
}
