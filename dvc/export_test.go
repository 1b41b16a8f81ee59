package dvc

import (
	"context"
	"time"

	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/ignore"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// DVCKnows returns what we would take from dvc's database at a time.
func (r *Repo) DVCKnows(ctx context.Context, now time.Time, rels ...string) (map[string]string, error) {
	d, err := known.OpenDVC(r.dir, "", false)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	files := map[string]known.Stamp{}
	for _, rel := range rels {
		if files[rel], err = known.Stat(r.abs(rel), true); err != nil {
			return nil, err
		}
	}
	found, err := d.Find(ctx, r.dir, files, now)
	out := map[string]string{}
	for rel, o := range found {
		out[rel] = o.String()
	}
	return out, err
}

// Ignored tells what .dvcignore files say of a path.
func (r *Repo) Ignored(rel string, isDir bool) (bool, error) {
	if err := opened(r); err != nil {
		return false, err
	}
	di := ignore.NewDVC(r.dir, r.readFile)
	ignored := di.Ignored(rel, isDir)
	return ignored, di.Err()
}

// remoteConfig is what a call of its own finds.
func (r *Repo) remoteConfig(name string, more ...setting) (remote.Config, error) {
	c, err := r.look()
	if err != nil {
		return remote.Config{}, err
	}
	return c.remoteConfig(name, more...)
}

func (r *Repo) located(d *dvcfile.Dep, dir string) (remote.Config, string, error) {
	c, err := r.look()
	if err != nil {
		return remote.Config{}, "", err
	}
	return c.located(d, dir)
}

func (r *Repo) openPlace(ctx context.Context, m *mover, name string) (*place, error) {
	c, err := r.look()
	if err != nil {
		return nil, err
	}
	return c.openPlace(ctx, m, name)
}
