package mlflow_test

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// gate is an address before a server. It refuses connections, takes them and
// never answers, or passes everything on. It begins as one that refuses.
type gate struct {
	URL string

	t     testing.TB
	to    *url.URL
	addr  string
	close func() error
}

// newGate puts a gate before a server; nil is for one that is never opened.
func newGate(t testing.TB, s *server) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{URL: "http://" + l.Addr().String(), t: t, addr: l.Addr().String(), close: l.Close}
	if s != nil {
		g.to, err = url.Parse(s.URL)
		require.NoError(t, err)
	}
	g.Shut()
	t.Cleanup(g.Shut)
	return g
}

// Shut refuses from now on.
func (g *gate) Shut() {
	if g.close != nil {
		_ = g.close()
		g.close = nil
	}
}

// Silence takes connections from now on, and no more.
func (g *gate) Silence() {
	g.t.Helper()
	g.Shut()
	l, err := net.Listen("tcp", g.addr)
	require.NoError(g.t, err)
	g.close = l.Close
}

// Open passes on from now on.
func (g *gate) Open() {
	g.t.Helper()
	g.Shut()
	l, err := net.Listen("tcp", g.addr)
	require.NoError(g.t, err)
	s := &http.Server{Handler: &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(g.to) }, // and with it the Host that MLflow knows
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}}
	g.close = s.Close
	go func() { _ = s.Serve(l) }()
}
