package dvc

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// Progress tells how far a transfer is.
type Progress struct {
	Done, Total int    // objects
	DoneBytes   int64  // moved so far
	Path        string // the data that was moved last
}

// Transfer is what a Push, Fetch or Pull did.
type Transfer struct {
	Remote    string // name; the first one if outputs name remotes of their own
	Objects   int    // moved: files and directory listings
	SizeBytes int64  // moved
	Present   int    // objects that were there already

	// Workspace outputs that Pull or Checkout changed.
	Added, Modified []string
}

// PushOptions are options of [Repo.Push].
type PushOptions struct {
	Remote   string         // name; "" is the default remote. An output's own remote wins, as in dvc
	Targets  []string       // data or .dvc files; none means all
	Jobs     int            // uploads at once; 0 is the default
	Progress func(Progress) // called after each object, one call at a time
}

// FetchOptions are options of [Repo.Fetch].
type FetchOptions struct {
	Remote   string
	Targets  []string
	Jobs     int
	Progress func(Progress)
}

// PullOptions are options of [Repo.Pull].
type PullOptions struct {
	Remote   string
	Targets  []string
	Jobs     int
	Progress func(Progress)
	Force    bool // replace and delete workspace files whose content is not in the cache
}

// need is an object that an output needs.
type need struct {
	oid  oid
	path string // of the data, from the root
}

// bundle is what one output needs: its files, and the listing that must only
// be seen when they are all there.
type bundle struct {
	out   *out
	files []need
	rest  []need // the directory's other files, when only a part is moved
	dir   oid    // "" for a file
}

// open opens the remotes of outputs: the one asked for, or their own.
func (r *Repo) open(ctx context.Context, name string, outs []*out) (map[*out]remote.Store, string, error) {
	stores := map[string]remote.Store{}
	byOut := map[*out]remote.Store{}
	first := ""
	for _, o := range outs {
		which := orDefault(o.remote, name)
		if stores[which] == nil {
			cfg, err := r.remoteConfig(which)
			if err != nil {
				return nil, "", err
			}
			if stores[which], err = remote.Open(ctx, cfg); err != nil {
				return nil, "", err
			}
			first = orDefault(first, cfg.Name)
		}
		byOut[o] = stores[which]
	}
	return byOut, first, nil
}

// mover counts a transfer and limits how much of it runs at once.
type mover struct {
	jobs   int
	report func(Progress)

	mu   sync.Mutex
	p    Progress
	t    Transfer
	errs []error
}

func newMover(r *Repo, jobs int, report func(Progress)) *mover {
	if jobs <= 0 {
		jobs = max(4, r.jobs)
	}
	return &mover{jobs: jobs, report: report}
}

// each runs move for all needs. One object's error does not stop the others;
// the first errors are kept, and the objects that failed returned.
func (m *mover) each(ctx context.Context, needs []need, move func(context.Context, need) (int64, error)) map[oid]bool {
	failed := map[oid]bool{}
	var g errgroup.Group
	g.SetLimit(m.jobs)
	for _, n := range needs {
		if ctx.Err() != nil {
			m.mu.Lock()
			failed[n.oid] = true
			m.mu.Unlock()
			continue
		}
		g.Go(func() error {
			size, err := move(ctx, n)
			m.mu.Lock()
			defer m.mu.Unlock()
			if err != nil {
				failed[n.oid] = true
				m.fail(fmt.Errorf("dvc: %s: %w", n.path, err))
				return nil
			}
			m.t.Objects++
			m.t.SizeBytes += size
			m.p.Done++
			m.p.DoneBytes += size
			m.p.Path = n.path
			if m.report != nil {
				m.report(m.p)
			}
			return nil
		})
	}
	_ = g.Wait()
	if err := ctx.Err(); err != nil && len(failed) > 0 {
		m.errs = append([]error{err}, m.errs...)
	}
	return failed
}

// fail keeps an error; of very many alike the first twenty tell enough.
func (m *mover) fail(err error) {
	if len(m.errs) < 20 {
		m.errs = append(m.errs, err)
	}
}

