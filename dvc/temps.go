package dvc

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/mlops-integration/mlops/dvc/internal/known"
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

// tmpName names a temporary file in the cache.
func (c *cache) tmpName() string {
	t := c.temps
	if t == nil {
		return tmpName() // not under the lock
	}
	t.begin.Do(func() {
		_, _ = c.sweep(true)
		t.marked(c)
	})
	if t.mark == nil {
		return tmpName()
	}
	var id [10]byte
	_, _ = rand.Read(id[:])
	return "." + t.name + base64.RawURLEncoding.EncodeToString(id[:]) + ".tmp"
}

func (c *cache) marks() string { return filepath.Join(c.dir, "mlops") }

// marked makes the mark, if it can.
func (t *temps) marked(c *cache) {
	if fi, err := os.Lstat(c.marks()); err == nil && !fi.IsDir() {
		return
	}
	for range 3 { // another program may take an empty folder away, or a mark before it is locked
		c.made.Delete(c.marks())
		if c.mkdirAll(c.marks()) != nil {
			return
		}
		name := tmpName()[1:9]
		f, err := os.OpenFile(filepath.Join(c.marks(), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
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

// sweep looks for temporary files of killed programs, and removes them if told
// so. Marks and files that another user alone may remove stay.
func (c *cache) sweep(remove bool) (Trash, error) {
	var all Trash
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
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
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
func (c *cache) sweepNamed(name string, remove bool) (Trash, error) {
	var t Trash
	err := filepath.WalkDir(c.dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if rel, _ := filepath.Rel(c.dir, p); rel == "trash" || rel == "mlops" {
				return fs.SkipDir
			}
		case d.Type().IsRegular() && strings.HasPrefix(d.Name(), "."+name) && leftover.MatchString(d.Name()):
			return t.take(p, d, remove)
		}
		return nil
	})
	return t, err
}

// take counts a file, and removes it if told so.
func (t *Trash) take(p string, d fs.DirEntry, remove bool) error {
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

// sweepOwn does the same in the repository's own folder for what is not
// complete. Only who holds the repository's lock makes files there, so that all
// of them are left over when the lock was taken.
func (c *call) sweepOwn(remove bool) (Trash, error) {
	var t Trash
	dir := path.Dir(known.File)
	d, err := c.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	names, err := d.Readdirnames(-1)
	_ = d.Close()
	if err != nil {
		return t, err
	}
	for _, name := range names {
		if !leftover.MatchString(name) {
			continue
		}
		at := path.Join(dir, name)
		err := fs.WalkDir(c.root.FS(), at, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return t.take("", d, false)
		})
		if err == nil && remove {
			err = c.root.RemoveAll(at)
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

// tempRel names a file or folder that is not complete yet, in the repository's
// own folder for those. What killed programs left there goes first.
func (c *call) tempRel() (string, error) {
	dir := path.Dir(known.File)
	if err := c.root.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	c.swept.Do(func() { _, _ = c.sweepOwn(true) })
	return path.Join(dir, tmpName()), nil
}

// leftovers looks for temporary files of killed programs in the cache and in
// the repository, and removes them if told so; the lock is held then.
func (c *call) leftovers(remove bool) (Trash, error) {
	own, err := c.sweepOwn(remove)
	if err != nil {
		return own, err
	}
	t, err := c.cache.sweep(remove)
	return Trash{own.Objects + t.Objects, own.SizeBytes + t.SizeBytes}, err
}
