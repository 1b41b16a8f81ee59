package dvc

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/ignore"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/lock"
)

// call is one call of a method of [Repo]: the repository with what the call has
// opened and read, each of it once. It is not shared between calls.
type call struct {
	*Repo
	cfg   *config.Config
	cache *cache.Cache

	// What [call.read] reads.
	ix        *index      // what the workspace tracks
	gitIgnore *ignore.Git // nil without git
	dvcIgnore *ignore.Files

	// Of a call that holds the lock; nil in one that does not, but for the
	// doctor's root.
	held  *os.File
	root  *os.Root
	state *known.State

	swept   sync.Once   // [call.sweepOwn]
	tmpAway atomic.Bool // .dvc/tmp is on another file system than the workspace
	written []string    // the files of git's that the call has written, for core.autostage
}

// look opens a call that takes no lock: it changes nothing in the repository.
func (r *Repo) look() (*call, error) {
	cfg, err := r.config()
	if err != nil {
		return nil, err
	}
	return newCall(r, cfg)
}

// newCall returns a call with a configuration that was read before.
func newCall(r *Repo, cfg *config.Config) (*call, error) {
	c := &call{Repo: r, cfg: cfg}
	var err error
	if c.cache, err = cacheOf(cfg, r.dir); err != nil {
		return nil, err
	}
	return c, nil
}

// begin opens a call that holds the repository's lock until its end.
func (r *Repo) begin(ctx context.Context) (*call, error) {
	held, cfg, err := r.lock(ctx)
	if err != nil {
		return nil, err
	}
	c, err := newCall(r, cfg)
	if err == nil {
		c.root, err = os.OpenRoot(r.dir)
	}
	if err != nil {
		lock.Release(held)
		return nil, err
	}
	c.held = held
	c.cache.Begin()
	site := ""
	if v, ok := cfg.Get("core", "site_cache_dir"); ok {
		site = v.Resolve()
	}
	c.state = known.Open(c.dir, c.root, c.tempRel, site)
	return c, nil
}

// end saves what the call learned and releases the lock.
func (c *call) end() {
	c.cache.End()
	c.state.Save()
	_ = c.root.Close()
	lock.Release(c.held)
}

// change is begin for a call that changes what is tracked.
func (r *Repo) change(ctx context.Context) (*call, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err = c.read(ctx); err == nil {
		err = c.ix.twice
	}
	if err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// read reads the ignore files and what the workspace tracks.
func (c *call) read(ctx context.Context) (err error) {
	c.dvcIgnore = ignore.NewDVC(c.dir, c.readFile)
	if c.gitRoot != "" {
		if c.gitIgnore, err = ignore.NewGit(ctx, c.gitRoot, c.dir, c.readFile); err != nil {
			return err
		}
	}
	c.ix, err = c.index()
	return err
}

// claim is [call.claims] for writing. When it waited, it reads what is tracked
// again, and again is true: what the caller found in it does not hold any more.
func (c *call) claim(ctx context.Context, rels []string) (again bool, err error) {
	if again, err = c.claims(ctx, true, rels); again && err == nil {
		if err = c.read(ctx); err == nil {
			err = c.ix.twice
		}
	}
	return again, err
}

// cacheOf returns the cache of the repository at root.
func cacheOf(cfg *config.Config, root string) (*cache.Cache, error) {
	dir, links := filepath.Join(root, ".dvc", "cache"), []string{"reflink", "copy"}
	if v, ok := cfg.Get("cache", "dir"); ok {
		dir = v.Resolve()
	}
	if v, ok := cfg.Get("cache", "type"); ok {
		links = nil
		for t := range strings.SplitSeq(v.Text(), ",") { // dvc writes a list, or a text with commas
			t = strings.ToLower(strings.TrimSpace(t))
			if !slices.Contains(cache.LinkTypes, t) {
				return nil, fail(mlops.ErrInvalid, "cache.type %q", t)
			}
			links = append(links, t)
		}
	}
	shared, _ := cfg.Get("cache", "shared")
	return cache.New(dir, links, shared.Text() == "group"), nil
}
