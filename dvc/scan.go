package dvc

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// foundFiles is workspace content of an output, by path relative to it; "" is the
// output itself when it is a file.
type foundFiles map[string]foundFile

type foundFile struct {
	oid   object.ID // "" for what has no content that could be in the cache
	link  bool
	stamp known.Stamp // of what the link points to, if it has content
}

// scan names the content that lies at a path in the workspace, by the kind of
// hash that its output has. ok is false when nothing does. Under the lock, what
// is known is not read.
func (c *call) scan(ctx context.Context, rel string, legacy bool) (have foundFiles, isDir, ok bool, err error) {
	own, err := known.Stat(c.abs(rel), false)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, false, false, nil
	}
	if err != nil {
		return nil, false, false, err
	}
	st, link := own, own.Mode&fs.ModeSymlink != 0
	if link {
		st, err = known.Stat(c.abs(rel), true)
	}
	isDir = err == nil && st.Mode.IsDir()
	if err != nil || link && isDir || !isDir && !st.Mode.IsRegular() {
		return foundFiles{"": {"", link, own}}, false, true, nil // not content that we could have put there
	}
	if c.dvcIgnore.Ignored(rel, isDir) {
		return nil, false, false, nil
	}
	files := []known.Found{{Path: "", Link: link, Stamp: st}}
	if isDir {
		if files, err = c.walkData(rel); err != nil {
			return nil, true, true, err
		}
	}
	names, err := c.hashFiles(ctx, rel, files, legacy)
	if err != nil {
		return nil, isDir, true, err
	}
	have = make(foundFiles, len(files))
	for i, f := range files {
		have[f.Path] = foundFile{names[i], f.Link, f.Stamp}
	}
	return have, isDir, true, nil
}

// hashFiles names the contents of files below dir, as [Repo.walkData] lists
// them. Under the lock, what is known is not read.
func (c *call) hashFiles(ctx context.Context, dir string, files []known.Found, legacy bool) ([]object.ID, error) {
	names := c.state.Recall(ctx, dir, files, legacy)
	return names, c.parallel(ctx, len(files), func(ctx context.Context, i int) error {
		if names[i] != "" {
			return nil
		}
		h, err := c.hashFile(ctx, path.Join(dir, files[i].Path), legacy)
		names[i] = h.ID
		return err
	})
}

// hashFile reads a workspace file and names its content, which is known from
// then on.
func (c *call) hashFile(ctx context.Context, rel string, legacy bool) (cache.Hashed, error) {
	since := time.Now()
	f, before, err := known.OpenRegular(c.abs(rel))
	if err != nil {
		return cache.Hashed{}, err
	}
	defer f.Close()
	sum, n, err := cache.Digest(ctx, f, before.Size, object.NewHash(legacy))
	if err != nil {
		return cache.Hashed{}, err
	}
	h := cache.Hashed{ID: object.ID(sum).As(legacy), Size: n, Mode: before.Mode}
	if after, err := known.StatFile(f); err == nil && after == before {
		c.state.Keep(rel, h.ID, after, since)
	}
	return h, nil
}

// parallel calls do for 0 to n-1, as many at once as the repository's jobs, and
// returns the first error.
func (r *Repo) parallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(r.jobs, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// store puts a workspace file into the cache and keeps what it was then. See
// [cache.Cache.Store].
func (c *call) store(ctx context.Context, rel string, link bool, hint object.ID) (cache.Hashed, error) {
	since := time.Now()
	h, err := c.cache.Store(ctx, c.abs(rel), link, hint)
	switch {
	case err != nil:
	case h.Adopted:
		c.state.KeepPlaced(rel, h.ID, h.Stamp)
	case h.Stamp != known.Stamp{}:
		c.state.Keep(rel, h.ID, h.Stamp, since)
	}
	return h, err
}
