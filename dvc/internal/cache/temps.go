package cache

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/mlops-integration/mlops/internal/lockfile"
)

// temps names the temporary files that a call under the lock makes in a cache.
// Several repositories, each with a lock of its own, may share that. So all
// names of a call begin alike, and while it may have such files it keeps a mark
// of that name locked in the cache's folder "mlops". A mark that no process has
// locked is one of a program that was killed: the next call that makes a
// temporary file removes the files, and the mark after them.
//
// Without a mark, as where files cannot be locked, names have no common
// beginning and nothing is removed.
type temps struct {
	begin sync.Once
	name  string   // what names begin with, 8 characters
	mark  *os.File // locked
}

// TempName returns a name as DVC gives to its temporary files.
func TempName() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	return "." + base64.RawURLEncoding.EncodeToString(id[:]) + ".tmp"
}

// IsTemp reports whether a name is one that [TempName] gives.
func IsTemp(name string) bool { return leftover.MatchString(name) }

var leftover = regexp.MustCompile(`^\.[A-Za-z0-9_-]{22}\.tmp$`)

// Begin says that the caller holds a repository's lock, until [Cache.End].
func (c *Cache) Begin() { c.temps = &temps{} }

// End takes away what the names of this call's temporary files were kept by.
func (c *Cache) End() { c.temps.end() }

// tempName names a temporary file in the cache.
func (c *Cache) tempName() string {
	t := c.temps
	if t == nil {
		return TempName() // not under the lock
	}
	t.begin.Do(func() {
		_, _ = c.Sweep(true)
		t.marked(c)
	})
	if t.mark == nil {
		return TempName()
	}
	var id [10]byte
	_, _ = rand.Read(id[:])
	return "." + t.name + base64.RawURLEncoding.EncodeToString(id[:]) + ".tmp"
}

func (c *Cache) marks() string { return filepath.Join(c.Dir, "mlops") }

// marked makes the mark, if it can. It must be new, which lockfile.Take does not
// ask for.
func (t *temps) marked(c *Cache) {
	if fi, err := os.Lstat(c.marks()); err == nil && !fi.IsDir() {
		return
	}
	for range 3 { // another program may take an empty folder away, or a mark before it is locked
		c.made.Delete(c.marks())
		if c.mkdirAll(c.marks()) != nil {
			return
		}
		name := TempName()[1:9]
		f, err := os.OpenFile(filepath.Join(c.marks(), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return
		}
		if lockfile.Try(f) == nil {
			if _, err := os.Lstat(f.Name()); err == nil {
				t.name, t.mark = name, f
				return
			}
		}
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}

// end takes the mark away: all files that it stands for have been named or
// removed.
func (t *temps) end() {
	if t.mark == nil {
		return
	}
	_ = os.Remove(t.mark.Name())
	_ = os.Remove(filepath.Dir(t.mark.Name())) // stays while there are others
	_ = t.mark.Close()
}

// Sweep looks for temporary files of killed programs, and removes them if told
// so. Marks and files that another user alone may remove stay.
func (c *Cache) Sweep(remove bool) (Amount, error) {
	var all Amount
	if fi, err := os.Lstat(c.marks()); err != nil || !fi.IsDir() {
		return all, nil
	}
	marks, err := os.ReadDir(c.marks())
	if err != nil {
		return all, err
	}
	for _, m := range marks {
		if fi, err := m.Info(); err != nil || len(m.Name()) != 8 || !fi.Mode().IsRegular() || fi.Size() > 0 {
			continue
		}
		f, err := os.OpenFile(filepath.Join(c.marks(), m.Name()), os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if lockfile.Try(f) == nil {
			t, err := c.sweepNamed(m.Name(), remove)
			all.Objects, all.SizeBytes = all.Objects+t.Objects, all.SizeBytes+t.SizeBytes
			if err == nil && remove {
				_ = os.Remove(f.Name())
			}
		}
		_ = f.Close()
	}
	if remove {
		_ = os.Remove(c.marks())
	}
	return all, nil
}

// sweepNamed looks for the files of one mark where temporary files are made:
// beside objects, and beside records of the run cache.
func (c *Cache) sweepNamed(name string, remove bool) (Amount, error) {
	var t Amount
	err := filepath.WalkDir(c.Dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if rel, _ := filepath.Rel(c.Dir, p); rel == "trash" || rel == "mlops" {
				return fs.SkipDir
			}
		case d.Type().IsRegular() && strings.HasPrefix(d.Name(), "."+name) && leftover.MatchString(d.Name()):
			return t.take(p, d, remove)
		}
		return nil
	})
	return t, err
}

// Count counts a file, if it still exists.
func (t *Amount) Count(d fs.DirEntry) error { return t.take("", d, false) }

// take counts a file, and removes it if told so.
func (t *Amount) take(p string, d fs.DirEntry, remove bool) error {
	fi, err := d.Info()
	if err == nil && remove {
		err = os.Remove(p)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		t.Objects++
		t.SizeBytes += fi.Size()
	}
	return err
}
