package dvc

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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// cache is the local store of objects. Object names are checked before they
// become paths, so nothing leaves dir.
type cache struct {
	temps  *temps // of a call that holds the lock; nil otherwise
	dir    string
	links  []string // link types to the workspace, best first
	shared bool     // cache.shared = group
	apart  bool     // no workspace file becomes an object
	made   sync.Map // directories known to exist

	noClone atomic.Bool // the file system has refused to share blocks
	tmpAway atomic.Bool // .dvc/tmp is on another file system than the workspace
}

// cache returns the cache of the repository at root.
func (cfg *config) cache(root string) (*cache, error) {
	c := &cache{dir: filepath.Join(root, ".dvc", "cache"), links: []string{"reflink", "copy"}}
	if v, ok := cfg.get("cache", "dir"); ok {
		c.dir = v.resolve()
	}
	if v, ok := cfg.get("cache", "shared"); ok {
		c.shared = v.text() == "group"
	}
	if v, ok := cfg.get("cache", "type"); ok {
		c.links = nil
		for t := range strings.SplitSeq(v.text(), ",") { // dvc writes a list, or a text with commas
			t = strings.ToLower(strings.TrimSpace(t))
			if !slices.Contains([]string{"reflink", "hardlink", "symlink", "copy"}, t) {
				return nil, fail(mlops.ErrInvalid, "cache.type %q", t)
			}
			c.links = append(c.links, t)
		}
	}
	return c, nil
}

func (c *cache) path(o object.ID) string { return filepath.Join(c.dir, filepath.FromSlash(o.Key())) }

// mkdir makes the directory of an object.
func (c *cache) mkdir(o object.ID) (string, error) {
	dir := filepath.Dir(c.path(o))
	return dir, c.mkdirAll(dir)
}

// mkdirAll makes a directory in the cache. Where the cache is shared, its group
// may write into it and into all above it that are the cache's, or made here.
func (c *cache) mkdirAll(dir string) error {
	if _, ok := c.made.Load(dir); ok {
		return nil
	}
	if c.shared && filepath.Dir(dir) != dir {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || object.Within(dir, c.dir) && dir != c.dir {
			if err := c.mkdirAll(filepath.Dir(dir)); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	const mode = 0o775 | fs.ModeSetgid
	if fi, err := os.Stat(dir); c.shared && object.Within(dir, c.dir) && (err != nil || fi.Mode()&mode != mode) {
		if err := os.Chmod(dir, mode); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	c.made.Store(dir, true)
	return nil
}

// temp creates a temporary file in dir.
func (c *cache) temp(dir string) (*rawfile.File, error) {
	return rawfile.Open(filepath.Join(dir, c.tmpName()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o444)
}

// has reports whether the cache holds an object that can be trusted, as dvc
// does: mode 0444 is trusted, any other mode is hashed. An object that is not
// what its name says counts as absent. size is checked if it is not negative.
func (c *cache) has(ctx context.Context, o object.ID, size int64) (bool, error) {
	st, err := known.Stat(c.path(o), false)
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
	f, err := rawfile.Open(c.path(o), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum, _, err := hashReader(ctx, f, o.NewHash())
	if err != nil || sum != o.MD5() {
		return false, err
	}
	if err := os.Chmod(c.path(o), 0o444); !errors.Is(err, fs.ErrPermission) { // another user's is read again each time
		return true, err
	}
	return true, nil
}

// commit gives a complete temporary file its mode and its name.
func (c *cache) commit(f *rawfile.File, o object.ID, durable bool) error {
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
	return unix.Rename(f.Name(), c.path(o)) // os.Rename looks at the target first
}

// discard removes a temporary file that was not committed.
func discard(f *rawfile.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// put stores bytes that are known to have the name o.
func (c *cache) put(ctx context.Context, o object.ID, data []byte) error {
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
		err = c.commit(f, o, o.IsDir())
	}
	if err != nil {
		discard(f)
	}
	return err
}

// receive stores what r delivers under o, if it is what the name says.
func (c *cache) receive(ctx context.Context, o object.ID, r io.Reader) (int64, error) {
	dir, err := c.mkdir(o)
	if err != nil {
		return 0, err
	}
	f, err := c.temp(dir)
	if err != nil {
		return 0, err
	}
	h := o.NewHash()
	n, err := copyHash(ctx, f, r, h)
	if err == nil {
		if got := object.Sum(h); got != o.MD5() {
			err = fail(mlops.ErrInvalid, "object %s came with md5 %s", o, got)
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

// putTree stores a listing, without holding all of its text.
func (c *cache) putTree(ctx context.Context, t object.Listing) (object.ID, error) {
	dir := filepath.Join(c.dir, "files", "md5")
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
		have, err = c.has(ctx, id, size)
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

// tree loads a directory's listing and checks that it is what its name says.
// The error matches [ErrNotCached] if the cache lacks it.
func (c *cache) tree(o object.ID) (object.Listing, error) {
	f, err := os.Open(c.path(o))
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
		return nil, fmt.Errorf("dvc: %s: %w", c.path(o), err)
	}
	return t, nil
}

// openRegular opens a file for reading, following symlinks, and refuses what
// is not a regular file.
func openRegular(path string) (*rawfile.File, known.Stamp, error) {
	f, err := rawfile.Open(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer must not block
	if err != nil {
		return nil, known.Stamp{}, err
	}
	st, err := known.StatFile(f)
	if err == nil && !st.Mode.IsRegular() {
		err = fail(mlops.ErrInvalid, "%s is not a regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, known.Stamp{}, err
	}
	return f, st, nil
}
