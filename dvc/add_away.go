package dvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// addFrom adds data that lies elsewhere, or brings it to a remote: an import
// that does not write down where it came from.
func (r *Repo) addFrom(ctx context.Context, o AddOptions, paths []string) ([]Output, error) {
	option := "out"
	if o.ToRemote {
		option = "to-remote"
	}
	switch {
	case len(paths) != 1:
		return nil, fail(mlops.ErrInvalid, "%s takes one path or URL, not %d", option, len(paths))
	case o.NoCommit:
		return nil, fail(mlops.ErrInvalid, "%s needs the data now: no-commit does not go with it", option)
	case o.Remote != "" && !o.ToRemote:
		return nil, fail(mlops.ErrInvalid, "a remote's name goes with to-remote")
	}
	from := paths[0]
	if err := checkURL(from); err != nil {
		return nil, err
	}
	c, err := r.change(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	c.cache.Apart = o.NoRelink
	to := arrival{out: o.Out, force: o.Force, toRemote: o.ToRemote, remote: o.Remote, Transfers: o.Transfers}
	if rel, err := r.rel(from); err == nil && o.Out == "" && remote.Scheme(from) == "" {
		to.out = filepath.Dir(from) // data of the repository stays where it is
		to.force = to.force || c.ix.outs[rel] == nil && !exists(r.abs(rel+".dvc"))
	}
	out, err := c.bring(ctx, urlName(from), to, true, func(rel string) (*dvcfile.Dep, error) {
		at, err := r.urlFrom(from, path.Dir(rel))
		return &dvcfile.Dep{Path: at, Size: -1, NFiles: -1}, err
	})
	if err != nil {
		return nil, err
	}
	return []Output{out}, nil
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// send brings data from its origin to a remote, files first, a directory's
// listing after all of them. Names of objects are known when all bytes were
// read, so each file lies in the repository's own folder for what is not
// complete, as long as it is on its way.
func (b *importer) send(ctx context.Context, from *origin) (dvcfile.Content, error) {
	at, err := b.openPlace(ctx, b.m, b.o.remote)
	if err != nil {
		return dvcfile.Content{}, err
	}
	if b.m.jobs < 1 {
		b.m.jobs = at.jobs
	}
	tmp, err := b.tempRel()
	if err != nil {
		return dvcfile.Content{}, err
	}
	if err := b.root.Mkdir(tmp, 0o777); err != nil {
		return dvcfile.Content{}, err
	}
	defer func() { _ = b.root.RemoveAll(tmp) }()
	c := &cache.Cache{Dir: b.abs(tmp), Links: []string{"copy"}}
	from.stored = func(ctx context.Context, id object.ID) error { return moveTo(ctx, c, at, id) }
	return from.fetch(ctx, c, b.m, b.rel)
}

// moveTo uploads an object that a remote lacks, and removes it from the cache.
func moveTo(ctx context.Context, c *cache.Cache, at *place, id object.ID) error {
	gone, err := at.Missing(ctx, []string{id.Key()})
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		f, st, err := known.OpenRegular(c.Path(id))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another file of the same bytes took it there meanwhile
		}
		if err != nil {
			return err
		}
		defer f.Close()
		if err := at.Put(ctx, id.Key(), remote.Blob{Body: io.NewSectionReader(f, 0, st.Size), MD5: id.MD5()}); err != nil {
			return fmt.Errorf("dvc: remote %q: %w", at.name, err)
		}
	}
	if err := os.Remove(c.Path(id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
