package mlflow

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// Download opens one file; the caller closes it. The file is not held in
// memory. When the connection is cut or the server dies, Read resumes where it
// was as soon as the server is there again ([ArtifactOptions].Patience), and
// the error matches [mlops.ErrConflict] if the file was replaced meanwhile.
// Read returns io.EOF only after the last byte.
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) Download(ctx context.Context, of, file string) (io.ReadCloser, error) {
	return c.DownloadRange(ctx, of, file, 0, -1)
}

// DownloadRange is [Client.Download] of size bytes from the byte at from on;
// a size below 0 is all that follows. A file that ends earlier gives less. The
// error matches [mlops.ErrInvalid] if it ends before from.
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) DownloadRange(ctx context.Context, of, file string, from, size int64) (io.ReadCloser, error) {
	if from < 0 {
		return nil, invalid("Download", "a range cannot begin at byte %d", from)
	}
	root, err := c.art.root(ctx, of)
	if err != nil {
		return nil, err
	}
	at, store, err := c.art.locate(root, file)
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return io.NopCloser(eof{}), nil
	}
	to := int64(-1)
	if size > 0 {
		to = from + size
	}
	r := newReader(ctx, c, store, at, from, to)
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// locate is the address of a file below root, and the store that keeps it.
func (a *artifacts) locate(root, file string) (string, Store, error) {
	file, err := cleanPath(file)
	if err != nil {
		return "", nil, err
	}
	store, err := a.store(root)
	return join(root, file), store, err
}

// reader reads a span of an object and survives what may happen on the way.
type reader struct {
	ctx      context.Context
	store    Store
	uri      string
	from, to int64 // what is wanted; to is -1 while the end is not known
	version  string

	obj  *Object
	size int64        // of the whole object; -1 while it is not known
	at   int64        // the next byte
	seen maphash.Hash // of the bytes from from to at
	st   stamina
}

func newReader(ctx context.Context, c *Client, store Store, uri string, from, to int64) *reader {
	return &reader{ctx: ctx, store: store, uri: uri, from: from, to: to, at: from, size: -1, st: stamina{c: c}}
}

// open begins at r.at, or from the start if the store can do no other: then
// what was read before is read again, and has to be the same.
func (r *reader) open() error {
	obj, err := r.store.Open(r.ctx, r.uri, Range{From: r.at, To: max(r.to, 0), Version: r.version})
	if err != nil {
		return err
	}
	if err := r.accept(obj); err != nil {
		obj.Body.Close()
		return err
	}
	r.obj = obj
	return nil
}

func (r *reader) accept(obj *Object) error {
	switch {
	case obj.Offset != r.at && obj.Offset != 0:
		return invalid("Download", "%s: the store begins at byte %d, not %d", r.uri, obj.Offset, r.at)
	case r.size >= 0 && obj.Size >= 0 && r.size != obj.Size:
		return changed("Download", r.uri)
	case obj.Size >= 0 && r.from >= obj.Size && r.from > 0:
		return invalid("Download", "%s has %d bytes: there is no byte %d", r.uri, obj.Size, r.from)
	}
	if obj.Size >= 0 {
		r.size = obj.Size
		if r.to < 0 || r.to > obj.Size {
			r.to = obj.Size
		}
	}
	if before := r.from - obj.Offset; before > 0 {
		if _, err := io.CopyN(io.Discard, obj.Body, before); err != nil {
			return err
		}
	}
	if again := r.at - max(r.from, obj.Offset); again > 0 {
		var h maphash.Hash
		h.SetSeed(r.seen.Seed())
		if _, err := io.CopyN(&h, obj.Body, again); err != nil && err != io.EOF {
			return err
		}
		if h.Sum64() != r.seen.Sum64() {
			return changed("Download", r.uri)
		}
	}
	r.version = obj.Version
	return nil
}

// Read returns bytes as they come, and resumes after a cut.
func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.to >= 0 && r.at >= r.to {
			return 0, r.last()
		}
		if r.to >= 0 {
			p = p[:min(int64(len(p)), r.to-r.at)]
		}
		var err error
		if r.obj == nil {
			err = r.open()
		}
		if err == nil {
			var n int
			n, err = r.obj.Body.Read(p)
			r.at += int64(n)
			_, _ = r.seen.Write(p[:n])
			if n > 0 || err == nil {
				r.st.moved()
				return n, nil
			}
			if err == io.EOF && r.size < 0 {
				return 0, io.EOF // its end is where it ends
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			r.drop()
		}
		if err := r.st.again(r.ctx, err); err != nil {
			return 0, fmt.Errorf("mlflow: Download: after %d bytes: %w", r.at-r.from, err)
		}
	}
}

