package dvc

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// VerifyOptions are options of [Repo.Verify].
type VerifyOptions struct {
	Cloud    bool   // read a remote, too: all that the .dvc files need of it
	Remote   string // its name; implies Cloud. "" is the default remote, and outputs' own win
	Jobs     int    // objects at once; 0 is the default
	Progress func(Progress)
}

// Verified is what [Repo.Verify] read.
type Verified struct {
	Objects   int
	SizeBytes int64
	Damaged   []Damage // by hash
}

// OK reports whether nothing is damaged.
func (v Verified) OK() bool { return len(v.Damaged) == 0 }

// Damage is an object that is not what its name says.
type Damage struct {
	Hash   string
	Where  string   // "cache", or the remote's name
	Reason string   // "content has md5 …", "missing", or why it could not be read
	Data   []string // what needs it, by the .dvc files here; empty if nothing does
}

// Verify reads every object in the cache and compares it with its name. What is
// trusted otherwise (mode 0444) is read, too. It changes nothing.
func (r *Repo) Verify(ctx context.Context, o VerifyOptions) (Verified, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return Verified{}, err
	}
	defer c.end()
	outs, _, err := c.choose(ctx, nil, Scope{}, false)
	if err != nil {
		return Verified{}, err
	}
	all, err := c.cache.Objects()
	if err != nil {
		return Verified{}, err
	}
	v := &verifier{call: c, m: &mover{jobs: o.Jobs, report: o.Progress}}
	var lacking []need
	v.data, lacking = v.users(c.cache, outs)
	byOID := make(map[object.ID]cache.Object, len(all))
	needs := make([]need, len(all))
	for i, obj := range all {
		byOID[obj.ID], needs[i] = obj, need{oid: obj.ID, out: obj.Path}
	}
	near := &place{name: "cache", jobs: cmp.Or(o.Jobs, r.jobs)}
	err = v.each(ctx, near, needs, func(ctx context.Context, n need) (io.ReadCloser, error) {
		f, _, err := known.OpenRegular(byOID[n.oid].Path)
		if err != nil {
			return nil, err
		}
		return f, nil
	})
	if err != nil {
		return v.v, err
	}
	if o.Cloud || o.Remote != "" {
		if len(lacking) > 0 {
			return v.v, notCached(r, lacking)
		}
		if err := v.remotes(ctx, c.cache, outs, o.Remote); err != nil {
			return v.v, err
		}
	}
	slices.SortFunc(v.v.Damaged, func(a, b Damage) int { return strings.Compare(a.Hash+a.Where, b.Hash+b.Where) })
	return v.v, nil
}

type verifier struct {
	*call
	m    *mover
	data map[object.ID][]string

	mu sync.Mutex
	v  Verified
}

// users tells for each object what needs it, and which listings are not there
// to tell.
func (v *verifier) users(c *cache.Cache, outs []*dvcfile.Out) (map[object.ID][]string, []need) {
	data := map[object.ID][]string{}
	var lacking []need
	for _, o := range outs {
		if !o.Cache || o.ID == "" {
			continue
		}
		data[o.ID] = append(data[o.ID], v.show(o.Path))
		if !o.ID.IsDir() {
			continue
		}
		t, err := c.Listing(o.ID)
		if err != nil {
			lacking = append(lacking, need{oid: o.ID, out: o.Path})
			continue
		}
		for _, e := range t {
			data[e.ID] = append(data[e.ID], v.show(o.Path+"/"+e.Path))
		}
	}
	return data, lacking
}

// each reads objects and keeps what is wrong with them.
func (v *verifier) each(ctx context.Context, p *place, needs []need, open func(context.Context, need) (io.ReadCloser, error)) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.jobs)
	v.m.expect(len(needs), 0)
	for _, n := range needs {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			size, reason := int64(0), ""
			body, err := open(gctx, n)
			if err == nil {
				var sum string
				if sum, size, err = cache.HashReader(gctx, body, n.oid.NewHash()); err == nil && sum != n.oid.MD5() {
					reason = "content has md5 " + sum
				}
				_ = body.Close()
			}
			if gctx.Err() != nil {
				return gctx.Err()
			}
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, mlops.ErrNotFound):
				reason = "missing"
			case err != nil && p.Store != nil:
				return err // the remote is away: that says nothing of the object
			case err != nil:
				reason = err.Error()
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			v.v.Objects++
			v.v.SizeBytes += size
			if reason != "" {
				v.v.Damaged = append(v.v.Damaged, Damage{n.oid.String(), p.name, reason, v.data[n.oid]})
			}
			v.m.mu.Lock()
			defer v.m.mu.Unlock()
			v.m.told(n, 1, size)
			return nil
		})
	}
	return errors.Join(g.Wait(), ctx.Err())
}

// remotes reads what outputs need of their remotes.
func (v *verifier) remotes(ctx context.Context, c *cache.Cache, outs []*dvcfile.Out, name string) error {
	outs = slices.DeleteFunc(slices.Clone(outs), func(o *dvcfile.Out) bool { return !o.Push || !o.Cache || o.ID == "" || o.File.RepoDeps })
	places, err := v.open(ctx, v.m, name, outs)
	if err != nil {
		return err
	}
	byPlace := map[*place][]need{}
	for _, o := range outs {
		p := places[o]
		byPlace[p] = append(byPlace[p], need{oid: o.ID, out: o.Path})
		if !o.ID.IsDir() {
			continue
		}
		t, err := c.Listing(o.ID)
		if err != nil {
			return err
		}
		for _, e := range t {
			byPlace[p] = append(byPlace[p], need{e.ID, o.Path, e.Path})
		}
	}
	for _, p := range byName(byPlace) {
		err := v.each(ctx, p, unique(byPlace[p]), func(ctx context.Context, n need) (io.ReadCloser, error) { return p.Get(ctx, n.oid.Key()) })
		if err != nil {
			return err
		}
	}
	return nil
}
