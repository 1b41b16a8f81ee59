package dvc

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// Scope says what else a call is about, beside what its targets name in the
// workspace.
type Scope struct {
	Recursive bool // a directory that is not tracked itself stands for the .dvc files and stages in it
	WithDeps  bool // a stage stands also for the stages that make what it depends on

	// The same targets at other commits. Commits that lack them are passed over.
	AllBranches bool // the tips of local branches
	AllTags     bool
	AllCommits  bool
}

func (s Scope) revisions() bool { return s.AllBranches || s.AllTags || s.AllCommits }

// expand replaces the targets that stand for others by these.
func (c *call) expand(ix *index, names []string, s Scope) ([]string, error) {
	if len(names) == 0 || !s.Recursive && !s.WithDeps {
		return names, nil
	}
	var out []string
	for _, name := range names {
		if rel, err := c.rel(name); err == nil && s.Recursive && ix.outs[rel] == nil {
			if below := ix.below(c.show, rel); len(below) > 0 {
				out = append(out, below...)
				continue
			}
		}
		out = append(out, name)
	}
	if !s.WithDeps {
		return out, nil
	}
	seen := map[*dvcfile.File]bool{}
	for i := 0; i < len(out); i++ { // it grows
		outs, err := c.target(ix, out[i])
		if err != nil {
			return nil, err
		}
		for _, o := range outs {
			if seen[o.File] {
				continue
			}
			seen[o.File] = true
			for _, dep := range o.File.Needs {
				for p, maker := range ix.outs {
					if object.Within(p, dep) || object.Within(dep, p) {
						out = append(out, maker.File.Name(c.show))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// below names the .dvc files and stages in a directory.
func (ix *index) below(show func(string) string, dir string) []string {
	var out []string
	for _, f := range ix.files {
		if dir == "." || strings.HasPrefix(f.Rel, dir+"/") {
			out = append(out, f.Name(show))
		}
	}
	return out
}

// choose returns the outputs that targets name in the workspace, when no other
// program holds them. more is what other commits need beside these.
func (c *call) choose(ctx context.Context, targets []string, s Scope, writing bool) (outs, more []*dvcfile.Out, err error) {
	if err := c.read(ctx); err != nil {
		return nil, nil, err
	}
	for {
		names, err := c.expand(c.ix, targets, s)
		if err != nil {
			return nil, nil, err
		}
		outs, err = c.targets(c.ix, names)
		if err != nil && !(s.revisions() && errors.Is(err, mlops.ErrNotFound)) {
			return nil, nil, err
		}
		if s.revisions() {
			var found bool
			if more, found, err = c.others(ctx, outs, targets, s, err); err != nil && !found {
				return nil, nil, err
			}
		}
		rels := make([]string, len(outs))
		for i, o := range outs {
			rels[i] = o.Whole()
		}
		waited, err := c.claims(ctx, writing, rels)
		if !waited || err != nil {
			return outs, more, err
		}
		if err := c.read(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// others returns the outputs of other commits whose data is not that of known
// ones. found is false when no commit has the targets; the error is then that
// of the last one, or of the workspace.
func (c *call) others(ctx context.Context, known []*dvcfile.Out, targets []string, s Scope, missing error) (more []*dvcfile.Out, found bool, err error) {
	revs, err := revisions(ctx, c.Repo, GCOptions{AllBranches: s.AllBranches, AllTags: s.AllTags, AllCommits: s.AllCommits})
	if err != nil {
		return nil, false, err
	}
	type key struct {
		oid          object.ID
		part, remote string
	}
	seen := map[key]bool{}
	for _, o := range known {
		seen[key{o.ID, o.Part, o.Remote}] = true
	}
	h := newHistory(c.Repo)
	found = missing == nil
	for _, rev := range revs {
		ix, err := h.index(ctx, rev)
		if err != nil {
			return nil, false, err
		}
		names, err := c.expand(ix, targets, s)
		var outs []*dvcfile.Out
		if err == nil {
			outs, err = c.targets(ix, names)
		}
		if errors.Is(err, mlops.ErrNotFound) {
			missing = err
			continue
		}
		if err != nil {
			return nil, false, err
		}
		found = true
		for _, o := range outs {
			if k := (key{o.ID, o.Part, o.Remote}); !seen[k] {
				seen[k] = true
				more = append(more, o)
			}
		}
	}
	return more, found, missing
}
