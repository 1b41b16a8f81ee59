package compose

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// request is a line that a client sends: one question for each connection,
// and perhaps the word "cancel" afterwards.
type request struct {
	Op    string       `json:"op"` // "start", "stop", "status", "cancel"
	Start StartOptions `json:"start,omitzero"`
	Stop  StopOptions  `json:"stop,omitzero"`
}

// answer is a line that the supervisor sends: events, and at last one that is
// done.
type answer struct {
	Event  *Event     `json:"event,omitempty"`
	Done   bool       `json:"done,omitempty"`
	Status Status     `json:"status,omitzero"`
	Error  *wireError `json:"error,omitempty"`
	Ending bool       `json:"ending,omitempty"` // nothing is left to do: the supervisor ends
}

// wireError is an error on its way through the socket.
type wireError struct {
	Kind    string      `json:"kind,omitempty"`
	Message string      `json:"message"`
	Start   *StartError `json:"start,omitempty"`
}

// interrupted is the name of errInterrupted on the wire, where it is a kind of
// its own beside those of package mlops.
const interrupted = "interrupted"

// kindName is the name of an error's kind on the wire, for example "not_found".
func kindName(err error) string {
	if errors.Is(err, errInterrupted) {
		return interrupted
	}
	if kind := mlops.KindOf(err); kind != nil {
		return strings.ReplaceAll(kind.Error(), " ", "_")
	}
	return ""
}

// kindNamed is the kind that kindName named; nil if there is none.
func kindNamed(name string) error {
	for _, kind := range append(mlops.Kinds(), errInterrupted) {
		if kindName(kind) == name {
			return kind
		}
	}
	return nil
}

func wire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Kind: kindName(err), Message: err.Error()}
	if e, ok := errors.AsType[*StartError](err); ok {
		w.Start = e
	}
	return w
}

// remoteError is an error that came through the socket.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func (a answer) err() error {
	switch {
	case a.Error == nil:
		return nil
	case a.Error.Start != nil && a.Error.Message == a.Error.Start.Error():
		return a.Error.Start
	case a.Error.Start != nil: // with what went wrong while it was taken down
		return errors.Join(a.Error.Start, &remoteError{a.Error.Message, kindNamed(a.Error.Kind)})
	}
	return &remoteError{a.Error.Message, kindNamed(a.Error.Kind)}
}

// Supervise runs the services of the home until none is wanted. It is the body
// of "mlopsctl supervise", which Start runs in the background; there is one for
// each home, and a second fails with [mlops.ErrConflict].
//
// SIGTERM, SIGINT and the end of ctx stop all services. A supervisor that is
// killed leaves them running; the next one takes them over.
func (s *Stack) Supervise(ctx context.Context) error {
	r, err := s.carrier()
	if err != nil {
		return err
	}
	return r.supervise(ctx)
}

func (s processes) supervise(ctx context.Context) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stopSignals := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stopSignals()
	if err := makeHome(s.home); err != nil {
		return err
	}
	l, err := s.awaitLock(ctx, 10*time.Second)
	if err != nil {
		return err
	}
	defer l.release()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	door, err := openDoor(s.home)
	if err != nil {
		return err
	}
	defer door.close()

	sup := newSupervisor(s.Stack, log)
	sup.door, sup.locked, sup.lockedAs = door, l, stampOf(lockPath(s.home))
	defer sup.giveBack()
	log.Info("supervisor", "pid", os.Getpid(), "home", s.home)
	if err := sup.adopt(); err != nil {
		return err
	}
	keeping, endKeeping := context.WithCancel(context.Background())
	defer endKeeping()
	defer sup.endHealing()
	go sup.housekeeping(keeping)

	finished := make(chan bool)
	idle := time.NewTicker(s.timing.idle)
	defer idle.Stop()
	for {
		select {
		case c := <-door.requests:
			sup.mu.Lock()
			sup.active++
			sup.mu.Unlock()
			go func() {
				end := sup.serve(c)
				select {
				case finished <- end:
				case <-door.over:
				}
			}()
		case lost := <-door.broken:
			sup.healing.Lock()
			door.heal(sup, lost)
			sup.healing.Unlock()
		case end := <-finished:
			if end || sup.worked() && sup.mayEnd(0) {
				log.Info("nothing left to do")
				return nil
			}
		case <-idle.C:
			if sup.mayEnd(0) {
				log.Info("idle")
				return nil
			}
		case <-ctx.Done():
			log.Info("asked to end")
			return sup.stop(StopOptions{})
		}
	}
}

// mayEnd decides, once, that the supervisor ends: no service is wanted and no
// request but the given number is being answered.
func (sup *supervisor) mayEnd(requests int) bool {
	sup.mu.Lock()
	defer sup.mu.Unlock()
	if len(sup.units) == 0 && sup.active == requests && !sup.ending {
		sup.ending = true
	}
	return sup.ending
}

