package cassette

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

// Lossy is a proxy before a real server that loses answers: the server does
// what it was asked, and the client's connection ends without a word of it.
type Lossy struct {
	URL     string
	cutting atomic.Pointer[func(*http.Request) bool]
	losing  atomic.Pointer[func(*http.Request) bool]
	lost    atomic.Int32
}

// Lose says which answers get lost from now on; nil: none.
func (l *Lossy) Lose(which func(*http.Request) bool) {
	l.lost.Store(0)
	l.losing.Store(&which)
}

// Cut says which requests are cut off from now on, before the server sees
// them, as when it closes an idle connection; nil: none.
func (l *Lossy) Cut(which func(*http.Request) bool) { l.cutting.Store(&which) }

// LoseFirst loses the answer to the first request of that method from now on.
func (l *Lossy) LoseFirst(method string) {
	var done atomic.Bool
	l.Lose(func(r *http.Request) bool { return r.Method == method && done.CompareAndSwap(false, true) })
}

// Lost counts the answers that got lost since Lose was called.
func (l *Lossy) Lost() int { return int(l.lost.Load()) }

// OpenLossy starts a proxy before the server at address. It loses nothing yet.
func OpenLossy(t *testing.T, address string) *Lossy {
	t.Helper()
	to, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l := &Lossy{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = to.Host },
		ModifyResponse: func(resp *http.Response) error {
			if f := l.losing.Load(); f == nil || *f == nil || !(*f)(resp.Request) {
				return nil
			}
			l.lost.Add(1)
			_, _ = io.Copy(io.Discard, resp.Body) // the server has finished
			resp.Body.Close()
			panic(http.ErrAbortHandler)
		},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := l.cutting.Load(); f != nil && *f != nil && (*f)(r) {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	l.URL = srv.URL
	return l
}
