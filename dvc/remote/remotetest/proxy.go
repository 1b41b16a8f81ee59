package remotetest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Fault is what a [Proxy] does to a request. The zero value lets it pass.
type Fault struct {
	Status int    // answer this instead of asking the server
	Code   string // with the S3 error of this code
	Reset  bool   // cut the connection before the request is passed on
	Lost   bool   // pass it on, then cut the connection instead of answering
	Cut    int    // pass so many bytes of the answer's body, then cut the connection
	Silent bool   // as Cut, but then keep the connection and say nothing
}

// Proxy stands before a real server and does what servers and networks do when
// they fail.
type Proxy struct {
	URL string

	mu    sync.Mutex
	fault func(*http.Request) Fault
	seen  int
}

// StartProxy starts a proxy before the server at target.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	to, err := url.Parse(target)
	require.NoError(t, err)
	p := &Proxy{}
	pass := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }, // the signature covers the host
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	stop := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := p.next(r)
		switch {
		case f.Status != 0:
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(f.Status)
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as planned</Message></Error>", f.Code)
		case f.Reset:
			reset(w)
		case f.Lost:
			pass.ServeHTTP(httptest.NewRecorder(), r)
			reset(w)
		case f.Cut > 0 || f.Silent:
			rec := httptest.NewRecorder()
			pass.ServeHTTP(rec, r)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			body := rec.Body.Bytes()
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body[:min(f.Cut, len(body))])
			_ = http.NewResponseController(w).Flush()
			if f.Silent {
				select {
				case <-r.Context().Done():
				case <-stop:
				}
			}
			panic(http.ErrAbortHandler)
		default:
			pass.ServeHTTP(w, r)
		}
	}))
	srv.Config.ErrorLog = nil
	p.URL = srv.URL
	t.Cleanup(func() {
		close(stop)
		srv.CloseClientConnections()
		srv.Close()
	})
	return p
}

// reset cuts a connection in the least polite way.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) next(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen++
	if p.fault == nil {
		return Fault{}
	}
	return p.fault(r)
}

// Do sets what happens to requests from now on; nil lets all pass. It is
// called for one request at a time.
func (p *Proxy) Do(fault func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.seen = fault, 0
}

// Seen is the number of requests since Do.
func (p *Proxy) Seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}
