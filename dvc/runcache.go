package dvc

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// A record of the run cache, runs/ab/<sha256>/<sha256>, tells what a stage made
// of what. dvc repro reads it; here it is only copied.
var runKey = regexp.MustCompile(`^runs/[0-9a-f]{2}/[0-9a-f]{64}/[0-9a-f]{64}$`)

const maxRun = 16 << 20

// runsOf lists the records of a cache.
func runsOf(c *cache.Cache) ([]need, error) {
	var out []need
	err := filepath.WalkDir(filepath.Join(c.Dir, "runs"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(c.Dir, p)
		if key := filepath.ToSlash(rel); err == nil && runKey.MatchString(key) {
			out = append(out, need{oid: object.ID(key), out: key})
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return out, err
}

// runsPlace opens the remote of the run cache.
func (c *call) runsPlace(ctx context.Context, m *mover, name string) (*place, remote.Lister, error) {
	at, err := c.openPlace(ctx, m, name)
	if err != nil {
		return nil, nil, err
	}
	m.t.Remote = cmp.Or(m.t.Remote, at.name)
	l, ok := at.Store.(remote.Lister)
	if !ok {
		return nil, nil, fail(mlops.ErrUnsupported, "remote %q cannot list, and so cannot keep the run cache", at.name)
	}
	return at, l, nil
}

// pushRuns uploads the records that the remote lacks.
func (c *call) pushRuns(ctx context.Context, m *mover, name string) error {
	all, err := runsOf(c.cache)
	if err != nil {
		return err
	}
	at, l, err := c.runsPlace(ctx, m, name)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for o, err := range l.List(ctx, "runs/") {
		if err != nil {
			return err
		}
		there[o.Key] = true
	}
	var todo []need
	for _, n := range all {
		if there[n.out] {
			m.t.Present++
		} else {
			todo = append(todo, n)
		}
	}
	m.expect(len(todo), 0)
	m.each(ctx, at, todo, func(ctx context.Context, n need, _ func(int64)) (int64, error) {
		f, st, err := known.OpenRegular(filepath.Join(c.cache.Dir, filepath.FromSlash(n.out)))
		if err != nil {
			return 0, err
		}
		defer f.Close()
		h := object.NewHash(false)
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, st.Size)); err != nil {
			return 0, err
		}
		return st.Size, at.Put(ctx, n.out, remote.Blob{Body: io.NewSectionReader(f, 0, st.Size), MD5: object.Sum(h)})
	})
	return nil
}

// fetchRuns downloads the records that the cache lacks. Their names are not
// hashes of their bytes, so that nothing can be verified; dvc checks a record
// when it uses it, and the data it names is verified as any other.
func (c *call) fetchRuns(ctx context.Context, m *mover, name string) error {
	at, l, err := c.runsPlace(ctx, m, name)
	if err != nil {
		return err
	}
	var todo []need
	for o, err := range l.List(ctx, "runs/") {
		switch _, serr := os.Lstat(filepath.Join(c.cache.Dir, filepath.FromSlash(o.Key))); {
		case err != nil:
			return err
		case !runKey.MatchString(o.Key) || o.SizeBytes > maxRun:
			continue
		case serr == nil:
			m.t.Present++
		default:
			todo = append(todo, need{oid: object.ID(o.Key), out: o.Key})
		}
	}
	m.expect(len(todo), 0)
	m.each(ctx, at, todo, func(ctx context.Context, n need, _ func(int64)) (int64, error) {
		body, err := at.Get(ctx, n.out)
		if err != nil {
			return 0, err
		}
		defer body.Close()
		data, err := io.ReadAll(io.LimitReader(body, maxRun+1))
		if err == nil && len(data) > maxRun {
			err = fail(mlops.ErrInvalid, "the record is larger than %d bytes", maxRun)
		}
		if err != nil {
			return 0, err
		}
		return int64(len(data)), c.cache.PutRun(n.out, data)
	})
	return nil
}
