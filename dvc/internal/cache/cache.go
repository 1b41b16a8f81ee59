// Package cache keeps the objects of a repository, or of several: files named
// after their content. It stores what workspaces hold and remotes deliver, links
// objects back into workspaces, and keeps what was removed in a trash.
package cache

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// Cache is the local store of objects. Object names are checked before they
// become paths, so nothing leaves Dir.
type Cache struct {
	temps  *temps // of a call that holds the lock; nil otherwise
	Dir    string
	Links  []string // link types to the workspace, best first
	shared bool     // cache.shared = group
	Apart  bool     // no workspace file becomes an object
	made   sync.Map // directories known to exist

	noClone atomic.Bool // the file system has refused to share blocks
}

// New returns the cache in a folder. links are the types of links to the
// workspace, best first; its group may write into one that is shared.
func New(dir string, links []string, shared bool) *Cache {
	return &Cache{Dir: dir, Links: links, shared: shared}
}

// LinkTypes are the types of links to the workspace.
var LinkTypes = []string{"reflink", "hardlink", "symlink", "copy"}

// ErrNotCached is the error for an object that is needed and lies neither in
// the cache nor anywhere else it could be taken from. The message names it.
var ErrNotCached = errors.New("not in the cache")

// Path is the name of an object's file.
func (c *Cache) Path(o object.ID) string { return filepath.Join(c.Dir, filepath.FromSlash(o.Key())) }

// mkdir makes the directory of an object.
func (c *Cache) mkdir(o object.ID) (string, error) {
	dir := filepath.Dir(c.Path(o))
	return dir, c.mkdirAll(dir)
}

