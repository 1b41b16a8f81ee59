package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// issuer gives tokens t1, t2, …
type issuer struct{ logins atomic.Int32 }

func (i *issuer) login(context.Context) (Token, error) {
	return Token{Value: mlops.Secret(fmt.Sprintf("t%d", i.logins.Add(1)))}, nil
}

func TestConcurrentCallsShareOneLogin(t *testing.T) {
	const callers = 20
	var first sync.WaitGroup // all callers have been refused with t1
	first.Add(callers)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") == "Bearer t1" {
			first.Done()
			first.Wait()
			w.WriteHeader(401)
			return
		}
		if r.Header.Get("Authorization") != "Bearer t2" || string(b) != `{"name":"x"}` {
			t.Errorf("second try came with %q and %q", r.Header.Get("Authorization"), b)
		}
		_, _ = io.WriteString(w, `{"id":7}`)
	})
	var i issuer
	c := client(t, s.URL, Options{Login: i.login, Tries: 1})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			out, err := Do[reply](t.Context(), c, post(false)) // refused is not done: even this may be repeated
			if err != nil || out.ID != 7 {
				t.Errorf("%v, %v", out, err)
			}
		})
	}
	all.Wait()
	require.Equal(t, int32(2), i.logins.Load(), "one login to begin with, one for all who were refused")
	require.Equal(t, int32(2*callers), s.arrived.Load())
}

func TestARefusalThatStaysIsToldAfterOneNewLogin(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })
	var i issuer
	_, err := Do[reply](t.Context(), client(t, s.URL, Options{Login: i.login}), get(true))
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)
	require.Equal(t, int32(2), i.logins.Load())
	require.Equal(t, int32(2), s.arrived.Load())
}

func TestForbiddenIsNoReasonToLogInAgain(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
	var i issuer
	_, err := Do[reply](t.Context(), client(t, s.URL, Options{Login: i.login}), get(true))
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.Equal(t, int32(1), i.logins.Load())
	require.Equal(t, int32(1), s.arrived.Load())
}

func TestALoginThatFailsSaysWhyAndSendsNothing(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	login := func(context.Context) (Token, error) {
		return Token{}, &mlops.Error{Kind: mlops.ErrUnauthenticated, Service: "auth", Op: "Login", Message: "wrong password"}
	}
	_, err := Do[reply](t.Context(), client(t, s.URL, Options{Login: login}), post(true))
	require.EqualError(t, err, "lab: Make: wrong password")
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)
	require.Zero(t, s.arrived.Load())
}

func TestATokenIsRenewedBeforeItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logins int
		c := client(t, "http://lab.invalid", Options{
			HTTP: &http.Client{Transport: played(func(*http.Request) (*http.Response, error) { return ok(`{"id":1}`), nil })},
			Login: func(context.Context) (Token, error) {
				logins++
				return Token{Value: "t", Expires: time.Now().Add(time.Hour)}, nil
			},
		})
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{0, 1}, {54 * time.Minute, 1}, {2 * time.Minute, 2}, {54 * time.Minute, 2}} {
			<-time.After(step.after)
			_, err := Do[reply](t.Context(), c, get(true))
			require.NoError(t, err)
			require.Equal(t, step.want, logins)
		}
	})
}

func TestACallerThatGivesUpDoesNotEndTheLoginOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logins := 0
		c := client(t, "http://lab.invalid", Options{
			HTTP: &http.Client{Transport: played(func(*http.Request) (*http.Response, error) { return ok(`{"id":1}`), nil })},
			Login: func(ctx context.Context) (Token, error) {
				logins++
				select {
				case <-time.After(10 * time.Second):
					return Token{Value: "t"}, nil
				case <-ctx.Done():
					return Token{}, ctx.Err()
				}
			},
		})
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error)
		go func() {
			_, err := Do[reply](impatient, c, get(true))
			done <- err
		}()
		synctest.Wait()
		go func() {
			_, err := Do[reply](t.Context(), c, get(true))
			done <- err
		}()
		require.ErrorIs(t, <-done, context.DeadlineExceeded)
		require.NoError(t, <-done)
		require.Equal(t, 1, logins)
	})
}

func TestSecretsShowNeitherInLogsNorInErrors(t *testing.T) {
	const canary = "hunter2canary"
	faults := []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		func(w http.ResponseWriter, r *http.Request) { reset(t, w, "") },
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://u:"+canary+"@localhost:1/"+"?k="+canary, http.StatusFound)
		},
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "no JSON") },
	}
	for i, fault := range faults {
		s := serve(t, fault)
		host := s.Listener.Addr().String()
		for name, opt := range map[string]Options{
			"http://u:" + canary + "@" + host: {},
			"http://" + host:                  {Auth: mlops.Auth{Token: canary, Header: "X-Api-Key"}},
			"http://" + host + "/":            {Login: func(context.Context) (Token, error) { return Token{Value: canary}, nil }},
		} {
			var log bytes.Buffer
			opt.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			opt.Tries = 2
			c := client(t, name, opt)
			call := get(true)
			call.Query = map[string][]string{"token": {canary}}
			_, err := Do[reply](t.Context(), c, call)
			require.Error(t, err, i)
			seen := fmt.Sprintf("%v %+v %#v %s", err, err, detail(t, err), log.String())
			require.NotContains(t, seen, canary)
			require.Contains(t, log.String(), "msg=request service=lab op=Thing method=GET path=")
			require.NotContains(t, c.URL(), canary)
		}
	}
}

func TestUserInformationInTheURLIsTheCredential(t *testing.T) {
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "u" || p != "p w" {
			t.Errorf("came as %q, %q", u, p)
		}
	})
	c := client(t, "http://u:p%20w@"+s.Listener.Addr().String(), Options{})
	_, err := Do[None](t.Context(), c, get(true))
	require.NoError(t, err)
}
