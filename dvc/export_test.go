package dvc

import (
	"context"
	"time"

	"github.com/mlops-integration/mlops/dvc/internal/ignore"
)

// DVCKnows returns what we would take from dvc's database at a time.
func (r *Repo) DVCKnows(ctx context.Context, now time.Time, rels ...string) (map[string]string, error) {
	d, err := r.openDVCState(false)
	if err != nil {
		return nil, err
	}
	defer d.close()
	files := map[string]stamp{}
	for _, rel := range rels {
		if files[rel], err = statPath(r.abs(rel), true); err != nil {
			return nil, err
		}
	}
	found, err := d.find(ctx, r.root, files, now)
	out := map[string]string{}
	for rel, o := range found {
		out[rel] = o.String()
	}
	return out, err
}

// Ignored tells what .dvcignore files say of a path.
func (r *Repo) Ignored(rel string, isDir bool) (bool, error) {
	di := ignore.NewDVC(r.root)
	ignored := di.Ignored(rel, isDir)
	return ignored, di.Err
}
