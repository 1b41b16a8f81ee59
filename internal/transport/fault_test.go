package transport

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

const page = "<!doctype html>\n<html><body><h1>502 Bad Gateway</h1>\nnginx</body></html>"

func answer(status int, contentType, body string) func(*testing.T, http.ResponseWriter, *http.Request) {
	return func(_ *testing.T, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// raw answers with bytes and closes the connection.
func raw(s string) func(*testing.T, http.ResponseWriter, *http.Request) {
	return func(t *testing.T, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		reset(t, w, s)
	}
}

func TestFaultsHaveTheRightKindAndNumberOfRequests(t *testing.T) {
	const tries = 3
	header := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, tt := range []struct {
		name  string
		fault func(*testing.T, http.ResponseWriter, *http.Request)
		kind  error
		cause error
		says  string
		// requests that arrive when the operation is idempotent, and when not
		safe, unsafe int32
	}{
		{"a proxy's page with 502", answer(502, "text/html", page), mlops.ErrUnavailable, nil, "502 Bad Gateway: <!doctype html> <html>", tries, 1},
		{"a page with 200", answer(200, "text/html", page), mlops.ErrInvalid, nil, "answered a web page where JSON was due", 1, 1},
		{"nothing with 200", answer(200, "application/json", ""), mlops.ErrUnavailable, io.ErrUnexpectedEOF, "answered nothing where JSON was due", tries, 1},
		{"blanks with 200", answer(200, "application/json", " \r\n"), mlops.ErrUnavailable, io.ErrUnexpectedEOF, "answered nothing where JSON was due", tries, 1},
		{"nothing with 204", answer(204, "application/json", ""), mlops.ErrUnavailable, io.ErrUnexpectedEOF, "answered nothing where JSON was due", tries, 1},
		{"JSON cut by the server", answer(200, "application/json", `{"id": 7, "na`), mlops.ErrUnavailable, io.ErrUnexpectedEOF, `answered JSON that is cut off after 13 bytes: {"id": 7, "na`, tries, 1},
		{"JSON cut below its Content-Length", raw(header + "Content-Length: 90\r\n\r\n{\"id\": 7, \"na"), mlops.ErrUnavailable, io.ErrUnexpectedEOF, "broke off after 13 bytes", tries, 1},
		{"chunks cut", raw(header + "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"id\":7\r\n"), mlops.ErrUnavailable, io.ErrUnexpectedEOF, "broke off after 7 bytes", tries, 1},
		{"closed without a length, cut", raw(header + "Connection: close\r\n\r\n{\"id\":7"), mlops.ErrUnavailable, io.ErrUnexpectedEOF, "cut off", tries, 1},
		{"JSON followed by more", answer(200, "application/json", `{"id":7} {"id":8}`), mlops.ErrInvalid, nil, "not JSON", 1, 1},
		{"JSON followed by rubbish", answer(200, "application/json", `{"id":7}Traceback`), mlops.ErrInvalid, nil, "not JSON", 1, 1},
		{"a text for a number", answer(200, "application/json", `{"id":"seven"}`), mlops.ErrInvalid, nil, "answered JSON with a string where a number was due in id", 1, 1},
		{"a list for an object", answer(200, "application/json", `[{"id":7}]`), mlops.ErrInvalid, nil, "answered JSON with an array where an object was due; is another server there", 1, 1},
		{"a number for an object", answer(200, "application/json", `7`), mlops.ErrInvalid, nil, "answered JSON with a number where an object was due", 1, 1},
		{"reset after the body was sent", raw(""), mlops.ErrUnavailable, syscall.ECONNRESET, "no answer from http://127.0.0.1:", tries, 1},
		{"half a header", raw("HTTP/1.1 200 OK\r\nContent-"), mlops.ErrUnavailable, nil, "no answer", tries, 1},
		{"not HTTP", raw("SSH-2.0-OpenSSH_9.6\r\n"), mlops.ErrUnavailable, nil, "malformed HTTP", tries, 1},
		{"400", answer(400, "", ""), mlops.ErrInvalid, nil, "400 Bad Request", 1, 1},
		{"401 without a login", answer(401, "", "who?"), mlops.ErrUnauthenticated, nil, "401 Unauthorized: who?", 1, 1},
		{"403", answer(403, "", ""), mlops.ErrForbidden, nil, "403", 1, 1},
		{"404", answer(404, "", ""), mlops.ErrNotFound, nil, "404", 1, 1},
		{"408", answer(408, "", ""), mlops.ErrUnavailable, nil, "408", tries, 1},
		{"409", answer(409, "", ""), mlops.ErrConflict, nil, "409", 1, 1},
		{"429", answer(429, "", ""), mlops.ErrRateLimited, nil, "429", tries, tries},
		{"500", answer(500, "", ""), mlops.ErrUnavailable, nil, "500", tries, 1},
		{"501", answer(501, "", ""), mlops.ErrUnsupported, nil, "501", 1, 1},
		{"503", answer(503, "", ""), mlops.ErrUnavailable, nil, "503", tries, 1},
		{"304 unasked", answer(304, "", ""), mlops.ErrInvalid, nil, "304", 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for idempotent, want := range map[bool]int32{true: tt.safe, false: tt.unsafe} {
				s := serve(t, func(w http.ResponseWriter, r *http.Request) { tt.fault(t, w, r) })
				_, err := Do[reply](t.Context(), client(t, s.URL, Options{Tries: tries}), post(idempotent))
				require.Error(t, err)
				e := detail(t, err)
				if e.Kind != tt.kind {
					t.Errorf("kind is %v, want %v: %v", e.Kind, tt.kind, err)
				}
				if tt.cause != nil {
					require.ErrorIs(t, err, tt.cause)
				}
				require.Contains(t, err.Error(), tt.says)
				require.True(t, strings.HasPrefix(err.Error(), "lab: Make: "), err.Error())
				if got := s.arrived.Load(); got != want {
					t.Errorf("%d requests arrived, want %d (idempotent: %v): %v", got, want, idempotent, err)
				}
			}
		})
	}
}

func TestAFaultThatPassesIsNotSeen(t *testing.T) {
	s := serve(t, nil)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch s.arrived.Add(1) {
		case 1:
			reset(t, w, "")
		case 2:
			answer(502, "text/html", page)(t, w, r)
		case 3:
			answer(200, "application/json", `{"id":`)(t, w, r)
		default:
			_, _ = io.Copy(w, strings.NewReader(`{"id": 9223372036854775807}`))
		}
	})
	out, err := Do[reply](t.Context(), client(t, s.URL, Options{}), get(true))
	require.NoError(t, err)
	require.Equal(t, int64(math.MaxInt64), out.ID, "a large number has to arrive whole")
	require.Equal(t, int32(4), s.arrived.Load())
}