// last hears what the store says at the end of an object, whose sum it may
// have found wrong.
func (r *reader) last() error {
	if r.obj != nil && r.at == r.size {
		if n, err := r.obj.Body.Read(make([]byte, 1)); n == 0 && err != nil && err != io.EOF {
			return fmt.Errorf("mlflow: Download: at the end, after %d bytes: %w", r.at-r.from, err)
		}
	}
	return io.EOF
}

func (r *reader) drop() {
	r.obj.Body.Close()
	r.obj = nil
}

// Close ends the transfer.
func (r *reader) Close() error {
	if r.obj == nil {
		return nil
	}
	return r.obj.Body.Close()
}

// DownloadFile copies one file to localPath, a large one in parts of which
// several are on their way at once. The file appears only when it is complete.
// Like [Client.Download] it resumes after a cut.
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) DownloadFile(ctx context.Context, of, file, localPath string) error {
	root, err := c.art.root(ctx, of)
	if err != nil {
		return err
	}
	to, err := os.OpenRoot(filepath.Dir(localPath))
	if err != nil {
		return err
	}
	defer to.Close()
	return c.art.save(ctx, root, file, -1, to, filepath.Base(localPath))
}

// DownloadDir copies the folder at dir, with its subfolders, into localDir,
// which is made if need be. Nothing is written outside of it, and a file
// appears only when it is complete. The error matches [mlops.ErrNotFound] if
// there is nothing to copy.
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts
func (c *Client) DownloadDir(ctx context.Context, of, dir, localDir string) error {
	from, err := c.art.root(ctx, of)
	if err != nil {
		return err
	}
	return c.art.downloadDir(ctx, from, of, dir, localDir)
}

func (a *artifacts) downloadDir(ctx context.Context, from, of, dir, localDir string) error {
	if err := os.MkdirAll(localDir, 0o755); err != nil {
		return err
	}
	to, err := os.OpenRoot(localDir)
	if err != nil {
		return err
	}
	defer to.Close()
	if dir, err = cleanPath(dir); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(journey(ctx))
	g.SetLimit(parallel)
	n := 0
	from = join(from, dir)
	walkErr := a.walk(ctx, from, "", func(f FileInfo) error {
		n++
		g.Go(func() error {
			name := filepath.FromSlash(f.Path)
			if err := to.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
			return a.save(ctx, from, f.Path, f.SizeBytes, to, name)
		})
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if walkErr == nil && n == 0 {
		return gone("DownloadDir", "there are no files at %s %s", of, dir)
	}
	return walkErr
}

// save copies one file into to, under its name only when it is complete. size
// is what a list told, -1 if none did.
func (a *artifacts) save(ctx context.Context, root, file string, size int64, to *os.Root, name string) error {
	uri, store, err := a.locate(root, file)
	if err != nil {
		return err
	}
	part := name + ".part-" + newUID()[:8]
	w, err := to.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	n, err := a.fetch(ctx, store, uri, size, w)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err == nil && size > 0 && n != size {
		err = fmt.Errorf("%d of %d bytes came: %w", n, size, io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = to.Rename(part, name)
	}
	if err != nil {
		_ = to.Remove(part)
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// fetch copies an object into w. Its first part shows whether it is large, and
// whether the store gives parts.
func (a *artifacts) fetch(ctx context.Context, store Store, uri string, size int64, w *os.File) (int64, error) {
	step := a.opt.PartSize
	first := newReader(ctx, a.c, store, uri, 0, -1)
	whole := size >= 0 && size <= step
	if !whole {
		first.to = step
	} else if _, ok := store.(proxyStore); ok {
		first.store = proxyStore{c: a.c, small: true}
	}
	if err := a.patient(ctx, first.open); err != nil {
		return 0, err
	}
	defer first.Close()
	total := first.size
	if total < 0 {
		first.to = -1 // it comes whole, however long it is
	}
	if whole || total <= step {
		return copyAt(w, 0, first)
	}
	if err := w.Truncate(total); err != nil {
		return 0, err
	}
	version := first.version
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	g.Go(func() error { _, err := copyAt(w, 0, first); return err })
	for from := step; from < total; from += step {
		g.Go(func() error {
			to := min(from+step, total)
			r := newReader(gctx, a.c, store, uri, from, to)
			r.version, r.size = version, total
			defer r.Close()
			n, err := copyAt(w, from, r)
			if err == nil && n != to-from {
				err = io.ErrUnexpectedEOF
			}
			return err
		})
	}
	return total, g.Wait()
}

// copyAt copies r to its place in w.
func copyAt(w *os.File, at int64, r io.Reader) (int64, error) {
	return io.CopyBuffer(io.NewOffsetWriter(w, at), struct{ io.Reader }{r}, make([]byte, 256<<10))
}
