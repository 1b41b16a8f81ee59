package dvc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/lock"
)

// claims checks that no other program holds the paths, and removes the entries
// of programs that have ended. It enters none for us: dvc writes entries only
// with the main lock held, which we hold during the whole call, and the entries
// of a killed program would block dvc as well.
//
// A live holder is waited for as long as for the main lock, which is released
// meanwhile, since dvc repro needs it to finish. waited reports that it was: what
// was read before may have changed. The error matches [mlops.ErrConflict].
func (c *call) claims(ctx context.Context, writing bool, rels []string) (waited bool, err error) {
	deadline := time.Now().Add(c.lockTimeout)
	for {
		err := c.blocked(ctx, writing, rels)
		if !errors.Is(err, mlops.ErrConflict) || !time.Now().Before(deadline) {
			return waited, err
		}
		waited = true
		if err := c.pause(ctx); err != nil {
			return waited, err
		}
	}
}

// blocked returns the error for a path that another program holds.
func (c *call) blocked(ctx context.Context, writing bool, rels []string) error {
	if _, err := os.Stat(c.abs(lock.PathsFile)); errors.Is(err, fs.ErrNotExist) || len(rels) == 0 {
		return nil
	}
	return lock.Edit(ctx, c.root, c.lockTimeout, c.tempRel, func(l lock.Paths, written time.Time) (bool, error) {
		stale := l.Drop(func(_ string, h lock.Holder) bool { return !h.Live(written) })
		for _, rel := range rels {
			if h, verb, found := l.Blocks(c.abs(rel), writing, func(h lock.Holder) bool { return h.PID != os.Getpid() }); found {
				return stale > 0, fail(mlops.ErrConflict, "%s is being %s by %q (pid %d); wait for its end, or run: mlopsctl dvc doctor", c.show(rel), verb, h.Cmd, h.PID)
			}
		}
		return stale > 0, nil
	})
}

// staleHolders describes the entries of programs that have ended, and removes
// them if asked; the main lock must be held.
func (c *call) staleHolders(ctx context.Context, remove bool) ([]string, error) {
	var out []string
	if _, err := os.Stat(c.abs(lock.PathsFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err := lock.Edit(ctx, c.root, c.lockTimeout, c.tempRel, func(l lock.Paths, written time.Time) (bool, error) {
		stale := l.Drop(func(p string, h lock.Holder) bool {
			if h.Live(written) {
				return false
			}
			out = append(out, fmt.Sprintf("%s: %q (pid %d)", p, h.Cmd, h.PID))
			return true
		})
		return remove && stale > 0, nil
	})
	slices.Sort(out)
	return out, err
}
