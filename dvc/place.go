package dvc

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
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
	in := p.tmp
	if p.tmpAway.Load() {
		in = p.dir
	}
	tmp := cache.TempName()
	gone := func() { _ = unix.Unlinkat(int(in.Fd()), tmp, 0) }
	made, err := p.cache.Link(ctx, in, tmp, t.oid, t.exec, t.rel)
	if err != nil {
		gone()
		return err
	}
	move := func() error { return unix.Renameat(int(in.Fd()), tmp, int(p.dir.Fd()), name) }
	if t.was != nil {
		err = move()
	} else if err = renameNew(int(in.Fd()), tmp, int(p.dir.Fd()), name); errors.Is(err, fs.ErrExist) || cache.Refused(err) && !errors.Is(err, syscall.EXDEV) {
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
		p.tmpAway.Store(true)
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
