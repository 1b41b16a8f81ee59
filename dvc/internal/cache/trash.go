package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// The trash is a folder in the cache's: trash/<time>-<random>/<object>. Names of
// objects are whole there, so that dvc does not take them for objects, and those
// of dvc 2.x have "2x-" before them.

const trashTime = "20060102T150405Z"

// Amount is a number of files and their size.
type Amount struct {
	Objects   int
	SizeBytes int64
}

func (c *Cache) trashDir() string { return filepath.Join(c.Dir, "trash") }

func trashName(o object.ID) string {
	if o.Legacy() {
		return "2x-" + o.String()
	}
	return o.String()
}

func trashOID(name string) (object.ID, bool) {
	rest, legacy := strings.CutPrefix(name, "2x-")
	id, err := object.Parse(rest)
	return id.As(legacy), err == nil
}

// Discard moves the objects that are not used into a new batch and returns its
// folder. Listings go first: one that stays has its files.
func (c *Cache) Discard(ctx context.Context, all []Object, used map[object.ID]bool) (string, error) {
	dir := ""
	for _, listings := range []bool{true, false} {
		for _, o := range all {
			if used[o.ID] || o.ID.IsDir() != listings {
				continue
			}
			if err := ctx.Err(); err != nil {
				return dir, err
			}
			if dir == "" {
				dir = filepath.Join(c.trashDir(), time.Now().UTC().Format(trashTime)+"-"+TempName()[1:9])
				if err := c.mkdirAll(dir); err != nil {
					return "", err
				}
			}
			if err := os.Rename(o.Path, filepath.Join(dir, trashName(o.ID))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return dir, err
			}
		}
	}
	return dir, nil
}

// batches lists the trash's folders with the time when they were filled.
func (c *Cache) batches() (map[string]time.Time, error) {
	entries, err := os.ReadDir(c.trashDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string]time.Time{}
	for _, e := range entries {
		stamp, _, _ := strings.Cut(e.Name(), "-")
		if at, err := time.Parse(trashTime, stamp); err == nil && e.IsDir() {
			out[filepath.Join(c.trashDir(), e.Name())] = at
		}
	}
	return out, nil
}

// EmptyTrash deletes the batches that are older than grace.
func (c *Cache) EmptyTrash(ctx context.Context, grace time.Duration) (Amount, error) {
	return c.eachTrashed(ctx, time.Now().Add(-grace), func(p string, _ object.ID) error {
		return os.Remove(p)
	})
}

// eachTrashed calls do for each object in batches that were filled before a
// time, and removes folders that are empty then.
func (c *Cache) eachTrashed(ctx context.Context, before time.Time, do func(p string, o object.ID) error) (Amount, error) {
	var t Amount
	batches, err := c.batches()
	if err != nil {
		return t, err
	}
	for dir, at := range batches {
		if at.After(before) {
			continue
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			return t, err
		}
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return t, err
			}
			id, ok := trashOID(f.Name())
			if !ok || !f.Type().IsRegular() {
				continue
			}
			fi, err := f.Info()
			if err != nil {
				return t, err
			}
			if err := do(filepath.Join(dir, f.Name()), id); err != nil {
				return t, err
			}
			t.Objects++
			t.SizeBytes += fi.Size()
		}
		_ = os.Remove(dir) // stays while it holds something
	}
	_ = os.Remove(c.trashDir())
	return t, nil
}

// RestoreTrash puts everything in the trash back. An object that the cache has
// again stays as the cache has it.
func (c *Cache) RestoreTrash(ctx context.Context) (Amount, error) {
	return c.eachTrashed(ctx, time.Now().Add(time.Hour), func(p string, o object.ID) error {
		ok, err := c.Has(ctx, o, -1)
		if err != nil {
			return err
		}
		if ok {
			return os.Remove(p)
		}
		if _, err := c.mkdir(o); err != nil {
			return err
		}
		return os.Rename(p, c.Path(o))
	})
}

// TrashSize is how much the trash holds.
func (c *Cache) TrashSize(ctx context.Context) (Amount, error) {
	return c.eachTrashed(ctx, time.Now().Add(time.Hour), func(string, object.ID) error { return nil })
}
