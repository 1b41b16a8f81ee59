package dvc

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/ignore"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// DataStatusOptions are options of [Repo.DataStatus].
type DataStatusOptions struct {
	Targets     []string // tracked data; none means all
	Granular    bool     // tell of the files in directories
	Untracked   bool     // list files that neither git nor DVC tracks
	Unchanged   bool     // list what has not changed
	NotInRemote bool     // ask a remote what it lacks
	Remote      string   // name, for NotInRemote; "" is the default remote
}

// DataStatus is how tracked data stands between the last commit, the .dvc files
// and the workspace. It marshals to the JSON that dvc data status --json prints.
// A directory's path ends with a slash.
type DataStatus struct {
	NotInCache  []string    `json:"not_in_cache,omitempty"`
	NotInRemote []string    `json:"not_in_remote,omitempty"`
	Committed   DataChanges `json:"committed,omitzero"`   // .dvc files against HEAD: dvc's word for it
	Uncommitted DataChanges `json:"uncommitted,omitzero"` // workspace against the .dvc files
	Untracked   []string    `json:"untracked,omitempty"`
	Unchanged   []string    `json:"unchanged,omitempty"`
}

// DataChanges are paths by what became of them.
type DataChanges struct {
	Added    []string     `json:"added,omitempty"`
	Modified []string     `json:"modified,omitempty"`
	Deleted  []string     `json:"deleted,omitempty"`
	Renamed  []DataRename `json:"renamed,omitempty"`
	Unknown  []string     `json:"unknown,omitempty"` // the listing to compare with is not in the cache
}

// DataRename is a path that has another name now.
type DataRename struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// IsZero reports whether nothing changed.
func (d DataChanges) IsZero() bool {
	return len(d.Added)+len(d.Modified)+len(d.Deleted)+len(d.Renamed)+len(d.Unknown) == 0
}

// DataStatus tells how tracked data stands. A repository without commits has
// all of it added.
func (r *Repo) DataStatus(ctx context.Context, o DataStatusOptions) (DataStatus, error) {
	var s DataStatus
	c, err := r.begin(ctx)
	if err != nil {
		return s, err
	}
	defer c.end()
	rels, err := r.rels(o.Targets)
	if err != nil {
		return s, err
	}
	if err := c.read(ctx); err != nil {
		return s, err
	}
	said, err := c.itemsOf(c.ix, o.Granular)
	if err != nil {
		return s, err
	}
	there, err := c.workspace(ctx, c.ix, o.Granular)
	if err != nil {
		return s, err
	}
	said, there = said.only(rels), there.only(rels)

	var same []string
	s.Uncommitted, same = c.changes(compare(said, there), said)
	for _, p := range slices.SortedFunc(maps.Keys(said.items), byParts) {
		i := said.items[p]
		if i.oid == "" || said.dark(p) {
			continue
		}
		ok := false
		if o := c.ix.outs[p]; o != nil && o.File.Partial() { // fetched or not: it is not kept by hash
			_, ok = there.items[p]
		} else if ok, err = c.cache.Has(ctx, i.oid, -1); err != nil {
			return s, err
		}
		if !ok {
			s.NotInCache = append(s.NotInCache, i.name())
		}
	}
	if r.gitRoot != "" {
		head := &index{}
		if _, err := r.commit(ctx, "HEAD"); err == nil {
			if head, err = newHistory(r).index(ctx, "HEAD"); err != nil {
				return s, err
			}
		} else if !errors.Is(err, mlops.ErrNotFound) {
			return s, err
		}
		was, err := c.itemsOf(head, o.Granular)
		if err != nil {
			return s, err
		}
		var kept []string
		s.Committed, kept = c.changes(compare(was.only(rels), said), was)
		inBoth := make(map[string]bool, len(kept))
		for _, p := range kept {
			inBoth[p] = true
		}
		same = slices.DeleteFunc(same, func(p string) bool { return !inBoth[p] })
	}
	if o.Unchanged {
		s.Unchanged = same
	}
	if o.Untracked && r.gitRoot != "" {
		if s.Untracked, err = c.untracked(ctx, rels); err != nil {
			return s, err
		}
	}
	if o.NotInRemote {
		s.NotInRemote, err = c.notInRemote(ctx, c.ix, said, o.Remote)
	}
	return s, err
}

// changes sorts differences; same are the paths whose content is the same.
func (c *call) changes(all []difference, old side) (d DataChanges, same []string) {
	dirs := map[string]bool{} // dvc lists directories among what it does not know
	for _, x := range all {
		shown := x.old
		if x.new != nil {
			shown = x.new
		}
		path := shown.name()
		if x.kind == modified || x.kind == added || x.kind == deleted {
			// dvc compares hashes alone: no hash is as good as no data.
			hadHash, hasHash := x.old != nil && x.old.oid != "", x.new != nil && x.new.oid != ""
			switch {
			case !hadHash && !hasHash:
				continue
			case !hadHash:
				x.kind = added
			case !hasHash:
				x.kind = deleted
			}
		}
		switch x.kind {
		case added:
			d.Added = append(d.Added, path)
		case modified:
			d.Modified = append(d.Modified, path)
		case deleted:
			d.Deleted = append(d.Deleted, path)
		case renamed:
			d.Renamed = append(d.Renamed, DataRename{x.old.name(), x.new.name()})
		case unknown:
			if x.new != nil {
				d.Unknown = append(d.Unknown, path)
				for p := ignore.Parent(x.new.path); old.dark(p); p = ignore.Parent(p) {
					dirs[p+"/"] = true
				}
			}
		default:
			if x.new.oid != "" {
				same = append(same, path)
			}
		}
	}
	d.Unknown = append(d.Unknown, slices.Sorted(maps.Keys(dirs))...)
	return d, same
}

// untracked lists the files that git does not track and does not ignore.
func (c *call) untracked(ctx context.Context, rels []string) ([]string, error) {
	args := append([]string{"--literal-pathspecs", "ls-files", "-z", "--others", "--exclude-standard", "--"}, rels...)
	text, err := c.git(ctx, args...)
	if err != nil {
		return nil, err
	}
	var out []string
	for p := range strings.SplitSeq(strings.TrimSuffix(string(text), "\x00"), "\x00") {
		if p != "" {
			out = append(out, c.show(p))
		}
	}
	return out, nil
}

// notInRemote lists those of items that should be in their remotes and are not.
func (c *call) notInRemote(ctx context.Context, ix *index, s side, name string) ([]string, error) {
	var outs []*dvcfile.Out
	for _, p := range slices.Sorted(maps.Keys(ix.outs)) {
		if o := ix.outs[p]; o.Push && o.Cache && o.ID != "" && !o.File.RepoDeps {
			outs = append(outs, o)
		}
	}
	stores, err := c.open(ctx, &mover{}, name, outs)
	if err != nil {
		return nil, err
	}
	byStore := map[*place][]need{}
	for p, i := range s.items {
		if o := ix.owner(p); i.oid != "" && stores[o] != nil {
			byStore[stores[o]] = append(byStore[stores[o]], need{oid: i.oid, out: i.name()})
		}
	}
	var out []string
	for _, store := range byName(byStore) {
		ns := byStore[store]
		gone, err := absent(ctx, store, unique(slices.Clone(ns)))
		if err != nil {
			return nil, err
		}
		lacks := map[object.ID]bool{}
		for _, n := range gone {
			lacks[n.oid] = true
		}
		for _, n := range ns {
			if lacks[n.oid] {
				out = append(out, n.path())
			}
		}
	}
	slices.Sort(out)
	return out, nil
}
