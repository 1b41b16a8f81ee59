package evidently

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

const service = "evidently"

// SecretHeader is the header in which the UI service expects its secret: the
// Header of an [mlops.Auth] whose Token is the secret.
const SecretHeader = "evidently-secret"

// Options configure a Client.
type Options struct {
	URL    string       // "http://127.0.0.1:8000"
	Auth   mlops.Auth   // a Token without a Header is sent under SecretHeader
	HTTP   *http.Client // nil: a client of our own
	Logger *slog.Logger // requests and retries at Debug; nil: silent
}

// Client speaks to one UI service. It is safe for concurrent use.
type Client struct {
	t *transport.Client
}

// New returns a Client for opt.URL. It makes no request.
func New(opt Options) (*Client, error) {
	if opt.Auth.Token != "" && opt.Auth.Header == "" {
		opt.Auth.Header = SecretHeader
	}
	t, err := transport.New(transport.Options{
		Service:     service,
		BaseURL:     opt.URL,
		Auth:        opt.Auth,
		DecodeError: decodeError,
		HTTP:        opt.HTTP,
		Logger:      opt.Logger,
	})
	if err != nil {
		return nil, err
	}
	return &Client{t}, nil
}

// Close closes the client's idle connections. A client that is used
// afterwards opens them again. The error is always nil.
func (c *Client) Close() error {
	c.t.Close()
	return nil
}

// URL returns the service's address, without credentials.
func (c *Client) URL() string { return c.t.URL() }

// Version returns the version of Evidently that answers, "0.7.23".
//
// Evidently REST: GET /api/version
func (c *Client) Version(ctx context.Context) (string, error) {
	out, err := transport.Do[struct {
		Application string `json:"application"`
		Version     string `json:"version"`
	}](ctx, c.t, transport.Call{
		Op:         "Version",
		Method:     "GET",
		Path:       "/api/version",
		Idempotent: true,
	})
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(out.Application, "Evidently") || out.Version == "" {
		return "", invalid("Version", "%s is not an Evidently service", c.URL())
	}
	return out.Version, nil
}

// decodeError reads the service's error envelope: {"status_code", "detail",
// "extra": [{"message", "key"}]}, of which detail alone is always there.
func decodeError(_ int, _ string, body []byte) *mlops.Error {
	var e struct {
		Detail string `json:"detail"`
		Extra  []struct {
			Message string `json:"message"`
			Key     string `json:"key"`
		} `json:"extra"`
	}
	if json.Unmarshal(body, &e) != nil || e.Detail == "" {
		return nil
	}
	for _, x := range e.Extra {
		if x.Message != "" {
			e.Detail += "; " + strings.TrimPrefix(x.Key+": ", ": ") + x.Message
		}
	}
	return &mlops.Error{Message: e.Detail}
}

// segment is an ID as a part of a path. An empty one would be another path.
func segment(op, what, id string) (string, error) {
	if id == "" || id == "." || id == ".." {
		return "", invalid(op, "%q is not the ID of a %s", id, what)
	}
	return "/" + url.PathEscape(id), nil
}
