package dvc

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// Push uploads what the remote lacks: files first, a directory's listing after
// all of its files. Each object is hashed on its way. When targets name a part
// of a directory, the listing goes with the part that makes it whole.
//
// Objects that neither the cache nor the remote has are an error that matches
// [ErrNotCached] and names them; the rest is pushed all the same, without the
// listings of directories that are not complete.
func (r *Repo) Push(ctx context.Context, o PushOptions) (Transfer, error) {
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
	outs = slices.DeleteFunc(outs, func(o *dvcfile.Out) bool { return !o.Push || !o.Cache || o.ID == "" || o.File.RepoDeps })
	m := o.mover()
	places, err := c.open(ctx, m, o.Remote, outs)
	if err != nil {
		return m.t, err
	}
	byPlace := map[*place][]*dvcfile.Out{}
	for _, out := range outs {
		byPlace[places[out]] = append(byPlace[places[out]], out)
	}
	p := &uploader{call: c, m: m, children: o.CheckChildren}
	for _, at := range byName(byPlace) {
		if err := p.to(ctx, at, byPlace[at]); err != nil {
			return m.t, err
		}
	}
	if o.RunCache {
		if err := c.pushRuns(ctx, m, o.Remote); err != nil {
			return m.t, err
		}
	}
	if len(p.lost) > 0 {
		m.errs = append(m.errs, notCached(r, p.lost))
	}
	return m.t, errors.Join(m.errs...)
}

// uploader uploads what outputs need.
type uploader struct {
	*call
	m        *mover
	children bool // look for files below listings that are there
	lost     []need
}

// bundle is a directory: its files, and the listing that must only be seen
// when they are all there.
type bundle struct {
	listing need
	files   []need
	rest    []need // the directory's other files, when only a part is moved
	there   bool   // the listing
}

// to uploads what the outputs need to one remote.
func (p *uploader) to(ctx context.Context, at *place, outs []*dvcfile.Out) error {
	var tops []need
	for _, o := range outs {
		tops = append(tops, need{oid: o.ID, out: o.Path})
	}
	gone, err := absent(ctx, at, unique(tops))
	if err != nil {
		return err
	}
	missing := make(map[object.ID]bool, len(gone))
	for _, n := range gone {
		missing[n.oid] = true
	}
	var files, rest []need
	var dirs []bundle
	for _, o := range outs {
		top := need{oid: o.ID, out: o.Path}
		switch {
		case !o.ID.IsDir() && missing[o.ID]:
			files = append(files, top)
		case !missing[o.ID] && !(p.children && o.ID.IsDir()):
			p.m.t.Present += 1 + int(max(o.NFiles, 0))
		default:
			t, err := p.cache.Listing(o.ID)
			if errors.Is(err, ErrNotCached) {
				if missing[o.ID] {
					p.lost = append(p.lost, top)
				} else {
					p.m.t.Present++
				}
				continue
			}
			if err != nil {
				return fmt.Errorf("dvc: %s: %w", p.show(o.Path), err)
			}
			b := bundle{listing: top, there: !missing[o.ID]}
			for _, e := range t {
				n := need{e.ID, o.Path, e.Path}
				if o.Part == "" || object.Within(e.Path, o.Part) {
					b.files = append(b.files, n)
				} else {
					b.rest = append(b.rest, n)
				}
			}
			dirs = append(dirs, b)
			rest = append(rest, b.rest...)
		}
	}
	bad, err := p.files(ctx, at, files, dirs)
	if err != nil {
		return err
	}
	if len(rest) > 0 { // dvc takes a listing that is there as a sign that all files are
		gone, err := absent(ctx, at, unique(rest))
		if err != nil {
			return err
		}
		for _, n := range gone {
			bad[n.oid] = true
		}
	}
	var listings []need
	isBad := func(n need) bool { return bad[n.oid] }
	for _, b := range dirs {
		switch {
		case b.there:
			p.m.t.Present++
		case !slices.ContainsFunc(b.files, isBad) && !slices.ContainsFunc(b.rest, isBad):
			listings = append(listings, b.listing)
		}
	}
	p.send(ctx, at, unique(listings))
	return nil
}

// files uploads files, and those of directories. It returns what did not arrive.
func (p *uploader) files(ctx context.Context, at *place, single []need, dirs []bundle) (map[object.ID]bool, error) {
	var below []need
	for _, b := range dirs {
		below = append(below, b.files...)
	}
	below = unique(below)
	todo, err := absent(ctx, at, below)
	if err != nil {
		return nil, err
	}
	p.m.t.Present += len(below) - len(todo)
	todo = unique(append(todo, single...))
	bad := map[object.ID]bool{}
	send := todo[:0]
	for _, n := range todo {
		ok, err := p.cache.Has(ctx, n.oid, -1)
		if err != nil {
			return nil, err
		}
		if !ok {
			bad[n.oid] = true
			p.lost = append(p.lost, n)
			continue
		}
		send = append(send, n)
	}
	for id := range p.send(ctx, at, send) {
		bad[id] = true
	}
	return bad, nil
}

// send uploads objects of the cache.
func (p *uploader) send(ctx context.Context, at *place, ns []need) map[object.ID]bool {
	var bytes int64
	if p.m.report != nil {
		for _, n := range ns {
			if fi, err := os.Stat(p.cache.Path(n.oid)); err == nil {
				bytes += fi.Size()
			}
		}
	}
	p.m.expect(len(ns), bytes)
	return p.m.each(ctx, at, ns, func(ctx context.Context, n need, moved func(int64)) (int64, error) {
		f, st, err := known.OpenRegular(p.cache.Path(n.oid))
		if err != nil {
			return 0, err
		}
		defer f.Close()
		body := io.NewSectionReader(f, 0, st.Size)
		sum := n.oid.MD5()
		if n.oid.Legacy() { // the name is not the md5 of the bytes
			if sum, err = bytesMD5(ctx, n.oid, body); err != nil {
				return 0, err
			}
		}
		return st.Size, at.Put(ctx, n.oid.Key(), remote.Blob{Body: body, MD5: sum, Moved: moved})
	})
}

// bytesMD5 checks an object of dvc 2.x and returns the md5 of its bytes.
func bytesMD5(ctx context.Context, o object.ID, body *io.SectionReader) (string, error) {
	h, named := md5.New(), o.NewHash()
	if _, err := cache.CopyHash(ctx, h, body, named); err != nil {
		return "", err
	}
	if got := object.Sum(named); got != o.MD5() {
		return "", fail(mlops.ErrInvalid, "object %s in the cache is damaged (its hash is %s)", o, got)
	}
	_, err := body.Seek(0, io.SeekStart)
	return object.Sum(h), err
}

// notCached names objects that are nowhere.
func notCached(r *Repo, lost []need) error {
	var names []string
	for _, n := range lost {
		if len(names) == 10 {
			names = append(names, fmt.Sprintf("and %d more", len(lost)-10))
			break
		}
		names = append(names, fmt.Sprintf("%s (%s)", r.show(n.path()), n.oid))
	}
	return fmt.Errorf("dvc: %d objects are neither in the cache nor in the remote: %s: %w", len(lost), strings.Join(names, ", "), ErrNotCached)
}
