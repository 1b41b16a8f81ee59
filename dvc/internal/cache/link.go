package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// Link makes a file that is an object, by the first type of link that works: of
// that name in a directory, which was opened by its path. An error says that it
// was for to.
func (c *Cache) Link(ctx context.Context, dir *os.File, name string, o object.ID, exec bool, to string) (known.Stamp, error) {
	src := c.Path(o)
	var last error
	for _, kind := range c.Links {
		var made known.Stamp
		var err error
		switch kind {
		case "reflink":
			if c.noClone.Load() {
				continue
			}
			if err = clonePath(src, filepath.Join(dir.Name(), name)); err != nil {
				c.noClone.Store(true)
			}
		case "hardlink":
			// dvc copies empty files: a file has at most 65,000 links.
			if o.As(false) == emptyFile {
				made, err = c.CopyOut(ctx, dir, name, o)
			} else {
				err = unix.Linkat(unix.AT_FDCWD, src, int(dir.Fd()), name, 0)
			}
		case "symlink":
			err = unix.Symlinkat(src, int(dir.Fd()), name)
		case "copy":
			made, err = c.CopyOut(ctx, dir, name, o)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return known.Stamp{}, fmt.Errorf("dvc: %s for %s: %w", o, to, ErrNotCached)
		}
		if kind != "copy" && Refused(err) {
			last = err
			continue
		}
		if err == nil && made.Ino == 0 {
			made, err = known.StatAt(int(dir.Fd()), name, true)
		}
		if err == nil && exec && (kind == "copy" || kind == "reflink") {
			err = unix.Fchmodat(int(dir.Fd()), name, uint32(made.Mode.Perm()|0o100), 0)
		}
		return made, err
	}
	return known.Stamp{}, fault.New(mlops.ErrUnsupported, "%s: none of cache.type %s works here (%v)", to, strings.Join(c.Links, ","), last)
}

const emptyFile = object.ID("d41d8cd98f00b204e9800998ecf8427e")

// Refused tells an error of a file system that cannot make such a link
// from one that would meet a copy as well.
func Refused(err error) bool {
	for _, e := range []error{
		syscall.EXDEV, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.ENOTTY,
		syscall.EINVAL, syscall.EPERM, syscall.EMLINK, errors.ErrUnsupported,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// CopyOut copies an object and checks it on the way: a poisoned cache does not
// reach the workspace.
func (c *Cache) CopyOut(ctx context.Context, dir *os.File, name string, o object.ID) (made known.Stamp, err error) {
	in, err := rawfile.Open(c.Path(o), os.O_RDONLY, 0)
	if err != nil {
		return known.Stamp{}, err
	}
	defer in.Close()
	f, err := rawfile.OpenAt(int(dir.Fd()), name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return known.Stamp{}, err
	}
	h := o.NewHash()
	if _, err = CopyHash(ctx, f, in, h); err == nil {
		made, err = known.StatFile(f)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if got := object.Sum(h); err == nil && got != o.MD5() {
		err = fault.New(mlops.ErrInvalid, "object %s in the cache is damaged (md5 %s); remove %s and fetch again", o, got, c.Path(o))
	}
	return made, err
}

// Linked reports whether a workspace file is the configured link to o already.
func (c *Cache) Linked(abs string, o object.ID) bool {
	if target, err := os.Readlink(abs); err == nil {
		return c.Links[0] == "symlink" && target == c.Path(o)
	}
	a, err := os.Lstat(abs)
	b, err2 := os.Lstat(c.Path(o))
	if err != nil || err2 != nil {
		return false
	}
	return c.Links[0] == "hardlink" && (os.SameFile(a, b) || o.As(false) == emptyFile && a.Size() == 0)
}

// PossibleLinks tries each type of link from the cache to a directory.
func (c *Cache) PossibleLinks(dir string) ([]string, error) {
	if err := c.mkdirAll(c.Dir); err != nil {
		return nil, err
	}
	src, err := c.temp(c.Dir)
	if err != nil {
		return nil, err
	}
	defer discard(src)
	var can []string
	at := filepath.Join(dir, TempName())
	for _, kind := range LinkTypes {
		switch kind {
		case "reflink":
			err = clonePath(src.Name(), at)
		case "hardlink":
			err = os.Link(src.Name(), at)
		case "symlink":
			err = os.Symlink(src.Name(), at)
		default:
			err = nil
		}
		if err == nil {
			can = append(can, kind)
		}
		_ = os.Remove(at)
	}
	return can, nil
}
