package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"syscall"
	"unicode"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// The exit codes of mlopsctl. Scripts rely on them: they only ever grow.
const (
	exitDone          = 0 // logging while the server is away included
	exitFailed        = 1 // and, for dvc status -q, changed
	exitUsage         = 2 // the command line is wrong, or a name, version or setting in it cannot be: nothing was done
	exitNotFound      = 3 // a project, model, run, file, … that does not exist
	exitNotAuthorized = 4
	exitConflict      = 5 // already exists, or changed or held by another
	exitUnavailable   = 6 // try again later
	exitNotSent       = 8 // not yet sent although --require-sent
	exitDrift         = 10
	exitDegraded      = 11  // part of the stack is not healthy
	exitStopped       = 12  // no stack runs
	exitQuota         = 14  // --wait-timeout ended while the run waited for a quota
	exitNoExec        = 126 // run exec: the command cannot be run
	exitNoCommand     = 127 // run exec: there is no such command
	exitSignal        = 128 // plus the signal's number: a signal ended it, or what run exec ran
	exitInterrupted   = 130 // Ctrl-C
)

// exitTable tells people what the codes mean.
var exitTable = [][2]string{
	{"0", "done"}, {"1", "failed"}, {"2", "wrong usage"}, {"3", "not found"}, {"4", "not authorized"}, {"5", "already exists, or conflict"},
	{"6", "unavailable, try again later"}, {"8", "not yet sent although --require-sent"}, {"10", "drift found"}, {"11", "the stack is degraded"},
	{"12", "the stack is stopped"}, {"14", "gave up waiting for a quota"}, {"126", "run exec: the command cannot be run"}, {"127", "run exec: there is no such command"},
	{"128+n", "ended by signal n, or so did the command of run exec: 130 is Ctrl-C, 143 SIGTERM"},
}

// exitOf is the code of each of [mlops.Kinds]. What is invalid has two: see
// codeOf.
var exitOf = map[error]int{
	mlops.ErrNotFound:        exitNotFound,
	mlops.ErrUnauthenticated: exitNotAuthorized,
	mlops.ErrForbidden:       exitNotAuthorized,
	mlops.ErrAlreadyExists:   exitConflict,
	mlops.ErrConflict:        exitConflict,
	mlops.ErrUnsupported:     exitFailed,
	mlops.ErrRateLimited:     exitUnavailable,
	mlops.ErrUnavailable:     exitUnavailable,
}

// exitError ends the command with a code of its own.
type exitError struct {
	code int
	err  error // nil: the output has said it all
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// withCode ends the command with code. With err nil nothing is told on stderr:
// drift was found, the stack is stopped, and the output says so.
func withCode(code int, err error) error { return &exitError{code, err} }

// hinted is an error whose next step is known.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// withHint adds the line "hint: …" to err: a command to run, or what to set.
func withHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

// usageError is a command line that cannot be run.
type usageError struct{ msg string }

func (u *usageError) Error() string { return u.msg }

// usagef tells what is wrong with the command line.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// notFound is an error about something that does not exist.
func notFound(format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrNotFound, Message: fmt.Sprintf(format, args...)}
}

var badValue = regexp.MustCompile(`^(?:invalid|could not parse) (?:boolean )?(?:value )?(".*?") (?:as \S+ value )?for (?:flag )?-?-?([\w-]+): (.*)$`)

// usage puts what the flag parser said into our words.
func usage(err error) error {
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	if m := badValue.FindStringSubmatch(err.Error()); m != nil {
		return usagef("--%s: %s is not a valid value: %s", m[2], m[1], m[3])
	}
	return &usageError{err.Error()}
}

