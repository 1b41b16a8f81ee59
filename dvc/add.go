package dvc

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync/atomic"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// Output is tracked data.
type Output struct {
	Path       string // of the data
	DVCFile    string // the .dvc file that tracks it
	Hash       string // md5, for a directory with ".dir"
	SizeBytes  int64  // -1 after a part of a directory was exchanged: dvc drops it then
	Files      int    // 1 for a file
	Executable bool   // of a single file
}

// adder is the call of an Add.
type adder struct{ *call }

// addition is one target of Add on its way.
type addition struct {
	rel   string // what the caller named
	isDir bool
	link  bool           // the target is a symlink to a file
	gone  bool           // the target was a part of a tracked directory, and does not exist
	out   *dvcfile.Out   // existing output: rel itself, or the directory that holds it
	old   object.Listing // listing of out, for a part of it
	files []known.Found

	noCommit bool   // the cache is left as it is
	adopted  []bool // of files: they are objects by now

	tree    object.Listing // new listing, when rel is a directory
	single  object.ID      // else its name
	content dvcfile.Content
}

// AddOptions are options of [Repo.Add].
type AddOptions struct {
	NoCommit bool // write the .dvc files and leave the cache as it is; [Repo.Commit] or Add fill it
	NoRelink bool // leave the files in the workspace as they are, whatever cache.type says
	unstaged bool // whatever core.autostage says

	// Data from elsewhere: one path outside of the repository, or a URL of the
	// kinds of [Repo.ImportURL]. Where it came from is not written down.
	Out      string // where to; a directory gets it under its own name
	ToRemote bool   // it goes to a remote, and neither into the cache nor into the workspace
	Remote   string // with ToRemote, its name; "" is the default one
	Force    bool   // replace what lies at the destination

	Transfers
}

// Add brings files and directories into the cache and writes their .dvc files
// and .gitignore entries, as dvc add does. A path inside a tracked directory
// updates that directory's .dvc file. Nothing is written when a path is refused.
//
// The error matches [mlops.ErrNotFound] for a missing path, [mlops.ErrInvalid]
// for one that must not be tracked (outside the repository, behind a symlink,
// ignored, in git), and [mlops.ErrConflict] for one that overlaps other tracked
// data or while another program holds the lock.
func (r *Repo) Add(ctx context.Context, paths []string, o AddOptions) ([]Output, error) {
	if o.Out != "" || o.ToRemote {
		return r.addFrom(ctx, o, paths)
	}
	if o.Remote != "" {
		return nil, fail(mlops.ErrInvalid, "a remote's name goes with to-remote")
	}
	opened, err := r.change(ctx)
	if err != nil {
		return nil, err
	}
	defer opened.end()
	c := &adder{call: opened}
	c.cache.Apart = o.NoRelink
	rels, err := r.rels(paths)
	if err != nil {
		return nil, err
	}
	if _, err := c.claim(ctx, rels); err != nil {
		return nil, err
	}
	var adds []*addition
	for _, p := range paths {
		a, err := c.check(p)
		if err != nil {
			return nil, err
		}
		a.noCommit = o.NoCommit
		for _, b := range adds {
			if object.Within(a.rel, b.rel) || object.Within(b.rel, a.rel) {
				return nil, fail(mlops.ErrConflict, "%s and %s overlap", a.rel, b.rel)
			}
			if a.out != nil && a.out == b.out {
				return nil, fail(mlops.ErrUnsupported, "%s and %s are parts of one directory; add them one after the other", a.rel, b.rel)
			}
		}
		adds = append(adds, a)
	}
	if len(adds) == 0 {
		return nil, nil
	}
	if err := c.notInGit(ctx, rels); err != nil {
		return nil, err
	}
	var done []Output
	for _, a := range adds {
		kept, err := c.keep2x(ctx, a)
		if err == nil && !kept {
			err = c.hashInto(ctx, a)
		}
		if err != nil {
			return done, fmt.Errorf("dvc: add %s: %w", r.show(a.rel), err)
		}
		out, err := c.record(a)
		if err == nil && !o.NoCommit && !o.NoRelink {
			err = c.relink(ctx, a)
		}
		if err != nil {
			return done, fmt.Errorf("dvc: add %s: %w", r.show(a.rel), err)
		}
		done = append(done, out)
	}
	if o.unstaged {
		return done, nil
	}
	return done, c.autostage(ctx)
}

