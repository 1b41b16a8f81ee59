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
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
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
		if (within(p, q) || within(q, p)) && other(h) {
			return h, "written", true
		}
	}
	if !writing {
		return holder{}, "", false
	}
	for q, hs := range l.Read {
		if i := slices.IndexFunc(hs, other); i >= 0 && (within(p, q) || within(q, p)) {
			return hs[i], "read", true
		}
	}
	return holder{}, "", false
}

// drop removes the entries of holders.
func (l rwlock) drop(gone func(path string, h holder) bool) {
	for p, h := range l.Write {
		if gone(p, h) {
			delete(l.Write, p)
		}
	}
	for p, hs := range l.Read {
		if hs = slices.DeleteFunc(hs, func(h holder) bool { return gone(p, h) }); len(hs) == 0 {
			delete(l.Read, p)
		} else {
			l.Read[p] = hs
		}
	}
}

// claims checks that nobody else holds the paths, and with writing enters us as
// their writer until the lock is let go. A live holder of an overlapping path is
// an error that matches [mlops.ErrConflict]; a dead one does not count.
func (r *Repo) claims(ctx context.Context, writing bool, rels []string) error {
	if _, err := os.Stat(filepath.Join(r.root, ".dvc", "tmp", "rwlock")); errors.Is(err, fs.ErrNotExist) && !writing || len(rels) == 0 {
		return nil
	}
	return r.editRWLock(ctx, func(l rwlock) (bool, error) {
		other := func(h holder) bool { return h.PID != os.Getpid() && alive(h.PID) }
		for _, rel := range rels {
			if h, verb, found := l.blocks(r.abs(rel), writing, other); found {
				return false, fail(mlops.ErrConflict, "%s is being %s by %q (pid %d)", r.show(rel), verb, h.Cmd, h.PID)
			}
		}
		if !writing {
			return false, nil
		}
		l.drop(func(_ string, h holder) bool { return !alive(h.PID) })
		for _, rel := range rels {
			l.Write[r.abs(rel)] = holder{os.Getpid(), strings.Join(os.Args, " ")}
		}
		r.claimed.Store(&rels)
		return true, nil
	})
}

// unclaim removes our entries. If that fails they are those of a dead process
// soon.
func (r *Repo) unclaim() {
	rels := r.claimed.Swap(nil)
	if rels == nil {
		return
	}
	ours := make(map[string]bool, len(*rels))
	for _, rel := range *rels {
		ours[r.abs(rel)] = true
	}
	_ = r.editRWLock(context.Background(), func(l rwlock) (bool, error) {
		l.drop(func(p string, h holder) bool { return h.PID == os.Getpid() && ours[p] })
		return true, nil
	})
}

// editRWLock reads the file under its lock and writes it again, whole, if edit
// says so.
func (r *Repo) editRWLock(ctx context.Context, edit func(rwlock) (changed bool, err error)) error {
	root, err := os.OpenRoot(r.root)
	if err != nil {
		return err
	}
	defer root.Close()
	lock, err := flock(ctx, filepath.Join(r.root, ".dvc", "tmp", "rwlock.lock"), r.lockTimeout)
	if err != nil {
		return err
	}
	defer lock.Close()
	const file = ".dvc/tmp/rwlock"
	var data []byte
	switch f, err := root.Open(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
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
	changed, err := edit(l)
	if err != nil || !changed {
		return err
	}
	if data, err = json.Marshal(l); err != nil {
		return err
	}
	tmp, err := r.tempRel(root)
	if err != nil {
		return err
	}
	if err = root.WriteFile(tmp, data, 0o666); err == nil {
		err = root.Rename(tmp, file)
	}
	if err != nil {
		_ = root.Remove(tmp)
	}
	return err
}
