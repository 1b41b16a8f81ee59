package dvc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// holder is one entry of dvc's rwlock file.
type holder struct {
	PID int    `json:"pid"`
	Cmd string `json:"cmd"`
}

// rwlock is dvc's .dvc/tmp/rwlock: which paths a program reads and writes, by
// absolute path. A running dvc repro has entries there although it has let go
// of the main lock. Source: dvc/rwlock.py.
type rwlock struct {
	Write map[string]holder   `json:"write"`
	Read  map[string][]holder `json:"read"`
}

const maxRWLock = 64 << 20

// parseRWLock reads a rwlock file; an empty one holds nothing.
func parseRWLock(data []byte) (rwlock, error) {
	l := rwlock{Write: map[string]holder{}, Read: map[string][]holder{}}
	if len(bytes.TrimSpace(data)) == 0 {
		return l, nil
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return rwlock{}, fmt.Errorf("%w: %w", mlops.ErrInvalid, err)
	}
	if l.Write == nil {
		l.Write = map[string]holder{}
	}
	if l.Read == nil {
		l.Read = map[string][]holder{}
	}
	return l, nil
}

// blocks returns who else holds a path that overlaps with p: as a writer, or as
// a reader if p is to be written.
func (l rwlock) blocks(p string, writing bool, other func(holder) bool) (h holder, verb string, found bool) {
	for q, h := range l.Write {
		if (object.Within(p, q) || object.Within(q, p)) && other(h) {
			return h, "written", true
		}
	}
	if !writing {
		return holder{}, "", false
	}
	for q, hs := range l.Read {
		if i := slices.IndexFunc(hs, other); i >= 0 && (object.Within(p, q) || object.Within(q, p)) {
			return hs[i], "read", true
		}
	}
	return holder{}, "", false
}

// drop removes the entries of holders and returns how many they were.
func (l rwlock) drop(gone func(path string, h holder) bool) (n int) {
	for p, h := range l.Write {
		if gone(p, h) {
			delete(l.Write, p)
			n++
		}
	}
	for p, hs := range l.Read {
		left := slices.DeleteFunc(hs, func(h holder) bool { return gone(p, h) })
		if n += len(hs) - len(left); len(left) == 0 {
			delete(l.Read, p)
		} else {
			l.Read[p] = left
		}
	}
	return n
}

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
	if _, err := os.Stat(filepath.Join(c.dir, ".dvc", "tmp", "rwlock")); errors.Is(err, fs.ErrNotExist) || len(rels) == 0 {
		return nil
	}
	return c.editRWLock(ctx, func(l rwlock, written time.Time) (bool, error) {
		stale := l.drop(func(_ string, h holder) bool { return !h.live(written) })
		for _, rel := range rels {
			if h, verb, found := l.blocks(c.abs(rel), writing, func(h holder) bool { return h.PID != os.Getpid() }); found {
				return stale > 0, fail(mlops.ErrConflict, "%s is being %s by %q (pid %d); wait for its end, or run: mlopsctl dvc doctor", c.show(rel), verb, h.Cmd, h.PID)
			}
		}
		return stale > 0, nil
	})
}

var (
	oursInRWLock  = regexp.MustCompile(`^(.*/)?mlopsctl( |$)`)
	dvcInRWLock   = regexp.MustCompile(`^(\S*/)?dvc( |$)|/dvc/__main__\.py( |$)`)
	dvcReleasing  = regexp.MustCompile(` (repro|run|exp|experiments|queue|stage)( |$)`) // verbs that release the main lock while a command runs
	dvcCanBeNamed = regexp.MustCompile(`(?i)dvc|python`)
)

// live reports whether the program of an entry can still be at work; the main
// lock must be held. A pid alone proves nothing: it may be a zombie's, another
// program's by now, or one of another container. written is when the file was
// last written: a process that began later is not the holder.
func (h holder) live(written time.Time) bool {
	ofDVC := dvcInRWLock.MatchString(h.Cmd)
	if oursInRWLock.MatchString(h.Cmd) || ofDVC && !dvcReleasing.MatchString(h.Cmd) {
		return false // it would hold the main lock
	}
	p, ok := inspect(h.PID)
	switch {
	case !ok, p.ended, p.began.After(written.Add(clockSkew)):
		return false
	case ofDVC && p.cmd != "" && !dvcCanBeNamed.MatchString(p.cmd):
		return false
	}
	return true
}

// clockSkew is how far the clocks of this machine and a file server may differ.
const clockSkew = time.Minute

// staleHolders describes the entries of programs that have ended, and removes
// them if asked; the main lock must be held.
func (c *call) staleHolders(ctx context.Context, remove bool) ([]string, error) {
	var out []string
	if _, err := os.Stat(filepath.Join(c.dir, ".dvc", "tmp", "rwlock")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	err := c.editRWLock(ctx, func(l rwlock, written time.Time) (bool, error) {
		stale := l.drop(func(p string, h holder) bool {
			if h.live(written) {
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

// editRWLock reads the file under its lock and writes it again, whole, if edit
// reports a change, also beside an error. The time of the file stays: what is
// left in it is as old as before.
func (c *call) editRWLock(ctx context.Context, edit func(l rwlock, written time.Time) (changed bool, err error)) error {
	root := c.root
	lock, err := flock(ctx, filepath.Join(c.dir, ".dvc", "tmp", "rwlock.lock"), c.lockTimeout)
	if err != nil {
		return err
	}
	defer unlock(lock)
	const file = ".dvc/tmp/rwlock"
	var data []byte
	var written time.Time
	switch f, err := root.Open(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if fi, e := f.Stat(); e == nil {
			written = fi.ModTime()
		}
		data, err = io.ReadAll(io.LimitReader(f, maxRWLock))
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	l, err := parseRWLock(data)
	if err != nil {
		return fmt.Errorf("dvc: %s, remove it if no dvc is running: %w", file, err)
	}
	changed, verdict := edit(l, written)
	if !changed {
		return verdict
	}
	if data, err = json.Marshal(l); err != nil {
		return err
	}
	tmp, err := c.tempRel()
	if err != nil {
		return err
	}
	if err = root.WriteFile(tmp, data, 0o666); err == nil {
		err = root.Chtimes(tmp, written, written)
	}
	if err == nil {
		err = root.Rename(tmp, file)
	}
	if err != nil {
		_ = root.Remove(tmp)
		return err
	}
	return verdict
}
