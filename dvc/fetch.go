package dvc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// Fetch downloads what the cache lacks and changes nothing in the workspace.
// Bytes that are not what their name says do not enter the cache; the error
// then matches [mlops.ErrInvalid]. Objects that the remote lacks are an error
// that matches [mlops.ErrNotFound].
func (r *Repo) Fetch(ctx context.Context, o FetchOptions) (Transfer, error) {
	for _, t := range o.Types {
		if t != OutputMetrics && t != OutputPlots {
			return Transfer{}, fail(mlops.ErrInvalid, "type %q of outputs is neither %s nor %s", t, OutputMetrics, OutputPlots)
		}
	}
	c, err := r.begin(ctx)
	if err != nil {
		return Transfer{}, err
	}
	defer c.end()
	outs, more, err := c.choose(ctx, o.Targets, o.Scope, false)
	if err != nil {
		return Transfer{}, err
	}
	outs = append(outs, more...)
	if o.MaxSize > 0 {
		outs = slices.DeleteFunc(outs, func(out *dvcfile.Out) bool { return out.Size >= o.MaxSize })
	}
	if len(o.Types) > 0 {
		outs = slices.DeleteFunc(outs, func(out *dvcfile.Out) bool {
			return !(out.Metric && slices.Contains(o.Types, OutputMetrics) || out.Plot && slices.Contains(o.Types, OutputPlots))
		})
	}
	_, t, err := c.fetch(ctx, outs, o)
	return t, err
}

// fetcher downloads what outputs need.
type fetcher struct {
	*call
	m      *mover
	remote string
	bad    map[object.ID]bool // what did not arrive
}

// fetch returns the outputs that are complete in the cache.
func (c *call) fetch(ctx context.Context, outs []*dvcfile.Out, o FetchOptions) ([]*dvcfile.Out, Transfer, error) {
	m := o.mover()
	m.lenient = o.lenient
	if o.RunCache {
		if err := c.fetchRuns(ctx, m, o.Remote); err != nil {
			return nil, m.t, err
		}
	}
	whole, err := c.fetchInto(ctx, m, outs, o.Remote)
	return whole, m.t, err
}

// fetchInto fetches from a remote, and imports from where they come from.
func (c *call) fetchInto(ctx context.Context, m *mover, outs []*dvcfile.Out, remote string) ([]*dvcfile.Out, error) {
	f := &fetcher{call: c, m: m, remote: remote, bad: map[object.ID]bool{}}
	outs, imported := f.imports(ctx, slices.DeleteFunc(slices.Clone(outs), func(o *dvcfile.Out) bool { return !o.Cache }))
	tops := map[*dvcfile.Out][]need{} // listings and single files
	for _, out := range outs {
		tops[out] = []need{{oid: out.ID, out: out.Path}}
	}
	if err := f.get(ctx, outs, tops); err != nil {
		return nil, err
	}
	trees, files := map[*dvcfile.Out]object.Listing{}, map[*dvcfile.Out][]need{}
	for _, out := range outs {
		if !out.ID.IsDir() || f.bad[out.ID] {
			continue
		}
		t, err := c.cache.Listing(out.ID)
		if err != nil {
			return nil, fmt.Errorf("dvc: %s: %w", c.show(out.Path), err)
		}
		t = t.Below(out.Part)
		ns := make([]need, len(t))
		for i, e := range t {
			ns[i] = need{e.ID, out.Path, e.Path}
		}
		trees[out], files[out] = t, unique(ns)
	}
	if err := f.get(ctx, outs, files); err != nil {
		return nil, err
	}
	whole := slices.DeleteFunc(outs, func(o *dvcfile.Out) bool {
		return f.bad[o.ID] || slices.ContainsFunc(trees[o], func(e object.Entry) bool { return f.bad[e.ID] })
	})
	return append(whole, imported...), errors.Join(m.errs...)
}

