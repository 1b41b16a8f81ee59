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

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// plan is what a checkout does to one output.
type plan struct {
	out    *dvcfile.Out
	exists bool
	dir    bool
	remove []string // relative to the root; what stands in the way
	create []object.Entry
	was    map[string]foundFile // what create replaces, to see that it has not changed since
	chmod  bool
}

// checkouter brings outputs into the workspace.
type checkouter struct{ *call }

// checkout plans for all outputs, and begins to write when none is refused.
func (c *call) checkout(ctx context.Context, outs []*dvcfile.Out, how CheckoutOptions, t *Transfer) error {
	w := &checkouter{c}
	var plans []*plan
	var unsaved []string
	for i, o := range outs {
		if !o.Cache || o.ID == "" || i+1 < len(outs) && o.Twin(outs[i+1]) {
			continue
		}
		p, lose, err := w.plan(ctx, o, how.Relink)
		if how.AllowMissing && errors.Is(err, ErrNotCached) {
			continue
		}
		if err != nil {
			return err
		}
		plans = append(plans, p)
		unsaved = append(unsaved, lose...)
	}
	if len(unsaved) > 0 && !how.Force {
		slices.Sort(unsaved)
		n := len(unsaved)
		if n > 10 {
			unsaved = append(unsaved[:10], fmt.Sprintf("and %d more", n-10))
		}
		return fail(mlops.ErrConflict, "checkout would lose content that is not in the cache: %s; add it, move it away, or use force", strings.Join(unsaved, ", "))
	}
	for _, p := range plans {
		if err := w.carryOut(ctx, p); err != nil {
			return fmt.Errorf("dvc: checkout %s: %w", c.show(p.out.Whole()), err)
		}
		switch {
		case !p.exists:
			t.Added = append(t.Added, c.show(p.out.Whole()))
		case len(p.create)+len(p.remove) > 0:
			t.Modified = append(t.Modified, c.show(p.out.Whole()))
		}
	}
	return nil
}

