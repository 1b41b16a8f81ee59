// Package transport is the one HTTP door of this module: credentials, retries,
// limits and error envelopes live here and nowhere else.
//
// A tool's package keeps a Client and describes each operation as a Call:
//
//	out, err := transport.Do[reply](ctx, &c.t, transport.Call{
//		Op: "Models.VersionByAlias", Method: "GET", Path: "/api/2.0/…", Idempotent: true,
//	})
//
// What it does that net/http and go-retryablehttp left alone do not: it repeats
// a call only if the call is declared Idempotent, was never delivered, or was
// turned away (429); it decodes the server's error before it decides; it
// refuses redirects to another origin or method; it bounds the decoded size of
// an answer and the silence within it; and a body that is not complete JSON is
// an error.
package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/mlops-integration/mlops"
)

// Options configure a Client. Zero values take the defaults named.
type Options struct {
	Service string     // "mlflow"; names the tool in errors and logs
	BaseURL string     // "http://127.0.0.1:5000/prefix"; user information in it becomes Auth
	Auth    mlops.Auth // sent with every request, unless Login is set

	// Login trades credentials for a token. Concurrent calls share one login;
	// it is asked again 5 minutes before the token expires, and once when a
	// call is answered with ErrUnauthenticated.
	Login func(context.Context) (Token, error)

	// DecodeError reads the tool's own error envelope and returns nil if the
	// body is not one. It may leave Kind nil: the status then decides.
	// A call is worth repeating if the kind is ErrUnavailable or ErrRateLimited.
	DecodeError func(status int, contentType string, body []byte) *mlops.Error

	HTTP          *http.Client  // its Transport and Jar are used; nil: a client of our own, without proxies for loopback
	Logger        *slog.Logger  // requests and retries at Debug, 5 s without an answer at Warn; nil: silent
	Tries         int           // attempts per call; 0: 5
	Pause         time.Duration // the limit of the first wait between tries; 0: 200 ms, and 5 s is the longest; below 0: no wait
	MaxBody       int64         // bytes of a decoded answer; 0: 64 MiB; does not bind Stream
	IdleTimeout   time.Duration // longest silence within an answer; 0: 60 s
	HeaderTimeout time.Duration // longest wait for an answer to begin; 0: 2 min; with HTTP set, its own
	MaxWait       time.Duration // a server that asks to wait longer is not asked again; 0: 60 s
}

// Client sends calls to one server. It is safe for concurrent use and must not
// be copied after its first call.
type Client struct {
	opt  Options
	base *url.URL
	http *http.Client

	own     *http.Transport // nil: the caller's
	pause   time.Duration   // the limit of the first wait between tries
	longest time.Duration   // the limit of any
}

// New returns a Client for opt.BaseURL, which must be http or https.
func New(opt Options) (*Client, error) {
	bad := func(format string, args ...any) error {
		return &mlops.Error{Kind: mlops.ErrInvalid, Service: opt.Service, Message: fmt.Sprintf(format, args...)}
	}
	if opt.BaseURL == "" {
		return nil, bad("no URL is configured")
	}
	u, err := url.Parse(opt.BaseURL)
	if err != nil {
		return nil, bad("the URL cannot be read: want http://host:port") // err may hold a password
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, bad("URL %q: want http://host:port or https://host", u.Redacted())
	}
	if u.User != nil {
		if opt.Auth.IsZero() {
			pw, _ := u.User.Password()
			opt.Auth = mlops.Auth{Username: u.User.Username(), Password: mlops.Secret(pw)}
		}
		u.User = nil
	}
	u.RawQuery, u.ForceQuery, u.Fragment = "", false, ""

	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&opt.Tries, 5)
	setDefault(&opt.MaxBody, 64<<20)
	setDefault(&opt.IdleTimeout, time.Minute)
	setDefault(&opt.HeaderTimeout, 2*time.Minute)
	setDefault(&opt.MaxWait, time.Minute)
	longest := 5 * time.Second
	if opt.Pause > 0 { // who asks for longer waits gets them, up to MaxWait
		longest = max(longest, opt.MaxWait, opt.Pause)
	}
	setDefault(&opt.Pause, 200*time.Millisecond)

	c := &Client{opt: opt, base: u, pause: max(opt.Pause, 1), longest: longest}
	hc := http.Client{}
	if opt.HTTP != nil {
		hc = *opt.HTTP
	}
	if hc.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = opt.HeaderTimeout
		t.MaxIdleConnsPerHost = 16
		t.WriteBufferSize = 64 << 10 // a small body leaves together with its header
		hc.Transport, c.own = t, t
	}
	hc.Transport = &door{base: hc.Transport, client: c, tokens: tokens{login: opt.Login}}
	hc.CheckRedirect = refuseRedirect
	c.http = &hc
	return c, nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// WithTries returns a Client that makes so many attempts per call and is the
// same otherwise: it shares connections and logins.
func (c *Client) WithTries(n int) *Client {
	other := *c
	other.opt.Tries = n
	return &other
}

