package rayserve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

const service = "rayserve"

// Options say where Ray is. Only URL is needed.
type Options struct {
	URL  string     // the dashboard: "http://127.0.0.1:8265"
	Auth mlops.Auth // Ray's token; it is sent to the dashboard only

	// ServeURL is where deployed models answer, "http://127.0.0.1:8001" when
	// empty. Its port is the one Serve is started with.
	ServeURL string
	// ServeHost is the address Serve listens on when this client is the first
	// to start it; empty: 127.0.0.1. Models answer without credentials, so
	// anything wider is a decision.
	ServeHost string

	// MLflow is the address, as seen from here, of the MLflow that Ray's own
	// environment names. Applications that load their models from it name no
	// address: it may be another one when Ray is started again. Empty: every
	// address is named.
	MLflow string

	// StateDir holds the lock, the desired configuration and the packages;
	// empty: a folder of the user's cache, one per URL. Programs that deploy to
	// one cluster from one machine have to share it.
	StateDir string

	HTTP      *http.Client
	Logger    *slog.Logger
	PollEvery time.Duration // how often a wait looks; 0: 1 s
}

// Client deploys to one Ray cluster. It is safe for concurrent use.
type Client struct {
	opt   Options
	t     *transport.Client // the dashboard
	serve *transport.Client // deployed models
	port  int               // of ServeURL

	mu    sync.Mutex
	known map[string]target // applications that Invoke saw answering
}

// New returns a Client. It makes no request.
func New(opt Options) (*Client, error) {
	if opt.ServeURL == "" {
		opt.ServeURL = "http://127.0.0.1:8001"
	}
	if opt.ServeHost == "" {
		opt.ServeHost = "127.0.0.1"
	}
	if opt.PollEvery == 0 {
		opt.PollEvery = time.Second
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if strings.HasPrefix(opt.URL, "ray://") {
		return nil, invalid("New", "%s is the address of a Ray client; Serve is configured over the dashboard: want http://host:8265", opt.URL)
	}
	t, err := transport.New(transport.Options{
		Service: service, BaseURL: opt.URL, Auth: opt.Auth, DecodeError: decodeDashboard,
		HTTP: opt.HTTP, Logger: opt.Logger,
	})
	if err != nil {
		return nil, err
	}
	s, err := transport.New(transport.Options{
		Service: service, BaseURL: opt.ServeURL, DecodeError: decodeModel,
		HTTP: opt.HTTP, Logger: opt.Logger,
	})
	if err != nil {
		return nil, err
	}
	c := &Client{opt: opt, t: t, serve: s, known: map[string]target{}}
	if c.port, err = portOf(s.URL()); err != nil {
		return nil, err
	}
	if opt.StateDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("rayserve: no folder for the desired configuration: set StateDir: %w", err)
		}
		key := sha256.Sum256([]byte(t.URL()))
		c.opt.StateDir = filepath.Join(cache, "mlops", "rayserve", hex.EncodeToString(key[:8]))
	}
	return c, nil
}

func portOf(raw string) (int, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return 0, invalid("New", "ServeURL cannot be read: want http://host:port")
	}
	switch {
	case u.Port() != "":
		n, err := strconv.Atoi(u.Port())
		if err != nil {
			return 0, invalid("New", "ServeURL %s: want http://host:port", u.Redacted())
		}
		return n, nil
	case u.Scheme == "https":
		return 443, nil
	}
	return 80, nil
}

// Close closes the client's idle connections. A client that is used
// afterwards opens them again. The error is always nil.
func (c *Client) Close() error {
	c.t.Close()
	c.serve.Close()
	return nil
}

// Version returns Ray's version, "2.60.0".
//
// Ray REST: GET /api/version
func (c *Client) Version(ctx context.Context) (string, error) {
	v, err := c.version(ctx, "Version")
	return v.Ray, err
}

// version is the answer of /api/version. A session lasts as long as the head.
type version struct {
	Ray     string `json:"ray_version"`
	Session string `json:"session_name"`
}

func (c *Client) version(ctx context.Context, op string) (version, error) {
	if err := c.usable(op); err != nil {
		return version{}, err
	}
	v, err := transport.Do[version](ctx, c.t, transport.Call{Op: op, Method: "GET", Path: "/api/version", Idempotent: true})
	if err == nil && v.Ray == "" {
		err = &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Op: op, Message: c.t.URL() + " answers, but it is not a Ray dashboard"}
	}
	return v, err
}

// usable is why c cannot be used, nil if it can.
func (c *Client) usable(op string) error {
	if c == nil || c.t == nil {
		return invalid(op, "this client was not made by rayserve.New")
	}
	return nil
}

func failure(kind error, op, format string, args ...any) *mlops.Error {
	return &mlops.Error{Kind: kind, Service: service, Op: op, Message: fmt.Sprintf(format, args...)}
}

func invalid(op, format string, args ...any) error {
	return failure(mlops.ErrInvalid, op, format, args...)
}
