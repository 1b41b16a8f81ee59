package remote

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// Limit keeps what passes at a number of bytes per second. A nil Limit does
// not limit. It is safe for concurrent use.
type Limit struct {
	perSecond int64

	mu   sync.Mutex
	next time.Time // when all that was let through so far has had its time
}

// NewLimit returns a limit of so many bytes per second; nil for 0 or less.
func NewLimit(perSecond int64) *Limit {
	if perSecond <= 0 {
		return nil
	}
	return &Limit{perSecond: perSecond}
}

// chunk is how much passes at once under a limit: about a twentieth second.
func (l *Limit) chunk() int { return int(min(max(l.perSecond/20, 512), 1<<20)) }

// wait lets n bytes through, when their time has come or done is closed.
func (l *Limit) wait(done <-chan struct{}, n int) {
	l.mu.Lock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	due := l.next.Sub(now)
	l.next = l.next.Add(time.Duration(float64(n) / float64(l.perSecond) * float64(time.Second)))
	l.mu.Unlock()
	if due <= 0 {
		return
	}
	t := time.NewTimer(due)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}

// Reader limits what is read from r, until ctx is done.
func (l *Limit) Reader(ctx context.Context, r io.Reader) io.Reader {
	if l == nil {
		return r
	}
	return limitedReader{r, l, ctx.Done()}
}

type limitedReader struct {
	io.Reader
	l    *Limit
	done <-chan struct{}
}

func (r limitedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p[:min(len(p), r.l.chunk())])
	r.l.wait(r.done, n)
	return n, err
}

// Dial opens a connection whose both directions together are limited. It fits
// [net/http.Transport].
func (l *Limit) Dial(d *net.Dialer) func(ctx context.Context, network, addr string) (net.Conn, error) {
	if l == nil {
		return d.DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &limitedConn{Conn: c, l: l, closed: make(chan struct{})}, nil
	}
}

type limitedConn struct {
	net.Conn
	l      *Limit
	once   sync.Once
	closed chan struct{}
}

func (c *limitedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p[:min(len(p), c.l.chunk())])
	c.l.wait(c.closed, n)
	return n, err
}

func (c *limitedConn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+c.l.chunk())]
		c.l.wait(c.closed, len(part))
		n, err := c.Conn.Write(part)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (c *limitedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
