package mlops

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The kinds of errors. They hold for every tool: a missing MLflow run, DVC
// remote, Airflow DAG and Serve application all match [ErrNotFound].
var (
	ErrInvalid         = errors.New("invalid")           // the request can never succeed as it is
	ErrNotFound        = errors.New("not found")         // no such thing, or not visible to the caller
	ErrAlreadyExists   = errors.New("already exists")    // the name or ID is taken
	ErrConflict        = errors.New("conflict")          // another program changed or holds it
	ErrUnauthenticated = errors.New("not authenticated") // who are you
	ErrForbidden       = errors.New("forbidden")         // not you
	ErrRateLimited     = errors.New("rate limited")      // slow down
	ErrUnavailable     = errors.New("unavailable")       // try again later
	ErrUnsupported     = errors.New("unsupported")       // not on this machine or server version
)

// kinds are the kinds in the order in which [KindOf] asks for them: what is
// certain comes before what may pass by itself.
var kinds = []error{
	ErrNotFound, ErrUnauthenticated, ErrForbidden, ErrAlreadyExists, ErrConflict,
	ErrInvalid, ErrUnsupported, ErrRateLimited, ErrUnavailable,
}

// Kinds returns all kinds, in the order in which [KindOf] tries them.
func Kinds() []error { return slices.Clone(kinds) }

// KindOf returns the kind of err: the first of [Kinds] that it matches, since an
// error that joins several may match more than one; nil if it matches none.
func KindOf(err error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

// KindOfStatus is the kind that an HTTP status stands for where the body says no
// more; 0 is no answer at all.
func KindOfStatus(status int) error {
	switch status {
	case http.StatusUnauthorized:
		return ErrUnauthenticated
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusLocked:
		return ErrConflict
	case http.StatusTooManyRequests:
		return ErrRateLimited
	case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return ErrUnsupported
	case 0, http.StatusRequestTimeout, http.StatusTooEarly:
		return ErrUnavailable
	}
	if status >= 500 {
		return ErrUnavailable
	}
	return ErrInvalid
}

// Error is what a server, or the way to it, answered.
//
// It matches its Kind and its Cause under [errors.Is]. A caller that wants the
// details asks for the type:
//
//	if e, ok := errors.AsType[*mlops.Error](err); ok { log.Print(e.Service, e.Op, e.Status, e.Code) }
type Error struct {
	Kind    error  // one of the sentinels above; nil when the answer fits none of them
	Service string // "mlflow", "airflow", "rayserve", "evidently", "dvc"
	Op      string // the method that was called, "Models.VersionByAlias"
	Status  int    // HTTP status, 0 when no answer arrived
	Code    string // the server's own code, "RESOURCE_DOES_NOT_EXIST"; may be empty
	Message string // the server's own words, on one line
	Cause   error  // what the network or the decoder said; nil for an answer of the server

	RetryAfter time.Duration // how long the server asked to wait; 0 when it did not
}

// Error returns "mlflow: Models.VersionByAlias: Registered Model … not found
// (RESOURCE_DOES_NOT_EXIST)".
func (e *Error) Error() string {
	msg := strings.Join(strings.Fields(e.Message), " ")
	switch {
	case msg == "" && e.Cause != nil:
		msg = e.Cause.Error()
	case msg == "" && e.Kind != nil:
		msg = e.Kind.Error()
	}
	var parts []string
	for _, p := range []string{e.Service, e.Op, msg} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	s := strings.Join(parts, ": ")
	if e.Code != "" {
		s += " (" + e.Code + ")"
	}
	return s
}

// Unwrap returns the kind and the cause, so that [errors.Is] finds either.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Cause != nil {
		out = append(out, e.Cause)
	}
	return out
}
