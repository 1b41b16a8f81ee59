package lock

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

// Holder is one entry of dvc's rwlock file.
type Holder struct {
	PID int    `json:"pid"`
	Cmd string `json:"cmd"`
}

// Paths is dvc's .dvc/tmp/rwlock: which paths a program reads and writes, by
// absolute path. A running dvc repro has entries there although it has let go
// of the main lock. Source: dvc/rwlock.py.
type Paths struct {
	Write map[string]Holder   `json:"write"`
	Read  map[string][]Holder `json:"read"`
}

// PathsFile is the path of [Paths] in a repository.
const PathsFile = ".dvc/tmp/rwlock"

const maxRWLock = 64 << 20

// Parse reads a rwlock file; an empty one holds nothing.
func Parse(data []byte) (Paths, error) {
	l := Paths{Write: map[string]Holder{}, Read: map[string][]Holder{}}
	if len(bytes.TrimSpace(data)) == 0 {
		return l, nil
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return Paths{}, fmt.Errorf("%w: %w", mlops.ErrInvalid, err)
	}
	if l.Write == nil {
		l.Write = map[string]Holder{}
	}
	if l.Read == nil {
		l.Read = map[string][]Holder{}
	}
	return l, nil
}

// Blocks returns who else holds a path that overlaps with p: as a writer, or as
// a reader if p is to be written.
func (l Paths) Blocks(p string, writing bool, other func(Holder) bool) (h Holder, verb string, found bool) {
	for q, h := range l.Write {
		if (object.Within(p, q) || object.Within(q, p)) && other(h) {
			return h, "written", true
		}
	}
	if !writing {
		return Holder{}, "", false
	}
	for q, hs := range l.Read {
		if i := slices.IndexFunc(hs, other); i >= 0 && (object.Within(p, q) || object.Within(q, p)) {
			return hs[i], "read", true
		}
	}
	return Holder{}, "", false
}

// Drop removes the entries of holders and returns how many they were.
func (l Paths) Drop(gone func(path string, h Holder) bool) (n int) {
	for p, h := range l.Write {
		if gone(p, h) {
			delete(l.Write, p)
			n++
		}
	}
	for p, hs := range l.Read {
		left := slices.DeleteFunc(hs, func(h Holder) bool { return gone(p, h) })
		if n += len(hs) - len(left); len(left) == 0 {
			delete(l.Read, p)
		} else {
			l.Read[p] = left
		}
	}
	return n
}

var (
	oursInRWLock  = regexp.MustCompile(`^(.*/)?mlopsctl( |$)`)
	dvcInRWLock   = regexp.MustCompile(`^(\S*/)?dvc( |$)|/dvc/__main__\.py( |$)`)
	dvcReleasing  = regexp.MustCompile(` (repro|run|exp|experiments|queue|stage)( |$)`) // verbs that release the main lock while a command runs
	dvcCanBeNamed = regexp.MustCompile(`(?i)dvc|python`)
)

// Live reports whether the program of an entry can still be at work; the main
// lock must be held. A pid alone proves nothing: it may be a zombie's, another
// program's by now, or one of another container. written is when the file was
// last written: a process that began later is not the holder.
func (h Holder) Live(written time.Time) bool {
	ofDVC := dvcInRWLock.MatchString(h.Cmd)
	if oursInRWLock.MatchString(h.Cmd) || ofDVC && !dvcReleasing.MatchString(h.Cmd) {
		return false // it would hold the main lock
	}
	p, ok := Inspect(h.PID)
	switch {
	case !ok, p.Ended, p.began.After(written.Add(clockSkew)):
		return false
	case ofDVC && p.cmd != "" && !dvcCanBeNamed.MatchString(p.cmd):
		return false
	}
	return true
}

// clockSkew is how far the clocks of this machine and a file server may differ.
const clockSkew = time.Minute

// Edit reads a repository's [PathsFile] under its lock and writes it again, whole, if edit
// reports a change, also beside an error. The time of the file stays: what is
// left in it is as old as before, which is why internal/atomicfile does not do.
// temp names a temporary file in root.
func Edit(ctx context.Context, root *os.Root, wait time.Duration, temp func() (string, error), edit func(l Paths, written time.Time) (changed bool, err error)) error {
	lock, err := Take(ctx, filepath.Join(root.Name(), PathsFile+".lock"), wait)
	if err != nil {
		return err
	}
	defer Release(lock)
	var data []byte
	var written time.Time
	switch f, err := root.Open(PathsFile); {
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
	l, err := Parse(data)
	if err != nil {
		return fmt.Errorf("dvc: %s, remove it if no dvc is running: %w", PathsFile, err)
	}
	changed, verdict := edit(l, written)
	if !changed {
		return verdict
	}
	if data, err = json.Marshal(l); err != nil {
		return err
	}
	tmp, err := temp()
	if err != nil {
		return err
	}
	if err = root.WriteFile(tmp, data, 0o666); err == nil {
		err = root.Chtimes(tmp, written, written)
	}
	if err == nil {
		err = root.Rename(tmp, PathsFile)
	}
	if err != nil {
		_ = root.Remove(tmp)
		return err
	}
	return verdict
}