// mkdirAll makes a directory in the cache. Where the cache is shared, its group
// may write into it and into all above it that are the cache's, or made here.
func (c *Cache) mkdirAll(dir string) error {
	if _, ok := c.made.Load(dir); ok {
		return nil
	}
	if c.shared && filepath.Dir(dir) != dir {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || object.Within(dir, c.Dir) && dir != c.Dir {
			if err := c.mkdirAll(filepath.Dir(dir)); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	const mode = 0o775 | fs.ModeSetgid
	if fi, err := os.Stat(dir); c.shared && object.Within(dir, c.Dir) && (err != nil || fi.Mode()&mode != mode) {
		if err := os.Chmod(dir, mode); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	c.made.Store(dir, true)
	return nil
}

// temp creates a temporary file in dir.
func (c *Cache) temp(dir string) (*rawfile.File, error) {
	return rawfile.Open(filepath.Join(dir, c.tempName()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o444)
}

// Has reports whether the cache holds an object that can be trusted, as dvc
// does: mode 0444 is trusted, any other mode is hashed. An object that is not
// what its name says counts as absent. size is checked if it is not negative.
func (c *Cache) Has(ctx context.Context, o object.ID, size int64) (bool, error) {
	st, err := known.Stat(c.Path(o), false)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
		return false, nil
	case err != nil:
		return false, err
	case !st.Mode.IsRegular(), size >= 0 && st.Size != size:
		return false, nil
	case st.Mode == 0o444:
		return true, nil
	}
	f, err := rawfile.Open(c.Path(o), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum, _, err := HashReader(ctx, f, o.NewHash())
	if err != nil || sum != o.MD5() {
		return false, err
	}
	if err := os.Chmod(c.Path(o), 0o444); !errors.Is(err, fs.ErrPermission) { // another user's is read again each time
		return true, err
	}
	return true, nil
}

// commit gives a complete temporary file its mode and its name. Only listings
// are durable: internal/atomicfile would wait for the disk at each object, of
// which there may be a million, and whose bytes are checked when they are used.
func (c *Cache) commit(f *rawfile.File, o object.ID, durable bool) error {
	if err := f.Mode(0o444); err != nil {
		return err
	}
	if durable {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return unix.Rename(f.Name(), c.Path(o)) // os.Rename looks at the target first
}

// discard removes a temporary file that was not committed.
func discard(f *rawfile.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// Put stores bytes that are known to have the name o.
func (c *Cache) Put(ctx context.Context, o object.ID, data []byte) error {
	if ok, err := c.Has(ctx, o, int64(len(data))); ok || err != nil {
		return err
	}
	dir, err := c.mkdir(o)
	if err != nil {
		return err
	}
	f, err := c.temp(dir)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = c.commit(f, o, o.IsDir())
	}
	if err != nil {
		discard(f)
	}
	return err
}

// Receive stores what r delivers under o, if it is what the name says.
func (c *Cache) Receive(ctx context.Context, o object.ID, r io.Reader) (int64, error) {
	dir, err := c.mkdir(o)
	if err != nil {
		return 0, err
	}
	f, err := c.temp(dir)
	if err != nil {
		return 0, err
	}
	h := o.NewHash()
	n, err := CopyHash(ctx, f, r, h)
	if err == nil {
		if got := object.Sum(h); got != o.MD5() {
			err = fault.New(mlops.ErrInvalid, "object %s came with md5 %s", o, got)
		}
	}
	if err == nil && o.IsDir() { // an unusable listing does not enter the cache
		_, err = object.Read(io.NewSectionReader(f, 0, n), n, o)
	}
	if err == nil {
		err = c.commit(f, o, o.IsDir())
	}
	if err != nil {
		discard(f)
	}
	return n, err
}

// PutRun stores a record of the run cache, by its path in the cache.
func (c *Cache) PutRun(key string, data []byte) error {
	p := filepath.Join(c.Dir, filepath.FromSlash(key))
	if err := c.mkdirAll(filepath.Dir(p)); err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(p), c.tempName())
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, p)
}

// PutListing stores a listing, without holding all of its text.
func (c *Cache) PutListing(ctx context.Context, t object.Listing) (object.ID, error) {
	dir := filepath.Join(c.Dir, "files", "md5")
	if err := c.mkdirAll(dir); err != nil {
		return "", err
	}
	f, err := c.temp(dir)
	if err != nil {
		return "", err
	}
	h, size := md5.New(), int64(0)
	var b bytes.Buffer
	drain := func() error {
		size += int64(b.Len())
		_, err := b.WriteTo(io.MultiWriter(f, h))
		return err
	}
	err = t.Write(&b, func() error {
		if b.Len() < 1<<16 {
			return nil
		}
		return drain()
	})
	if err == nil {
		err = drain()
	}
	id := object.ID(object.Sum(h) + ".dir")
	have := false
	if err == nil {
		have, err = c.Has(ctx, id, size)
	}
	if err == nil && !have {
		if _, err = c.mkdir(id); err == nil {
			err = c.commit(f, id, true)
		}
	}
	if err != nil || have {
		discard(f)
	}
	return id, err
}

// Listing loads a directory's listing and checks that it is what its name says.
// The error matches [ErrNotCached] if the cache lacks it.
func (c *Cache) Listing(o object.ID) (object.Listing, error) {
	f, err := os.Open(c.Path(o))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dvc: directory listing %s: %w", o, ErrNotCached)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t, err := object.Read(f, fi.Size(), o)
	if err != nil {
		return nil, fmt.Errorf("dvc: %s: %w", c.Path(o), err)
	}
	return t, nil
}

// Complete reports whether the cache has an object, and of a directory all files.
func (c *Cache) Complete(ctx context.Context, o object.ID) (bool, error) {
	ok, err := c.Has(ctx, o, -1)
	if !ok || err != nil || !o.IsDir() {
		return ok, err
	}
	t, err := c.Listing(o)
	if errors.Is(err, ErrNotCached) || errors.Is(err, mlops.ErrInvalid) {
		return false, nil
	}
	for _, e := range t {
		if ok, err := c.Has(ctx, e.ID, -1); !ok || err != nil {
			return false, err
		}
	}
	return err == nil, err
}

// Modernize gives objects of dvc 2.x the names that dvc 3.x has for them.
func (c *Cache) Modernize(ctx context.Context, t object.Listing) error {
	for i, e := range t {
		if !e.ID.Legacy() {
			continue
		}
		f, err := os.Open(c.Path(e.ID))
		if err != nil {
			return err
		}
		t[i].ID, _, err = c.Take(ctx, f)
		_ = f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Object is an object in the cache.
type Object struct {
	ID   object.ID
	Path string // absolute
	Size int64
}

// Objects lists what the cache holds under names of objects, in dvc 3.x's place
// and in dvc 2.x's. Temporary files, run caches and the trash are none.
func (c *Cache) Objects() ([]Object, error) {
	var out []Object
	for _, legacy := range []bool{false, true} {
		base := c.Dir
		if !legacy {
			base = filepath.Join(c.Dir, "files", "md5")
		}
		dirs, err := os.ReadDir(base)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, d := range dirs {
			if len(d.Name()) != 2 || !d.IsDir() {
				continue
			}
			files, err := os.ReadDir(filepath.Join(base, d.Name()))
			if err != nil {
				return nil, err
			}
			for _, f := range files {
				id, err := object.Parse(d.Name() + f.Name())
				if err != nil || !f.Type().IsRegular() {
					continue
				}
				fi, err := f.Info()
				if err != nil {
					return nil, err
				}
				out = append(out, Object{id.As(legacy), filepath.Join(base, d.Name(), f.Name()), fi.Size()})
			}
		}
	}
	return out, nil
}
