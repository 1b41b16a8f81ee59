package dvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// Progress tells how far a transfer is. Both totals grow while directories are
// looked into.
type Progress struct {
	Done, Total           int    // objects
	DoneBytes, TotalBytes int64  // TotalBytes is 0 when it is not known
	Path                  string // the data that was moved last
}

// Transfer is what a Push, Fetch or Pull did.
type Transfer struct {
	Remote    string // name; the first one if outputs name remotes of their own
	Objects   int    // moved: files, directory listings, records of the run cache
	SizeBytes int64  // moved
	Present   int    // objects that were there already

	// Workspace outputs that Pull or Checkout changed.
	Added, Modified []string
}

// Transfers are the options that all calls share which move data.
type Transfers struct {
	Jobs     int            // objects at once; 0 is the remote's "jobs" option, else the default
	Rate     int64          // bytes per second to or from each remote; 0 is no limit
	Progress func(Progress) // called after each object and within large ones, one call at a time
}

// mover returns the mover of a call.
func (t Transfers) mover() *mover { return &mover{jobs: t.Jobs, rate: t.Rate, report: t.Progress} }

// PushOptions are options of [Repo.Push].
type PushOptions struct {
	Remote   string   // name; "" is the default remote. An output's own remote wins, as in dvc
	Targets  []string // data, .dvc files or stages; none means all
	Scope    Scope    // what else
	RunCache bool     // the records of what stages made of what, too
	Transfers

	// CheckChildren looks for each file also where the remote has the listing
	// of its directory. Without it a listing that is there stands for its files,
	// as in dvc: it is uploaded after them.
	CheckChildren bool
}

// FetchOptions are options of [Repo.Fetch].
type FetchOptions struct {
	Remote   string
	Targets  []string
	Scope    Scope
	RunCache bool
	Transfers
	MaxSize int64        // leave out outputs of that many bytes and more; 0 is no limit
	Types   []OutputType // of outputs of these kinds alone; none means all

	lenient bool // what the remote lacks is no error
}

// OutputType is a kind of a stage's outputs that [FetchOptions] can ask for.
type OutputType string

// The kinds of outputs beside plain ones.
const (
	OutputMetrics OutputType = "metrics"
	OutputPlots   OutputType = "plots"
)

// PullOptions are options of [Repo.Pull].
type PullOptions struct {
	Remote   string
	Targets  []string
	Scope    Scope // data of other commits is fetched, not checked out
	RunCache bool
	Transfers
	Force bool // replace and delete workspace files whose content is not in the cache

	// AllowMissing leaves out outputs that the remote does not have whole: they
	// are no error, and stay as they are in the workspace.
	AllowMissing bool
}

// need is an object that an output needs.
type need struct {
	oid  object.ID
	out  string // path of the output, from the root
	file string // within the output; "" for itself
}

// path is that of the data, from the root.
func (n need) path() string {
	if n.file == "" {
		return n.out
	}
	return n.out + "/" + n.file
}

// place is an open remote.
type place struct {
	remote.Store
	name string
	jobs int
}

// open opens the remotes of outputs: the one asked for, or their own.
func (c *call) open(ctx context.Context, m *mover, name string, outs []*dvcfile.Out) (map[*dvcfile.Out]*place, error) {
	places := map[string]*place{}
	byOut := map[*dvcfile.Out]*place{}
	for _, o := range outs {
		which := cmp.Or(o.Remote, name)
		if places[which] == nil {
			p, err := c.openPlace(ctx, m, which)
			if err != nil {
				return nil, err
			}
			places[which] = p
			m.t.Remote = cmp.Or(m.t.Remote, p.name)
		}
		byOut[o] = places[which]
	}
	return byOut, nil
}

// byName returns the remotes of a map in the order of their names, so that what is
// reported does not depend on chance.
func byName[V any](m map[*place]V) []*place {
	return slices.SortedFunc(maps.Keys(m), func(a, b *place) int { return strings.Compare(a.name, b.name) })
}

// openPlace opens one remote; "" is the default remote.
func (c *call) openPlace(ctx context.Context, m *mover, name string) (*place, error) {
	cfg, err := c.remoteConfig(name)
	if err != nil {
		return nil, err
	}
	cfg.Limit = remote.NewLimit(m.rate)
	def := 16
	if remote.Scheme(cfg.URL) == "" {
		def = max(4, c.jobs)
	}
	jobs, err := cfg.Int("jobs", def)
	if err != nil {
		return nil, err
	}
	if m.jobs > 0 {
		jobs = m.jobs
	}
	s, err := remote.Open(ctx, cfg)
	return &place{s, cfg.Name, jobs}, err
}

