// Package http reads and writes a DVC remote on an HTTP server.
//
//	import _ "github.com/mlops-integration/mlops/dvc/remote/http"
//
// The remote's section of .dvc/config is read with dvc's own keys: auth (basic
// or custom), user, password, custom_auth_header, method, ssl_verify,
// read_timeout, connect_timeout and jobs. Objects are asked for with HEAD, read
// with GET and, where the server takes it, written with method, which is POST
// unless it is set. A server tells no list, so that gc and the run cache do not
// work with such a remote. Digest authentication and asked passwords are not
// spoken.
package http

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

func init() {
	for _, scheme := range []string{"http", "https"} {
		remote.Register(scheme, func(_ context.Context, c remote.Config) (remote.Store, error) { return New(c) })
	}
}

const tries = 5

// Store is a remote on an HTTP server.
type Store struct {
	client *http.Client
	base   string // without a slash at its end
	exact  string // the one object's URL; "" when keys are asked for
	method string
	jobs   int
	idle   time.Duration
	auth   func(*http.Request)
}

// New opens the remote that c describes. It makes no request.
func New(c remote.Config) (*Store, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" {
		return nil, fail(mlops.ErrInvalid, 0, "remote %q: want http://host/path", c.Name)
	}
	s := &Store{method: strings.ToUpper(c.Options["method"]), auth: func(*http.Request) {}}
	if s.method == "" {
		s.method = http.MethodPost
	}
	if err := s.login(c, u); err != nil {
		return nil, err
	}
	known := u.User != nil || c.Options["auth"] != "" || c.Options["user"] != "" || c.Options["password"] != ""
	u.User = nil
	s.base = strings.TrimSuffix(u.String(), "/")
	if c.Exact {
		s.exact = u.String()
	}
	if s.jobs, err = c.Int("jobs", 16); err != nil {
		return nil, err
	}
	if s.idle, err = c.Seconds("read_timeout", time.Minute); err != nil {
		return nil, err
	}
	dial, err := c.Seconds("connect_timeout", 10*time.Second)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = c.Limit.Dial(&net.Dialer{Timeout: dial, KeepAlive: 30 * time.Second})
	t.MaxIdleConnsPerHost, t.ResponseHeaderTimeout, t.DisableCompression = max(64, 2*s.jobs), s.idle, true
	switch v := c.Options["ssl_verify"]; strings.ToLower(v) {
	case "", "true":
	case "false":
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by name
	default:
		pem, err := os.ReadFile(v)
		pool := x509.NewCertPool()
		if err != nil || !pool.AppendCertsFromPEM(pem) {
			return nil, c.Bad("ssl_verify", "true, false or a file of certificates")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	s.client = &http.Client{Transport: t, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if c.Exact && !known && len(via) <= 10 && (req.URL.Scheme == "https" || via[0].URL.Scheme == "http" && req.URL.Scheme == "http") {
			return nil // there is nothing to keep from other hosts
		}
		if len(via) > 5 || req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme || req.Method != via[0].Method {
			return fmt.Errorf("the server leads to %s://%s, which is not followed", req.URL.Scheme, req.URL.Host)
		}
		return nil
	}}
	return s, nil
}

// login reads who we are. Credentials are sent to the remote's own host only:
// other redirects are not followed.
func (s *Store) login(c remote.Config, u *url.URL) error {
	user, password := c.Options["user"], c.Secret("password")
	if user == "" {
		user = u.User.Username()
	}
	if p, ok := u.User.Password(); ok && password == "" {
		password = mlops.Secret(p)
	}
	if ask, err := c.Bool("ask_password", false); err != nil || ask && password == "" {
		return errors.Join(err, fail(mlops.ErrUnsupported, 0, "remote %q: ask_password: put the password into .dvc/config.local", c.Name))
	}
	switch auth := strings.ToLower(c.Options["auth"]); auth {
	case "", "basic":
		if user != "" {
			s.auth = func(r *http.Request) { r.SetBasicAuth(user, string(password)) }
		}
	case "custom":
		header := c.Options["custom_auth_header"]
		if header == "" || password == "" {
			return fail(mlops.ErrInvalid, 0, "remote %q: auth = custom needs custom_auth_header and password", c.Name)
		}
		s.auth = func(r *http.Request) { r.Header.Set(header, string(password)) }
	default:
		return fail(mlops.ErrUnsupported, 0, "remote %q: auth = %s", c.Name, auth)
	}
	return nil
}

func fail(kind error, status int, format string, args ...any) error {
	return &mlops.Error{Kind: kind, Service: "dvc", Op: "HTTP", Status: status, Message: fmt.Sprintf(format, args...)}
}

