package dvc

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// targets returns the outputs that the caller names; no name means all. A name
// is, in dvc's order: a .dvc or dvc.yaml file, dvc.yaml:stage, a stage of the
// dvc.yaml where the caller is, data, or a path inside tracked data. The last
// gives the output with its part set. It refuses outputs that would have to be
// left out.
func (c *call) targets(ix *index, names []string) ([]*dvcfile.Out, error) {
	var outs []*dvcfile.Out
	if len(names) == 0 {
		for _, f := range ix.files {
			outs = append(outs, f.Outs...)
		}
	}
	for _, name := range names {
		found, err := c.target(ix, name)
		if err != nil {
			return nil, err
		}
		outs = append(outs, found...)
	}
	slices.SortFunc(outs, func(a, b *dvcfile.Out) int {
		return cmp.Or(strings.Compare(path.Join(a.Path, a.Part), path.Join(b.Path, b.Part)), a.File.Order-b.File.Order)
	})
	outs = slices.Compact(outs)
	var kept []*dvcfile.Out
	for _, o := range outs {
		if n := len(kept); n > 0 && object.Within(path.Join(o.Path, o.Part), path.Join(kept[n-1].Path, kept[n-1].Part)) && !o.Twin(kept[n-1]) {
			last := kept[n-1]
			if o.Path == last.Path {
				continue // named as a part of what is named anyhow
			}
			return nil, fail(mlops.ErrInvalid, "output %s of %s overlaps with %s of %s", o.Path, o.File.Rel, last.Path, last.File.Rel)
		}
		if o.Odd != "" {
			return nil, fail(mlops.ErrUnsupported, "%s in %s %s", o.Path, o.File.Rel, o.Odd)
		}
		kept = append(kept, o)
	}
	return kept, nil
}

func (c *call) target(ix *index, name string) ([]*dvcfile.Out, error) {
	file, stage := "", name
	if i := strings.LastIndex(before(name, "@"), ":"); i >= 0 {
		file, stage = name[:i], name[i+1:]
	}
	if path.Base(cmp.Or(file, name)) == "dvc.lock" {
		return nil, fail(mlops.ErrInvalid, "target %s: name dvc.yaml instead", name)
	}
	var outs []*dvcfile.Out
	found := false
	if rel, err := c.rel(cmp.Or(file, "dvc.yaml")); err == nil {
		for _, f := range ix.files {
			if f.Rel == rel && f.Stage != "" && (f.Stage == stage || before(f.Stage, "@") == stage) {
				outs, found = append(outs, f.Outs...), true
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
		if f.Rel == rel {
			outs, found = append(outs, f.Outs...), true
		}
	}
	if found {
		return outs, nil
	}
	o := ix.owner(rel)
	switch {
	case o != nil && o.Shadowed:
		return nil, ix.twice
	case o == nil:
		return nil, fail(mlops.ErrNotFound, "target %s is neither tracked data, a .dvc file nor a stage", name)
	case o.Path == rel:
		return []*dvcfile.Out{o}, nil
	case !o.ID.IsDir():
		return nil, fail(mlops.ErrNotFound, "target %s: %s is tracked as a file", name, c.show(o.Path))
	}
	part := *o
	part.Part = strings.TrimPrefix(rel, o.Path+"/")
	return []*dvcfile.Out{&part}, nil
}

// before returns s up to the first sep.
func before(s, sep string) string {
	s, _, _ = strings.Cut(s, sep)
	return s
}