func TestNoneNeedsNoBody(t *testing.T) {
	for _, body := range []string{"", "OK", "{}"} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		_, err := Do[None](t.Context(), client(t, s.URL, Options{}), post(false))
		require.NoError(t, err)
	}
}

func TestAGzipBombStopsAtTheLimit(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := io.CopyN(z, zeros{}, 80<<20)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.Less(t, bomb.Len(), 128<<10)
	for _, status := range []int{200, 400} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			_, _ = w.Write(bomb.Bytes())
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = Bytes(t.Context(), client(t, s.URL, Options{MaxBody: 1 << 20}), get(true))
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.Equal(t, int32(1), s.arrived.Load())
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), "memory must be bounded by the limit, not by the bomb")
		if status == 200 {
			require.ErrorContains(t, err, "larger than 1048576 bytes")
		}
	}
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	})
	_, err = Do[reply](t.Context(), client(t, s.URL, Options{}), get(true))
	require.ErrorContains(t, err, "larger than 67108864 bytes", "64 MiB is the limit where none is set")
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestARefusedDialIsTriedAgainWhateverTheOperation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	for _, idempotent := range []bool{true, false} {
		var dials atomic.Int32
		hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}}
		_, err = Do[reply](t.Context(), client(t, url, Options{HTTP: hc, Tries: 4}), post(idempotent))
		require.ErrorIs(t, err, mlops.ErrUnavailable)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.ErrorContains(t, err, "lab: Make: no answer from "+url)
		require.Equal(t, int32(4), dials.Load())
	}
}

