package dvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// imports fetches the imports among outputs: data of other repositories, and
// what was imported without its data. It returns the rest, and the imports that
// are complete in the cache.
func (f *fetcher) imports(ctx context.Context, outs []*out) (rest, whole []*out) {
	sources := map[gitSource]*Source{}
	defer func() {
		for _, s := range sources {
			_ = s.Close()
		}
	}()
	for _, o := range outs {
		d := o.file.imports
		if d == nil || d.repo == nil && o.oid != "" {
			if o.oid != "" {
				rest = append(rest, o)
			}
			continue
		}
		got, err := f.imported(ctx, o, sources)
		if err != nil {
			f.m.mu.Lock()
			f.m.fail(fmt.Errorf("dvc: %s: %w", f.show(o.path), err))
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
func (f *fetcher) imported(ctx context.Context, o *out, sources map[gitSource]*Source) (*out, error) {
	d := o.file.imports
	if d.odd != "" {
		return nil, fail(mlops.ErrUnsupported, "%s %s", d, d.odd)
	}
	id := o.oid
	if id == "" && !o.legacy && d.repo == nil && d.kind == "md5" && !strings.Contains(d.path, "://") {
		id, _ = object.Parse(d.hash) // the content's own
	}
	if id != "" {
		if ok, err := f.cache.whole(ctx, id); err != nil {
			return nil, err
		} else if ok {
			f.m.t.Present++
			return o.holding(content{oid: id, size: o.size, nfiles: o.nfiles, exec: o.exec}), nil
		}
	}
	if d.repo == nil {
		if _, err := known.Stat(f.abs(o.path), false); err == nil {
			return nil, nil // fetched before; its hash is written by update alone
		}
		got, err := f.fetchURL(ctx, f.m, o.file, d)
		if err != nil {
			return nil, err
		}
		return o.holding(got), nil
	}
	at := gitSource{url: d.repo.url, rev: cmp.Or(d.repo.lock, d.repo.rev)}
	s := sources[at]
	if s == nil {
		var err error
		if s, err = f.source(ctx, d.repo, at.rev, false); err != nil {
			return nil, err
		}
		sources[at] = s
	}
	got, err := s.fetch(ctx, f.cache, f.m, d.path, d.repo.remote)
	if err != nil {
		return nil, err
	}
	if o.oid != "" && got.oid != o.oid {
		return nil, fail(mlops.ErrInvalid, "%s is %s at commit %.12s, not %s as %s says; run: mlopsctl dvc update %s", d, got.oid, s.Rev, o.oid, o.file.rel, o.file.rel)
	}
	return o.holding(got), nil
}

// fetchURL fetches what an import-url names, if it still is what it was.
func (c *call) fetchURL(ctx context.Context, m *mover, f *dvcFile, d *dep) (content, error) {
	from, err := c.origin(ctx, d, filepath.Dir(c.abs(f.rel)))
	if err != nil {
		return content{}, err
	}
	got, err := from.fetch(ctx, c.cache, m, f.outs[0].path)
	if err != nil {
		return content{}, err
	}
	now := *d
	if err := from.note(&now, got); err != nil {
		return content{}, err
	}
	if d.hash != "" && now.hash != d.hash {
		return content{}, fail(mlops.ErrConflict, "%s has changed since it was imported; run: mlopsctl dvc update %s", d, f.rel)
	}
	return got, nil
}

// holding is the output with another content.
func (o *out) holding(c content) *out {
	n := *o
	n.oid, n.size, n.nfiles, n.exec, n.legacy = c.oid, c.size, c.nfiles, c.exec, c.oid.Legacy()
	return &n
}

// whole reports whether the cache has an object, and of a directory all files.
func (c *cache) whole(ctx context.Context, o object.ID) (bool, error) {
	ok, err := c.has(ctx, o, -1)
	if !ok || err != nil || !o.IsDir() {
		return ok, err
	}
	t, err := c.tree(o)
	if errors.Is(err, ErrNotCached) || errors.Is(err, mlops.ErrInvalid) {
		return false, nil
	}
	for _, e := range t {
		if ok, err := c.has(ctx, e.ID, -1); !ok || err != nil {
			return false, err
		}
	}
	return err == nil, err
}

// source opens the repository that an import comes from. rev is a revision of
// it, "" what it has checked out.
func (c *call) source(ctx context.Context, g *gitSource, rev string, trust bool) (*Source, error) {
	depth := 0
	if c.foreign != nil {
		if depth = c.foreign.depth + 1; depth > 8 {
			return nil, fail(mlops.ErrInvalid, "repositories import from each other without end")
		}
		if !c.foreign.trust && isFolder(g.url) {
			return nil, fail(mlops.ErrForbidden, "the other repository imports from %q, which is a folder of this machine; trust it to use that", g.url)
		}
		trust = trust || c.foreign.trust
	}
	s, err := openSource(ctx, c.gitURL(g.url), SourceOptions{Rev: rev, Trust: trust}, true)
	if err == nil {
		s.r.foreign.depth = depth
	}
	return s, err
}

// isFolder tells a git URL that means a folder here: not https://… and not
// host:path.
func isFolder(url string) bool {
	if urlScheme.MatchString(url) {
		return strings.HasPrefix(strings.ToLower(url), "file:")
	}
	head, _, _ := strings.Cut(url, "/")
	return !strings.Contains(head, ":")
}

// gitURL is the URL of a git repository as git takes it: a relative folder
// starts where the caller is, as with dvc.
func (r *Repo) gitURL(url string) string {
	if checkGitURL(url) != nil || !isFolder(url) || urlScheme.MatchString(url) || filepath.IsAbs(url) {
		return url
	}
	return filepath.Join(r.base, filepath.FromSlash(url))
}
