package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/mlops-integration/mlops"
)

// attempt is one call with all its tries.
type attempt struct {
	client   *Client
	call     Call
	buffer   bool // read the whole answer before deciding, into body
	wantJSON bool // the buffered answer has to be one JSON value

	body    []byte
	err     *mlops.Error // what the last try came to; nil when it succeeded
	fresh   bool         // a new token was already asked for
	relogin bool         // the next try follows a new token, at once
}

func (a *attempt) do(ctx context.Context) (*http.Response, error) {
	c := a.client
	if c == nil || c.http == nil {
		return nil, &mlops.Error{Kind: mlops.ErrInvalid, Op: a.call.Op, Message: "a client of no server; make one with New"}
	}
	req, err := c.request(ctx, a.call)
	if err != nil {
		e, _ := errorsAs[*mlops.Error](err)
		return nil, a.fail(e)
	}
	tries := c.opt.Tries
	if c.opt.Login != nil {
		tries++
	}
	rc := retryablehttp.Client{
		HTTPClient:   c.http,
		RetryMax:     tries - 1,
		RetryWaitMin: c.pause,
		RetryWaitMax: c.longest,
		CheckRetry:   a.check,
		Backoff:      a.backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	req.Request = req.WithContext(context.WithValue(ctx, opKey{}, a.call.Op)).Request
	resp, err := rc.Do(req)
	if err != nil && (a.err == nil || ctx.Err() != nil) {
		a.err = a.network(ctx, err) // a body that cannot be opened, or ctx ended a wait
	}
	if a.err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, a.fail(a.err)
	}
	return resp, nil
}

// fail puts the service's and the operation's name on e.
func (a *attempt) fail(e *mlops.Error) error {
	e.Service, e.Op = a.client.opt.Service, a.call.Op
	return e
}

// check looks at one try: it reads what has to be read, decodes an error, and
// says whether another try is right.
func (a *attempt) check(ctx context.Context, resp *http.Response, err error) (bool, error) {
	a.err, a.body, a.relogin = nil, nil, false
	if err != nil {
		a.err = a.network(ctx, err)
		return a.again(ctx, undelivered(err)), nil
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		if !a.buffer {
			return false, nil
		}
		a.body, a.err = a.read(ctx, resp, a.client.opt.MaxBody)
		if a.err == nil && a.wantJSON {
			a.err = a.wholeJSON(resp)
		}
		return a.again(ctx, false), nil
	}
	body, rerr := a.read(ctx, resp, 1<<20)
	if rerr != nil && len(body) == 0 {
		body = nil
	}
	a.err = a.decode(resp, body)
	if errors.Is(a.err, mlops.ErrUnauthenticated) && a.client.opt.Login != nil && !a.fresh {
		a.fresh, a.relogin = true, true
		a.client.door().tokens.drop(usedToken(resp.Request))
		return true, nil
	}
	return a.again(ctx, resp.StatusCode == http.StatusTooManyRequests), nil
}

// again reports whether a.err may go away if the call is repeated. refused
// says that the server did not act on this try.
func (a *attempt) again(ctx context.Context, refused bool) bool {
	switch {
	case a.err == nil || ctx.Err() != nil:
		return false
	case !refused && !a.call.Idempotent:
		return false
	case a.err.RetryAfter > a.client.opt.MaxWait:
		return false
	}
	return errors.Is(a.err, mlops.ErrUnavailable) || errors.Is(a.err, mlops.ErrRateLimited)
}

// backoff waits as long as the server asked, else a random time below a limit
// that doubles ("full jitter").
func (a *attempt) backoff(least, most time.Duration, try int, _ *http.Response) time.Duration {
	if a.relogin {
		return 0
	}
	wait := time.Duration(rand.Int64N(int64(min(most, least<<min(try, 10)))))
	if a.err != nil && a.err.RetryAfter > 0 {
		wait = a.err.RetryAfter + wait/4
	}
	a.client.opt.Logger.Debug("retry", "service", a.client.opt.Service, "op", a.call.Op, "try", try+1, "wait", wait)
	return wait
}

// network describes a try that got no answer.
func (a *attempt) network(ctx context.Context, err error) *mlops.Error {
	if e, ok := errorsAs[*mlops.Error](err); ok { // the login's own error
		return &mlops.Error{Kind: e.Kind, Status: e.Status, Code: e.Code, Message: e.Message, Cause: e.Cause, RetryAfter: e.RetryAfter}
	}
	if ctx.Err() != nil {
		return &mlops.Error{Cause: ended(ctx)}
	}
	at := a.client.URL()
	if r, ok := errorsAs[*redirectError](err); ok {
		return &mlops.Error{Kind: mlops.ErrInvalid, Cause: r, Message: fmt.Sprintf("%s %v", at, r)}
	}
	cause := err
	if u := errors.Unwrap(err); u != nil {
		cause = u // without the request's URL, whose query may hold what is not for logs
	}
	if isTLS(err) {
		return &mlops.Error{Kind: mlops.ErrInvalid, Cause: cause, Message: fmt.Sprintf("%s: %v", at, cause)}
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Cause: cause, Message: fmt.Sprintf("no answer from %s: %v", at, cause)}
}

