package dvc

import (
	"context"
	"path"
)

// keep2x leaves an output of dvc 2.x as it is when its content has not changed,
// as dvc add does. done is false when there is something to add as dvc 3 does;
// the output then gets hash: md5.
func (r *Repo) keep2x(ctx context.Context, c *cache, a *addition) (done bool, err error) {
	if a.out == nil || !a.out.oid.legacy() {
		return false, nil
	}
	have, _, _, err := r.scan(ctx, newDVCIgnore(r), a.rel, true)
	if err != nil {
		return false, err
	}
	var t tree
	now := content{oid: have[""].oid, nfiles: -1}
	for p, f := range have {
		t = append(t, treeEntry{p, f.oid})
	}
	t.sort()
	var listing []byte
	if a.isDir {
		listing, now.oid = t.hash()
		now.oid, now.nfiles = now.oid.as(true), int64(len(t))
	}
	if now.oid != a.out.oid {
		return false, nil
	}
	for _, e := range t {
		f, st, err := openRegular(r.abs(path.Join(a.rel, e.path)))
		if err != nil {
			return false, err
		}
		ok, err := c.has(ctx, e.oid, -1)
		if err == nil && !ok && !a.noCommit {
			_, err = c.receive(ctx, e.oid, f)
		}
		_ = f.Close()
		if err != nil {
			return false, err
		}
		now.size += st.size
		now.exec = !a.isDir && st.mode&0o111 != 0
	}
	if a.isDir {
		a.tree = t
		if !a.noCommit {
			err = c.put(ctx, now.oid, listing)
		}
	}
	a.content, a.single = now, now.oid
	a.adopted = make([]bool, len(a.files))
	return true, err
}
