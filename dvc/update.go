package dvc

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
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
	var files []*dvcFile
	var rels []string
	for again := true; again; {
		if files, err = c.importTargets(o); err != nil {
			return nil, err
		}
		rels = make([]string, len(files))
		for i, f := range files {
			rels[i] = f.outs[0].path
		}
		if again, err = c.claim(ctx, rels); err != nil {
			return nil, err
		}
	}
	m := o.mover()
	var done []Output
	for i, f := range files {
		d := *f.imports
		b := &importer{call: c, m: m, rel: rels[i], dep: &d, old: f,
			o: arrival{noDownload: o.NoDownload, force: o.Force, trust: o.Trust}}
		out, changed, err := b.update(ctx, o.Rev)
		if err != nil {
			return done, fmt.Errorf("dvc: update %s: %w", r.show(f.rel), err)
		}
		if changed {
			done = append(done, out)
		}
	}
	return done, nil
}

// importTargets are the imports that the options name.
func (c *call) importTargets(o UpdateOptions) ([]*dvcFile, error) {
	var files []*dvcFile
	for _, name := range o.Targets {
		if o.Recursive {
			rel, err := c.rel(name)
			if err != nil {
				return nil, err
			}
			for _, f := range c.ix.files {
				if f.imports != nil && (rel == "." || object.Within(f.rel, rel)) {
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
			if out.file.imports == nil {
				return nil, fail(mlops.ErrInvalid, "%s is not an import", c.show(out.file.rel))
			}
			files = append(files, out.file)
		}
	}
	if len(files) == 0 {
		return nil, fail(mlops.ErrInvalid, "update needs .dvc files of imports")
	}
	slices.SortFunc(files, func(a, b *dvcFile) int { return strings.Compare(a.rel, b.rel) })
	files = slices.Compact(files)
	for _, f := range files {
		switch out := f.outs[0]; {
		case f.imports.odd != "":
			return nil, fail(mlops.ErrUnsupported, "%s %s", c.show(f.rel), f.imports.odd)
		case out.odd != "":
			return nil, fail(mlops.ErrUnsupported, "%s %s", c.show(f.rel), out.odd)
		case f.rel != out.path+".dvc":
			return nil, fail(mlops.ErrUnsupported, "%s tracks data that is not beside it", c.show(f.rel))
		case out.legacy:
			return nil, fail(mlops.ErrUnsupported, "%s is of dvc 2.x (no hash: md5); import it again with force", c.show(f.rel))
		case o.Rev != "" && f.imports.repo == nil:
			return nil, fail(mlops.ErrInvalid, "%s comes from a URL, which has no revisions", c.show(f.rel))
		}
	}
	return files, nil
}

// update fetches what the source has now. Nothing is done if that is what the
// .dvc file and the workspace have.
func (b *importer) update(ctx context.Context, rev string) (Output, bool, error) {
	d, old := b.dep, b.old
	if d.repo != nil {
		g := *d.repo
		if d.repo = &g; rev != "" {
			g.rev = rev
		}
		latest, err := b.latest(ctx, &g)
		if err != nil {
			return Output{}, false, err
		}
		if latest == g.lock && g.rev == old.imports.repo.rev {
			if ok, err := b.current(ctx); ok || err != nil {
				return Output{}, false, err
			}
		}
	} else if d.kind != "" {
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
	o := b.old.outs[0]
	if b.old.sum != b.old.stageSum() || o.oid == "" {
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
	now, got := *b.dep, content{}
	if from.kind == "md5" {
		if got, err = from.fetch(ctx, nil, &mover{}, b.rel); err != nil {
			return false, err
		}
	}
	if err := from.note(&now, got); err != nil {
		return false, err
	}
	return now.kind == b.dep.kind && now.hash == b.dep.hash, nil
}

// latest is the commit that an import would be made at now.
func (c *call) latest(ctx context.Context, g *gitSource) (string, error) {
	if isCommit(g.rev) {
		return g.rev, nil
	}
	if err := checkGitURL(g.url); err != nil {
		return "", err
	}
	if strings.HasPrefix(g.rev, "-") {
		return "", fail(mlops.ErrInvalid, "revision %q", g.rev)
	}
	want := []string{"HEAD"}
	if g.rev != "" {
		want = []string{"refs/tags/" + g.rev + "^{}", "refs/tags/" + g.rev, "refs/heads/" + g.rev, g.rev}
	}
	text, err := gitRemote(ctx, c.gitURL(g.url), append([]string{"ls-remote", "-q", "--", c.gitURL(g.url)}, want...)...)
	if err != nil {
		return "", err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && isCommit(f[0]) {
			found[f[1]] = f[0]
		}
	}
	for _, ref := range want {
		if c := found[ref]; c != "" {
			return c, nil
		}
	}
	s, err := c.source(ctx, g, g.rev, false) // part of a commit's name, or main~2
	if err != nil {
		return "", err
	}
	return s.Rev, s.Close()
}