// read takes the body into memory, at most limit bytes of it.
func (a *attempt) read(ctx context.Context, resp *http.Response, limit int64) ([]byte, *mlops.Error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(nil))
	switch {
	case err != nil && ctx.Err() != nil:
		return b, &mlops.Error{Status: resp.StatusCode, Cause: ended(ctx)}
	case err != nil:
		return b, &mlops.Error{Kind: mlops.ErrUnavailable, Status: resp.StatusCode, Cause: err, Message: fmt.Sprintf("the answer of %s broke off after %d bytes: %v: %s", a.client.URL(), len(b), err, snippet(b))}
	case int64(len(b)) > limit:
		return nil, &mlops.Error{Kind: mlops.ErrInvalid, Status: resp.StatusCode, Message: fmt.Sprintf("the answer of %s is larger than %d bytes", a.client.URL(), limit)}
	}
	return b, nil
}

// wholeJSON is nil for an answer that is one complete JSON value, and says what
// else arrived with a status of success.
func (a *attempt) wholeJSON(resp *http.Response) *mlops.Error {
	trimmed := bytes.TrimSpace(a.body)
	e := &mlops.Error{Kind: mlops.ErrUnavailable, Status: resp.StatusCode, Cause: io.ErrUnexpectedEOF}
	switch {
	case len(trimmed) == 0:
		e.Message = fmt.Sprintf("%s answered nothing where JSON was due", a.client.URL())
	case trimmed[0] == '<':
		e.Kind, e.Cause = mlops.ErrInvalid, nil
		e.Message = fmt.Sprintf("%s answered a web page where JSON was due; is a proxy or another server there? %s", a.client.URL(), snippet(trimmed))
	case json.Valid(trimmed):
		return nil
	default:
		var v any
		if err := json.Unmarshal(trimmed, &v); strings.HasSuffix(err.Error(), "unexpected end of JSON input") {
			e.Message = fmt.Sprintf("%s answered JSON that is cut off after %d bytes: %s", a.client.URL(), len(a.body), snippet(trimmed))
		} else {
			e.Kind, e.Cause = mlops.ErrInvalid, err
			e.Message = fmt.Sprintf("%s answered what is not JSON; is a proxy or another server there? %s", a.client.URL(), snippet(trimmed))
		}
	}
	return e
}

// into decodes the buffered answer, which is JSON, into out.
func (a *attempt) into(resp *http.Response, out any) error {
	err := json.Unmarshal(a.body, out)
	if err == nil {
		return nil
	}
	what := "JSON of another form than was due"
	if t, ok := errorsAs[*json.UnmarshalTypeError](err); ok {
		what = fmt.Sprintf("JSON with %s where %s was due", article(t.Value), kindOf(t.Type))
		if t.Field != "" {
			what += " in " + t.Field
		}
	}
	return a.fail(&mlops.Error{Kind: mlops.ErrInvalid, Status: resp.StatusCode, Cause: err, Message: fmt.Sprintf("%s answered %s; is another server there, or another version? %s", a.client.URL(), what, snippet(a.body))})
}

// kindOf is JSON's word for what is decoded into a type.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Pointer:
		return kindOf(t.Elem())
	}
	return "a number"
}

// article puts one before encoding/json's word for a value: "object", "array",
// "string", "bool", "number" or "number 1.5".
func article(value string) string {
	if value == "object" || value == "array" {
		return "an " + value
	}
	return "a " + value
}

// decode turns an error answer into words, the tool's own first.
func (a *attempt) decode(resp *http.Response, body []byte) *mlops.Error {
	var e *mlops.Error
	if d := a.client.opt.DecodeError; d != nil {
		e = d(resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	if e == nil {
		e = &mlops.Error{Message: fmt.Sprintf("%s answered %s", a.client.URL(), strings.TrimSpace(resp.Status))}
		if s := snippet(body); s != "" {
			e.Message += ": " + s
		}
	}
	if e.Kind == nil {
		e.Kind = mlops.KindOfStatus(resp.StatusCode)
	}
	e.Status = resp.StatusCode
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return e
}

// ended says why ctx is over. It matches ctx.Err() even if the cause, such as
// a signal, does not.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// retryAfter reads seconds or an HTTP date.
func retryAfter(v string) time.Duration {
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return time.Duration(min(n, 1<<30)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

func isTLS(err error) bool {
	_, cert := errorsAs[*tls.CertificateVerificationError](err)
	_, unknown := errorsAs[x509.UnknownAuthorityError](err)
	_, host := errorsAs[x509.HostnameError](err)
	_, rec := errorsAs[tls.RecordHeaderError](err)
	return cert || unknown || host || rec
}

func errorsAs[E error](err error) (E, bool) { return errors.AsType[E](err) }
