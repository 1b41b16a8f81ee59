package dvc

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// targets returns the outputs that the caller names; no name means all. A name
// is, in dvc's order: a .dvc or dvc.yaml file, dvc.yaml:stage, a stage of the
// dvc.yaml where the caller is, data, or a path inside tracked data. The last
// gives the output with its part set. It refuses outputs that would have to be
// left out.
func (c *call) targets(ix *index, names []string) ([]*out, error) {
	var outs []*out
	if len(names) == 0 {
		for _, f := range ix.files {
			outs = append(outs, f.outs...)
		}
	}
	for _, name := range names {
		found, err := c.target(ix, name)
		if err != nil {
			return nil, err
		}
		outs = append(outs, found...)
	}
	slices.SortFunc(outs, func(a, b *out) int {
		return cmp.Or(strings.Compare(path.Join(a.path, a.part), path.Join(b.path, b.part)), a.file.n-b.file.n)
	})
	outs = slices.Compact(outs)
	var kept []*out
	for _, o := range outs {
		if n := len(kept); n > 0 && object.Within(path.Join(o.path, o.part), path.Join(kept[n-1].path, kept[n-1].part)) && !o.twin(kept[n-1]) {
			last := kept[n-1]
			if o.path == last.path {
				continue // named as a part of what is named anyhow
			}
			return nil, fail(mlops.ErrInvalid, "output %s of %s overlaps with %s of %s", o.path, o.file.rel, last.path, last.file.rel)
		}
		if o.odd != "" {
			return nil, fail(mlops.ErrUnsupported, "%s in %s %s", o.path, o.file.rel, o.odd)
		}
		kept = append(kept, o)
	}
	return kept, nil
}

func (c *call) target(ix *index, name string) ([]*out, error) {
	file, stage := "", name
	if i := strings.LastIndex(before(name, "@"), ":"); i >= 0 {
		file, stage = name[:i], name[i+1:]
	}
	if path.Base(cmp.Or(file, name)) == "dvc.lock" {
		return nil, fail(mlops.ErrInvalid, "target %s: name dvc.yaml instead", name)
	}
	var outs []*out
	found := false
	if rel, err := c.rel(cmp.Or(file, "dvc.yaml")); err == nil {
		for _, f := range ix.files {
			if f.rel == rel && f.stage != "" && (f.stage == stage || before(f.stage, "@") == stage) {
				outs, found = append(outs, f.outs...), true
			}
		}
	}
	if found {
		return outs, nil
	}
	rel, err := c.rel(name)
	if err != nil {
		return nil, err
	}
	for _, f := range ix.files {
		if f.rel == rel {
			outs, found = append(outs, f.outs...), true
		}
	}
	if found {
		return outs, nil
	}
	o := ix.owner(rel)
	switch {
	case o != nil && o.shadowed:
		return nil, ix.twice
	case o == nil:
		return nil, fail(mlops.ErrNotFound, "target %s is neither tracked data, a .dvc file nor a stage", name)
	case o.path == rel:
		return []*out{o}, nil
	case !o.oid.IsDir():
		return nil, fail(mlops.ErrNotFound, "target %s: %s is tracked as a file", name, c.show(o.path))
	}
	part := *o
	part.part = strings.TrimPrefix(rel, o.path+"/")
	return []*out{&part}, nil
}

// before returns s up to the first sep.
func before(s, sep string) string {
	s, _, _ = strings.Cut(s, sep)
	return s
}

// whole names what an output's part is, from the root.
func (o *out) whole() string { return path.Join(o.path, o.part) }
