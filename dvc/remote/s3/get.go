package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/mlops-integration/mlops"
)

// Get opens an object. What breaks while it is read is asked for again from
// where it broke; the spans of a large object are read ahead, as long as all
// open objects together hold no more than four of them in memory.
//
// S3 REST: GetObject
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	name, err := s.name(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &object{s: s, ctx: ctx, cancel: cancel, name: *name}
	first := &piece{o: o, end: span}
	body, size, err := first.open()
	if err != nil {
		cancel()
		return nil, err
	}
	if size == 0 {
		cancel()
		return io.NopCloser(strings.NewReader("")), nil
	}
	first.body, first.end = body, min(span, size)
	o.size, o.now, o.next = size, first, first.end
	o.readAhead()
	return o, nil
}

// object is an object that is being read.
type object struct {
	s      *Store
	ctx    context.Context
	cancel context.CancelFunc
	name   string
	etag   string
	size   int64

	now   io.Reader // the span that is read
	next  int64     // where the span begins that is not being fetched yet
	queue []*fetched
}

// fetched is a span that is read before it is asked for.
type fetched struct {
	done chan struct{}
	buf  []byte
	err  error
	once sync.Once
}

var spans = sync.Pool{New: func() any { b := make([]byte, span); return &b }}

// readAhead begins to fetch further spans while there is room for them.
func (o *object) readAhead() {
	for o.next < o.size && len(o.queue) < cap(o.s.ahead)-1 {
		select {
		case o.s.ahead <- struct{}{}:
		default:
			return // others have the room; spans are read when their turn comes
		}
		p := &piece{o: o, at: o.next, end: min(o.next+span, o.size)}
		f := &fetched{done: make(chan struct{})}
		o.queue, o.next = append(o.queue, f), p.end
		go func() {
			defer close(f.done)
			f.buf = *spans.Get().(*[]byte)
			n, err := io.ReadFull(p, f.buf[:p.end-p.at])
			f.buf, f.err = f.buf[:n], err
			p.close()
		}()
	}
}

// Read reads the spans one after the other.
func (o *object) Read(b []byte) (int, error) {
	for {
		n, err := o.now.Read(b)
		if n > 0 || err != io.EOF {
			return n, err
		}
		if p, ok := o.now.(*piece); ok {
			p.close()
		}
		switch {
		case len(o.queue) > 0:
			f := o.queue[0]
			<-f.done // it ends with the context
			if f.err != nil {
				return 0, f.err
			}
			o.queue = o.queue[1:]
			o.now = &held{o: o, f: f}
		case o.next < o.size:
			p := &piece{o: o, at: o.next, end: min(o.next+span, o.size)}
			o.now, o.next = p, p.end
		default:
			return 0, io.EOF
		}
		o.readAhead()
	}
}

// held reads a fetched span and gives its memory back at its end.
type held struct {
	o  *object
	f  *fetched
	at int
}

func (h *held) Read(b []byte) (int, error) {
	if h.at == len(h.f.buf) {
		h.o.s.release(h.f)
		h.at = 0 // of nothing
		return 0, io.EOF
	}
	n := copy(b, h.f.buf[h.at:])
	h.at += n
	return n, nil
}

func (s *Store) release(f *fetched) {
	f.once.Do(func() {
		<-f.done
		b := f.buf[:cap(f.buf)]
		f.buf = nil
		spans.Put(&b)
		<-s.ahead
	})
}

// Close gives up what is under way.
func (o *object) Close() error {
	o.cancel()
	if p, ok := o.now.(*piece); ok {
		p.close()
	} else if h, ok := o.now.(*held); ok {
		o.s.release(h.f)
	}
	for _, f := range o.queue {
		o.s.release(f)
	}
	o.queue, o.now, o.next = nil, strings.NewReader(""), o.size
	return nil
}

