package dvc

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// GCOptions are options of [Repo.GC]. One of the first seven says what is kept;
// what the workspace's .dvc files need is always kept.
type GCOptions struct {
	Workspace      bool
	Revs           []string // git revisions
	AllBranches    bool     // the tips of local branches
	AllTags        bool
	AllCommits     bool      // of all refs, remote branches, stashes and experiments too
	AllExperiments bool      // refs/exps
	Since          time.Time // commits of that day and later

	Num      int      // with Revs and AllBranches, that many commits of each, 0 is 1
	Projects []string // folders of other repositories that share the cache, or the remote
	Cloud    bool     // collect in a remote, too
	Remote   string   // its name; "" is the default remote

	NotInRemote bool // keep only what the remote does not have, too; not with Cloud
	SkipFailed  bool // pass over commits whose .dvc files cannot be read, and keep nothing for them

	Yes      bool          // act; otherwise only tell
	Grace    time.Duration // how long the trash keeps what it got; 0 is [DefaultGrace]
	Progress func(Progress)
}

// DefaultGrace is how long the trash keeps objects.
const DefaultGrace = 7 * 24 * time.Hour

// GC is what a garbage collection did or, without Yes, would do.
type GC struct {
	Cache   []Garbage
	Remote  []Garbage
	Trash   string // the folder in the cache that got the objects; "" without Yes, and when there are none
	Emptied Trash  // what was older than the grace period, and is deleted now
	Temp    Trash  // temporary files that killed programs left; deleted with Yes
}

// Garbage is an object that nothing in the scope needs.
type Garbage struct {
	Hash      string // as .dvc files give it
	Kind      string // md5, or md5-dos2unix of dvc 2.x
	SizeBytes int64
}

// GC finds the objects in the cache, and with Cloud in a remote, that nothing in
// the scope needs: objects of dvc 3.x and of dvc 2.x each by their own names.
// With Yes it moves them into a trash in the cache's folder, where
// [Repo.RestoreTrash] finds them; what has been there longer than Grace is
// deleted, and so are temporary files of killed programs. Objects in a remote are deleted at once, listings of directories
// first.
//
// A directory's listing that the cache lacks is fetched from its remote. If it
// is not there either, what it names is not known: the error then matches
// [ErrNotCached] and nothing is done. A cache outside of .dvc may serve other
// repositories, and is left alone (an error matching [mlops.ErrConflict]) until
// Projects names them; the repository itself, if there are none.
func (r *Repo) GC(ctx context.Context, o GCOptions) (GC, error) {
	if !o.scoped() {
		return GC{}, fail(mlops.ErrInvalid, "gc needs a scope that says what to keep: workspace, revisions, branches, tags, commits, experiments or a date")
	}
	if o.Num > 1 && len(o.Revs) == 0 && !o.AllBranches {
		return GC{}, fail(mlops.ErrInvalid, "gc: a number of commits goes with revisions or branches")
	}
	if o.NotInRemote && o.Cloud {
		return GC{}, fail(mlops.ErrInvalid, "gc: what is not in the remote is kept, or the remote is collected, too; not both")
	}
	c, err := r.begin(ctx)
	if err != nil {
		return GC{}, err
	}
	defer c.end()
	if !object.Within(c.cache.Dir, filepath.Join(r.dir, ".dvc")) && len(o.Projects) == 0 {
		return GC{}, fail(mlops.ErrConflict, "the cache %s is outside of %s and may serve other repositories; name them (--projects), or this one alone if there are none", c.cache.Dir, filepath.Join(r.dir, ".dvc"))
	}
	g := &collector{call: c, cache: c.cache, used: map[object.ID]bool{}}
	if err := g.keep(ctx, o); err != nil {
		return GC{}, err
	}
	repos := []string{r.dir}
	for _, dir := range o.Projects {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(r.base, dir)
		}
		p, err := Open(dir, LockTimeout(r.lockTimeout))
		if err != nil {
			return GC{}, err
		}
		if slices.Contains(repos, p.dir) {
			continue
		}
		repos = append(repos, p.dir)
		other, err := p.begin(ctx)
		if err != nil {
			return GC{}, err
		}
		defer other.end()
		in := &collector{call: other, cache: c.cache, used: g.used}
		if err := in.keep(ctx, o); err != nil {
			return GC{}, err
		}
	}
	return g.collect(ctx, o)
}

