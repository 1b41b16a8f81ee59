package dvc

import (
	"context"
	"path"

	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// keep2x leaves an output of dvc 2.x as it is when its content has not changed,
// as dvc add does. done is false when there is something to add as dvc 3 does;
// the output then gets hash: md5.
func (c *adder) keep2x(ctx context.Context, a *addition) (done bool, err error) {
	if a.out == nil || !a.out.oid.Legacy() {
		return false, nil
	}
	have, _, _, err := c.scan(ctx, a.rel, true)
	if err != nil {
		return false, err
	}
	var t object.Listing
	now := content{oid: have[""].oid, nfiles: -1}
	for p, f := range have {
		t = append(t, object.Entry{Path: p, ID: f.oid})
	}
	t.Sort()
	var listing []byte
	if a.isDir {
		listing, now.oid = t.Hash()
		now.oid, now.nfiles = now.oid.As(true), int64(len(t))
	}
	if now.oid != a.out.oid {
		return false, nil
	}
	for _, e := range t {
		f, st, err := openRegular(c.abs(path.Join(a.rel, e.Path)))
		if err != nil {
			return false, err
		}
		ok, err := c.cache.has(ctx, e.ID, -1)
		if err == nil && !ok && !a.noCommit {
			_, err = c.cache.receive(ctx, e.ID, f)
		}
		_ = f.Close()
		if err != nil {
			return false, err
		}
		now.size += st.Size
		now.exec = !a.isDir && st.Mode&0o111 != 0
	}
	if a.isDir {
		a.tree = t
		if !a.noCommit {
			err = c.cache.put(ctx, now.oid, listing)
		}
	}
	a.content, a.single = now, now.oid
	a.adopted = make([]bool, len(a.files))
	return true, err
}
