package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// played is a transport without a network, for tests about waiting.
type played func(*http.Request) (*http.Response, error)

func (p played) RoundTrip(r *http.Request) (*http.Response, error) { return p(r) }

func ok(body string) *http.Response { return told(200, "", body) }

func told(status int, retryAfter, body string) *http.Response {
	h := http.Header{}
	if retryAfter != "" {
		h.Set("Retry-After", retryAfter)
	}
	return &http.Response{StatusCode: status, Status: strconv.Itoa(status), Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func TestRetryAfterIsObeyedUnlessItIsTooLong(t *testing.T) {
	for _, tt := range []struct {
		name        string
		status      int
		after       func() string
		least, most time.Duration
		asked       int
	}{
		{"seconds", 429, func() string { return "30" }, 30 * time.Second, 31 * time.Second, 2},
		{"a date", 429, func() string { return time.Now().Add(40 * time.Second).UTC().Format(http.TimeFormat) }, 38 * time.Second, 42 * time.Second, 2},
		{"503 too", 503, func() string { return "5" }, 5 * time.Second, 6 * time.Second, 2},
		{"a date that has passed", 429, func() string { return "Fri, 01 Jan 1999 15:04:05 GMT" }, 0, time.Second, 2},
		{"rubbish", 429, func() string { return "soon" }, 0, time.Second, 2},
		{"just short enough", 429, func() string { return "60" }, time.Minute, 62 * time.Second, 2},
		{"too long", 429, func() string { return "61" }, 0, 0, 1},
		{"too long for any number", 503, func() string { return "99999999999" }, 0, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				c := client(t, "http://lab.invalid", Options{HTTP: &http.Client{Transport: played(func(*http.Request) (*http.Response, error) {
					if asked++; asked == 1 {
						return told(tt.status, tt.after(), "slow down"), nil
					}
					return ok(`{"id":1}`), nil
				})}})
				begin := time.Now()
				_, err := Do[reply](t.Context(), c, get(true))
				took := time.Since(begin)
				require.Equal(t, tt.asked, asked)
				if tt.asked == 1 {
					require.ErrorIs(t, err, mlops.KindOfStatus(tt.status))
					require.Greater(t, detail(t, err).RetryAfter, time.Minute, "the caller has to see how long")
				} else {
					require.NoError(t, err)
				}
				if took < tt.least || took > tt.most {
					t.Errorf("waited %v, want %v to %v", took, tt.least, tt.most)
				}
			})
		})
	}
}

func TestWaitsGrowButStayBelowFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		c := client(t, "http://lab.invalid", Options{Tries: 40, HTTP: &http.Client{Transport: played(func(*http.Request) (*http.Response, error) {
			at = append(at, time.Now())
			return told(503, "", ""), nil
		})}})
		c.pause = 200 * time.Millisecond
		_, err := Do[reply](t.Context(), c, get(true))
		require.ErrorIs(t, err, mlops.ErrUnavailable)
		require.Len(t, at, 40)
		waits := map[time.Duration]bool{}
		var sum time.Duration
		for i := 1; i < len(at); i++ {
			w := at[i].Sub(at[i-1])
			require.Less(t, w, min(5*time.Second, 200*time.Millisecond<<min(i-1, 10)))
			waits[w] = true
			sum += w
		}
		require.Greater(t, len(waits), 30, "waits have to differ, so that callers do not come in step")
		require.Greater(t, sum, 30*time.Second)
	})
}

func TestCancellingEndsACallAtOnceWhereverItIs(t *testing.T) {
	signal := errors.New("interrupt")
	for name, answer := range map[string]played{
		"waiting to try again": func(*http.Request) (*http.Response, error) { return told(503, "50", ""), nil },
		"waiting for an answer": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"reading the answer": func(r *http.Request) (*http.Response, error) {
			resp := ok("")
			resp.Body = io.NopCloser(stuck{r.Context()})
			return resp, nil
		},
	} {
		for _, cause := range []error{nil, signal} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancelCause(t.Context())
					c := client(t, "http://lab.invalid", Options{HTTP: &http.Client{Transport: answer}})
					time.AfterFunc(7*time.Second, func() { cancel(cause) })
					begin := time.Now()
					_, err := Do[reply](ctx, c, get(true))
					require.Equal(t, 7*time.Second, time.Since(begin))
					require.ErrorIs(t, err, context.Canceled)
					require.NotErrorIs(t, err, mlops.ErrUnavailable, "the server is not to blame")
					if cause != nil {
						require.ErrorIs(t, err, cause)
					}
				})
			})
		}
	}
}