// exit tells err on stderr and returns the exit code.
func (e *env) exit(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		by, ok := errors.AsType[*signalled](context.Cause(ctx))
		if !ok {
			by = &signalled{syscall.SIGINT}
		}
		err = by
	}
	if late, ok := errors.AsType[*timedOut](err); ok {
		err = withHint(late, "the server accepts connections and does not answer: mlopsctl status")
	}
	code := codeOf(err)
	if x, ok := errors.AsType[*exitError](err); ok && x.err == nil {
		return code
	}
	message := err.Error()
	start, failed := errors.AsType[*compose.StartError](err)
	if failed {
		message, _, _ = strings.Cut(message, "\nthe last lines of ")
	}
	if e.json {
		doc := errorJSON{Error: oneLine(message), Code: code, Hint: oneLine(e.hintFor(err))}
		if failed {
			doc.Log = start.Log
		}
		b, _ := json.Marshal(doc)
		fmt.Fprintf(e.stderr, "%s\n", b)
		return code
	}
	fmt.Fprintf(e.stderr, "%s: %s\n", program, oneLine(message))
	if failed && len(start.Log) > 0 {
		fmt.Fprintf(e.stderr, "the last lines of %s:\n", start.LogFile)
		for _, l := range start.Log {
			fmt.Fprintf(e.stderr, "  %s\n", oneLine(l))
		}
	}
	if hint := e.hintFor(err); hint != "" {
		fmt.Fprintf(e.stderr, "hint: %s\n", oneLine(hint))
	}
	return code
}

// errorJSON is an error with --json, a line on stderr.
type errorJSON struct {
	Error string   `json:"error"`
	Code  int      `json:"code"` // the exit code
	Hint  string   `json:"hint,omitempty"`
	Log   []string `json:"log,omitempty"` // the end of the log of a server that did not start
}

func codeOf(err error) int {
	if x, ok := errors.AsType[*exitError](err); ok {
		return x.code
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if s, ok := errors.AsType[*signalled](err); ok {
		return exitSignal + int(s.sig)
	}
	if errors.Is(err, dvc.ErrNotCached) || errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	if code, ok := exitOf[mlops.KindOf(err)]; ok {
		return code
	}
	d, ok := errors.AsType[*mlops.Error](err)
	if ok && d.Kind == mlops.ErrInvalid && d.Service != "dvc" && d.Cause == nil && (d.Status == 0 || d.Status >= 400) {
		return exitUsage // with a Cause it is the server, or the way to it, that cannot be right; dvc itself exits with 1
	}
	return exitFailed
}

// signIn names, for each service, what holds its credentials.
var signIn = map[string]string{
	"mlflow": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, beside MLFLOW_TRACKING_URI",
}

// hintFor is the next step after err, or empty.
func (e *env) hintFor(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return e.at + " --help"
	}
	d, ok := errors.AsType[*mlops.Error](err)
	switch {
	case !ok:
		return ""
	case d.Kind == mlops.ErrNotFound && d.Service == "" && strings.HasPrefix(d.Message, "no stack is running"):
		return program + " start"
	case d.Kind == mlops.ErrUnavailable && d.Status == 0 && local(d.Message):
		return program + " start"
	case d.Kind == mlops.ErrUnavailable && local(d.Message):
		return program + " status"
	case d.Kind == mlops.ErrUnauthenticated:
		hint := `eval "$(mlopsctl status --env)" takes the local stack's credentials`
		if home, err := e.home(); err == nil && errors.Is(stackError(home), mlops.ErrNotFound) {
			hint = "no stack runs under " + home + ", so its credentials are not known: mlopsctl start, or set MLOPS_HOME"
		}
		if s := signIn[d.Service]; s != "" {
			hint = s + "; " + hint
		}
		return hint
	case d.Kind == mlops.ErrUnsupported && d.Status != 0:
		return program + " version lists the server versions that are spoken"
	}
	return ""
}

// stackError is why the stack of a home cannot be used; nil if one runs.
func stackError(home string) error {
	_, err := stackfile.Read(home)
	return err
}

// local reports whether a message names an address of this machine.
func local(msg string) bool {
	for _, host := range []string{"://127.0.0.1", "://localhost", "://[::1]"} {
		if strings.Contains(msg, host) {
			return true
		}
	}
	return false
}

// oneLine keeps a message on its line and control characters, which may come
// from a server, off the terminal.
func oneLine(s string) string {
	var lines []string
	for l := range strings.Lines(s) {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.Join(lines, "; "))
}
