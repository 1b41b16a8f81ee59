package dvc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

func (o GCOptions) scoped() bool {
	return o.Workspace || o.AllBranches || o.AllTags || o.AllCommits || o.AllExperiments || len(o.Revs) > 0 || !o.Since.IsZero()
}

// keep adds what the scope needs.
func (c *collector) keep(ctx context.Context, o GCOptions) error {
	if err := c.keepAll(ctx, o); err != nil {
		return fmt.Errorf("dvc: gc keeps all of %s: %w", c.dir, err)
	}
	return nil
}

func (c *collector) keepAll(ctx context.Context, o GCOptions) error {
	if err := c.read(ctx); err != nil {
		return err
	}
	if err := c.keepIndex(ctx, c.ix); err != nil {
		return err
	}
	revs, err := revisions(ctx, c.Repo, o)
	if err != nil {
		return err
	}
	h := newHistory(c.Repo)
	for _, rev := range revs {
		ix, err := h.index(ctx, rev)
		if err != nil && o.SkipFailed && ctx.Err() == nil {
			continue
		}
		if err == nil {
			err = c.keepIndex(ctx, ix)
		}
		if err != nil {
			return fmt.Errorf("revision %.12s: %w", rev, err)
		}
	}
	return nil
}

// dropPushed takes out of what is used what a remote has: it can be fetched.
func (c *collector) dropPushed(ctx context.Context, name string) error {
	far, err := c.openPlace(ctx, &mover{}, name)
	if err != nil {
		return err
	}
	ns := make([]need, 0, len(c.used))
	for id := range c.used {
		ns = append(ns, need{oid: id})
	}
	gone, err := absent(ctx, far, ns)
	if err != nil {
		return err
	}
	clear(c.used)
	for _, n := range gone {
		c.used[n.oid] = true
	}
	return nil
}

func (c *collector) keepIndex(ctx context.Context, ix *index) error {
	for _, f := range ix.files {
		for _, o := range f.Outs {
			switch {
			case o.Odd != "":
				return fail(mlops.ErrUnsupported, "%s in %s %s: what it needs is not known", o.Path, f.Rel, o.Odd)
			case o.ID == "" || !o.Cache || c.used[o.ID]:
				continue
			}
			if o.ID.IsDir() {
				t, err := c.listing(ctx, o)
				if errors.Is(err, ErrNotCached) && f.RepoDeps {
					continue // it can be fetched again from where it comes from
				}
				if err != nil {
					return fmt.Errorf("%s of %s: %w", o.Path, f.Rel, err)
				}
				for _, e := range t {
					c.used[e.ID] = true
				}
			}
			c.used[o.ID] = true
		}
	}
	return nil
}

// listing loads a directory's listing, from the remote if the cache lacks it.
func (c *collector) listing(ctx context.Context, o *dvcfile.Out) (object.Listing, error) {
	t, err := c.cache.Listing(o.ID)
	if !errors.Is(err, ErrNotCached) || o.File.RepoDeps { // dvc pushes no data of other repositories
		return t, err
	}
	far, e := c.openPlace(ctx, &mover{}, o.Remote)
	if errors.Is(e, mlops.ErrNotFound) {
		return nil, err // no remote: the listing is nowhere
	}
	if e != nil {
		return nil, errors.Join(err, e)
	}
	body, e := far.Get(ctx, o.ID.Key())
	if e != nil {
		return nil, errors.Join(err, e)
	}
	defer body.Close()
	if _, err := c.cache.Receive(ctx, o.ID, body); err != nil {
		return nil, err
	}
	return c.cache.Listing(o.ID)
}

// revisions lists the commits whose data is kept.
func revisions(ctx context.Context, r *Repo, o GCOptions) ([]string, error) {
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
		return nil, fail(mlops.ErrUnsupported, "%s is not in a git repository, so it has no commits", r.dir)
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