// worked reports whether a start or stop was answered: only then, and after a
// while without any, does a supervisor without services end.
func (sup *supervisor) worked() bool {
	sup.mu.Lock()
	defer sup.mu.Unlock()
	return sup.operations > 0
}

// serve answers one connection and reports whether the supervisor ends.
func (sup *supervisor) serve(c net.Conn) (ending bool) {
	defer c.Close()
	defer func() {
		sup.mu.Lock()
		sup.active--
		sup.mu.Unlock()
	}()
	lines := bufio.NewReader(c)
	var req request
	if err := readLine(lines, &req); err != nil {
		return false
	}
	send := json.NewEncoder(c)
	reply := func(a answer) {
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_ = send.Encode(a) // who asked may be gone
	}
	done := answer{Done: true}
	switch req.Op {
	case "status":
		sup.heal()
		done.Status = sup.status(true)
	case "start", "stop":
		err := sup.attended(req, lines, reply)
		done.Error = wire(err)
		done.Status = sup.status(req.Op == "start")
		sup.mu.Lock()
		sup.operations++
		sup.mu.Unlock()
		done.Ending = sup.mayEnd(1)
	default:
		done.Error = wire(fmt.Errorf("%w request %q: another version of mlopsctl runs this stack; run: mlopsctl restart", mlops.ErrUnsupported, req.Op))
	}
	reply(done)
	return done.Ending
}

// attended does what a client waits for: it is told of events, and if it
// hangs up or cancels, its start is given up.
func (sup *supervisor) attended(req request, lines *bufio.Reader, reply func(answer)) error {
	hear := make(chan Event, 1024)
	sup.mu.Lock()
	sup.subscribers[hear] = true
	sup.mu.Unlock()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		var word request
		_ = readLine(lines, &word) // "cancel", or the end of the connection
		cancel(errInterrupted)
	}()
	result := make(chan error, 1)
	go func() {
		if req.Op == "stop" {
			result <- sup.stop(req.Stop)
		} else {
			result <- sup.start(ctx, req.Start)
		}
	}()
	for {
		select {
		case e := <-hear:
			reply(answer{Event: &e})
		case err := <-result:
			sup.mu.Lock()
			delete(sup.subscribers, hear)
			sup.mu.Unlock()
			for {
				select {
				case e := <-hear:
					reply(answer{Event: &e})
					continue
				default:
				}
				return err
			}
		}
	}
}

func readLine(r *bufio.Reader, v any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// awaitLock waits a little for a supervisor that is just ending.
func (s *Stack) awaitLock(ctx context.Context, patience time.Duration) (*lock, error) {
	deadline := time.Now().Add(patience)
	for {
		l, err := takeLock(s.home)
		if err == nil || !errors.Is(err, mlops.ErrConflict) || time.Now().After(deadline) {
			return l, err
		}
		if _, err2 := s.ask(ctx, request{Op: "status"}, false); err2 == nil {
			return nil, err // it is well and answers; one that just ends hangs up
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// socketLimit is below the 104 bytes that a socket's path may have on macOS.
const socketLimit = 100

func socketNote(home string) string { return filepath.Join(home, "run", "socket") }

// socketPath is home/run/supervisor.sock, or, if that is too long for the
// system, the path in a private folder that the file home/run/socket names.
func socketPath(home string) (string, error) {
	p := filepath.Join(home, "run", "supervisor.sock")
	if len(p) <= socketLimit {
		return p, nil
	}
	b, err := os.ReadFile(socketNote(home))
	if err != nil {
		return "", err
	}
	dir := string(b)
	if err := private(dir); err != nil {
		return "", err
	}
	return filepath.Join(dir, "s"), nil
}

func listen(home string) (net.Listener, error) {
	p, err := socketPath(home)
	if err != nil {
		dir, err := os.MkdirTemp("", "mlops-") // mode 0700
		if err != nil {
			return nil, err
		}
		if err := atomicfile.Write(socketNote(home), []byte(dir), 0o600); err != nil {
			return nil, err
		}
		p = filepath.Join(dir, "s")
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err // we have the lock: no other process listens there
	}
	l, err := net.Listen("unix", p)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(p, 0o600)
}

func unlisten(home string, l net.Listener) {
	_ = l.Close() // removes the socket
	if p, err := socketPath(home); err == nil && filepath.Base(p) == "s" {
		_ = os.Remove(filepath.Dir(p))
		_ = os.Remove(socketNote(home))
	}
}

func dial(home string) (net.Conn, error) {
	p, err := socketPath(home)
	if err != nil {
		return nil, err
	}
	return net.DialTimeout("unix", p, 5*time.Second)
}
