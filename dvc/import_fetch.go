package dvc

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// imports fetches the imports among outputs: data of other repositories, and
// what was imported without its data. It returns the rest, and the imports that
// are complete in the cache.
func (f *fetcher) imports(ctx context.Context, outs []*dvcfile.Out) (rest, whole []*dvcfile.Out) {
	sources := map[dvcfile.GitSource]*Source{}
	defer func() {
		for _, s := range sources {
			_ = s.Close()
		}
	}()
	for _, o := range outs {
		d := o.File.Imports
		if d == nil || d.Repo == nil && o.ID != "" {
			if o.ID != "" {
				rest = append(rest, o)
			}
			continue
		}
		got, err := f.imported(ctx, o, sources)
		if err != nil {
			f.m.mu.Lock()
			f.m.fail(fmt.Errorf("dvc: %s: %w", f.show(o.Path), err))
			f.m.mu.Unlock()
		}
		if got != nil {
			whole = append(whole, got)
		}
	}
	return rest, whole
}

// imported returns the output with its content in the cache, nil if there is
// nothing to do or if it failed.
func (f *fetcher) imported(ctx context.Context, o *dvcfile.Out, sources map[dvcfile.GitSource]*Source) (*dvcfile.Out, error) {
	d := o.File.Imports
	if d.Odd != "" {
		return nil, fail(mlops.ErrUnsupported, "%s %s", d, d.Odd)
	}
	id := o.ID
	if id == "" && !o.Legacy && d.Repo == nil && d.Kind == "md5" && !strings.Contains(d.Path, "://") {
		id, _ = object.Parse(d.Hash) // the content's own
	}
	if id != "" {
		if ok, err := f.cache.Complete(ctx, id); err != nil {
			return nil, err
		} else if ok {
			f.m.t.Present++
			return o.Holding(dvcfile.Content{ID: id, Size: o.Size, NFiles: o.NFiles, Exec: o.Exec}), nil
		}
	}
	if d.Repo == nil {
		if _, err := known.Stat(f.abs(o.Path), false); err == nil {
			return nil, nil // fetched before; its hash is written by update alone
		}
		got, err := f.fetchURL(ctx, f.m, o.File, d)
		if err != nil {
			return nil, err
		}
		return o.Holding(got), nil
	}
	at := dvcfile.GitSource{URL: d.Repo.URL, Rev: cmp.Or(d.Repo.Lock, d.Repo.Rev)}
	s := sources[at]
	if s == nil {
		var err error
		if s, err = f.source(ctx, d.Repo, at.Rev, false); err != nil {
			return nil, err
		}
		sources[at] = s
	}
	got, err := s.fetch(ctx, f.cache, f.m, d.Path, d.Repo.Remote)
	if err != nil {
		return nil, err
	}
	if o.ID != "" && got.ID != o.ID {
		return nil, fail(mlops.ErrInvalid, "%s is %s at commit %.12s, not %s as %s says; run: mlopsctl dvc update %s", d, got.ID, s.Rev, o.ID, o.File.Rel, o.File.Rel)
	}
	return o.Holding(got), nil
}

// fetchURL fetches what an import-url names, if it still is what it was.
func (c *call) fetchURL(ctx context.Context, m *mover, f *dvcfile.File, d *dvcfile.Dep) (dvcfile.Content, error) {
	from, err := c.origin(ctx, d, filepath.Dir(c.abs(f.Rel)))
	if err != nil {
		return dvcfile.Content{}, err
	}
	got, err := from.fetch(ctx, c.cache, m, f.Outs[0].Path)
	if err != nil {
		return dvcfile.Content{}, err
	}
	now := *d
	if err := from.note(&now, got); err != nil {
		return dvcfile.Content{}, err
	}
	if d.Hash != "" && now.Hash != d.Hash {
		return dvcfile.Content{}, fail(mlops.ErrConflict, "%s has changed since it was imported; run: mlopsctl dvc update %s", d, f.Rel)
	}
	return got, nil
}

// source opens the repository that an import comes from. rev is a revision of
// it, "" what it has checked out.
func (c *call) source(ctx context.Context, g *dvcfile.GitSource, rev string, trust bool) (*Source, error) {
	depth := 0
	if c.foreign != nil {
		if depth = c.foreign.depth + 1; depth > 8 {
			return nil, fail(mlops.ErrInvalid, "repositories import from each other without end")
		}
		if !c.foreign.trust && isFolder(g.URL) {
			return nil, fail(mlops.ErrForbidden, "the other repository imports from %q, which is a folder of this machine; trust it to use that", g.URL)
		}
		trust = trust || c.foreign.trust
	}
	s, err := openSource(ctx, c.gitURL(g.URL), SourceOptions{Rev: rev, Trust: trust}, true)
	if err == nil {
		s.r.foreign.depth = depth
	}
	return s, err
}

// isFolder tells a git URL that means a folder here: not https://… and not
// host:path.
func isFolder(url string) bool {
	if address.Scheme(url) != "" {
		return strings.HasPrefix(strings.ToLower(url), "file:")
	}
	head, _, _ := strings.Cut(url, "/")
	return !strings.Contains(head, ":")
}

// gitURL is the URL of a git repository as git takes it: a relative folder
// starts where the caller is, as with dvc.
func (r *Repo) gitURL(url string) string {
	if checkGitURL(url) != nil || !isFolder(url) || address.Scheme(url) != "" || filepath.IsAbs(url) {
		return url
	}
	return filepath.Join(r.base, filepath.FromSlash(url))
}
