package transport

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// server is a listener of its own that counts the requests that arrived.
type server struct {
	*httptest.Server
	arrived atomic.Int32
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.arrived.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// client talks to url with hardly a wait between tries.
func client(t *testing.T, url string, opt Options) *Client {
	t.Helper()
	opt.Service, opt.BaseURL = "lab", url
	c, err := New(opt)
	require.NoError(t, err)
	c.pause = time.Millisecond
	return c
}

// reset ends the connection of w as a crash would: with a reset, after sent.
func reset(t *testing.T, w http.ResponseWriter, sent string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = conn.Write([]byte(sent))
	if sent == "" {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	conn.Close()
}

type reply struct {
	ID int64 `json:"id"`
}

func get(idempotent bool) Call {
	return Call{Op: "Thing", Method: "GET", Path: "/thing", Idempotent: idempotent}
}

func post(idempotent bool) Call {
	return Call{Op: "Make", Method: "POST", Path: "/thing", Body: map[string]string{"name": "x"}, Idempotent: idempotent}
}

func detail(t *testing.T, err error) *mlops.Error {
	t.Helper()
	var e *mlops.Error
	require.ErrorAs(t, err, &e)
	return e
}
