package dvc

import (
	"bytes"
	"context"
	"os"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// Version names the exact bytes of tracked data, for a run's record.
type Version struct {
	Path        string
	Hash        string // md5, for a directory with ".dir"
	SizeBytes   int64  // -1 when not known
	Remote      string // where it is pushed to; "" when no remote is configured
	RemoteURL   string // its address or directory, without user and password
	GitRevision string // the commit that is checked out; "" when its .dvc file differs from the one here
}

// Version returns the version of tracked data as its .dvc file says; it does
// not look at the data. A path inside a tracked directory gives the version of
// that file, from the directory's listing in the cache.
//
// The error matches [mlops.ErrNotFound] if path is not tracked.
func (r *Repo) Version(ctx context.Context, name string) (Version, error) {
	rel, err := r.rel(name)
	if err != nil {
		return Version{}, err
	}
	c, broken := r.look()
	if broken != nil { // only a part of a directory, and the remote's name, need the configuration
		c = &call{Repo: r, cfg: &config.Config{}}
	}
	if err := c.read(ctx); err != nil {
		return Version{}, err
	}
	o := c.ix.owner(rel)
	if o == nil {
		return Version{}, fail(mlops.ErrNotFound, "%s is not tracked", name)
	}
	v := Version{Path: r.show(rel), Hash: o.ID.String(), SizeBytes: o.Size, Remote: o.Remote}
	if o.Path != rel {
		if broken != nil {
			return Version{}, broken
		}
		if err := c.partVersion(&v, o, strings.TrimPrefix(rel, o.Path+"/")); err != nil {
			return Version{}, err
		}
	}
	if v.Remote == "" {
		if def, err := c.cfg.DefaultRemote(); err == nil {
			v.Remote = def.Name
		}
	}
	if cfg, err := c.remoteConfig(v.Remote); err == nil {
		v.RemoteURL = address.Anonymous(cfg.URL)
	}
	if r.gitRoot == "" {
		return v, nil
	}
	if text, err := r.git(ctx, "cat-file", "blob", "HEAD:./"+o.File.Source()); err == nil && bytes.Equal(text, o.File.Text) {
		rev, err := r.git(ctx, "rev-parse", "HEAD")
		if err != nil {
			return Version{}, err
		}
		v.GitRevision = strings.TrimSpace(string(rev))
	}
	return v, ctx.Err()
}

// partVersion fills in what the listing says of a file or directory below an
// output.
func (c *call) partVersion(v *Version, o *dvcfile.Out, inner string) error {
	if !o.ID.IsDir() {
		return fail(mlops.ErrNotFound, "%s is a file", c.show(o.Path))
	}
	t, err := c.cache.Listing(o.ID)
	if err != nil {
		return err
	}
	var below object.Listing
	for _, e := range t {
		if e.Path == inner {
			v.Hash, v.SizeBytes = e.ID.String(), -1
			if fi, err := os.Stat(c.cache.Path(e.ID)); err == nil {
				v.SizeBytes = fi.Size()
			}
			return nil
		}
		if rest, ok := strings.CutPrefix(e.Path, inner+"/"); ok {
			below = append(below, object.Entry{Path: rest, ID: e.ID})
		}
	}
	if len(below) == 0 {
		return fail(mlops.ErrNotFound, "%s is not in the listing of %s", v.Path, c.show(o.Path))
	}
	_, id := below.Hash()
	v.Hash, v.SizeBytes = id.String(), -1
	return nil
}
