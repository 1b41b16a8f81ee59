package dvc

import (
	"context"
	"crypto/md5"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// smallFile is what is read at once.
const smallFile = 1 << 20

var buffers = sync.Pool{New: func() any { b := make([]byte, smallFile); return &b }}

// hashed is a file as it was when it was read.
type hashed struct {
	oid  object.ID
	size int64
	mode fs.FileMode

	adopted bool // it is the object itself now, by a hardlink
}

// store reads a workspace file once: the bytes that are hashed are the bytes
// that enter the cache. hint is the name the file had last time, to save a copy
// when it has not changed. A link cannot become the object itself.
func (c *call) store(ctx context.Context, rel string, link bool, hint object.ID) (hashed, error) {
	since := time.Now()
	f, before, err := openRegular(c.abs(rel))
	if err != nil {
		return hashed{}, err
	}
	defer f.Close()
	h := hashed{mode: before.Mode}
	switch {
	case !link && c.cache.adopts(before):
		var now known.Stamp
		if h.oid, now, err = c.cache.adopt(ctx, f, c.abs(rel), before); err == nil && h.oid != "" {
			h.size, h.adopted = before.Size, true
			c.state.KeepPlaced(rel, h.oid, now)
			return h, nil
		}
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
	case hint != "" && before.Size >= smallFile:
		h.oid, h.size, err = c.cache.unchanged(ctx, f, before.Size, hint)
	}
	if err == nil && h.oid == "" {
		if before.Size < smallFile {
			h.oid, h.size, err = c.cache.storeSmall(ctx, f, before.Size)
		} else {
			h.oid, h.size, err = c.cache.storeBig(ctx, f)
		}
	}
	if err != nil {
		return h, err
	}
	if after, err := known.StatFile(f); err == nil && after == before {
		c.state.Keep(rel, h.oid, after, since)
	}
	return h, nil
}

// storeSmall hashes before it writes: what the cache has is not written again.
func (c *cache) storeSmall(ctx context.Context, f *rawfile.File, size int64) (object.ID, int64, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := fill(f, *buf, size)
	if err != nil {
		return "", 0, err
	}
	h := md5.New()
	_, _ = h.Write((*buf)[:n])
	o := object.ID(object.Sum(h))
	return o, int64(n), c.put(ctx, o, (*buf)[:n])
}

// fill reads a file of less than smallFile into buf. When it has read size
// bytes, and there was room for more, it does not ask again: who wants to know
// whether the file grew looks at its stamp.
func fill(f *rawfile.File, buf []byte, size int64) (n int, err error) {
	for n < len(buf) {
		k, err := f.Read(buf[n:])
		n += k
		if err == io.EOF || err == nil && int64(n) == size {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, fail(mlops.ErrConflict, "%s grows while it is read", f.Name())
}

// digest hashes a file of the given size.
func digest(ctx context.Context, f *rawfile.File, size int64, h hash.Hash) (string, int64, error) {
	if size >= smallFile {
		return hashReader(ctx, f, h)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := fill(f, *buf, size)
	_, _ = h.Write((*buf)[:n])
	return object.Sum(h), int64(n), err
}

// unchanged hashes a file that may be the object hint, and rewinds it if it is not.
func (c *cache) unchanged(ctx context.Context, f *rawfile.File, size int64, hint object.ID) (object.ID, int64, error) {
	if ok, err := c.has(ctx, hint, size); !ok || err != nil {
		return "", 0, err
	}
	sum, n, err := hashReader(ctx, f, md5.New())
	if err == nil && sum == hint.MD5() {
		return hint, n, nil
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return "", 0, err
}

// storeBig writes while it hashes, and gives the object its name at the end.
func (c *cache) storeBig(ctx context.Context, f *rawfile.File) (object.ID, int64, error) {
	dir := filepath.Join(c.dir, "files", "md5")
	if err := c.mkdirAll(dir); err != nil {
		return "", 0, err
	}
	tmp, cloned, err := c.clone(f.Name(), dir)
	if err != nil {
		return "", 0, err
	}
	h, n := md5.New(), int64(0)
	if cloned {
		n, err = copyHash(ctx, nil, tmp, h) // a clone does not change under us
	} else {
		n, err = copyHash(ctx, tmp, f, h)
	}
	return c.settle(ctx, tmp, object.ID(object.Sum(h)), n, err)
}

// take stores what r delivers under the name that it turns out to have.
func (c *cache) take(ctx context.Context, r io.Reader) (object.ID, int64, error) {
	dir := filepath.Join(c.dir, "files", "md5")
	if err := c.mkdirAll(dir); err != nil {
		return "", 0, err
	}
	tmp, err := c.temp(dir)
	if err != nil {
		return "", 0, err
	}
	h := md5.New()
	n, err := copyHash(ctx, tmp, r, h)
	return c.settle(ctx, tmp, object.ID(object.Sum(h)), n, err)
}

// settle gives a temporary file of n bytes its name, unless there was an error
// or the cache has the object.
func (c *cache) settle(ctx context.Context, tmp *rawfile.File, o object.ID, n int64, err error) (object.ID, int64, error) {
	have := false
	if err == nil {
		have, err = c.has(ctx, o, n)
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
func (c *cache) clone(path, dir string) (tmp *rawfile.File, cloned bool, err error) {
	if slices.Contains(c.links, "reflink") && !c.noClone.Load() {
		name := filepath.Join(dir, c.tmpName())
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
func (c *cache) adopts(s known.Stamp) bool {
	return !c.apart && (c.links[0] == "hardlink" || c.links[0] == "symlink") && s.Links == 1 && s.Size > 0
}

// adopt makes the workspace file an object, by a link, when the cache lacks it.
// It is write-protected first, and must be after that as it was before it was
// read. No name and no error means that it must be copied.
func (c *cache) adopt(ctx context.Context, f *rawfile.File, path string, before known.Stamp) (object.ID, known.Stamp, error) {
	sum, _, err := digest(ctx, f, before.Size, md5.New())
	if err != nil {
		return "", known.Stamp{}, err
	}
	o := object.ID(sum)
	if ok, err := c.has(ctx, o, before.Size); ok || err != nil {
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
			err = fail(mlops.ErrConflict, "%s changes while it is added", path)
		}
		return now, err
	}
	if _, err := as(); err != nil {
		return undo(err)
	}
	if unix.Link(path, c.path(o)) != nil {
		return undo(nil) // another file system, or there by now
	}
	made, err := as()
	if err == nil && made.Links < 2 { // the name is another file's by now
		err = fail(mlops.ErrConflict, "%s was replaced while it was added", path)
	}
	if err != nil {
		return undo(errors.Join(err, os.Remove(c.path(o))))
	}
	return o, made, nil
}

func hashReader(ctx context.Context, r io.Reader, h hash.Hash) (string, int64, error) {
	n, err := copyHash(ctx, nil, r, h)
	return object.Sum(h), n, err
}

// copyHash copies r to w, if there is one, and into h, until the end or until
// ctx is done. Beyond a first block, it hashes beside reading and writing.
func copyHash(ctx context.Context, w io.Writer, r io.Reader, h hash.Hash) (int64, error) {
	var n int64
	step := func() (buf *[]byte, m int, err error) {
		buf = buffers.Get().(*[]byte)
		for m < len(*buf) && err == nil {
			if err = ctx.Err(); err == nil {
				var k int
				k, err = r.Read((*buf)[m:])
				m += k
			}
		}
		if m > 0 && w != nil {
			if _, e := w.Write((*buf)[:m]); e != nil {
				err = e
			}
		}
		n += int64(m)
		return buf, m, err
	}
	end := func(err error) (int64, error) {
		if err == io.EOF {
			err = nil
		}
		return n, err
	}
	buf, m, err := step()
	if err != nil {
		_, _ = h.Write((*buf)[:m])
		buffers.Put(buf)
		return end(err)
	}
	type block struct {
		buf *[]byte
		m   int
	}
	blocks, done := make(chan block, 2), make(chan struct{})
	go func() {
		defer close(done)
		for b := range blocks {
			_, _ = h.Write((*b.buf)[:b.m])
			buffers.Put(b.buf)
		}
	}()
	blocks <- block{buf, m}
	for err == nil {
		buf, m, err = step()
		blocks <- block{buf, m}
	}
	close(blocks)
	<-done
	return end(err)
}