// Close ends a login that is under way and closes the connections that are not in
// use, unless they are of the caller's own transport. A call that comes later opens
// them again.
func (c *Client) Close() {
	if c == nil || c.http == nil {
		return
	}
	c.door().tokens.close()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// URL returns the server's address, without credentials.
func (c *Client) URL() string {
	if c == nil || c.base == nil { // not made by New; its calls say so
		return ""
	}
	return strings.TrimSuffix(c.base.String(), "/")
}

// Call is one request.
type Call struct {
	Op     string // the method the user called: "Models.VersionByAlias"
	Method string
	Path   string // begins with "/", already escaped; ".." is refused
	Query  url.Values
	Header http.Header

	Body any     // sent as JSON; nil: no body and no Content-Type
	Raw  *Stream // sent as it is, instead of Body

	// Idempotent states that doing this operation twice is the same as doing
	// it once. It is a statement about the operation, not about its verb.
	Idempotent bool
}

// Stream is a request body that can be opened again for another try.
type Stream struct {
	Open        func() (io.ReadCloser, error)
	Size        int64 // -1 when unknown
	ContentType string
}

// None is the answer of an operation whose body says nothing: it may be empty.
type None struct{}

// Do sends call and decodes the JSON answer, all of it, into T. With T = None
// the body is read and dropped.
func Do[T any](ctx context.Context, c *Client, call Call) (T, error) {
	var out T
	_, drop := any(out).(None)
	a := &attempt{client: c, call: call, buffer: true, wantJSON: !drop}
	resp, err := a.do(ctx)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if drop {
		return out, nil
	}
	if err := a.into(resp, &out); err != nil {
		return *new(T), err
	}
	return out, nil
}

// Any reaches an operation that has no method of its own, as "Do". The answer is
// decoded into out; with out nil it is dropped, with a *[]byte it is kept as it came.
// GET, HEAD and PUT are idempotent.
func Any(ctx context.Context, c *Client, method, path string, query url.Values, in, out any) error {
	call := Call{Op: "Do", Method: method, Path: path, Query: query, Body: in}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut:
		call.Idempotent = true
	}
	switch out := out.(type) {
	case nil:
		_, err := Bytes(ctx, c, call)
		return err
	case *[]byte:
		b, err := Bytes(ctx, c, call)
		*out = b
		return err
	}
	a := &attempt{client: c, call: call, buffer: true, wantJSON: true}
	resp, err := a.do(ctx)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return a.into(resp, out)
}

// Bytes sends call and returns the answer's body, bounded by Options.MaxBody.
func Bytes(ctx context.Context, c *Client, call Call) ([]byte, error) {
	a := &attempt{client: c, call: call, buffer: true}
	resp, err := a.do(ctx)
	if err != nil {
		return nil, err
	}
	return a.body, resp.Body.Close()
}

// Open sends call and returns the answer with its body still to be read; the
// caller closes it. Its size has no limit, its silence has. Reading past a
// connection that was cut is an error when the server told the length.
func Open(ctx context.Context, c *Client, call Call) (*http.Response, error) {
	return (&attempt{client: c, call: call}).do(ctx)
}

// request builds the request that all tries repeat.
func (c *Client) request(ctx context.Context, call Call) (*retryablehttp.Request, error) {
	path, _, _ := strings.Cut(call.Path, "?")
	if !strings.HasPrefix(path, "/") || path != call.Path || hasDotDot(path) {
		return nil, &mlops.Error{Kind: mlops.ErrInvalid, Message: fmt.Sprintf("path %q is not allowed", call.Path)}
	}
	target := strings.TrimSuffix(c.base.String(), "/") + path
	if len(call.Query) > 0 {
		target += "?" + call.Query.Encode()
	}
	var body any
	switch {
	case call.Raw != nil:
		body = retryablehttp.ReaderFunc(func() (io.Reader, error) { return call.Raw.Open() })
	case call.Body != nil:
		b, err := json.Marshal(call.Body)
		if err != nil {
			return nil, &mlops.Error{Kind: mlops.ErrInvalid, Cause: err, Message: "the request cannot be written as JSON: " + err.Error()}
		}
		body = b
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, call.Method, target, body)
	if err != nil {
		return nil, &mlops.Error{Kind: mlops.ErrInvalid, Cause: err}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "mlops-go")
	switch {
	case call.Raw != nil:
		req.ContentLength = call.Raw.Size
		if call.Raw.ContentType != "" {
			req.Header.Set("Content-Type", call.Raw.ContentType)
		}
	case call.Body != nil:
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range call.Header {
		req.Header[http.CanonicalHeaderKey(k)] = slices.Clone(v)
	}
	return req, nil
}

// hasDotDot finds ".." segments, escaped or not.
func hasDotDot(path string) bool {
	plain, err := url.PathUnescape(path)
	if err != nil {
		return true
	}
	return slices.Contains(strings.FieldsFunc(plain, func(r rune) bool { return r == '/' || r == '\\' }), "..")
}

func snippet(b []byte) string {
	const most = 200
	s := strings.Join(strings.Fields(string(bytes.ToValidUTF8(b[:min(len(b), most)], nil))), " ")
	if len(b) > most {
		s += "…"
	}
	return s
}

// undelivered reports whether err arose before a byte of the request was sent.
func undelivered(err error) bool {
	op, ok := errorsAs[*net.OpError](err)
	return ok && op.Op == "dial"
}