func unique(ns []need) []need {
	seen := map[oid]bool{}
	var out []need
	for _, n := range ns {
		if !seen[n.oid] {
			seen[n.oid] = true
			out = append(out, n)
		}
	}
	return out
}

func keysOf(ns []need) []string {
	keys := make([]string, len(ns))
	for i, n := range ns {
		keys[i] = n.oid.key()
	}
	return keys
}

// absent returns the needs that a store does not have.
func absent(ctx context.Context, s remote.Store, ns []need) ([]need, error) {
	keys, err := s.Missing(ctx, keysOf(ns))
	if err != nil {
		return nil, err
	}
	set := make(map[string]bool, len(keys))
	for _, k := range keys {
		set[k] = true
	}
	return slices.DeleteFunc(slices.Clone(ns), func(n need) bool { return !set[n.oid.key()] }), nil
}

// Push uploads what the remote lacks: files first, a directory's listing after
// all of its files. Each object is hashed on its way. When targets name a part
// of a directory, the listing goes with the part that makes it whole.
//
// Objects that neither the cache nor the remote has are an error that matches
// [ErrNotCached] and names them; the rest is pushed all the same, without the
// listings of directories that are not complete.
func (r *Repo) Push(ctx context.Context, o PushOptions) (Transfer, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return Transfer{}, err
	}
	defer unlock()
	outs, c, err := r.begin(ctx, o.Targets, false)
	if err != nil {
		return Transfer{}, err
	}
	outs = slices.DeleteFunc(outs, func(o *out) bool { return !o.push || !o.cache || o.oid == "" || o.file.repoDeps })
	stores, name, err := r.open(ctx, o.Remote, outs)
	if err != nil {
		return Transfer{}, err
	}
	m := newMover(r, o.Jobs, o.Progress)
	m.t.Remote = name

	bundles := map[remote.Store][]bundle{}
	var lost []need
	for _, out := range outs {
		b := bundle{out: out}
		if !out.oid.isDir() {
			b.files = []need{{out.oid, out.path}}
		} else if t, err := c.tree(out.oid); err == nil {
			b.dir = out.oid
			for _, e := range t {
				n := need{e.oid, out.path + "/" + e.path}
				if out.part == "" || within(e.path, out.part) {
					b.files = append(b.files, n)
				} else {
					b.rest = append(b.rest, n)
				}
			}
		} else if !errors.Is(err, ErrNotCached) {
			return m.t, fmt.Errorf("dvc: %s: %w", r.show(out.path), err)
		} else if gone, err := absent(ctx, stores[out], []need{{out.oid, out.path}}); err != nil {
			return m.t, err
		} else if len(gone) > 0 {
			lost = append(lost, gone...)
			continue
		} else {
			m.t.Present++
			continue
		}
		bundles[stores[out]] = append(bundles[stores[out]], b)
	}
	for store, bs := range bundles {
		if err := r.pushTo(ctx, c, store, bs, m, &lost); err != nil {
			return m.t, err
		}
	}
	if len(lost) > 0 {
		m.errs = append(m.errs, notCached(r, lost))
	}
	return m.t, errors.Join(m.errs...)
}