// do sends a request until it is answered with something that another try
// would not change. The caller closes the body of the answer, which is a 2xx.
func (s *Store) do(ctx context.Context, method, key string, header http.Header, body func() io.Reader, size int64) (*http.Response, error) {
	if err := remote.CheckKey(key); err != nil {
		return nil, err
	}
	parts := strings.Split(key, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	at := s.base + "/" + strings.Join(parts, "/")
	if s.exact != "" {
		at = s.exact
	}
	for try := 1; ; try++ {
		var send io.Reader
		if body != nil {
			send = body()
		}
		req, err := http.NewRequestWithContext(ctx, method, at, send)
		if err != nil {
			return nil, err
		}
		for k, v := range header {
			req.Header[k] = v
		}
		if body != nil {
			req.ContentLength = size
		}
		s.auth(req)
		resp, err := s.client.Do(req)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = resp.Body.Close()
			}
			return nil, ctx.Err()
		case err != nil:
			err = &mlops.Error{Kind: mlops.ErrUnavailable, Service: "dvc", Op: "HTTP", Cause: err}
		case resp.StatusCode/100 == 2:
			return resp, nil
		default:
			_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
			_ = resp.Body.Close()
			err = fail(mlops.KindOfStatus(resp.StatusCode), resp.StatusCode, "the server answers %s %s with %s", method, key, resp.Status)
		}
		if try == tries || !errors.Is(err, mlops.ErrUnavailable) && !errors.Is(err, mlops.ErrRateLimited) {
			return nil, err
		}
		t := time.NewTimer(100 * time.Millisecond << try)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}

// Missing asks for each object with HEAD, or with GET of its first byte where
// the server does not speak HEAD.
func (s *Store) Missing(ctx context.Context, keys []string) ([]string, error) {
	var mu sync.Mutex
	var out []string
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.jobs)
	for _, key := range keys {
		g.Go(func() error {
			resp, err := s.do(gctx, http.MethodHead, key, nil, nil, 0)
			if errors.Is(err, mlops.ErrUnsupported) {
				resp, err = s.do(gctx, http.MethodGet, key, http.Header{"Range": {"bytes=0-0"}}, nil, 0)
			}
			if errors.Is(err, mlops.ErrNotFound) {
				mu.Lock()
				defer mu.Unlock()
				out = append(out, key)
				return nil
			}
			if err != nil {
				return err
			}
			return resp.Body.Close()
		})
	}
	err := g.Wait()
	return out, err
}

// Get opens an object. What breaks while it is read is asked for again from
// where it broke.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	b := &body{s: s, ctx: ctx, key: key}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

type body struct {
	s      *Store
	ctx    context.Context
	key    string
	etag   string
	at     int64
	size   int64 // -1 if the server did not tell
	failed int
	r      io.ReadCloser
	cancel context.CancelFunc
}

func (b *body) open() error {
	ctx, cancel := context.WithCancel(b.ctx)
	header := http.Header{}
	if b.at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", b.at))
		if b.etag != "" {
			header.Set("If-Range", b.etag)
		}
	}
	resp, err := b.s.do(ctx, http.MethodGet, b.key, header, nil, 0)
	if err != nil {
		cancel()
		return err
	}
	if b.at > 0 && resp.StatusCode != http.StatusPartialContent {
		_ = resp.Body.Close()
		cancel()
		return fail(mlops.ErrUnavailable, 0, "%s broke off at byte %d, and the server does not go on from there", b.key, b.at)
	}
	if b.at == 0 {
		b.size, b.etag = resp.ContentLength, resp.Header.Get("ETag")
		if strings.HasPrefix(b.etag, "W/") {
			b.etag = ""
		}
	}
	b.r, b.cancel = resp.Body, cancel
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	for {
		t := time.AfterFunc(b.s.idle, b.cancel)
		n, err := b.r.Read(p)
		t.Stop()
		b.at += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		if err == io.EOF && (b.size < 0 || b.at >= b.size) {
			return 0, io.EOF
		}
		if b.ctx.Err() != nil {
			return 0, b.ctx.Err()
		}
		if b.failed++; b.failed == tries {
			return 0, fail(mlops.ErrUnavailable, 0, "%s breaks off at byte %d of %d: %v", b.key, b.at, b.size, err)
		}
		_ = b.Close()
		if err := b.open(); err != nil {
			return 0, err
		}
	}
}

func (b *body) Close() error {
	b.cancel()
	return b.r.Close()
}

// Put sends an object whose bytes were hashed before. That the server keeps it
// whole or not at all is up to the server.
func (s *Store) Put(ctx context.Context, key string, b remote.Blob) error {
	data, sum := b.Body, b.MD5
	h := md5.New()
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := io.Copy(h, io.NewSectionReader(data, 0, data.Size())); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fail(mlops.ErrInvalid, 0, "object %s holds bytes with md5 %s", sum, got)
	}
	header := http.Header{"Content-Md5": {base64.StdEncoding.EncodeToString(h.Sum(nil))}, "Content-Type": {"application/octet-stream"}}
	resp, err := s.do(ctx, s.method, key, header, func() io.Reader {
		if data.Size() == 0 {
			return http.NoBody
		}
		return io.NewSectionReader(data, 0, data.Size())
	}, data.Size())
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
