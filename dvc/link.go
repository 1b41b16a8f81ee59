package dvc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// placement is an object that is to lie in the workspace.
type placement struct {
	rel  string // from the root; its directory exists
	oid  object.ID
	exec bool
	was  *foundFile // what it replaces
}

// placeAll puts objects into the workspace. Each replaces what was there in one
// step, if that is as it was found.
func (c *call) placeAll(ctx context.Context, all []placement) error {
	// Neighbours share the handle of their directory.
	parts := slices.Collect(slices.Chunk(all, max(1, min(256, len(all)/(4*c.jobs)))))
	return c.parallel(ctx, len(parts), func(ctx context.Context, i int) error {
		p := &placer{call: c}
		defer p.close()
		for _, t := range parts[i] {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.place(ctx, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// placer places one object after the other. It makes each in a folder of its
// own in .dvc/tmp and moves it to its place: what a killed program leaves there
// is no data, as it would be beside the data.
type placer struct {
	*call

	tmp    *os.File
	tmpRel string
	dir    *os.File // of the last placement
	dirRel string
}

func (p *placer) close() {
	if p.dir != nil {
		_ = p.dir.Close()
	}
	if p.tmp != nil {
		_ = p.tmp.Close()
		_ = p.root.RemoveAll(p.tmpRel)
	}
}

// enter opens the directory of a placement, and the folder for what is not
// there yet.
func (p *placer) enter(dir string) error {
	if p.dir == nil || p.dirRel != dir {
		d, err := p.root.Open(dir)
		if err != nil {
			return err
		}
		if p.dir != nil {
			_ = p.dir.Close()
		}
		p.dir, p.dirRel = d, dir
	}
	if p.tmp != nil {
		return nil
	}
	var err error
	if p.tmpRel, err = p.tempRel(); err != nil {
		return err
	}
	if err = p.root.Mkdir(p.tmpRel, 0o777); err == nil {
		p.tmp, err = p.root.Open(p.tmpRel)
	}
	return err
}

func (p *placer) place(ctx context.Context, t placement) error {
	fault := func(err error) error {
		return &fs.PathError{Op: "place", Path: p.show(t.rel), Err: err}
	}
	if err := p.enter(path.Dir(t.rel)); err != nil {
		return err
	}
	name := path.Base(t.rel)
	if t.was != nil {
		if err := p.clear(t, name); err != nil {
			return err
		}
	}
	in, inRel := p.tmp, p.tmpRel
	if p.cache.tmpAway.Load() {
		in, inRel = p.dir, p.dirRel
	}
	tmp := tmpName()
	gone := func() { _ = unix.Unlinkat(int(in.Fd()), tmp, 0) }
	made, err := p.make(ctx, in, path.Join(inRel, tmp), t)
	if err != nil {
		gone()
		return err
	}
	move := func() error { return unix.Renameat(int(in.Fd()), tmp, int(p.dir.Fd()), name) }
	if t.was != nil {
		err = move()
	} else if err = renameNew(int(in.Fd()), tmp, int(p.dir.Fd()), name); errors.Is(err, fs.ErrExist) || linkRefused(err) && !errors.Is(err, syscall.EXDEV) {
		// Something is there, or the file system cannot tell in one step.
		if err := p.clear(t, name); err != nil {
			gone()
			return err
		}
		err = move()
	}
	switch {
	case errors.Is(err, syscall.EXDEV) && in == p.tmp:
		gone()
		p.cache.tmpAway.Store(true)
		return p.place(ctx, t)
	case err != nil:
		gone()
		return fault(err)
	case made.Links > 1:
		gone() // renaming a link onto its own file leaves both
	}
	now, err := known.StatAt(int(p.dir.Fd()), name, true)
	if err == nil && now.Ino == made.Ino && now.Size == made.Size && now.MTime == made.MTime {
		p.state.KeepPlaced(t.rel, t.oid, now)
	}
	return nil
}

// clear refuses a placement whose place is not as it was found, and removes
// empty directories that stand there.
func (p *placer) clear(t placement, name string) error {
	switch now, err := known.StatAt(int(p.dir.Fd()), name, t.was != nil && t.was.link && t.was.oid != ""); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return &fs.PathError{Op: "place", Path: p.show(t.rel), Err: err}
	case t.was != nil && now.Mode.Type() == t.was.stamp.Mode.Type():
		if w := t.was.stamp; now.Ino != w.Ino || now.MTime != w.MTime || now.Size != w.Size {
			return fail(mlops.ErrConflict, "%s changed meanwhile", p.show(t.rel))
		}
	case now.Mode.IsDir():
		return removeEmptyDirs(p.root, t.rel)
	default:
		return fail(mlops.ErrConflict, "%s appeared meanwhile", p.show(t.rel))
	}
	return nil
}

// make makes the file at tmp, in a directory that is open, by the first type of
// link that works.
func (p *placer) make(ctx context.Context, in *os.File, tmp string, t placement) (known.Stamp, error) {
	c, src := p.cache, p.cache.path(t.oid)
	name := path.Base(tmp)
	var last error
	for _, kind := range c.links {
		var made known.Stamp
		var err error
		switch kind {
		case "reflink":
			if c.noClone.Load() {
				continue
			}
			if err = clonePath(src, p.abs(tmp)); err != nil {
				c.noClone.Store(true)
			}
		case "hardlink":
			// dvc copies empty files: a file has at most 65,000 links.
			if t.oid.As(false) == emptyFile {
				made, err = c.copyOut(ctx, in, name, t.oid)
			} else {
				err = unix.Linkat(unix.AT_FDCWD, src, int(in.Fd()), name, 0)
			}
		case "symlink":
			err = unix.Symlinkat(src, int(in.Fd()), name)
		case "copy":
			made, err = c.copyOut(ctx, in, name, t.oid)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return known.Stamp{}, fmt.Errorf("dvc: %s for %s: %w", t.oid, t.rel, ErrNotCached)
		}
		if kind != "copy" && linkRefused(err) {
			last = err
			continue
		}
		if err == nil && made.Ino == 0 {
			made, err = known.StatAt(int(in.Fd()), name, true)
		}
		if err == nil && t.exec && (kind == "copy" || kind == "reflink") {
			err = unix.Fchmodat(int(in.Fd()), name, uint32(made.Mode.Perm()|0o100), 0)
		}
		return made, err
	}
	return known.Stamp{}, fail(mlops.ErrUnsupported, "%s: none of cache.type %s works here (%v)", t.rel, strings.Join(c.links, ","), last)
}

const emptyFile = object.ID("d41d8cd98f00b204e9800998ecf8427e")

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
func (c *cache) copyOut(ctx context.Context, dir *os.File, name string, o object.ID) (made known.Stamp, err error) {
	in, err := rawfile.Open(c.path(o), os.O_RDONLY, 0)
	if err != nil {
		return known.Stamp{}, err
	}
	defer in.Close()
	f, err := rawfile.OpenAt(int(dir.Fd()), name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return known.Stamp{}, err
	}
	h := o.NewHash()
	if _, err = copyHash(ctx, f, in, h); err == nil {
		made, err = known.StatFile(f)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if got := object.Sum(h); err == nil && got != o.MD5() {
		err = fail(mlops.ErrInvalid, "object %s in the cache is damaged (md5 %s); remove %s and fetch again", o, got, c.path(o))
	}
	return made, err
}

// linked reports whether a workspace file is the configured link to o already.
func (c *cache) linked(abs string, o object.ID) bool {
	if target, err := os.Readlink(abs); err == nil {
		return c.links[0] == "symlink" && target == c.path(o)
	}
	a, err := os.Lstat(abs)
	b, err2 := os.Lstat(c.path(o))
	if err != nil || err2 != nil {
		return false
	}
	return c.links[0] == "hardlink" && (os.SameFile(a, b) || o.As(false) == emptyFile && a.Size() == 0)
}
