package dvc

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mlops-integration/mlops"
)

// cache is the local store of objects. Object names are checked before they
// become paths, so nothing leaves dir.
type cache struct {
	dir    string
	links  []string // link types to the workspace, best first
	shared bool     // cache.shared = group
	made   sync.Map // directories known to exist

	noClone atomic.Bool // the file system has refused to share blocks
	tmpAway atomic.Bool // .dvc/tmp is on another file system than the workspace
}

func (r *Repo) cache() (*cache, error) {
	cfg, err := r.config()
	if err != nil {
		return nil, err
	}
	c := &cache{dir: filepath.Join(r.root, ".dvc", "cache"), links: []string{"reflink", "copy"}}
	if v, ok := cfg.get("cache", "dir"); ok {
		c.dir = v.resolve()
	}
	if v, ok := cfg.get("cache", "shared"); ok {
		c.shared = v.text() == "group"
	}
	if v, ok := cfg.get("cache", "type"); ok {
		c.links = nil
		for _, t := range v.items {
			t = strings.ToLower(strings.TrimSpace(t))
			if !slices.Contains([]string{"reflink", "hardlink", "symlink", "copy"}, t) {
				return nil, fail(mlops.ErrInvalid, "cache.type %q", t)
			}
			c.links = append(c.links, t)
		}
	}
	return c, nil
}

func (c *cache) path(o oid) string { return filepath.Join(c.dir, filepath.FromSlash(o.key())) }

// mkdir makes the directory of an object.
func (c *cache) mkdir(o oid) (string, error) {
	dir := filepath.Dir(c.path(o))
	if _, ok := c.made.Load(dir); ok {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	if c.shared {
		if err := os.Chmod(dir, 0o775|fs.ModeSetgid); err != nil && !errors.Is(err, fs.ErrPermission) {
			return "", err
		}
	}
	c.made.Store(dir, true)
	return dir, nil
}

// temp creates a temporary file in dir.
func (c *cache) temp(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, tmpName()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// has tells whether the cache holds an object that can be trusted, as dvc
// does: mode 0444 is trusted, any other mode is hashed. An object that is not
// what its name says counts as absent. size is checked if it is not negative.
func (c *cache) has(ctx context.Context, o oid, size int64) (bool, error) {
	fi, err := os.Lstat(c.path(o))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid):
		return false, nil
	case err != nil:
		return false, err
	case !fi.Mode().IsRegular(), size >= 0 && fi.Size() != size:
		return false, nil
	case fi.Mode().Perm() == 0o444:
		return true, nil
	}
	f, err := os.Open(c.path(o))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum, _, err := hashReader(ctx, f, o.newHash())
	if err != nil || sum != o.md5() {
		return false, err
	}
	return true, os.Chmod(c.path(o), 0o444)
}