// pushTo uploads to one remote.
func (r *Repo) pushTo(ctx context.Context, c *cache, store remote.Store, bs []bundle, m *mover, lost *[]need) error {
	var files, dirs []need
	for _, b := range bs {
		files = append(files, b.files...)
	}
	files = unique(files)
	todo, err := absent(ctx, store, files)
	if err != nil {
		return err
	}
	m.t.Present += len(files) - len(todo)
	bad := map[oid]bool{}
	var send []need
	for _, n := range todo {
		ok, err := c.has(ctx, n.oid, -1)
		if err != nil {
			return err
		}
		if !ok {
			bad[n.oid] = true
			*lost = append(*lost, n)
			continue
		}
		send = append(send, n)
	}
	m.p.Total += len(send)
	put := func(ctx context.Context, n need) (int64, error) {
		f, fi, err := openRegular(c.path(n.oid))
		if err != nil {
			return 0, err
		}
		defer f.Close()
		body := io.NewSectionReader(f, 0, fi.Size())
		sum := n.oid.md5()
		if n.oid.legacy() { // the name is not the md5 of the bytes
			if sum, err = bytesMD5(ctx, n.oid, body); err != nil {
				return 0, err
			}
		}
		return fi.Size(), store.Put(ctx, n.oid.key(), body, sum)
	}
	for id := range m.each(ctx, send, put) {
		bad[id] = true
	}
	var rest []need
	for _, b := range bs {
		rest = append(rest, b.rest...)
	}
	if len(rest) > 0 { // dvc takes a listing that is there as a sign that all files are
		gone, err := absent(ctx, store, unique(rest))
		if err != nil {
			return err
		}
		for _, n := range gone {
			bad[n.oid] = true
		}
	}
	for _, b := range bs {
		if b.dir != "" && !slices.ContainsFunc(b.rest, func(n need) bool { return bad[n.oid] }) && !slices.ContainsFunc(b.files, func(n need) bool { return bad[n.oid] }) {
			dirs = append(dirs, need{b.dir, b.out.path})
		}
	}
	dirs = unique(dirs)
	if todo, err = absent(ctx, store, dirs); err != nil {
		return err
	}
	m.t.Present += len(dirs) - len(todo)
	m.p.Total += len(todo)
	m.each(ctx, todo, put)
	return nil
}

// bytesMD5 checks an object of dvc 2.x and returns the md5 of its bytes.
func bytesMD5(ctx context.Context, o oid, body *io.SectionReader) (string, error) {
	h, named := md5.New(), o.newHash()
	if _, err := copyHash(ctx, h, body, named); err != nil {
		return "", err
	}
	if got := sumHex(named); got != o.md5() {
		return "", fail(mlops.ErrInvalid, "object %s in the cache is damaged (its hash is %s)", o, got)
	}
	_, err := body.Seek(0, io.SeekStart)
	return sumHex(h), err
}

// notCached names objects that are nowhere.
func notCached(r *Repo, lost []need) error {
	var names []string
	for _, n := range lost {
		if len(names) == 10 {
			names = append(names, fmt.Sprintf("and %d more", len(lost)-10))
			break
		}
		names = append(names, fmt.Sprintf("%s (%s)", r.show(n.path), n.oid))
	}
	return fmt.Errorf("dvc: %d objects are neither in the cache nor in the remote: %s: %w", len(lost), strings.Join(names, ", "), ErrNotCached)
}

// begin does what Push, Fetch and Checkout begin with.
func (r *Repo) begin(ctx context.Context, targets []string, writing bool) ([]*out, *cache, error) {
	c, err := r.cache()
	if err != nil {
		return nil, nil, err
	}
	ix, err := r.index()
	if err != nil {
		return nil, nil, err
	}
	outs, err := r.targets(ix, targets)
	if err != nil {
		return nil, nil, err
	}
	rels := make([]string, len(outs))
	for i, o := range outs {
		rels[i] = o.whole()
	}
	return outs, c, r.claims(ctx, writing, rels)
}

// Fetch downloads what the cache lacks and changes nothing in the workspace.
// Bytes that are not what their name says do not enter the cache; the error
// then matches [mlops.ErrInvalid]. Objects that the remote lacks are an error
// that matches [mlops.ErrNotFound].
func (r *Repo) Fetch(ctx context.Context, o FetchOptions) (Transfer, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return Transfer{}, err
	}
	defer unlock()
	outs, c, err := r.begin(ctx, o.Targets, false)
	if err != nil {
		return Transfer{}, err
	}
	_, t, err := r.fetch(ctx, c, outs, o)
	return t, err
}

