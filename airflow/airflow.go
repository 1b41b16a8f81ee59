package airflow

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

const service = "airflow"

// Options configure a Client.
type Options struct {
	URL string // "http://127.0.0.1:8080", without /api

	// Auth logs in with Username and Password (POST /auth/token), again
	// shortly before the token ends and once when the server refuses it.
	// A Token is used as it is. The zero value is anonymous.
	Auth mlops.Auth

	HTTP      *http.Client  // nil: a client of our own
	Logger    *slog.Logger  // requests and retries at Debug; nil: silent
	PollEvery time.Duration // how often Wait, WaitDAG and Logs look again; 0: 1 s
}

// Client talks to one Airflow server. It is safe for concurrent use.
type Client struct {
	DAGs        DAGsService
	Runs        RunsService
	Tasks       TasksService
	XComs       XComsService
	Decisions   DecisionsService
	TaskState   TaskStateService
	AssetState  AssetStateService
	Assets      AssetsService
	Backfills   BackfillsService
	Connections ConnectionsService
	Variables   VariablesService
	Pools       PoolsService
	Server      ServerService

	t    *transport.Client
	poll time.Duration
}

// New returns a Client for the server at opt.URL. It makes no request.
func New(opt Options) (*Client, error) {
	base := transport.Options{
		Service:     service,
		BaseURL:     opt.URL,
		Auth:        opt.Auth,
		DecodeError: decodeError,
		HTTP:        opt.HTTP,
		Logger:      opt.Logger,
	}
	if u, err := url.Parse(opt.URL); err == nil && u.User != nil && opt.Auth.IsZero() {
		pw, _ := u.User.Password()
		opt.Auth = mlops.Auth{Username: u.User.Username(), Password: mlops.Secret(pw)}
		u.User = nil
		base.BaseURL = u.String()
	}
	if opt.Auth.Token == "" && opt.Auth.Username != "" {
		base.Auth = mlops.Auth{}
		desk, err := transport.New(base)
		if err != nil {
			return nil, err
		}
		base.Login = func(ctx context.Context) (transport.Token, error) { return login(ctx, desk, opt.Auth) }
	}
	t, err := transport.New(base)
	if err != nil {
		return nil, err
	}
	c := &Client{t: t, poll: cmp.Or(opt.PollEvery, time.Second)}
	c.bind()
	return c, nil
}

// Close closes the client's idle connections and ends a login that is under way. A client that is used
// afterwards opens them again. The error is always nil.
func (c *Client) Close() error {
	c.way().Close()
	return nil
}

// URL returns the server's address, without credentials.
func (c *Client) URL() string { return c.way().URL() }

// way is the way to the server; nil, whose calls are errors, for a client or a
// service that was not made by New.
func (c *Client) way() *transport.Client {
	if c == nil {
		return nil
	}
	return c.t
}

// login trades a name and a password for a token.
//
// Airflow REST: POST /auth/token (201)
func login(ctx context.Context, desk *transport.Client, a mlops.Auth) (transport.Token, error) {
	out, err := transport.Do[struct {
		AccessToken string `json:"access_token"`
	}](ctx, desk, transport.Call{
		Op:         "login",
		Method:     "POST",
		Path:       "/auth/token",
		Body:       map[string]string{"username": a.Username, "password": string(a.Password)},
		Idempotent: true, // a second token does no harm
	})
	if err != nil {
		return transport.Token{}, err
	}
	if out.AccessToken == "" {
		return transport.Token{}, &mlops.Error{Kind: mlops.ErrUnauthenticated, Service: service, Op: "login", Message: "the server's answer holds no token"}
	}
	return transport.Token{Value: mlops.Secret(out.AccessToken), Expires: expiry(out.AccessToken)}, nil
}

// expiry reads the end of a JSON web token; zero if it does not tell.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if json.Unmarshal(b, &claims) != nil || claims.Exp <= 0 {
		return time.Time{}
	}
	return time.Unix(claims.Exp, 0)
}

// Version returns the server's version, "3.3.2". It needs no credentials.
//
// Airflow REST: GET /api/v2/version
func (c *Client) Version(ctx context.Context) (string, error) {
	out, err := do[struct {
		Version string `json:"version"`
	}](ctx, c, request{op: "Version", method: "GET", path: "/version", again: true})
	return out.Version, err
}

// Component is one part of Airflow.
type Component struct {
	Status    string    // "healthy", "unhealthy"; empty when it never ran
	Heartbeat time.Time // the last sign of life; zero when there is none
}

// Healthy reports whether the part said that it works.
func (p Component) Healthy() bool { return p.Status == "healthy" }

// Health tells how the parts of Airflow are.
type Health struct {
	Metadatabase Component
	Scheduler    Component
	Triggerer    Component // needed by deferrable operators only
	DAGProcessor Component // learns new and changed DAGs
}

// Healthy reports whether DAGs are learnt and run. A missing triggerer is no
// fault: tasks declared with this package do not need one.
func (h Health) Healthy() bool {
	return h.Metadatabase.Healthy() && h.Scheduler.Healthy() && h.DAGProcessor.Healthy()
}

// Health asks how the parts of Airflow are. An unhealthy part is no error: the
// server answers 200 even then.
//
// Airflow REST: GET /api/v2/monitor/health
func (c *Client) Health(ctx context.Context) (Health, error) {
	out, err := do[healthWire](ctx, c, request{op: "Health", method: "GET", path: "/monitor/health", again: true})
	return out.health(), err
}

// request is one call below the API's root.
type request struct {
	op     string
	method string
	path   string   // "/dags/%s/dagRuns/%s"
	ids    []string // fill path, escaped
	query  url.Values
	accept string
	body   any
	again  bool // doing it twice is the same as doing it once
}

func (r request) call() (transport.Call, error) {
	args := make([]any, len(r.ids))
	for i, id := range r.ids {
		if id == "" {
			return transport.Call{}, invalid(r.op, "an empty ID names nothing")
		}
		args[i] = url.PathEscape(id)
	}
	call := transport.Call{Op: r.op, Method: r.method, Path: apiRoot + fmt.Sprintf(r.path, args...), Query: r.query, Body: r.body, Idempotent: r.again}
	if r.accept != "" {
		call.Header = http.Header{"Accept": {r.accept}}
	}
	return call, nil
}

func do[T any](ctx context.Context, c *Client, r request) (T, error) {
	call, err := r.call()
	if err != nil {
		return *new(T), err
	}
	return transport.Do[T](ctx, c.way(), call)
}

// wait sleeps until the next look.
func (c *Client) wait(ctx context.Context) error {
	t := time.NewTimer(c.poll)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func invalid(op, format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Op: op, Message: fmt.Sprintf(format, args...)}
}