// mover counts a transfer.
type mover struct {
	jobs   int // 0: the remote's
	rate   int64
	report func(Progress)

	lenient bool // what the remote lacks is no error

	mu   sync.Mutex
	p    Progress
	t    Transfer
	errs []error
}

// expect adds to what is to be moved.
func (m *mover) expect(objects int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p.Total += objects
	m.p.TotalBytes += bytes
}

// each runs move for all needs, which tells by moved what arrives before its
// end. One object's error does not stop the others; the first errors are kept,
// and the objects that failed returned.
func (m *mover) each(ctx context.Context, p *place, needs []need, move func(ctx context.Context, n need, moved func(int64)) (int64, error)) map[object.ID]bool {
	failed := map[object.ID]bool{}
	var g errgroup.Group
	g.SetLimit(p.jobs)
	for _, n := range needs {
		if ctx.Err() != nil {
			m.mu.Lock()
			failed[n.oid] = true
			m.mu.Unlock()
			continue
		}
		g.Go(func() error {
			var early int64
			size, err := move(ctx, n, func(bytes int64) {
				m.mu.Lock()
				defer m.mu.Unlock()
				early += bytes
				m.told(n, 0, bytes)
			})
			m.mu.Lock()
			defer m.mu.Unlock()
			if err != nil {
				failed[n.oid] = true
				m.p.DoneBytes -= early
				if ctx.Err() == nil && !(m.lenient && errors.Is(err, mlops.ErrNotFound)) {
					m.fail(fmt.Errorf("dvc: %s: %w", n.path(), err))
				}
				return nil
			}
			m.t.Objects++
			m.t.SizeBytes += size
			m.told(n, 1, size-early)
			return nil
		})
	}
	_ = g.Wait()
	if err := ctx.Err(); err != nil && len(failed) > 0 {
		m.errs = append([]error{err}, m.errs...)
	}
	return failed
}

// done counts an object that was moved.
func (m *mover) done(n need, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.t.Objects++
	m.t.SizeBytes += bytes
	m.told(n, 1, bytes)
}

func (m *mover) told(n need, objects int, bytes int64) {
	m.p.Done += objects
	m.p.DoneBytes += bytes
	m.p.Path = n.path()
	if m.report != nil {
		m.report(m.p)
	}
}

// fail keeps an error; of very many alike the first twenty tell enough.
func (m *mover) fail(err error) {
	if len(m.errs) < 20 {
		m.errs = append(m.errs, err)
	}
}

// counted tells what is read from r, in steps of a mebibyte.
type counted struct {
	r     io.Reader
	moved func(int64)
	n     int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n += int64(n); c.n >= 1<<20 {
		c.moved(c.n)
		c.n = 0
	}
	return n, err
}

// unique sorts needs by object and keeps one of each. It writes over ns.
func unique(ns []need) []need {
	slices.SortFunc(ns, func(a, b need) int {
		return cmp.Or(strings.Compare(string(a.oid), string(b.oid)), strings.Compare(a.path(), b.path()))
	})
	return slices.CompactFunc(ns, func(a, b need) bool { return a.oid == b.oid })
}

// absent returns the needs that a store does not have.
func absent(ctx context.Context, s remote.Store, ns []need) ([]need, error) {
	keys := make([]string, len(ns))
	for i, n := range ns {
		keys[i] = n.oid.Key()
	}
	gone, err := s.Missing(ctx, keys)
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	set := make(map[string]bool, len(gone))
	for _, k := range gone {
		set[k] = true
	}
	out := make([]need, 0, len(gone))
	for i, n := range ns {
		if set[keys[i]] {
			out = append(out, n)
		}
	}
	return out, nil
}

// CheckoutOptions are options of [Repo.Checkout].
type CheckoutOptions struct {
	Targets []string
	Scope   Scope // Recursive and WithDeps
	Force   bool  // as in [PullOptions]
	Relink  bool  // replace what is in place, too, as cache.type says now

	// AllowMissing leaves out outputs that the cache does not have whole.
	AllowMissing bool
}

// Checkout makes the workspace hold what the .dvc files say, from the cache
// alone. The error matches [ErrNotCached] if something is missing there; see
// [Repo.Pull] for Force.
func (r *Repo) Checkout(ctx context.Context, o CheckoutOptions) (Transfer, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return Transfer{}, err
	}
	defer c.end()
	o.Scope.AllBranches, o.Scope.AllTags, o.Scope.AllCommits = false, false, false
	outs, _, err := c.choose(ctx, o.Targets, o.Scope, true)
	if err != nil {
		return Transfer{}, err
	}
	var t Transfer
	err = c.checkout(ctx, outs, o, &t)
	return t, err
}