type stuck struct{ ctx context.Context }

func (s stuck) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func TestASlowButSteadyBodyPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, "http://lab.invalid", Options{IdleTimeout: 10 * time.Second, HTTP: &http.Client{Transport: played(func(r *http.Request) (*http.Response, error) {
			resp := ok("")
			resp.Body = io.NopCloser(&steady{bytes.NewReader([]byte(`{"id": 7}`)), 9 * time.Second, r.Context()})
			return resp, nil
		})}})
		begin := time.Now()
		out, err := Do[reply](t.Context(), c, get(false))
		require.NoError(t, err)
		require.Equal(t, int64(7), out.ID)
		require.Greater(t, time.Since(begin), time.Minute)
	})
}

// steady gives a byte after each pause.
type steady struct {
	r     *bytes.Reader
	pause time.Duration
	ctx   context.Context
}

func (s *steady) Read(p []byte) (int, error) {
	select {
	case <-time.After(s.pause):
		return s.r.Read(p[:1])
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

func TestABodyThatIsNotJSONAbleIsTheCallersMistake(t *testing.T) {
	c := client(t, "http://lab.invalid", Options{})
	_, err := Do[reply](t.Context(), c, Call{Op: "Make", Method: "POST", Path: "/x", Body: func() {}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = Do[reply](t.Context(), c, Call{Op: "Make", Method: "A B", Path: "/x"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "-1", "30", "9223372036854775807", "Mon, 02 Jan 2006 15:04:05 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "1.5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if d := retryAfter(v); d < 0 {
			t.Errorf("Retry-After %q asks to wait %v", v, d)
		}
	})
}

// FuzzAnswer: whatever arrives, an answer without an error is one JSON value,
// and an error says something on one line.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"id":1}`, `{"id":1}x`, "", "<html>", `{"id":`, "null", "[1,2", "\xff\xfe", `"` + strings.Repeat("é", 150), "nul"} {
		f.Add(200, []byte(s))
		f.Add(500, []byte(s))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 100 || status > 999 || status >= 300 && status < 400 {
			t.Skip()
		}
		c := client(t, "http://lab.invalid", Options{Tries: 1, HTTP: &http.Client{Transport: played(func(*http.Request) (*http.Response, error) {
			return told(status, "", string(body)), nil
		})}})
		out, err := Do[any](t.Context(), c, get(true))
		switch {
		case err == nil && (status < 200 || status > 299 || !bytes.HasPrefix(bytes.TrimSpace(body), []byte("null")) && out == nil):
			t.Errorf("status %d with %q is no error", status, body)
		case err != nil && (err.Error() == "" || strings.Contains(err.Error(), "\n")):
			t.Errorf("error %q", err)
		}
	})
}

func TestAServerThatAcceptsAndDoesNotAnswerIsToldAfterSomeSeconds(t *testing.T) {
	for took, told := range map[time.Duration]int{4 * time.Second: 0, 6 * time.Second: 1} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			c, err := New(Options{Service: "mlflow", BaseURL: "http://me:hunter2@mute.example", Logger: slog.New(slog.NewTextHandler(&out, nil)),
				HTTP: &http.Client{Transport: played(func(*http.Request) (*http.Response, error) {
					time.Sleep(took) // of the bubble
					return ok("{}"), nil
				})}})
			require.NoError(t, err)
			_, err = Do[None](t.Context(), c, Call{Op: "Runs", Method: "GET", Path: "/x"})
			require.NoError(t, err)
			synctest.Wait() // for the timer's goroutine, which writes the log
			require.Equal(t, told, strings.Count(out.String(), NoAnswerYet), out.String())
			require.NotContains(t, out.String(), "hunter2")
		})
	}
}
