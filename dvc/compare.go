package dvc

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// item is an output, or a file in one, at one side of a comparison.
type item struct {
	path string
	oid  object.ID // "" when it was never hashed
	dir  bool
}

// name is the path as dvc diff and data status show it: from the root, wherever
// the caller is, and with a slash at the end of a directory.
func (i item) name() string {
	if i.dir {
		return i.path + "/"
	}
	return i.path
}

// side is what a revision, the .dvc files here, or the workspace hold.
type side struct {
	items map[string]item
	blind []string // directories whose listing is not in the cache
}

// itemsOf returns what an index says, with the files in directories when deep.
func (c *call) itemsOf(ix *index, deep bool) (side, error) {
	s := side{items: map[string]item{}}
	for p, o := range ix.outs {
		if !o.Cache {
			continue
		}
		id := o.ID
		if o.File.Partial() {
			id = o.File.Imports.StandIn()
		}
		s.items[p] = item{p, id, id.IsDir()}
		if !deep || !o.ID.IsDir() {
			continue
		}
		t, err := c.cache.Listing(o.ID)
		if errors.Is(err, ErrNotCached) {
			s.blind = append(s.blind, p)
			continue
		}
		if err != nil {
			return s, err
		}
		for _, e := range t {
			at := p + "/" + e.Path
			s.items[at] = item{at, e.ID, false}
		}
	}
	return s, nil
}

// workspace returns what lies at the paths of an index's outputs.
func (c *call) workspace(ctx context.Context, ix *index, deep bool) (side, error) {
	s := side{items: map[string]item{}}
	for _, p := range slices.Sorted(maps.Keys(ix.outs)) {
		o := ix.outs[p]
		if !o.Cache {
			continue
		}
		have, isDir, exists, err := c.scan(ctx, p, o.Legacy)
		if err != nil {
			return s, err
		}
		if !exists {
			continue
		}
		if !isDir {
			s.items[p] = item{p, have[""].oid, false}
			continue
		}
		var t object.Listing
		for rel, f := range have {
			t = append(t, object.Entry{Path: rel, ID: f.oid})
			if deep {
				at := path.Join(p, rel)
				s.items[at] = item{at, f.oid, false}
			}
		}
		t.Sort()
		_, id := t.Hash()
		s.items[p] = item{p, id.As(o.Legacy), true}
	}
	return s, nil
}

// only leaves what the targets name or hold; none means all.
func (s side) only(rels []string) side {
	if len(rels) > 0 {
		maps.DeleteFunc(s.items, func(p string, _ item) bool { return !inAny(p, rels) })
	}
	return s
}

// dark reports whether nothing is known of what lay at a path.
func (s side) dark(p string) bool {
	return slices.ContainsFunc(s.blind, func(d string) bool { return p != d && object.Within(p, d) })
}

type changeKind int

const (
	same changeKind = iota
	added
	deleted
	modified
	renamed
	unknown // one side's listing is not there to tell
)

// difference is a path at both sides; of a renamed one, the two paths.
type difference struct {
	kind     changeKind
	old, new *item
}

// compare lists all paths of two sides in dvc's order, with what became of them.
// A deleted and an added path with one content are a rename, the first with the
// first. Source: dvc_data/index/diff.py.
func compare(old, now side) []difference {
	paths := slices.Collect(maps.Keys(old.items))
	for p := range now.items {
		if _, both := old.items[p]; !both {
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, byParts)
	var out []difference
	gone := map[object.ID][]int{} // deleted ones, in order
	for _, p := range paths {
		d := difference{old: at(old, p), new: at(now, p)}
		switch {
		case old.dark(p) || now.dark(p):
			d.kind = unknown
		case d.old == nil:
			d.kind = added
		case d.new == nil:
			d.kind = deleted
			gone[d.old.oid] = append(gone[d.old.oid], len(out))
		case d.old.oid != d.new.oid || d.old.dir != d.new.dir:
			d.kind = modified
		}
		out = append(out, d)
	}
	for i, d := range out {
		if d.kind != added || d.new.oid == "" || len(gone[d.new.oid]) == 0 {
			continue
		}
		from := gone[d.new.oid][0]
		gone[d.new.oid] = gone[d.new.oid][1:]
		out[i] = difference{renamed, out[from].old, d.new}
		out[from].old = nil
	}
	return slices.DeleteFunc(out, func(d difference) bool { return d.old == nil && d.new == nil })
}

func at(s side, p string) *item {
	if i, ok := s.items[p]; ok {
		return &i
	}
	return nil
}

// byParts compares paths part by part, as tuples of names.
func byParts(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}