// get downloads of what outputs need the objects that the cache lacks.
func (f *fetcher) get(ctx context.Context, outs []*dvcfile.Out, needs map[*dvcfile.Out][]need) error {
	missing := map[*dvcfile.Out][]need{}
	var short []*dvcfile.Out
	var err error
	var bytes int64
	for _, out := range outs {
		var there int64
		for _, n := range needs[out] {
			ok, err := f.cache.Has(ctx, n.oid, -1)
			if err != nil {
				return err
			}
			if !ok {
				missing[out] = append(missing[out], n)
				continue
			}
			f.m.t.Present++
			if f.m.report != nil {
				if fi, err := os.Stat(f.cache.Path(n.oid)); err == nil {
					there += fi.Size()
				}
			}
		}
		if len(missing[out]) == 0 {
			continue
		}
		short = append(short, out)
		if listing := out.ID.IsDir() && needs[out][0].oid == out.ID; !listing && out.Part == "" {
			bytes += max(0, out.Size-there)
		}
	}
	if len(short) == 0 {
		return nil
	}
	if f.foreign != nil && f.foreign.near != nil {
		if short, err = f.fromNear(ctx, short, missing); err != nil || len(short) == 0 {
			return err
		}
	}
	places, err := f.open(ctx, f.m, f.remote, short)
	if err != nil {
		return err
	}
	byPlace := map[*place][]need{}
	for _, out := range short {
		byPlace[places[out]] = append(byPlace[places[out]], missing[out]...)
	}
	f.m.expect(0, bytes)
	for _, at := range byName(byPlace) {
		ns := unique(byPlace[at])
		f.m.expect(len(ns), 0)
		for id := range f.m.each(ctx, at, ns, func(ctx context.Context, n need, moved func(int64)) (int64, error) {
			body, err := at.Get(ctx, n.oid.Key())
			if errors.Is(err, mlops.ErrNotFound) {
				return 0, fmt.Errorf("object %s is not in remote %q; push it from where it was added: %w", n.oid, at.name, err)
			}
			if err != nil {
				return 0, err
			}
			defer body.Close()
			return f.cache.Receive(ctx, n.oid, &counted{r: body, moved: moved})
		}) {
			f.bad[id] = true
		}
	}
	return nil
}

// fromNear copies what the cache of a source beside us has, and returns the
// outputs that still lack something.
func (f *fetcher) fromNear(ctx context.Context, outs []*dvcfile.Out, missing map[*dvcfile.Out][]need) ([]*dvcfile.Out, error) {
	var short []*dvcfile.Out
	for _, out := range outs {
		var rest []need
		for _, n := range missing[out] {
			body, err := os.Open(f.foreign.near.Path(n.oid))
			if errors.Is(err, fs.ErrNotExist) {
				rest = append(rest, n)
				continue
			}
			if err != nil {
				return nil, err
			}
			size, err := f.cache.Receive(ctx, n.oid, body)
			_ = body.Close()
			if errors.Is(err, mlops.ErrInvalid) { // damaged there
				rest = append(rest, n)
				continue
			}
			if err != nil {
				return nil, err
			}
			f.m.expect(1, 0)
			f.m.done(n, size)
		}
		if missing[out] = rest; len(rest) > 0 {
			short = append(short, out)
		}
	}
	return short, nil
}

// Pull fetches and then makes the workspace hold what the .dvc files say. What
// could not be fetched whole stays as it is in the workspace, and is an error.
//
// Workspace files whose content is not in the cache are neither replaced nor
// deleted without Force: the error then matches [mlops.ErrConflict], and the
// workspace is unchanged.
func (r *Repo) Pull(ctx context.Context, o PullOptions) (Transfer, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return Transfer{}, err
	}
	defer c.end()
	outs, more, err := c.choose(ctx, o.Targets, o.Scope, true)
	if err != nil {
		return Transfer{}, err
	}
	whole, t, fetchErr := c.fetch(ctx, append(outs, more...), FetchOptions{Remote: o.Remote, Targets: o.Targets, RunCache: o.RunCache, Transfers: o.Transfers, lenient: o.AllowMissing})
	if ctx.Err() != nil {
		return t, fetchErr
	}
	whole = slices.DeleteFunc(whole, func(o *dvcfile.Out) bool { return slices.Contains(more, o) })
	err = c.checkout(ctx, whole, CheckoutOptions{Force: o.Force}, &t)
	return t, errors.Join(fetchErr, err)
}
