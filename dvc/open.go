package dvc

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// FS is the tracked data of a repository as an [io/fs.FS], read from the cache
// and, where that lacks an object, from the remote; nothing is checked out and
// nothing is written. It is safe for concurrent use. Paths are relative to the
// repository's root.
//
// What is read is checked: a file whose bytes are not what its name says ends
// with an error that matches [mlops.ErrInvalid], not with io.EOF. The size of a
// file that was never stored here is not known without a request, and is 0
// until the file has been read.
type FS struct {
	ctx context.Context
	c   *call
	top *treeNode

	mu     sync.Mutex
	stores map[string]remote.Store
}

// treeNode is a file or directory of an FS. The files of a tracked directory
// are added when they are first asked for.
type treeNode struct {
	name     string
	out      *dvcfile.Out
	oid      object.ID // "" for a directory above outputs
	size     int64
	exec     bool
	children map[string]*treeNode

	mu     sync.Mutex // of loading
	loaded bool
}

// FS returns the data that the repository tracked at a git revision; "" means
// the .dvc files as they are in the workspace. Requests are made with ctx until
// the FS is not used any more.
//
// The error matches [mlops.ErrNotFound] if git has no such revision.
func (r *Repo) FS(ctx context.Context, rev string) (*FS, error) {
	c, err := r.look()
	if err != nil {
		return nil, err
	}
	ix, err := c.indexAt(ctx, rev)
	if err != nil {
		return nil, err
	}
	return newFS(ctx, c, ix)
}

func newFS(ctx context.Context, c *call, ix *index) (*FS, error) {
	f := &FS{ctx: ctx, c: c, top: &treeNode{name: ".", children: map[string]*treeNode{}, loaded: true}, stores: map[string]remote.Store{}}
	for p, o := range ix.outs {
		if !o.Cache || o.ID == "" || o.Odd != "" {
			continue
		}
		n := f.top.dir(path.Dir(p))
		if n == nil || n.children[path.Base(p)] != nil {
			return nil, fail(mlops.ErrInvalid, "output %s of %s overlaps with another", p, o.File.Rel)
		}
		leaf := &treeNode{name: path.Base(p), out: o, oid: o.ID, size: max(0, o.Size), exec: o.Exec, loaded: !o.ID.IsDir()}
		if o.ID.IsDir() {
			leaf.children = map[string]*treeNode{}
		}
		n.children[leaf.name] = leaf
	}
	return f, nil
}

// Open opens tracked data for reading: a file, or a file inside of a tracked
// directory, as it was at a git revision ("" is the workspace's .dvc files). See
// [FS] for how it is checked. The caller closes it.
//
// The error matches [mlops.ErrNotFound] if the path is not tracked there, and
// [ErrNotCached] if the data is neither in the cache nor in the remote.
func (r *Repo) Open(ctx context.Context, name, rev string) (fs.File, error) {
	rel, err := r.rel(name)
	if err != nil {
		return nil, err
	}
	f, err := r.FS(ctx, rev)
	if err != nil {
		return nil, err
	}
	file, err := f.Open(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(mlops.ErrNotFound, "%s is not tracked", name)
	}
	return file, err
}

func (c *call) indexAt(ctx context.Context, rev string) (*index, error) {
	if rev == "" {
		err := c.read(ctx)
		return c.ix, err
	}
	return newHistory(c.Repo).index(ctx, rev)
}

// dir returns the directory at p below n, made as needed; nil when an output
// is in the way.
func (n *treeNode) dir(p string) *treeNode {
	if p == "." {
		return n
	}
	for name := range strings.SplitSeq(p, "/") {
		if n.out != nil && n.oid == n.out.ID {
			return nil
		}
		next := n.children[name]
		if next == nil {
			next = &treeNode{name: name, out: n.out, children: map[string]*treeNode{}, loaded: true}
			n.children[name] = next
		}
		n = next
	}
	if n.out != nil && n.oid == n.out.ID {
		return nil
	}
	return n
}

// load adds the files of a tracked directory.
func (f *FS) load(n *treeNode) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.loaded {
		return nil
	}
	t, err := f.c.cache.Listing(n.oid)
	if errors.Is(err, ErrNotCached) {
		t, err = f.farTree(n)
	}
	if err != nil {
		return err
	}
	inner := &treeNode{out: n.out, children: n.children}
	for _, e := range t {
		leaf := &treeNode{name: path.Base(e.Path), out: n.out, oid: e.ID, loaded: true}
		if fi, err := os.Stat(f.c.cache.Path(e.ID)); err == nil {
			leaf.size = fi.Size()
		}
		inner.dir(path.Dir(e.Path)).children[leaf.name] = leaf
	}
	n.loaded = true
	return nil
}

