package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

type opKey struct{}

// door is the round tripper through which every try goes: it puts on the
// credentials, logs, and watches the answer's body for silence.
type door struct {
	base   http.RoundTripper
	client *Client
	tokens tokens
}

func (c *Client) door() *door { return c.http.Transport.(*door) }

func (d *door) RoundTrip(req *http.Request) (*http.Response, error) {
	auth := d.client.opt.Auth
	if d.tokens.login != nil {
		t, err := d.tokens.current(req.Context())
		if err != nil {
			if req.Body != nil {
				req.Body.Close()
			}
			return nil, err
		}
		auth = mlops.Auth{Token: t}
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	out := req.Clone(ctx)
	auth.Apply(out.Header)

	begin := time.Now()
	mute := time.AfterFunc(patience, func() {
		d.client.opt.Logger.Warn(NoAnswerYet, "service", d.client.opt.Service, "op", req.Context().Value(opKey{}), "url", d.client.URL(), "waited", patience)
	})
	resp, err := d.base.RoundTrip(out)
	mute.Stop()
	log := d.client.opt.Logger.With("service", d.client.opt.Service, "op", req.Context().Value(opKey{}), "method", req.Method, "path", req.URL.Path, "took", time.Since(begin))
	if err != nil {
		cancel(nil)
		log.Debug("request", "error", err)
		return nil, err
	}
	log.Debug("request", "status", resp.StatusCode)
	resp.Request = out // usedToken reads it, whatever transport the caller plugged in
	resp.Body = watch(resp.Body, d.client.opt.IdleTimeout, cancel)
	return resp, nil
}

// NoAnswerYet is what a request logs, at Warn, after [patience] without an answer.
const NoAnswerYet = "no answer yet"

// patience is how long a server may think before that is told.
const patience = 5 * time.Second

// usedToken is the bearer token that a request carried.
func usedToken(req *http.Request) mlops.Secret {
	const prefix = "Bearer "
	if h := req.Header.Get("Authorization"); len(h) > len(prefix) {
		return mlops.Secret(h[len(prefix):])
	}
	return ""
}

// silence ends a body that says nothing for too long.
type silence struct {
	body   io.ReadCloser
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	mu     sync.Mutex
	fired  bool
}

func watch(body io.ReadCloser, limit time.Duration, cancel context.CancelCauseFunc) io.ReadCloser {
	s := &silence{body: body, limit: limit, cancel: cancel}
	s.timer = time.AfterFunc(limit, func() {
		s.mu.Lock()
		s.fired = true
		s.mu.Unlock()
		cancel(nil)
	})
	s.timer.Stop()
	return s
}

func (s *silence) Read(p []byte) (int, error) {
	s.timer.Reset(s.limit)
	n, err := s.body.Read(p)
	s.timer.Stop()
	if err != nil && err != io.EOF {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.fired {
			err = fmt.Errorf("no byte arrived for %v", s.limit)
		}
	}
	return n, err
}

func (s *silence) Close() error {
	s.timer.Stop()
	err := s.body.Close()
	s.cancel(nil)
	return err
}

// redirectError is a redirect that was not followed.
type redirectError struct{ to, why string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("redirects to %s, which is %s: not followed; set the address that answers itself", e.to, e.why)
}

// refuseRedirect follows a redirect only within one origin and with the method
// unchanged: net/http would send credentials to other hosts and turn a POST
// into a GET without a body.
func refuseRedirect(req *http.Request, via []*http.Request) error {
	from := via[0]
	to := (&url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Path: req.URL.Path}).Redacted()
	switch {
	case req.URL.Scheme != from.URL.Scheme || req.URL.Host != from.URL.Host:
		return &redirectError{to, "another origin"}
	case req.Method != from.Method:
		return &redirectError{to, "to be asked by " + req.Method + " instead of " + from.Method}
	case len(via) > 5:
		return &redirectError{to, "the sixth in a row"}
	}
	return nil
}
