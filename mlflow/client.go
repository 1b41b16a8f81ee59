package mlflow

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Options configure a Client. Only URL is required.
type Options struct {
	URL    string // "http://127.0.0.1:5000"; user information in it becomes Auth
	Auth   mlops.Auth
	User   string       // who runs belong to; empty: Auth's or URL's user, else that of the operating system
	HTTP   *http.Client // nil: a client of our own
	Logger *slog.Logger // nil: silent

	Tries   int           // attempts per request; 0: 5
	Backoff time.Duration // the limit of the first wait between attempts, which doubles; 0: 200 ms, up to 5 s; below 0: no wait

	// Timeout is the longest wait for an answer to begin, and the longest
	// silence within one; 0: 2 min for the one, 1 min for the other. It is no
	// limit for a whole call: that is the caller's ctx. An HTTP client with a
	// Transport of a type of its own bounds the wait to begin itself.
	Timeout time.Duration

	RegistryURL  string     // where registered models are; empty: URL
	RegistryAuth mlops.Auth // for a RegistryURL of another origin, which Auth is not sent to
	Workspace    string     // sent with each request; a server without workspaces answers with mlops.ErrUnsupported
	TLS          TLS
	Target       Target // see Client.Target

	// Journal is where what runs log is kept until the server has it.
	Journal Journal

	Artifacts ArtifactOptions
}

// Client speaks to one MLflow tracking server. It is safe for concurrent use.
//
// Experiments, runs and their artifacts are methods of the client; everything
// else is a method of one of its services: c.Models.VersionByAlias(ctx, "rank", "champion").
type Client struct {
	Models       ModelsService
	LoggedModels LoggedModelsService
	Traces       TracesService
	Prompts      PromptsService
	Scorers      ScorersService
	EvalDatasets EvalDatasetsService
	Users        UsersService
	Roles        RolesService
	Webhooks     WebhooksService
	Workspaces   WorkspacesService

	t        *transport.Client
	registry *transport.Client // where registered models are; t unless they are elsewhere
	user     string
	tries    int
	target   Target
	log      *slog.Logger
	out      *outbox
	art      *artifacts

	idle   func()        // closes connections of a transport that way made; nil: there is none
	linger time.Duration // how long to wait before sending a partial batch
	pause  func(ctx context.Context, d time.Duration) error
	newUID func() string

	onPass func(place string) // stops tests where two programs' threads meet; nil: passes
}