// piece reads the bytes from at to end and resumes when they break off.
type piece struct {
	o       *object
	at, end int64
	body    io.ReadCloser
	failed  int   // tries without progress
	mark    int64 // at when the last of them began
}

func (p *piece) Read(b []byte) (int, error) {
	for {
		if p.at >= p.end {
			return 0, io.EOF
		}
		if p.body == nil {
			body, _, err := p.open()
			if err != nil {
				return 0, err // the SDK has had its tries
			}
			p.body = body
		}
		n, err := p.body.Read(b[:min(int64(len(b)), p.end-p.at)])
		p.at += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		p.close()
		if p.at >= p.end {
			return 0, io.EOF
		}
		if p.o.ctx.Err() != nil {
			return 0, wrap(p.o.ctx, "Get", p.o.ctx.Err())
		}
		if p.failed++; p.at-p.mark >= 1<<20 {
			p.failed = 1
		}
		p.mark = p.at
		if p.failed == tries {
			return 0, &mlops.Error{Kind: mlops.ErrUnavailable, Service: "dvc", Op: "Get", Message: fmt.Sprintf("the object breaks off at byte %d of %d: %v", p.at, p.o.size, err), Cause: err}
		}
		t := time.NewTimer(backoff(p.failed))
		select {
		case <-t.C:
		case <-p.o.ctx.Done():
			t.Stop()
		}
	}
}

func (p *piece) close() {
	if p.body != nil {
		_ = p.body.Close()
		p.body = nil
	}
}

// open asks for the bytes from p.at to p.end. The first answer tells the
// object's size and version; later ones must be of the same version.
func (p *piece) open() (io.ReadCloser, int64, error) {
	o := p.o
	ctx, cancel := context.WithCancelCause(o.ctx)
	in := &s3.GetObjectInput{
		Bucket: &o.s.bucket, Key: &o.name, Range: aws.String(fmt.Sprintf("bytes=%d-%d", p.at, p.end-1)),
		SSECustomerAlgorithm: o.s.extra.alg, SSECustomerKey: o.s.extra.key, SSECustomerKeyMD5: o.s.extra.keyMD5,
	}
	if o.etag != "" {
		in.IfMatch = &o.etag
	}
	out, err := o.s.s3.GetObject(ctx, in)
	if err != nil {
		cancel(nil)
		err = wrap(o.ctx, "Get", err)
		if e, ok := errors.AsType[*mlops.Error](err); ok && e.Status == http.StatusRequestedRangeNotSatisfiable && p.at == 0 {
			return nil, 0, nil // it is empty
		}
		return nil, 0, err
	}
	size := aws.ToInt64(out.ContentLength)
	if cr := aws.ToString(out.ContentRange); cr != "" {
		var from, last int64
		if n, err := fmt.Sscanf(cr, "bytes %d-%d/%d", &from, &last, &size); n != 3 || err != nil || from != p.at {
			_ = out.Body.Close()
			cancel(nil)
			return nil, 0, fault(mlops.ErrInvalid, "the store answers a range with Content-Range %.60q", cr)
		}
	} else if p.at > 0 {
		_ = out.Body.Close()
		cancel(nil)
		return nil, 0, fault(mlops.ErrUnsupported, "the store ignores Range")
	}
	if o.etag == "" {
		o.etag = aws.ToString(out.ETag)
	}
	return &watched{body: out.Body, idle: o.s.idle, cancel: cancel}, size, nil
}

// watched is a body that ends when it has been silent for too long.
type watched struct {
	body   io.ReadCloser
	idle   time.Duration
	cancel context.CancelCauseFunc
}

var errSilent = errors.New("the store sends nothing any more")

func (w *watched) Read(b []byte) (int, error) {
	t := time.AfterFunc(w.idle, func() { w.cancel(errSilent) })
	defer t.Stop()
	return w.body.Read(b)
}

func (w *watched) Close() error {
	w.cancel(nil)
	return w.body.Close()
}