// commit gives a complete temporary file its mode and its name.
func (c *cache) commit(f *os.File, o oid, durable bool) error {
	if err := f.Chmod(0o444); err != nil {
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
	return os.Rename(f.Name(), c.path(o))
}

// discard removes a temporary file that was not committed.
func discard(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// put stores bytes that are known to have the name o.
func (c *cache) put(ctx context.Context, o oid, data []byte) error {
	if ok, err := c.has(ctx, o, int64(len(data))); ok || err != nil {
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
		err = c.commit(f, o, o.isDir())
	}
	if err != nil {
		discard(f)
	}
	return err
}

// receive stores what r delivers under o, if it is what the name says.
func (c *cache) receive(ctx context.Context, o oid, r io.Reader) (int64, error) {
	dir, err := c.mkdir(o)
	if err != nil {
		return 0, err
	}
	f, err := c.temp(dir)
	if err != nil {
		return 0, err
	}
	h := o.newHash()
	n, err := copyContext(ctx, io.MultiWriter(f, h), r)
	if err == nil {
		if got := sumHex(h); got != o.md5() {
			err = fail(mlops.ErrInvalid, "object %s came with md5 %s", o, got)
		}
	}
	if err == nil {
		err = c.commit(f, o, o.isDir())
	}
	if err != nil {
		discard(f)
	}
	return n, err
}

// tree loads a directory's listing and checks that it is what its name says.
// The error matches [ErrNotCached] if the cache lacks it.
func (c *cache) tree(o oid) (tree, error) {
	f, err := os.Open(c.path(o))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dvc: directory listing %s: %w", o, ErrNotCached)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTree+1))
	if err != nil {
		return nil, err
	}
	if sum := md5.Sum(data); hex.EncodeToString(sum[:]) != o.md5() {
		return nil, fail(mlops.ErrInvalid, "directory listing %s in the cache is damaged; remove %s", o, c.path(o))
	}
	t, err := decodeTree(data)
	if o.legacy() {
		for i := range t {
			t[i].oid = t[i].oid.as(true)
		}
	}
	return t, err
}

const smallFile = 1 << 20

var buffers = sync.Pool{New: func() any { b := make([]byte, smallFile); return &b }}

// hashed is a file as it was when it was read.
type hashed struct {
	oid  oid
	size int64
	mode fs.FileMode
}

// openRegular opens a file for reading, following symlinks, and refuses what
// is not a regular file.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer must not block
	if err != nil {
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fail(mlops.ErrInvalid, "%s is not a regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// store reads a file once: the bytes that are hashed are the bytes that enter
// the cache. hint is the name the file had last time, to save a copy when it
// has not changed.
func (c *cache) store(ctx context.Context, path string, hint oid) (hashed, error) {
	f, fi, err := openRegular(path)
	if err != nil {
		return hashed{}, err
	}
	defer f.Close()
	h := hashed{mode: fi.Mode()}
	if fi.Size() < smallFile {
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		n, err := io.ReadFull(f, *buf)
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			if err == nil {
				err = fail(mlops.ErrConflict, "%s grows while it is read", path)
			}
			return h, err
		}
		sum := md5.Sum((*buf)[:n])
		h.oid, h.size = oid(hex.EncodeToString(sum[:])), int64(n)
		return h, c.put(ctx, h.oid, (*buf)[:n])
	}
	if hint != "" {
		if ok, err := c.has(ctx, hint, fi.Size()); err != nil {
			return h, err
		} else if ok {
			sum, n, err := hashReader(ctx, f, md5.New())
			if err != nil {
				return h, err
			}
			if sum == hint.md5() {
				h.oid, h.size = hint, n
				return h, nil
			}
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return h, err
			}
		}
	}
	dir := filepath.Join(c.dir, "files", "md5")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return h, err
	}
	name, sum := filepath.Join(dir, tmpName()), ""
	cloned := slices.Contains(c.links, "reflink") && !c.noClone.Load() && clonePath(path, name) == nil
	flags := os.O_RDWR
	if !cloned {
		c.noClone.Store(true)
		flags |= os.O_CREATE | os.O_EXCL
	}
	tmp, err := os.OpenFile(name, flags, 0o666)
	if err != nil {
		return h, err
	}
	defer func() {
		if tmp != nil {
			discard(tmp)
		}
	}()
	if cloned {
		sum, h.size, err = hashReader(ctx, tmp, md5.New()) // a clone does not change under us
	} else {
		w := md5.New()
		h.size, err = copyContext(ctx, io.MultiWriter(tmp, w), f)
		sum = hex.EncodeToString(w.Sum(nil))
	}
	if err != nil {
		return h, err
	}
	h.oid = oid(sum)
	if ok, err := c.has(ctx, h.oid, h.size); ok || err != nil {
		return h, err
	}
	if _, err := c.mkdir(h.oid); err != nil {
		return h, err
	}
	if err := c.commit(tmp, h.oid, false); err != nil {
		return h, err
	}
	tmp = nil
	return h, nil
}

// hashFile returns the name of a workspace file's content, of the kind asked for.
func hashFile(ctx context.Context, path string, legacy bool) (hashed, error) {
	f, fi, err := openRegular(path)
	if err != nil {
		return hashed{}, err
	}
	defer f.Close()
	sum, n, err := hashReader(ctx, f, newHash(legacy))
	return hashed{oid: oid(sum).as(legacy), size: n, mode: fi.Mode()}, err
}

func hashReader(ctx context.Context, r io.Reader, h hash.Hash) (string, int64, error) {
	n, err := copyContext(ctx, h, r)
	return sumHex(h), n, err
}

// copyContext copies until the end or until ctx is done.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := r.Read(*buf)
		if m > 0 {
			if _, err := w.Write((*buf)[:m]); err != nil {
				return n, err
			}
			n += int64(m)
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
