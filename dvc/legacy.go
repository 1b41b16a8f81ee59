package dvc

import (
	"context"
	"path"

	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// keep2x leaves an output of dvc 2.x as it is when its content has not changed,
// as dvc add does. done is false when there is something to add as dvc 3 does;
// the output then gets hash: md5.
func (c *adder) keep2x(ctx context.Context, a *addition) (done bool, err error) {
	if a.out == nil || !a.out.ID.Legacy() {
		return false, nil
	}
	have, _, _, err := c.scan(ctx, a.rel, true)
	if err != nil {
		return false, err
	}
	var t object.Listing
	now := dvcfile.Content{ID: have[""].oid, NFiles: -1}
	for p, f := range have {
		t = append(t, object.Entry{Path: p, ID: f.oid})
	}
	t.Sort()
	var listing []byte
	if a.isDir {
		listing, now.ID = t.Hash()
		now.ID, now.NFiles = now.ID.As(true), int64(len(t))
	}
	if now.ID != a.out.ID {
		return false, nil
	}
	for _, e := range t {
		f, st, err := known.OpenRegular(c.abs(path.Join(a.rel, e.Path)))
		if err != nil {
			return false, err
		}
		ok, err := c.cache.Has(ctx, e.ID, -1)
		if err == nil && !ok && !a.noCommit {
			_, err = c.cache.Receive(ctx, e.ID, f)
		}
		_ = f.Close()
		if err != nil {
			return false, err
		}
		now.Size += st.Size
		now.Exec = !a.isDir && st.Mode&0o111 != 0
	}
	if a.isDir {
		a.tree = t
		if !a.noCommit {
			err = c.cache.Put(ctx, now.ID, listing)
		}
	}
	a.content, a.single = now, now.ID
	a.adopted = make([]bool, len(a.files))
	return true, err
}
