package transport

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// stranger is a listener that counts connections and every byte it is sent.
type stranger struct {
	net.Listener
	conns, bytes atomic.Int64
}

func listen(t *testing.T) *stranger {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &stranger{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go func() {
				defer c.Close()
				n, _ := c.Read(make([]byte, 1<<16))
				s.bytes.Add(int64(n))
			}()
		}
	}()
	return s
}

func TestRedirectsNeverCarryAnythingElsewhere(t *testing.T) {
	auths := []mlops.Auth{
		{Username: "u", Password: "canary"},
		{Token: "canary"},
		{Token: "canary", Header: "X-Api-Key"},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, where := range []string{"same origin", "other port", "other host", "other scheme"} {
			for _, method := range []string{"GET", "POST"} {
				t.Run(fmt.Sprintf("%d %s %s", status, where, method), func(t *testing.T) {
					t.Parallel()
					other := listen(t)
					_, port, err := net.SplitHostPort(other.Addr().String())
					require.NoError(t, err)
					for _, auth := range auths {
						var bodies []string
						s := serve(t, nil)
						s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							s.arrived.Add(1)
							b, _ := io.ReadAll(r.Body)
							bodies = append(bodies, r.Method+" "+string(b))
							if r.URL.Path == "/there" {
								_, _ = io.WriteString(w, `{"id":7}`)
								return
							}
							to := map[string]string{
								"same origin":  "/there?q=1",
								"other port":   "http://127.0.0.1:" + port + "/there?secret=canary",
								"other host":   "http://user:canary@localhost:" + port + "/there",
								"other scheme": "https://" + r.Host + "/there",
							}[where]
							w.Header().Set("Location", to)
							w.WriteHeader(status)
						})
						jar, err := cookiejar.New(nil)
						require.NoError(t, err)
						for _, host := range []string{"127.0.0.1", "localhost"} {
							jar.SetCookies(&url.URL{Scheme: "http", Host: host}, []*http.Cookie{{Name: "session", Value: "canary"}})
						}
						c := client(t, s.URL, Options{Auth: auth, HTTP: &http.Client{Jar: jar}})
						call := get(true)
						if method == "POST" {
							call = post(true)
						}
						out, err := Do[reply](t.Context(), c, call)

						kept := method == "GET" || status >= 307
						if where == "same origin" && kept {
							require.NoError(t, err)
							require.Equal(t, int64(7), out.ID)
							require.Len(t, bodies, 2)
							require.Equal(t, bodies[0], bodies[1], "method and body have to stay as they were")
							continue
						}
						require.ErrorIs(t, err, mlops.ErrInvalid)
						require.ErrorContains(t, err, "not followed")
						require.NotContains(t, err.Error(), "canary")
						require.Equal(t, int32(1), s.arrived.Load(), "a redirect is no reason to ask again")
					}
					if c, b := other.conns.Load(), other.bytes.Load(); c != 0 || b != 0 {
						t.Errorf("the second listener got %d connections and %d bytes, want none", c, b)
					}
				})
			}
		}
	}
}

func TestARedirectLoopEnds(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/thing", http.StatusFound)
	})
	_, err := Do[reply](t.Context(), client(t, s.URL, Options{}), get(true))
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "the sixth in a row")
	require.Equal(t, int32(6), s.arrived.Load())
}

func TestPathsThatClimbAreRefused(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := client(t, s.URL, Options{})
	for _, path := range []string{
		"", "thing", "/../x", "/a/../b", "/a/..", "/a/%2e%2e/b", "/a/%2E./b", "/a%2f..%2fb", `/a\..\b`, "/a%5c..%5cb", "/a?b=c", "/a/%zz",
	} {
		_, err := Do[None](t.Context(), c, Call{Op: "Get", Method: "GET", Path: path, Idempotent: true})
		require.ErrorIs(t, err, mlops.ErrInvalid, path)
	}
	require.Zero(t, s.arrived.Load())
	for _, path := range []string{"/a..b/c", "/...", "/a/%2F.x"} {
		_, err := Do[None](t.Context(), c, Call{Op: "Get", Method: "GET", Path: path})
		require.NoError(t, err, path)
	}
}

func TestTheBaseURLKeepsItsPrefixAndNothingElse(t *testing.T) {
	var uri string
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { uri = r.RequestURI })
	for _, base := range []string{"/pre%2Ffix", "/pre%2Ffix/", "/pre%2Ffix?", "/pre%2Ffix?a=b#c"} {
		c := client(t, s.URL+base, Options{})
		_, err := Do[None](t.Context(), c, Call{Op: "Get", Method: "GET", Path: "/x%20y", Query: url.Values{"q": {"a b"}}})
		require.NoError(t, err)
		require.Equal(t, "/pre%2Ffix/x%20y?q=a+b", uri)
		require.Equal(t, s.URL+"/pre%2Ffix", c.URL())
	}
}

func TestNewWantsAnHTTPAddressAndShowsNoPassword(t *testing.T) {
	for _, u := range []string{"", "mlflow", "ftp://u:canary@h", "http://", "http://u:canary@h:port", "ray://127.0.0.1:10001", "file:///x"} {
		_, err := New(Options{Service: "lab", BaseURL: u})
		require.ErrorIs(t, err, mlops.ErrInvalid, u)
		require.True(t, strings.HasPrefix(err.Error(), "lab: "))
		require.NotContains(t, err.Error(), "canary")
	}
}
