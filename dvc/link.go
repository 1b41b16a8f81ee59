package dvc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/mlops-integration/mlops"
)

// place puts an object's content at rel in the workspace, by the first link
// type that works. What was there is replaced in one step. The directory must
// exist. It is made in .dvc/tmp: a file left there by a killed program is no
// data, as it would be beside rel.
func (r *Repo) place(ctx context.Context, root *os.Root, c *cache, rel string, o oid, exec bool) error {
	tmp := path.Join(".dvc/tmp", tmpName())
	if c.tmpAway.Load() {
		tmp = path.Join(path.Dir(rel), tmpName())
	}
	abs := r.abs(tmp)
	src := c.path(o)
	var last error
	for _, kind := range c.links {
		var err error
		switch kind {
		case "reflink":
			if c.noClone.Load() {
				continue
			}
			if err = clonePath(src, abs); err != nil {
				c.noClone.Store(true)
			}
		case "hardlink":
			// dvc makes empty files anew: a file has at most 65,000 links.
			if o.as(false) == emptyFile {
				err = c.copyOut(ctx, root, tmp, o)
			} else {
				err = os.Link(src, abs)
			}
		case "symlink":
			err = root.Symlink(src, tmp)
		case "copy":
			err = c.copyOut(ctx, root, tmp, o)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("dvc: %s for %s: %w", o, rel, ErrNotCached)
		}
		if kind != "copy" && linkRefused(err) {
			last = err
			continue
		}
		if err == nil && exec && (kind == "copy" || kind == "reflink") {
			var fi fs.FileInfo
			if fi, err = root.Lstat(tmp); err == nil {
				err = root.Chmod(tmp, fi.Mode().Perm()|0o100)
			}
		}
		var made stamp
		if err == nil {
			made, err = statPath(abs, true)
		}
		if err == nil {
			err = root.Rename(tmp, rel)
		}
		if errors.Is(err, syscall.EXDEV) && path.Dir(tmp) == ".dvc/tmp" {
			_ = root.Remove(tmp)
			c.tmpAway.Store(true)
			return r.place(ctx, root, c, rel, o, exec)
		}
		if err == nil {
			if now, e := statPath(r.abs(rel), true); e == nil && now.ino == made.ino && now.size == made.size && now.mtime == made.mtime {
				r.state().keepPlaced(rel, o, now)
			}
		}
		if err != nil || kind == "hardlink" { // renaming a link onto its own file leaves both
			_ = root.Remove(tmp)
		}
		return err
	}
	return fail(mlops.ErrUnsupported, "%s: none of cache.type %s works here (%v)", rel, strings.Join(c.links, ","), last)
}

const emptyFile = oid("d41d8cd98f00b204e9800998ecf8427e")

// linkRefused tells an error of a file system that cannot make such a link
// from one that would meet a copy as well.
func linkRefused(err error) bool {
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

// copyOut copies an object and checks it on the way: a poisoned cache does not
// reach the workspace.
func (c *cache) copyOut(ctx context.Context, root *os.Root, tmp string, o oid) (err error) {
	in, err := os.Open(c.path(o))
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	h := o.newHash()
	_, err = copyHash(ctx, f, in, h)
	if e := f.Close(); err == nil {
		err = e
	}
	if got := sumHex(h); err == nil && got != o.md5() {
		err = fail(mlops.ErrInvalid, "object %s in the cache is damaged (md5 %s); remove %s and fetch again", o, got, c.path(o))
	}
	if err != nil {
		_ = root.Remove(tmp)
	}
	return err
}

// linked tells whether a workspace file is the configured link to o already.
func (c *cache) linked(abs string, o oid) bool {
	if target, err := os.Readlink(abs); err == nil {
		return c.links[0] == "symlink" && target == c.path(o)
	}
	a, err := os.Lstat(abs)
	b, err2 := os.Lstat(c.path(o))
	if err != nil || err2 != nil {
		return false
	}
	return c.links[0] == "hardlink" && (os.SameFile(a, b) || o.as(false) == emptyFile && a.Size() == 0)
}