// plan compares an output, or its part, with the workspace. unsaved names the
// content that would be lost.
func (c *checkouter) plan(ctx context.Context, o *dvcfile.Out, relink bool) (p *plan, unsaved []string, err error) {
	if err := parentsAreDirs(c.root, o.Whole()); err != nil {
		return nil, nil, err
	}
	want := object.Listing{{Path: "", ID: o.ID}}
	if o.ID.IsDir() {
		t, err := c.cache.Listing(o.ID)
		if err != nil {
			return nil, nil, fmt.Errorf("dvc: %s: %w", c.show(o.Path), err)
		}
		if want = t.Below(o.Part); len(want) == 0 && o.Part != "" {
			return nil, nil, fail(mlops.ErrNotFound, "%s is not in the listing of %s", c.show(o.Whole()), c.show(o.Path))
		}
	}
	have, isDir, exists, err := c.scan(ctx, o.Whole(), o.ID.Legacy())
	if err != nil {
		return nil, nil, err
	}
	if o.Part != "" {
		below := make(foundFiles, len(have))
		for rel, f := range have {
			below[path.Join(o.Part, rel)] = f
		}
		have = below
	}
	p = &plan{out: o, exists: exists, dir: o.ID.IsDir() && (o.Part == "" || want[0].Path != o.Part), was: map[string]foundFile{}}
	lost := func(rel string, f foundFile) error {
		if f.oid != "" {
			if ok, err := c.cache.Has(ctx, f.oid, f.stamp.Size); ok || err != nil {
				return err
			}
		}
		unsaved = append(unsaved, c.show(path.Join(o.Path, rel)))
		return nil
	}
	wanted := make(map[string]bool, len(want))
	for _, e := range want {
		wanted[e.Path] = true
		f, there := have[e.Path]
		if there && f.oid == e.ID && !(relink && !c.cache.Linked(c.abs(path.Join(o.Path, e.Path)), e.ID)) {
			p.chmod = p.chmod || o.Exec && !f.link && f.stamp.Mode&0o100 == 0
			continue
		}
		if there && f.oid == e.ID {
			p.was[e.Path] = f
		} else if there {
			if err := lost(e.Path, f); err != nil {
				return nil, nil, err
			}
			p.was[e.Path] = f
		}
		p.create = append(p.create, e)
	}
	err = c.parallel(ctx, len(p.create), func(ctx context.Context, i int) error {
		e := p.create[i]
		ok, err := c.cache.Has(ctx, e.ID, -1)
		if err == nil && !ok {
			err = fmt.Errorf("dvc: %s (%s): %w", c.show(path.Join(o.Path, e.Path)), e.ID, ErrNotCached)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for rel, f := range have {
		if !wanted[rel] {
			// What a killed checkout left has no owner: we hold the lock.
			if !cache.IsTemp(path.Base(rel)) {
				if err := lost(rel, f); err != nil {
					return nil, nil, err
				}
			}
			p.remove = append(p.remove, path.Join(o.Path, rel))
		}
	}
	hidden, err := c.hidden(o, p, have, exists && (isDir || o.Part != ""))
	if err != nil {
		return nil, nil, err
	}
	for _, rel := range hidden {
		unsaved = append(unsaved, c.show(rel))
	}
	p.remove = append(p.remove, hidden...)
	slices.Sort(p.remove)
	return p, unsaved, nil
}

// hidden finds what the scan passed over and what stands in the way all the
// same: ignored files, symlinks to directories, pipes.
func (c *checkouter) hidden(o *dvcfile.Out, p *plan, have foundFiles, below bool) ([]string, error) {
	if !below {
		return nil, nil
	}
	var out []string
	seen := map[string]bool{}
	for _, e := range p.create {
		if e.Path == "" {
			// A file takes the place of a directory, which must be empty then.
			err := fs.WalkDir(os.DirFS(c.abs(o.Path)), ".", func(rel string, d fs.DirEntry, err error) error {
				if _, known := have[rel]; err == nil && !d.IsDir() && !known {
					out = append(out, path.Join(o.Path, rel))
				}
				return err
			})
			return out, err
		}
		for rel := e.Path; rel != "." && !seen[rel]; rel = path.Dir(rel) {
			seen[rel] = true
			at := path.Join(o.Path, rel)
			fi, err := os.Lstat(c.abs(at))
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
					continue
				}
				return nil, err
			}
			if _, known := have[rel]; known {
				continue
			}
			if fi.IsDir() && rel == e.Path {
				err := fs.WalkDir(os.DirFS(c.abs(at)), ".", func(sub string, d fs.DirEntry, err error) error {
					if _, known := have[path.Join(rel, sub)]; err == nil && !d.IsDir() && !known {
						out = append(out, path.Join(at, sub))
					}
					return err
				})
				if err != nil {
					return nil, err
				}
			} else if !fi.IsDir() {
				out = append(out, at)
			}
		}
	}
	return out, nil
}

// carryOut writes: first away with what is in the way, then directories, then
// files, each by rename.
func (c *checkouter) carryOut(ctx context.Context, p *plan) error {
	for _, rel := range p.remove {
		if err := c.root.Remove(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for dir := path.Dir(rel); object.Within(dir, p.out.Whole()) && (dir != p.out.Whole() || !p.dir); dir = path.Dir(dir) {
			if c.root.Remove(dir) != nil {
				break // not empty
			}
		}
	}
	made := map[string]bool{}
	mkdir := func(dir string) error {
		if made[dir] {
			return nil
		}
		made[dir] = true
		return c.root.MkdirAll(dir, 0o777)
	}
	if p.dir {
		if err := mkdir(p.out.Whole()); err != nil {
			return err
		}
	}
	todo := make([]placement, 0, len(p.create))
	for _, e := range p.create {
		at := path.Join(p.out.Path, e.Path)
		if err := mkdir(path.Dir(at)); err != nil {
			return err
		}
		t := placement{rel: at, oid: e.ID, exec: p.out.Exec && e.Path == ""}
		if was, ok := p.was[e.Path]; ok {
			t.was = &was
		}
		todo = append(todo, t)
	}
	if err := c.placeAll(ctx, todo); err != nil {
		return err
	}
	if p.chmod && len(p.create) == 0 && !c.cache.Linked(c.abs(p.out.Path), p.out.ID) {
		fi, err := c.root.Lstat(p.out.Path)
		if err != nil {
			return err
		}
		return c.root.Chmod(p.out.Path, fi.Mode().Perm()|0o100)
	}
	return ctx.Err()
}

// removeEmptyDirs removes a directory that holds nothing but directories.
func removeEmptyDirs(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	_ = d.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeEmptyDirs(root, path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return root.Remove(dir)
}