// farTree reads a listing from the remote.
func (f *FS) farTree(n *treeNode) (object.Listing, error) {
	body, err := f.far(n)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return object.Read(body, -1, n.oid)
}

// far opens an object in the remote of its output.
func (f *FS) far(n *treeNode) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := n.out.Remote
	s := f.stores[name]
	if s == nil {
		cfg, err := f.c.remoteConfig(name)
		if errors.Is(err, mlops.ErrNotFound) {
			return nil, fmt.Errorf("dvc: %s (%s): %w, and there is no remote: %w", n.out.Path, n.oid, ErrNotCached, err)
		}
		if err != nil {
			return nil, err
		}
		if s, err = remote.Open(f.ctx, cfg); err != nil {
			return nil, err
		}
		f.stores[name] = s
	}
	body, err := s.Get(f.ctx, n.oid.Key())
	if errors.Is(err, mlops.ErrNotFound) {
		return nil, fmt.Errorf("dvc: %s (%s): %w nor in the remote: %w", n.out.Path, n.oid, ErrNotCached, err)
	}
	return body, err
}

// Open opens a file or directory.
func (f *FS) Open(name string) (fs.File, error) {
	n, err := f.find(name)
	if err == nil {
		if n.children != nil {
			return &openDir{n: n}, nil
		}
		var body io.ReadCloser
		if body, err = os.Open(f.c.cache.Path(n.oid)); errors.Is(err, fs.ErrNotExist) {
			body, err = f.far(n)
		}
		if err == nil {
			return &openFile{n: n, r: &verified{r: body, h: n.oid.NewHash(), oid: n.oid}, c: body}, nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}

// Stat tells of a file or directory without reading it.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	n, err := f.find(name)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return n.info(), nil
}

// ReadDir lists a directory.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := f.find(name)
	if err == nil && n.children == nil {
		err = errors.New("not a directory")
	}
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return n.entries(), nil
}

func (f *FS) find(name string) (*treeNode, error) {
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	n := f.top
	if name != "." {
		for part := range strings.SplitSeq(name, "/") {
			if err := f.load(n); err != nil {
				return nil, err
			}
			if n = n.children[part]; n == nil {
				return nil, fs.ErrNotExist
			}
		}
	}
	return n, f.load(n)
}

func (n *treeNode) entries() []fs.DirEntry {
	out := make([]fs.DirEntry, 0, len(n.children))
	for _, c := range n.children {
		out = append(out, fs.FileInfoToDirEntry(c.info()))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}

func (n *treeNode) info() fs.FileInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := nodeInfo{name: n.name, size: n.size, mode: 0o444}
	switch {
	case n.children != nil:
		i.mode, i.size = fs.ModeDir|0o555, 0
	case n.exec:
		i.mode = 0o555
	}
	return i
}

// nodeInfo is a FileInfo. DVC keeps no times.
type nodeInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i nodeInfo) Name() string       { return i.name }
func (i nodeInfo) Size() int64        { return i.size }
func (i nodeInfo) Mode() fs.FileMode  { return i.mode }
func (i nodeInfo) ModTime() time.Time { return time.Time{} }
func (i nodeInfo) IsDir() bool        { return i.mode.IsDir() }
func (i nodeInfo) Sys() any           { return nil }

type openFile struct {
	n *treeNode
	r *verified
	c io.Closer
}

func (o *openFile) Stat() (fs.FileInfo, error) { return o.n.info(), nil }
func (o *openFile) Close() error               { return o.c.Close() }

func (o *openFile) Read(p []byte) (int, error) {
	k, err := o.r.Read(p)
	if err == io.EOF {
		o.n.mu.Lock()
		o.n.size = o.r.size
		o.n.mu.Unlock()
	}
	return k, err
}

// verified reads an object and ends with an error if it was another one.
type verified struct {
	r    io.Reader
	h    hash.Hash
	oid  object.ID
	size int64
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	_, _ = v.h.Write(p[:n])
	v.size += int64(n)
	if err == io.EOF {
		if got := object.Sum(v.h); got != v.oid.MD5() {
			return n, fail(mlops.ErrInvalid, "object %s came with hash %s", v.oid, got)
		}
	}
	return n, err
}

type openDir struct {
	n    *treeNode
	rest []fs.DirEntry
	read bool
}

func (o *openDir) Stat() (fs.FileInfo, error) { return o.n.info(), nil }
func (o *openDir) Close() error               { return nil }

func (o *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.n.name, Err: errors.New("is a directory")}
}

func (o *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !o.read {
		o.rest, o.read = o.n.entries(), true
	}
	if n <= 0 {
		n = len(o.rest)
	} else if len(o.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(o.rest))
	out := o.rest[:n]
	o.rest = o.rest[n:]
	return out, nil
}
