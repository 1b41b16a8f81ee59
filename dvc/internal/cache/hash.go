package cache

import (
	"context"
	"hash"
	"io"
	"sync"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// SmallFile is what is read at once.
const SmallFile = 1 << 20

var buffers = sync.Pool{New: func() any { b := make([]byte, SmallFile); return &b }}

// HashReader returns the hash of all that r delivers, and how much that is.
func HashReader(ctx context.Context, r io.Reader, h hash.Hash) (string, int64, error) {
	n, err := CopyHash(ctx, nil, r, h)
	return object.Sum(h), n, err
}

// CopyHash copies r to w, if there is one, and into h, until the end or until
// ctx is done. Beyond a first block, it hashes beside reading and writing.
func CopyHash(ctx context.Context, w io.Writer, r io.Reader, h hash.Hash) (int64, error) {
	var n int64
	step := func() (buf *[]byte, m int, err error) {
		buf = buffers.Get().(*[]byte)
		for m < len(*buf) && err == nil {
			if err = ctx.Err(); err == nil {
				var k int
				k, err = r.Read((*buf)[m:])
				m += k
			}
		}
		if m > 0 && w != nil {
			if _, e := w.Write((*buf)[:m]); e != nil {
				err = e
			}
		}
		n += int64(m)
		return buf, m, err
	}
	end := func(err error) (int64, error) {
		if err == io.EOF {
			err = nil
		}
		return n, err
	}
	buf, m, err := step()
	if err != nil {
		_, _ = h.Write((*buf)[:m])
		buffers.Put(buf)
		return end(err)
	}
	type block struct {
		buf *[]byte
		m   int
	}
	blocks, done := make(chan block, 2), make(chan struct{})
	go func() {
		defer close(done)
		for b := range blocks {
			_, _ = h.Write((*b.buf)[:b.m])
			buffers.Put(b.buf)
		}
	}()
	blocks <- block{buf, m}
	for err == nil {
		buf, m, err = step()
		blocks <- block{buf, m}
	}
	close(blocks)
	<-done
	return end(err)
}

// fill reads a file of less than smallFile into buf. When it has read size
// bytes, and there was room for more, it does not ask again: who wants to know
// whether the file grew looks at its stamp.
func fill(f *rawfile.File, buf []byte, size int64) (n int, err error) {
	for n < len(buf) {
		k, err := f.Read(buf[n:])
		n += k
		if err == io.EOF || err == nil && int64(n) == size {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, fault.New(mlops.ErrConflict, "%s grows while it is read", f.Name())
}

// Digest hashes a file of the given size.
func Digest(ctx context.Context, f *rawfile.File, size int64, h hash.Hash) (string, int64, error) {
	if size >= SmallFile {
		return HashReader(ctx, f, h)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := fill(f, *buf, size)
	_, _ = h.Write((*buf)[:n])
	return object.Sum(h), int64(n), err
}