// fetch returns the outputs that are complete in the cache.
func (r *Repo) fetch(ctx context.Context, c *cache, outs []*out, o FetchOptions) ([]*out, Transfer, error) {
	m := newMover(r, o.Jobs, o.Progress)
	outs = slices.DeleteFunc(slices.Clone(outs), func(o *out) bool { return !o.cache || o.oid == "" })
	missing := map[*out][]need{}
	lacking := func(ns []need, out *out) error {
		for _, n := range ns {
			ok, err := c.has(ctx, n.oid, -1)
			if err != nil {
				return err
			}
			if ok {
				m.t.Present++
			} else {
				missing[out] = append(missing[out], n)
			}
		}
		return nil
	}
	bad := map[oid]bool{}
	var stores map[*out]remote.Store
	get := func() error {
		var short []*out
		for _, out := range outs {
			if len(missing[out]) > 0 {
				short = append(short, out)
			}
		}
		if len(short) == 0 {
			return nil
		}
		var err error
		if stores, m.t.Remote, err = r.open(ctx, o.Remote, short); err != nil {
			return err
		}
		byStore := map[remote.Store][]need{}
		for _, out := range short {
			if out.file.repoDeps {
				return fail(mlops.ErrUnsupported, "%s is imported from another repository; use: dvc pull %s", out.path, out.file.rel)
			}
			byStore[stores[out]] = append(byStore[stores[out]], missing[out]...)
		}
		clear(missing)
		for store, ns := range byStore {
			ns = unique(ns)
			m.p.Total += len(ns)
			for id := range m.each(ctx, ns, func(ctx context.Context, n need) (int64, error) {
				body, err := store.Get(ctx, n.oid.key())
				if err != nil {
					return 0, err
				}
				defer body.Close()
				return c.receive(ctx, n.oid, body)
			}) {
				bad[id] = true
			}
		}
		return nil
	}
	for _, out := range outs { // listings and single files
		if err := lacking([]need{{out.oid, out.path}}, out); err != nil {
			return nil, m.t, err
		}
	}
	if err := get(); err != nil {
		return nil, m.t, err
	}
	trees := map[*out]tree{}
	for _, out := range outs {
		if !out.oid.isDir() || bad[out.oid] {
			continue
		}
		t, err := c.tree(out.oid)
		if err != nil {
			return nil, m.t, fmt.Errorf("dvc: %s: %w", r.show(out.path), err)
		}
		trees[out] = t.below(out.part)
	}
	for out, t := range trees { // the files in directories
		ns := make([]need, len(t))
		for i, e := range t {
			ns[i] = need{e.oid, out.path + "/" + e.path}
		}
		if err := lacking(unique(ns), out); err != nil {
			return nil, m.t, err
		}
	}
	if err := get(); err != nil {
		return nil, m.t, err
	}
	whole := slices.DeleteFunc(outs, func(o *out) bool {
		return bad[o.oid] || slices.ContainsFunc(trees[o], func(e treeEntry) bool { return bad[e.oid] })
	})
	return whole, m.t, errors.Join(m.errs...)
}

// Pull fetches and then makes the workspace hold what the .dvc files say. What
// could not be fetched whole stays as it is in the workspace, and is an error.
//
// Workspace files whose content is not in the cache are neither replaced nor
// deleted without Force: the error then matches [mlops.ErrConflict], and the
// workspace is unchanged.
func (r *Repo) Pull(ctx context.Context, o PullOptions) (Transfer, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return Transfer{}, err
	}
	defer unlock()
	outs, c, err := r.begin(ctx, o.Targets, true)
	if err != nil {
		return Transfer{}, err
	}
	whole, t, fetchErr := r.fetch(ctx, c, outs, FetchOptions{Remote: o.Remote, Targets: o.Targets, Jobs: o.Jobs, Progress: o.Progress})
	if ctx.Err() != nil {
		return t, fetchErr
	}
	err = r.checkout(ctx, c, whole, o.Force, &t)
	return t, errors.Join(fetchErr, err)
}

// CheckoutOptions are options of [Repo.Checkout].
type CheckoutOptions struct {
	Targets []string
	Force   bool // as in [PullOptions]
}

// Checkout makes the workspace hold what the .dvc files say, from the cache
// alone. The error matches [ErrNotCached] if something is missing there; see
// [Repo.Pull] for Force.
func (r *Repo) Checkout(ctx context.Context, o CheckoutOptions) (Transfer, error) {
	unlock, err := r.lock(ctx)
	if err != nil {
		return Transfer{}, err
	}
	defer unlock()
	outs, c, err := r.begin(ctx, o.Targets, true)
	if err != nil {
		return Transfer{}, err
	}
	var t Transfer
	err = r.checkout(ctx, c, outs, o.Force, &t)
	return t, err
}