// New returns a Client. It makes no request.
func New(opt Options) (*Client, error) {
	for what, uri := range map[string]string{"URL": opt.URL, "RegistryURL": opt.RegistryURL} {
		if err := CheckURI(uri); err != nil && (uri != "" || what == "URL") {
			return nil, fmt.Errorf("%w (%s)", err, what)
		}
	}
	way, err := opt.way()
	if err != nil {
		return nil, err
	}
	to := transport.Options{
		Service: "mlflow", BaseURL: opt.URL, Auth: opt.Auth, HTTP: way, Logger: opt.Logger, DecodeError: decodeError,
		Tries: opt.Tries, Pause: opt.Backoff, IdleTimeout: opt.Timeout,
	}
	t, err := transport.New(to)
	if err != nil {
		return nil, err
	}
	registry := t
	if opt.RegistryURL != "" && opt.RegistryURL != opt.URL {
		if to.BaseURL = opt.RegistryURL; origin(opt.RegistryURL) != origin(opt.URL) {
			to.Auth = opt.RegistryAuth
		}
		if registry, err = transport.New(to); err != nil {
			return nil, err
		}
	}
	name := cmp.Or(opt.User, opt.Auth.Username)
	if u, err := url.Parse(opt.URL); err == nil && name == "" {
		name = u.User.Username()
	}
	c := &Client{t: t, registry: registry, user: cmp.Or(name, loginName()), tries: cmp.Or(opt.Tries, 5), target: opt.Target, log: opt.Logger,
		art:    newArtifacts(opt.Artifacts),
		out:    &outbox{opt: opt.Journal, openRuns: &openRuns{senders: map[*sender]struct{}{}, experiments: map[string]string{}}},
		linger: 200 * time.Millisecond, pause: pause, newUID: newUID}
	if way != nil && way != opt.HTTP {
		c.idle = way.CloseIdleConnections
	}
	c.bind()
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// origin is what credentials are for.
func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// single is the client with one attempt per request.
func (c *Client) single() *Client {
	one := *c
	one.t, one.registry, one.tries = c.t.WithTries(1), c.registry.WithTries(1), 1
	one.bind()
	return &one
}

// pass reports to a test that the program has reached a place.
func (c *Client) pass(place string) {
	if c.onPass != nil {
		c.onPass(place)
	}
}

// URL returns the server's address, without credentials.
func (c *Client) URL() string { return c.tracking().URL() }

var versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+[0-9A-Za-z.+-]*$`)

// Version returns the server's version, "3.17.2". The error matches
// [mlops.ErrUnsupported] if whatever answers is not an MLflow server.
//
// MLflow REST: GET /version
func (c *Client) Version(ctx context.Context) (string, error) {
	b, err := transport.Bytes(ctx, c.tracking(), transport.Call{Op: "Version", Method: "GET", Path: "/version", Idempotent: true})
	if err != nil {
		return "", err
	}
	v := strings.TrimSpace(string(b))
	if !versionForm.MatchString(v) {
		return "", &mlops.Error{Kind: mlops.ErrUnsupported, Service: "mlflow", Op: "Version", Message: c.URL() + " is not an MLflow server: its version reads " + fmt.Sprintf("%.40q", v)}
	}
	return v, nil
}

const api = "/api/2.0/mlflow/"

// door is the way to the server that answers path: models and their versions
// may be kept by another.
func (c *Client) door(path string) *transport.Client {
	if c != nil && (strings.HasPrefix(path, "registered-models/") || strings.HasPrefix(path, "model-versions/")) {
		return c.registry
	}
	return c.tracking()
}

// tracking is the way to the tracking server; nil, whose calls are errors, for a
// client or a service that was not made by New.
func (c *Client) tracking() *transport.Client {
	if c == nil {
		return nil
	}
	return c.t
}

// usable is an error for a client that was not made by New.
func usable(c *Client, op string) error {
	if c.tracking() == nil {
		return invalid(op, "a client of no server; make one with New")
	}
	return nil
}

// get asks for something by GET.
func get[T any](ctx context.Context, c *Client, op, path string, query url.Values) (T, error) {
	if err := storable(op, query); err != nil {
		return *new(T), err
	}
	return transport.Do[T](ctx, c.door(path), transport.Call{Op: op, Method: "GET", Path: api + path, Query: query, Idempotent: true})
}

// send does what may be done twice without harm.
func send[T any](ctx context.Context, c *Client, op, method, path string, body any) (T, error) {
	return call[T](ctx, c.door(path), transport.Call{Op: op, Method: method, Path: api + path, Body: body, Idempotent: true})
}

// sendOnce does what must not be done twice: it is not repeated once the
// server may have acted on it.
func sendOnce[T any](ctx context.Context, c *Client, op, method, path string, body any) (T, error) {
	return call[T](ctx, c.door(path), transport.Call{Op: op, Method: method, Path: api + path, Body: body})
}

// call sends a body that MLflow can store as it is. What the sender of a journal
// writes itself is not looked at: the server decides about what was acknowledged.
func call[T any](ctx context.Context, t *transport.Client, call transport.Call) (T, error) {
	if _, written := call.Body.(json.RawMessage); call.Body != nil && !written {
		b, err := json.Marshal(call.Body)
		if err != nil {
			return *new(T), invalid(call.Op, "the request cannot be written as JSON: %v", err)
		}
		if err := storableJSON(call.Op, b); err != nil {
			return *new(T), err
		}
		call.Body = json.RawMessage(b)
	}
	return transport.Do[T](ctx, t, call)
}

// errUnstorable is the cause of a refusal that no server had to be asked for.
var errUnstorable = errors.New("MLflow cannot store it")

// storableJSON reports a text with U+0000, on which MLflow's database fails, or
// that was not UTF-8, so that two of them would become one. encoding/json writes
// an escape for both, and for a U+FFFD that was there before it does not.
func storableJSON(op string, b []byte) error {
	for i := 0; i+6 <= len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		switch string(b[i : i+6]) {
		case `\u0000`:
			return unstorable(op, "a text holds U+0000, which MLflow's database cannot store")
		case `\ufffd`:
			return unstorable(op, "a text is not UTF-8")
		}
		i++ // an escaped backslash begins no other escape
	}
	return nil
}

func storable(op string, query url.Values) error {
	for key, list := range query {
		for _, v := range list {
			if err := checkText(op, key, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func unstorable(op, msg string) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Service: "mlflow", Op: op, Message: msg, Cause: errUnstorable}
}

// once creates something exactly once: when it is not known whether the server
// acted, find looks whether it did, before the create is repeated.
func once[T any](ctx context.Context, c *Client, create func() (T, error), find func() (T, bool, error)) (T, error) {
	for try := 1; ; try++ {
		v, err := create()
		if err == nil || !unsure(err) || try >= c.tries {
			return v, err
		}
		if perr := c.pause(ctx, backoff(try, 5*time.Second)); perr != nil {
			return v, err
		}
		v, ok, ferr := find()
		if ok {
			return v, nil
		}
		if ferr != nil {
			return v, errors.Join(err, ferr)
		}
	}
}

// onceNamed creates exactly once a thing that has no place for an ID of ours. It
// looks for it before the first request as well: what was there is not taken for
// what this call made when an answer is lost, and the server's own refusal is
// waited for. Only two programs that create the same thing at the same moment
// may both be told that they made it.
func onceNamed[T any](ctx context.Context, c *Client, create func() (T, error), find func() (T, bool, error)) (T, error) {
	_, older, ferr := find()
	switch {
	case ctx.Err() != nil: // nothing was sent, and what was found is not what this call made
		return *new(T), cmp.Or(ferr, context.Cause(ctx))
	case errors.Is(ferr, mlops.ErrUnavailable):
		return *new(T), ferr
	case older:
		find = func() (T, bool, error) { return *new(T), false, nil }
	case ferr != nil: // not ours to look at; without a lost answer that does not matter
		find = func() (T, bool, error) {
			return *new(T), false, fmt.Errorf("the server may have made it; look before this is repeated: %w", ferr)
		}
	}
	return once(ctx, c, create, find)
}

// firstOf finds the first of a list that is the one looked for.
func firstOf[T any](list iter.Seq2[T, error], is func(T) bool) (T, bool, error) {
	for v, err := range list {
		if err != nil {
			return v, false, err
		}
		if is(v) {
			return v, true, nil
		}
	}
	return *new(T), false, nil
}

// remove deletes exactly once: a repeated delete that finds nothing is done.
func remove(ctx context.Context, c *Client, del func() error) error {
	err := del()
	for try := 1; err != nil && unsure(err) && try < c.tries; try++ {
		if c.pause(ctx, backoff(try, 5*time.Second)) != nil {
			return err
		}
		if err = del(); errors.Is(err, mlops.ErrNotFound) {
			return nil
		}
	}
	return err
}

// unsure reports whether the server may have acted although err came back.
func unsure(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	return errors.Is(err, mlops.ErrUnavailable)
}

// backoff is how long to wait after a try: a random time around 200 ms, which
// doubles with each try up to most.
func backoff(try int, most time.Duration) time.Duration {
	d := min(most, 100*time.Millisecond<<min(try, 20))
	return d/2 + rand.N(d)
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pages walks through a list whose pages are fetched when they are reached.
func pages[T any](fetch func(token string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for token := ""; ; {
			items, next, err := fetch(token)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, v := range items {
				if !yield(v, nil) {
					return
				}
			}
			if next == "" || next == token {
				return
			}
			token = next
		}
	}
}

// uidOf makes an ID that no other client makes.
func uidOf(c *Client) string {
	if c == nil || c.newUID == nil {
		return newUID()
	}
	return c.newUID()
}

// newUID makes an ID that no other client makes: 32 hex digits.
func newUID() string {
	var b [16]byte
	_, _ = crand.Read(b[:]) // crypto/rand never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}

// invalid is an error found before anything was sent.
func invalid(op, format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Service: "mlflow", Op: op, Message: fmt.Sprintf(format, args...)}
}

// View selects by life cycle. The zero value is what is not deleted.
type View string

// The views.
const (
	ViewActive  View = "ACTIVE_ONLY"
	ViewDeleted View = "DELETED_ONLY"
	ViewAll     View = "ALL"
)

func (v View) wire() View { return cmp.Or(v, ViewActive) }
