package dvc

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// DiffOptions are options of [Repo.Diff].
type DiffOptions struct {
	From, To    string   // git revisions; "" is HEAD, and the workspace
	Targets     []string // tracked data; none means all
	HideMissing bool     // do not tell what the cache lacks
	Hashes      bool     // put hashes into the JSON, as --show-hash does
}

// Diff is how tracked data differs between two revisions, or a revision and the
// workspace. It marshals to the JSON that dvc diff --json prints.
type Diff struct {
	Added, Deleted, Modified, Renamed []DiffEntry
	NotInCache                        []DiffEntry // of the old side; only against the workspace

	hashes, missing bool
}

// DiffEntry is a path that differs. A directory's ends with a slash.
type DiffEntry struct {
	Path    string
	OldPath string // of a renamed one
	Hash    string // of the new content; of the old one when it is deleted or not in the cache
	OldHash string // of a modified one
}

// Clean reports whether nothing differs.
func (d Diff) Clean() bool {
	return len(d.Added)+len(d.Deleted)+len(d.Modified)+len(d.Renamed)+len(d.NotInCache) == 0
}

// MarshalJSON writes {"added": [{"path": "x"}], …}, or {} for no difference.
func (d Diff) MarshalJSON() ([]byte, error) {
	if d.Clean() {
		return []byte("{}"), nil
	}
	list := func(in []DiffEntry) []map[string]any {
		out := make([]map[string]any, 0, len(in))
		for _, e := range in {
			one := map[string]any{"path": e.Path}
			if e.OldPath != "" {
				one["path"] = map[string]string{"old": e.OldPath, "new": e.Path}
			}
			switch {
			case d.hashes && e.OldHash != "":
				one["hash"] = map[string]string{"old": e.OldHash, "new": e.Hash}
			case d.hashes:
				one["hash"] = e.Hash
			}
			out = append(out, one)
		}
		return out
	}
	out := map[string]any{"added": list(d.Added), "deleted": list(d.Deleted), "modified": list(d.Modified), "renamed": list(d.Renamed)}
	if d.missing {
		out["not in cache"] = list(d.NotInCache)
	}
	return json.Marshal(out)
}

// Diff compares tracked data, down to the files in directories whose listings
// the cache has. In a repository without commits nothing differs.
//
// The error matches [mlops.ErrNotFound] for a revision that is not in git, and
// for a target that neither side tracks.
func (r *Repo) Diff(ctx context.Context, o DiffOptions) (Diff, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return Diff{}, err
	}
	defer c.end()
	d := Diff{hashes: o.Hashes, missing: o.To == "" && !o.HideMissing}
	if o.From == "" && o.To == "" {
		if _, err := r.commit(ctx, "HEAD"); err != nil && r.gitRoot != "" {
			return d, ctx.Err()
		}
	}
	rels, err := r.rels(o.Targets)
	if err != nil {
		return d, err
	}
	h := newHistory(r)
	from, err := h.index(ctx, cmp.Or(o.From, "HEAD"))
	if err != nil {
		return d, err
	}
	old, err := c.itemsOf(from, true)
	if err != nil {
		return d, err
	}
	var now side
	if o.To == "" {
		if err := c.read(ctx); err != nil {
			return d, err
		}
		if now, err = c.workspace(ctx, c.ix, true); err != nil {
			return d, err
		}
	} else {
		to, err := h.index(ctx, o.To)
		if err != nil {
			return d, err
		}
		if now, err = c.itemsOf(to, true); err != nil {
			return d, err
		}
	}
	for i, rel := range rels {
		tracked := func(s side) bool {
			for p := range s.items {
				if object.Within(p, rel) {
					return true
				}
			}
			return false
		}
		if !tracked(old) && !tracked(now) {
			return d, fail(mlops.ErrNotFound, "target %s is tracked at neither side", o.Targets[i])
		}
	}
	return d, c.tell(ctx, &d, compare(old.only(rels), now.only(rels)))
}

// tell sorts differences into a Diff.
func (c *call) tell(ctx context.Context, d *Diff, all []difference) error {
	for _, x := range all {
		if x.old != nil && x.old.dir && x.old.oid == "" || x.new != nil && x.new.dir && x.new.oid == "" {
			continue
		}
		switch x.kind {
		case added:
			d.Added = append(d.Added, DiffEntry{Path: x.new.name(), Hash: x.new.oid.String()})
		case deleted:
			d.Deleted = append(d.Deleted, DiffEntry{Path: x.old.name(), Hash: x.old.oid.String()})
		case modified:
			d.Modified = append(d.Modified, DiffEntry{Path: x.old.name(), Hash: x.new.oid.String(), OldHash: x.old.oid.String()})
		case renamed:
			d.Renamed = append(d.Renamed, DiffEntry{Path: x.new.name(), OldPath: x.old.name(), Hash: x.old.oid.String()})
		}
		if d.missing && x.old != nil && x.old.oid != "" {
			ok, err := c.cache.Has(ctx, x.old.oid, -1)
			if err != nil {
				return err
			}
			if !ok {
				d.NotInCache = append(d.NotInCache, DiffEntry{Path: x.old.name(), Hash: x.old.oid.String()})
			}
		}
	}
	for _, list := range [][]DiffEntry{d.Added, d.Deleted, d.Modified, d.Renamed, d.NotInCache} {
		slices.SortFunc(list, func(a, b DiffEntry) int {
			return strings.Compare(cmp.Or(a.OldPath, a.Path), cmp.Or(b.OldPath, b.Path))
		})
	}
	return nil
}

// rels turns callers' paths into ones from the root.
func (r *Repo) rels(names []string) ([]string, error) {
	out := make([]string, len(names))
	for i, name := range names {
		var err error
		if out[i], err = r.rel(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}