// hashInto hashes and stores the files of a target, and its listing after them.
func (c *adder) hashInto(ctx context.Context, a *addition) error {
	hints := map[string]object.ID{}
	inner := ""
	if a.out != nil && !a.out.ID.Legacy() { // those of dvc 2.x have other names
		if a.out.Path != a.rel {
			inner = strings.TrimPrefix(a.rel, a.out.Path+"/")
		}
		for _, e := range a.old {
			hints[e.Path] = e.ID
		}
		if !a.isDir && inner == "" {
			hints[""] = a.out.ID
		}
	}
	got := make([]cache.Hashed, len(a.files))
	a.adopted = make([]bool, len(a.files))
	names := c.state.Recall(ctx, a.rel, a.files, false)
	var size atomic.Int64
	err := c.parallel(ctx, len(a.files), func(ctx context.Context, i int) (err error) {
		f := a.files[i]
		ok := false
		if names[i] != "" && a.noCommit {
			ok = true
		} else if names[i] != "" {
			ok, err = c.cache.Has(ctx, names[i], f.Stamp.Size)
		}
		if ok {
			got[i] = cache.Hashed{ID: names[i], Size: f.Stamp.Size, Mode: f.Stamp.Mode}
		} else if err == nil && a.noCommit {
			got[i], err = c.hashFile(ctx, path.Join(a.rel, f.Path), false)
		} else if err == nil {
			got[i], err = c.store(ctx, path.Join(a.rel, f.Path), f.Link, hints[path.Join(inner, f.Path)])
		}
		a.adopted[i] = got[i].Adopted
		size.Add(got[i].Size)
		return err
	})
	if err != nil {
		return err
	}
	switch {
	case a.gone:
	case a.isDir:
		a.tree = make(object.Listing, len(got))
		for i, h := range got {
			a.tree[i] = object.Entry{Path: a.files[i].Path, ID: h.ID}
		}
		a.tree.Sort()
		id, err := a.putTree(ctx, c.cache, a.tree)
		if err != nil {
			return err
		}
		a.content = dvcfile.Content{ID: id, Size: size.Load(), NFiles: int64(len(got))}
	default:
		a.single = got[0].ID
		a.content = dvcfile.Content{ID: a.single, Size: got[0].Size, NFiles: -1, Exec: got[0].Mode&0o111 != 0}
	}
	if inner == "" {
		return nil
	}
	// A part of a tracked directory: its listing is the old one with this part
	// exchanged. dvc adds up the size when the part is new, and drops it when
	// files were exchanged, whose size it does not know.
	var whole object.Listing
	total := int64(-1)
	if a.out.Size > 0 {
		total = a.out.Size + a.content.Size
	}
	for _, e := range a.old {
		if object.Within(e.Path, inner) {
			total = -1
			continue
		}
		whole = append(whole, e)
	}
	switch {
	case a.gone:
	case a.isDir:
		for _, e := range a.tree {
			whole = append(whole, object.Entry{Path: inner + "/" + e.Path, ID: e.ID})
		}
	default:
		whole = append(whole, object.Entry{Path: inner, ID: a.content.ID})
	}
	whole.Sort()
	data, id := whole.Hash()
	if _, err := object.Decode(string(data)); err != nil {
		return err
	}
	if !a.noCommit {
		if err := c.cache.Put(ctx, id, data); err != nil {
			return err
		}
	}
	if id == a.out.ID {
		total = a.out.Size
	}
	a.content = dvcfile.Content{ID: id, Size: total, NFiles: int64(len(whole))}
	return nil
}

// putTree stores a listing, or only names it.
func (a *addition) putTree(ctx context.Context, c *cache.Cache, t object.Listing) (object.ID, error) {
	if a.noCommit {
		_, id := t.Hash()
		return id, nil
	}
	return c.PutListing(ctx, t)
}

// record writes the .gitignore entry and the .dvc file, in this order.
func (c *adder) record(a *addition) (Output, error) {
	rel, file := a.rel, a.rel+".dvc"
	if a.out != nil {
		rel, file = a.out.Path, a.out.File.Rel
	}
	if a.out == nil || a.out.Cache {
		if err := c.addGitIgnore(rel, a.isDir || rel != a.rel); err != nil {
			return Output{}, err
		}
	}
	o := Output{Path: c.show(rel), DVCFile: c.show(file), Hash: a.content.ID.String(), SizeBytes: a.content.Size, Files: 1, Executable: a.content.Exec}
	if a.content.NFiles >= 0 {
		o.Files = int(a.content.NFiles)
	}
	var text []byte
	if a.out == nil {
		text = dvcfile.New(path.Base(rel), a.content)
	} else {
		var err error
		if text, err = a.out.Patch(a.content); err != nil {
			return Output{}, err
		}
		if string(text) == string(a.out.File.Text) {
			return o, nil
		}
	}
	return o, c.writeFile(file, text)
}

// relink replaces workspace files by links to the cache where the
// configuration asks for links, and symlinks by files.
func (c *adder) relink(ctx context.Context, a *addition) error {
	byPath := map[string]object.ID{}
	for _, e := range a.tree {
		byPath[e.Path] = e.ID
	}
	var todo []placement
	all := c.cache.Links[0] == "hardlink" || c.cache.Links[0] == "symlink"
	for i, f := range a.files {
		if !f.Link && !all || a.adopted[i] && c.cache.Links[0] == "hardlink" {
			continue
		}
		id := a.single
		if a.isDir {
			id = byPath[f.Path]
		}
		at := path.Join(a.rel, f.Path)
		if !c.cache.Linked(c.abs(at), id) {
			todo = append(todo, placement{at, id, a.content.Exec && !a.isDir, &foundFile{id, f.Link, f.Stamp}})
		}
	}
	return c.placeAll(ctx, todo)
}