// collector finds what a repository needs of a cache, and collects the rest.
type collector struct {
	*call
	cache *cache.Cache // which several repositories may share
	used  map[object.ID]bool
}

// collect does what [Repo.GC] promises when all that is used is known.
func (c *collector) collect(ctx context.Context, o GCOptions) (GC, error) {
	used := c.used
	if o.NotInRemote {
		if err := c.dropPushed(ctx, o.Remote); err != nil {
			return GC{}, err
		}
	}
	var g GC
	all, err := c.cache.Objects()
	if err != nil {
		return g, err
	}
	for _, obj := range all {
		if !used[obj.ID] {
			g.Cache = append(g.Cache, Garbage{obj.ID.String(), known.HashName(obj.ID.Legacy()), obj.Size})
		}
	}
	m := &mover{report: o.Progress}
	var far *place
	if o.Cloud {
		if far, g.Remote, err = c.remoteGarbage(ctx, m, o.Remote); err != nil {
			return g, err
		}
	}
	temp, err := c.leftovers(o.Yes)
	if g.Temp = Trash(temp); err != nil || !o.Yes {
		return g, err
	}
	if g.Trash, err = c.cache.Discard(ctx, all, used); err != nil {
		return g, err
	}
	emptied, err := c.cache.EmptyTrash(ctx, cmp.Or(o.Grace, DefaultGrace))
	if g.Emptied = Trash(emptied); err != nil {
		return g, err
	}
	return g, m.remove(ctx, far, g.Remote)
}

// remoteGarbage lists what a remote holds that is not used.
func (c *collector) remoteGarbage(ctx context.Context, m *mover, name string) (*place, []Garbage, error) {
	far, err := c.openPlace(ctx, m, name)
	if err != nil {
		return nil, nil, err
	}
	lister, lists := far.Store.(remote.Lister)
	if _, removes := far.Store.(remote.Remover); !lists || !removes {
		return nil, nil, fail(mlops.ErrUnsupported, "remote %q: its driver cannot list and delete", far.name)
	}
	var out []Garbage
	for obj, err := range lister.List(ctx, "") {
		if err != nil {
			return nil, nil, err
		}
		if id := keyOID(obj.Key); id != "" && !c.used[id] {
			out = append(out, Garbage{id.String(), known.HashName(id.Legacy()), obj.SizeBytes})
		}
	}
	slices.SortFunc(out, func(a, b Garbage) int { // listings first: one that is there has its files
		if x, y := object.ID(a.Hash).IsDir(), object.ID(b.Hash).IsDir(); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Hash, b.Hash)
	})
	return far, out, nil
}

// keyOID is the object that a remote keeps under a key, "" for other things.
func keyOID(key string) object.ID {
	rest, modern := strings.CutPrefix(key, "files/md5/")
	head, tail, ok := strings.Cut(rest, "/")
	if !ok || len(head) != 2 {
		return ""
	}
	id, err := object.Parse(head + tail)
	if err != nil {
		return ""
	}
	return id.As(!modern)
}

// remove deletes objects from a remote, listings before the rest.
func (m *mover) remove(ctx context.Context, far *place, all []Garbage) error {
	split := slices.IndexFunc(all, func(g Garbage) bool { return !object.ID(g.Hash).IsDir() })
	if split < 0 {
		split = len(all)
	}
	m.expect(len(all), 0)
	for _, part := range [][]Garbage{all[:split], all[split:]} {
		needs := make([]need, len(part))
		for i, g := range part {
			needs[i] = need{oid: object.ID(g.Hash).As(g.Kind != "md5"), out: g.Hash}
		}
		if len(needs) == 0 || len(m.errs) > 0 {
			continue
		}
		m.each(ctx, far, needs, func(ctx context.Context, n need, _ func(int64)) (int64, error) {
			return 0, far.Store.(remote.Remover).Remove(ctx, n.oid.Key())
		})
	}
	return errors.Join(m.errs...)
}
