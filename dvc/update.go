package dvc

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// UpdateOptions are options of [Repo.Update].
type UpdateOptions struct {
	Targets    []string // .dvc files of imports, or their data
	Recursive  bool     // targets are directories: all imports below
	Rev        string   // branch, tag or commit of the other repository to follow from now on
	NoDownload bool     // write down what it is now, and take the data away until a pull
	Force      bool     // replace workspace files whose content is not in the cache
	Trust      bool     // as in [SourceOptions]

	Transfers
}

// Update brings imports to what their repository or URL has now, as dvc update
// does, and returns those that it changed. What changed in the workspace since
// and is not in the cache is not replaced without Force: the error then matches
// [mlops.ErrConflict].
func (r *Repo) Update(ctx context.Context, o UpdateOptions) ([]Output, error) {
	c, err := r.change(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	var files []*dvcfile.File
	var rels []string
	for again := true; again; {
		if files, err = c.importTargets(o); err != nil {
			return nil, err
		}
		rels = make([]string, len(files))
		for i, f := range files {
			rels[i] = f.Outs[0].Path
		}
		if again, err = c.claim(ctx, rels); err != nil {
			return nil, err
		}
	}
	m := o.mover()
	var done []Output
	for i, f := range files {
		d := *f.Imports
		b := &importer{call: c, m: m, rel: rels[i], dep: &d, old: f,
			o: arrival{noDownload: o.NoDownload, force: o.Force, trust: o.Trust}}
		out, changed, err := b.update(ctx, o.Rev)
		if err != nil {
			return done, fmt.Errorf("dvc: update %s: %w", r.show(f.Rel), err)
		}
		if changed {
			done = append(done, out)
		}
	}
	return done, nil
}

// importTargets are the imports that the options name.
func (c *call) importTargets(o UpdateOptions) ([]*dvcfile.File, error) {
	var files []*dvcfile.File
	for _, name := range o.Targets {
		if o.Recursive {
			rel, err := c.rel(name)
			if err != nil {
				return nil, err
			}
			for _, f := range c.ix.files {
				if f.Imports != nil && (rel == "." || object.Within(f.Rel, rel)) {
					files = append(files, f)
				}
			}
			continue
		}
		outs, err := c.target(c.ix, name)
		if err != nil {
			return nil, err
		}
		for _, out := range outs {
			if out.File.Imports == nil {
				return nil, fail(mlops.ErrInvalid, "%s is not an import", c.show(out.File.Rel))
			}
			files = append(files, out.File)
		}
	}
	if len(files) == 0 {
		return nil, fail(mlops.ErrInvalid, "update needs .dvc files of imports")
	}
	slices.SortFunc(files, func(a, b *dvcfile.File) int { return strings.Compare(a.Rel, b.Rel) })
	files = slices.Compact(files)
	for _, f := range files {
		switch out := f.Outs[0]; {
		case f.Imports.Odd != "":
			return nil, fail(mlops.ErrUnsupported, "%s %s", c.show(f.Rel), f.Imports.Odd)
		case out.Odd != "":
			return nil, fail(mlops.ErrUnsupported, "%s %s", c.show(f.Rel), out.Odd)
		case f.Rel != out.Path+".dvc":
			return nil, fail(mlops.ErrUnsupported, "%s tracks data that is not beside it", c.show(f.Rel))
		case out.Legacy:
			return nil, fail(mlops.ErrUnsupported, "%s is of dvc 2.x (no hash: md5); import it again with force", c.show(f.Rel))
		case o.Rev != "" && f.Imports.Repo == nil:
			return nil, fail(mlops.ErrInvalid, "%s comes from a URL, which has no revisions", c.show(f.Rel))
		}
	}
	return files, nil
}

// update fetches what the source has now. Nothing is done if that is what the
// .dvc file and the workspace have.
func (b *importer) update(ctx context.Context, rev string) (Output, bool, error) {
	d, old := b.dep, b.old
	if d.Repo != nil {
		g := *d.Repo
		if d.Repo = &g; rev != "" {
			g.Rev = rev
		}
		latest, err := b.latest(ctx, &g)
		if err != nil {
			return Output{}, false, err
		}
		if latest == g.Lock && g.Rev == old.Imports.Repo.Rev {
			if ok, err := b.current(ctx); ok || err != nil {
				return Output{}, false, err
			}
		}
	} else if d.Kind != "" {
		same, err := b.unmoved(ctx)
		if err != nil {
			return Output{}, false, err
		}
		if same {
			if ok, err := b.current(ctx); ok || err != nil {
				return Output{}, false, err
			}
		}
	}
	got, err := b.fetch(ctx)
	if err != nil {
		return Output{}, false, err
	}
	out, err := b.record(ctx, got)
	return out, err == nil, err
}

// current reports whether the .dvc file is right and its data is in the cache and
// in the workspace.
func (b *importer) current(ctx context.Context) (bool, error) {
	o := b.old.Outs[0]
	if b.old.Sum != b.old.StageSum() || o.ID == "" {
		return false, nil
	}
	state, err := b.stateOf(ctx, o)
	return state == "", err
}

// unmoved reports whether a URL holds what was imported from there.
func (b *importer) unmoved(ctx context.Context) (bool, error) {
	from, err := b.origin(ctx, b.dep, filepath.Dir(b.abs(b.rel)))
	if err != nil {
		return false, err
	}
	now, got := *b.dep, dvcfile.Content{}
	if from.kind == "md5" {
		if got, err = from.fetch(ctx, nil, &mover{}, b.rel); err != nil {
			return false, err
		}
	}
	if err := from.note(&now, got); err != nil {
		return false, err
	}
	return now.Kind == b.dep.Kind && now.Hash == b.dep.Hash, nil
}

// latest is the commit that an import would be made at now.
func (c *call) latest(ctx context.Context, g *dvcfile.GitSource) (string, error) {
	if dvcfile.IsCommit(g.Rev) {
		return g.Rev, nil
	}
	if err := checkGitURL(g.URL); err != nil {
		return "", err
	}
	if strings.HasPrefix(g.Rev, "-") {
		return "", fail(mlops.ErrInvalid, "revision %q", g.Rev)
	}
	want := []string{"HEAD"}
	if g.Rev != "" {
		want = []string{"refs/tags/" + g.Rev + "^{}", "refs/tags/" + g.Rev, "refs/heads/" + g.Rev, g.Rev}
	}
	text, err := gitRemote(ctx, c.gitURL(g.URL), append([]string{"ls-remote", "-q", "--", c.gitURL(g.URL)}, want...)...)
	if err != nil {
		return "", err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && dvcfile.IsCommit(f[0]) {
			found[f[1]] = f[0]
		}
	}
	for _, ref := range want {
		if c := found[ref]; c != "" {
			return c, nil
		}
	}
	s, err := c.source(ctx, g, g.Rev, false) // part of a commit's name, or main~2
	if err != nil {
		return "", err
	}
	return s.Rev, s.Close()
}
