package cache

import (
	"context"
	"crypto/md5"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// Hashed is a file as it was when it was read.
type Hashed struct {
	ID    object.ID
	Size  int64
	Mode  fs.FileMode
	Stamp known.Stamp // zero when the file changed meanwhile

	Adopted bool // it is the object itself now, by a hardlink
}

// Store reads a workspace file once: the bytes that are hashed are the bytes
// that enter the cache. hint is the name the file had last time, to save a copy
// when it has not changed. A link cannot become the object itself.
func (c *Cache) Store(ctx context.Context, path string, link bool, hint object.ID) (Hashed, error) {
	f, before, err := known.OpenRegular(path)
	if err != nil {
		return Hashed{}, err
	}
	defer f.Close()
	h := Hashed{Mode: before.Mode}
	switch {
	case !link && c.adopts(before):
		if h.ID, h.Stamp, err = c.adopt(ctx, f, path, before); err == nil && h.ID != "" {
			h.Size, h.Adopted = before.Size, true
			return h, nil
		}
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
	case hint != "" && before.Size >= SmallFile:
		h.ID, h.Size, err = c.unchanged(ctx, f, before.Size, hint)
	}
	if err == nil && h.ID == "" {
		h.ID, h.Size, err = c.StoreFile(ctx, f, before.Size)
	}
	if err != nil {
		return h, err
	}
	if after, err := known.StatFile(f); err == nil && after == before {
		h.Stamp = after
	}
	return h, nil
}

// StoreFile stores an open file of the given size.
func (c *Cache) StoreFile(ctx context.Context, f *rawfile.File, size int64) (object.ID, int64, error) {
	if size < SmallFile {
		return c.storeSmall(ctx, f, size)
	}
	return c.storeBig(ctx, f)
}

// storeSmall hashes before it writes: what the cache has is not written again.
func (c *Cache) storeSmall(ctx context.Context, f *rawfile.File, size int64) (object.ID, int64, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := fill(f, *buf, size)
	if err != nil {
		return "", 0, err
	}
	h := md5.New()
	_, _ = h.Write((*buf)[:n])
	o := object.ID(object.Sum(h))
	return o, int64(n), c.Put(ctx, o, (*buf)[:n])
}

// unchanged hashes a file that may be the object hint, and rewinds it if it is not.
func (c *Cache) unchanged(ctx context.Context, f *rawfile.File, size int64, hint object.ID) (object.ID, int64, error) {
	if ok, err := c.Has(ctx, hint, size); !ok || err != nil {
		return "", 0, err
	}
	sum, n, err := HashReader(ctx, f, md5.New())
	if err == nil && sum == hint.MD5() {
		return hint, n, nil
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return "", 0, err
}

// storeBig writes while it hashes, and gives the object its name at the end.
func (c *Cache) storeBig(ctx context.Context, f *rawfile.File) (object.ID, int64, error) {
	dir := filepath.Join(c.Dir, "files", "md5")
	if err := c.mkdirAll(dir); err != nil {
		return "", 0, err
	}
	tmp, cloned, err := c.clone(f.Name(), dir)
	if err != nil {
		return "", 0, err
	}
	h, n := md5.New(), int64(0)
	if cloned {
		n, err = CopyHash(ctx, nil, tmp, h) // a clone does not change under us
	} else {
		n, err = CopyHash(ctx, tmp, f, h)
	}
	return c.settle(ctx, tmp, object.ID(object.Sum(h)), n, err)
}

// Take stores what r delivers under the name that it turns out to have.
func (c *Cache) Take(ctx context.Context, r io.Reader) (object.ID, int64, error) {
	dir := filepath.Join(c.Dir, "files", "md5")
	if err := c.mkdirAll(dir); err != nil {
		return "", 0, err
	}
	tmp, err := c.temp(dir)
	if err != nil {
		return "", 0, err
	}
	h := md5.New()
	n, err := CopyHash(ctx, tmp, r, h)
	return c.settle(ctx, tmp, object.ID(object.Sum(h)), n, err)
}

// settle gives a temporary file of n bytes its name, unless there was an error
// or the cache has the object.
func (c *Cache) settle(ctx context.Context, tmp *rawfile.File, o object.ID, n int64, err error) (object.ID, int64, error) {
	have := false
	if err == nil {
		have, err = c.Has(ctx, o, n)
	}
	if err == nil && !have {
		if _, err = c.mkdir(o); err == nil {
			err = c.commit(tmp, o, false)
		}
	}
	if err != nil || have {
		discard(tmp)
	}
	return o, n, err
}

// clone makes a temporary file in dir that shares the blocks of path, or an
// empty one where that cannot be done or is not wanted.
func (c *Cache) clone(path, dir string) (tmp *rawfile.File, cloned bool, err error) {
	if slices.Contains(c.Links, "reflink") && !c.noClone.Load() {
		name := filepath.Join(dir, c.tempName())
		if err := clonePath(path, name); err == nil {
			tmp, err := rawfile.Open(name, os.O_RDWR, 0)
			return tmp, true, err
		}
		c.noClone.Store(true)
	}
	tmp, err = c.temp(dir)
	return tmp, false, err
}

// adopts reports whether a workspace file may become the object itself: links are
// wanted, and no other name has the file. dvc copies empty files.
func (c *Cache) adopts(s known.Stamp) bool {
	return !c.Apart && (c.Links[0] == "hardlink" || c.Links[0] == "symlink") && s.Links == 1 && s.Size > 0
}

// adopt makes the workspace file an object, by a link, when the cache lacks it.
// It is write-protected first, and must be after that as it was before it was
// read. No name and no error means that it must be copied.
func (c *Cache) adopt(ctx context.Context, f *rawfile.File, path string, before known.Stamp) (object.ID, known.Stamp, error) {
	sum, _, err := Digest(ctx, f, before.Size, md5.New())
	if err != nil {
		return "", known.Stamp{}, err
	}
	o := object.ID(sum)
	if ok, err := c.Has(ctx, o, before.Size); ok || err != nil {
		return "", known.Stamp{}, err
	}
	if _, err := c.mkdir(o); err != nil {
		return "", known.Stamp{}, err
	}
	if f.Chmod(0o444) != nil {
		return "", known.Stamp{}, nil // not ours
	}
	undo := func(err error) (object.ID, known.Stamp, error) {
		return "", known.Stamp{}, errors.Join(err, f.Chmod(before.Mode.Perm()))
	}
	as := func() (known.Stamp, error) { // it was
		now, err := known.StatFile(f)
		if err == nil && (now.Size != before.Size || now.MTime != before.MTime) {
			err = fault.New(mlops.ErrConflict, "%s changes while it is added", path)
		}
		return now, err
	}
	if _, err := as(); err != nil {
		return undo(err)
	}
	if unix.Link(path, c.Path(o)) != nil {
		return undo(nil) // another file system, or there by now
	}
	made, err := as()
	if err == nil && made.Links < 2 { // the name is another file's by now
		err = fault.New(mlops.ErrConflict, "%s was replaced while it was added", path)
	}
	if err != nil {
		return undo(errors.Join(err, os.Remove(c.Path(o))))
	}
	return o, made, nil
}
