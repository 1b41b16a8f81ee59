package dvc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

func (o GCOptions) scoped() bool {
	return o.Workspace || o.AllBranches || o.AllTags || o.AllCommits || o.AllExperiments || len(o.Revs) > 0 || !o.Since.IsZero()
}

// keep adds what the scope needs.
func (r *Repo) keep(ctx context.Context, c *cache, o GCOptions, used map[object.ID]bool) error {
	ix, err := r.index(ctx)
	if err != nil {
		return err
	}
	if err := r.keepIndex(ctx, c, ix, used); err != nil {
		return err
	}
	revs, err := r.scope(ctx, o)
	if err != nil {
		return err
	}
	h := r.history()
	for _, rev := range revs {
		ix, err := h.index(ctx, rev)
		if err != nil && o.SkipFailed && ctx.Err() == nil {
			continue
		}
		if err == nil {
			err = r.keepIndex(ctx, c, ix, used)
		}
		if err != nil {
			return fmt.Errorf("revision %.12s: %w", rev, err)
		}
	}
	return nil
}

// dropPushed takes out of what is used what a remote has: it can be fetched.
func (r *Repo) dropPushed(ctx context.Context, name string, used map[object.ID]bool) error {
	far, err := r.openPlace(ctx, &mover{}, name)
	if err != nil {
		return err
	}
	ns := make([]need, 0, len(used))
	for id := range used {
		ns = append(ns, need{oid: id})
	}
	gone, err := absent(ctx, far, ns)
	if err != nil {
		return err
	}
	clear(used)
	for _, n := range gone {
		used[n.oid] = true
	}
	return nil
}

func (r *Repo) keepIndex(ctx context.Context, c *cache, ix *index, used map[object.ID]bool) error {
	for _, f := range ix.files {
		for _, o := range f.outs {
			switch {
			case o.odd != "":
				return fail(mlops.ErrUnsupported, "%s in %s %s: what it needs is not known", o.path, f.rel, o.odd)
			case o.oid == "" || !o.cache || used[o.oid]:
				continue
			}
			if o.oid.IsDir() {
				t, err := r.listing(ctx, c, o)
				if errors.Is(err, ErrNotCached) && f.repoDeps {
					continue // it can be fetched again from where it comes from
				}
				if err != nil {
					return fmt.Errorf("%s of %s: %w", o.path, f.rel, err)
				}
				for _, e := range t {
					used[e.ID] = true
				}
			}
			used[o.oid] = true
		}
	}
	return nil
}

// listing loads a directory's listing, from the remote if the cache lacks it.
func (r *Repo) listing(ctx context.Context, c *cache, o *out) (object.Listing, error) {
	t, err := c.tree(o.oid)
	if !errors.Is(err, ErrNotCached) || o.file.repoDeps { // dvc pushes no data of other repositories
		return t, err
	}
	far, e := r.openPlace(ctx, &mover{}, o.remote)
	if errors.Is(e, mlops.ErrNotFound) {
		return nil, err // no remote: the listing is nowhere
	}
	if e != nil {
		return nil, errors.Join(err, e)
	}
	body, e := far.Get(ctx, o.oid.Key())
	if e != nil {
		return nil, errors.Join(err, e)
	}
	defer body.Close()
	if _, err := c.receive(ctx, o.oid, body); err != nil {
		return nil, err
	}
	return c.tree(o.oid)
}

// scope lists the commits whose data is kept.
func (r *Repo) scope(ctx context.Context, o GCOptions) ([]string, error) {
	var out []string
	git := func(args ...string) error {
		text, err := r.git(ctx, args...)
		out = append(out, strings.Fields(string(text))...)
		return err
	}
	last := []string{"rev-list", "--first-parent", "-n", strconv.Itoa(max(1, o.Num))}
	for _, rev := range o.Revs {
		commit, err := r.commit(ctx, rev)
		if err != nil {
			return nil, err
		}
		if err := git(append(last, commit)...); err != nil {
			return nil, err
		}
	}
	if !o.AllBranches && !o.AllTags && !o.AllCommits && !o.AllExperiments && o.Since.IsZero() {
		return out, nil
	}
	if r.gitRoot == "" {
		return nil, fail(mlops.ErrUnsupported, "%s is not in a git repository, so it has no commits", r.root)
	}
	for _, s := range []struct {
		wanted bool
		refs   string
		args   []string
	}{{o.AllBranches, "refs/heads", last}, {o.AllTags, "refs/tags", []string{"rev-list", "-n", "1"}}, {o.AllExperiments, "refs/exps", []string{"rev-list", "-n", "1"}}} {
		if !s.wanted {
			continue
		}
		text, err := r.git(ctx, "for-each-ref", "--format=%(refname)", s.refs)
		if err != nil {
			return nil, err
		}
		for _, ref := range strings.Fields(string(text)) {
			commit, err := r.commit(ctx, ref)
			if errors.Is(err, mlops.ErrNotFound) {
				continue // a tag of something else
			}
			if err == nil {
				err = git(append(s.args, commit)...)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	if o.AllCommits {
		if err := git("rev-list", "--all"); err != nil {
			return nil, err
		}
	}
	if !o.Since.IsZero() {
		if err := git("rev-list", "--all", "--since="+o.Since.Format("2006-01-02T00:00:00")); err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