func TestAStreamIsSentAgainWhole(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 30_000)
	for _, size := range []int64{int64(len(data)), -1} {
		var bodies [][]byte
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			bodies = append(bodies, b)
			if len(bodies) < 3 {
				w.WriteHeader(503)
				return
			}
			if r.Header.Get("Content-Type") != "application/zip" || r.ContentLength != size {
				t.Errorf("header %v, length %d", r.Header, r.ContentLength)
			}
		})
		open, closed := 0, 0
		_, err := Do[None](t.Context(), client(t, s.URL, Options{}), Call{
			Op: "Put", Method: "PUT", Path: "/a", Idempotent: true, Header: http.Header{"x-part": {"1"}},
			Raw: &Stream{Size: size, ContentType: "application/zip", Open: func() (io.ReadCloser, error) {
				open++
				return &closer{bytes.NewReader(data), &closed}, nil
			}},
		})
		require.NoError(t, err)
		require.Len(t, bodies, 3)
		require.Equal(t, open, closed, "every opened stream has to be closed")
		for _, b := range bodies {
			require.True(t, bytes.Equal(data, b), "each try has to carry the same bytes")
		}
	}
}

type closer struct {
	io.Reader
	n *int
}

func (c *closer) Close() error { *c.n++; return nil }

func TestAStreamThatCannotBeOpenedIsAnError(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	gone := errors.New("file is gone")
	_, err := Do[None](t.Context(), client(t, s.URL, Options{}), Call{Op: "Put", Method: "PUT", Path: "/a", Raw: &Stream{Open: func() (io.ReadCloser, error) { return nil, gone }}})
	require.ErrorIs(t, err, gone)
	require.Zero(t, s.arrived.Load())
}

func TestAStreamCutMidwayIsAnError(t *testing.T) {
	for _, head := range []string{"Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) { reset(t, w, "HTTP/1.1 200 OK\r\n"+head) })
		resp, err := Open(t.Context(), client(t, s.URL, Options{}), get(true))
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, "abc", string(b))
		require.NoError(t, resp.Body.Close())
	}
}

func TestOpenGivesErrorsAsDoDoes(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { answer(404, "", "no such file")(t, w, r) })
	_, err := Open(t.Context(), client(t, s.URL, Options{}), get(true))
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.ErrorContains(t, err, "no such file")
}

func TestASilentBodyIsGivenUpAndASteadyOneIsNot(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"id":`)
		w.(http.Flusher).Flush()
		<-release
	})
	defer close(release)
	_, err := Do[reply](t.Context(), client(t, s.URL, Options{IdleTimeout: 20 * time.Millisecond, Tries: 2}), get(true))
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorContains(t, err, "no byte arrived for 20ms")
	require.Equal(t, int32(2), s.arrived.Load())
}

func TestAnAnswerThatDoesNotBeginIsGivenUp(t *testing.T) {
	release, came := make(chan struct{}), make(chan struct{}, 9)
	s := serve(t, func(http.ResponseWriter, *http.Request) { came <- struct{}{}; <-release })
	defer close(release)
	c := client(t, s.URL, Options{HeaderTimeout: 20 * time.Millisecond, Tries: 2})
	_, err := Do[reply](t.Context(), c, get(true))
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	_, err = Do[reply](t.Context(), c, post(false))
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	for range 3 {
		<-came // a busy server may notice a request only after it was given up
	}
	require.Equal(t, int32(3), s.arrived.Load(), "two for the read; one for the write, on which the server may have acted")
}

func TestACertificateNobodyKnowsIsNotTriedAgain(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	var dials atomic.Int32
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			dials.Add(1)
		}
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	_, err := Do[reply](t.Context(), client(t, s.URL, Options{}), get(true))
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "certificate")
	require.Equal(t, int32(1), dials.Load())
}

func TestTheToolsOwnWordsWinOverTheStatus(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		answer(400, "application/json", `{"code":"TAKEN","message":"it is there"}`)(t, w, r)
	})
	c := client(t, s.URL, Options{DecodeError: func(status int, contentType string, body []byte) *mlops.Error {
		var e struct{ Code, Message string }
		if status != 400 || contentType != "application/json" || json.Unmarshal(body, &e) != nil {
			return nil
		}
		return &mlops.Error{Kind: mlops.ErrAlreadyExists, Code: e.Code, Message: e.Message}
	}})
	_, err := Do[reply](t.Context(), c, post(true))
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	require.EqualError(t, err, "lab: Make: it is there (TAKEN)")
	require.Equal(t, 400, detail(t, err).Status)
}
