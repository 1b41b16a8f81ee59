package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// unit is one wanted service in the hands of the supervisor. One goroutine,
// keep, runs it; the fields below mu belong to the supervisor's lock.
type unit struct {
	service
	sup    *supervisor
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when keep has returned and nothing of the service is left

	// under sup.mu
	phase     State
	message   string
	rec       record
	cpu       time.Duration // of all its processes, at the last look
	published bool          // it was ready since it was started, so its endpoints are in the stack file
	logFrom   int64         // where the log of this start begins
	portNote  string        // who held the port that it would have had
	endErr    error         // what was left when it was stopped

	child *child // nil when adopted; keep's own
}

// child is a process that we started, with the one goroutine that reaps it.
// Once it has ended it stays in the process table until letGo: while it is
// there, it proves which session was the service's.
type child struct {
	cmd    *exec.Cmd
	letGo  func() // may be called more than once
	reaped chan struct{}
}

// startChild starts cmd and its reaper.
func startChild(cmd *exec.Cmd) (*child, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	seen := make(chan struct{})
	c := &child{cmd, sync.OnceFunc(func() { close(seen) }), make(chan struct{})}
	go func() {
		<-seen
		_ = cmd.Wait()
		close(c.reaped)
	}()
	return c, nil
}

// wait lets the process go and returns how it ended; nil if the system does not say.
func (c *child) wait() *os.ProcessState {
	c.letGo()
	<-c.reaped
	return c.cmd.ProcessState
}

// errStopped is why a service ends that is no longer wanted.
var errStopped = errors.New("stopped")

// keep runs the service until ctx ends. adopted says that its process runs
// already; patient says that a failure at the first try is followed by others,
// as it is for a service that ran before.
func (u *unit) keep(ctx context.Context, adopted, patient bool) {
	defer close(u.done)
	defer u.finish(context.WithoutCancel(ctx))
	t := u.sup.stack.timing
	for fails, moves := 0, 0; ; {
		var err error
		if adopted {
			err = u.awaitReady(ctx)
		} else {
			err = u.launch(ctx)
		}
		adopted = false
		if err == nil {
			began := time.Now()
			patient = true
			err = u.watch(ctx)
			if time.Since(began) >= t.reset {
				fails, moves = 0, 0
			}
		}
		if ctx.Err() != nil {
			return
		}
		if d, ok := errors.AsType[displaced](err); ok && moves < mostMoves {
			moves++
			u.set(StatePreparing, d.Error()+"; starting again")
			_ = u.clear(ctx) // launch tries again
			continue
		}
		if !patient {
			// The process, if it still runs, stays for the caller that asked to keep
			// it; the caller of start decides.
			u.set(StateFailed, err.Error())
			<-ctx.Done()
			return
		}
		u.set(StateBackoff, err.Error())
		_ = u.clear(ctx) // launch tries again
		if fails++; fails > t.attempts {
			u.set(StateFailed, fmt.Sprintf("gave up after %d restarts in a row (%s); see: mlopsctl logs %s; try again: mlopsctl start", t.attempts, err, u.name))
			<-ctx.Done()
			return
		}
		wait := min(t.backoff<<(fails-1), t.longest)
		u.set(StateBackoff, fmt.Sprintf("%s; restart %d of %d in %s", err, fails, t.attempts, wait))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		u.sup.mu.Lock()
		u.rec.Restarts++
		u.sup.mu.Unlock()
	}
}

// finish ends what is left of the service when it is no longer wanted.
func (u *unit) finish(ctx context.Context) {
	u.set(StateStopping, "")
	err := u.clear(ctx)
	u.sup.mu.Lock()
	u.endErr, u.published = err, false
	u.sup.mu.Unlock()
	u.set(StateStopped, "")
}

// clear ends all processes of the service and forgets them.
func (u *unit) clear(ctx context.Context) error {
	u.sup.mu.Lock()
	r := u.rec
	r.Seen = slices.Clone(r.Seen)
	u.sup.mu.Unlock()
	if u.child != nil {
		u.child.letGo()
	}
	err := u.sup.stack.endService(ctx, u.service, r)
	if err == nil {
		if u.child != nil {
			<-u.child.reaped
			u.child = nil
		}
		u.sup.mu.Lock()
		u.rec.Main, u.rec.Seen = proc.ID{}, nil
		u.sup.mu.Unlock()
	}
	return err
}

// launch starts the service and waits until it is ready and settled.
func (u *unit) launch(ctx context.Context) error {
	if err := u.awaitNeeds(ctx); err != nil {
		return err
	}
	u.set(StatePreparing, "")
	if err := u.clear(ctx); err != nil { // left by a supervisor that was killed
		return err
	}
	if err := u.sup.confirmPorts(ctx, u); err != nil {
		return err
	}
	log, err := openLog(u.sup.stack.logPath(u.name))
	if err != nil {
		return err
	}
	defer log.Close()
	st := u.sup.site(u, log)
	st.asked = map[string]int{}
	u.sup.mu.Lock()
	u.logFrom = lengthOf(log.Name())
	u.sup.mu.Unlock()
	if u.prepare != nil {
		if err := u.prepare(ctx, st); err != nil {
			return fmt.Errorf("preparing: %w", err)
		}
	}
	c, err := u.command(st)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd := c.process(u.sup.stack.home, u.name, log)
	if u.child, err = startChild(cmd); err != nil {
		return err
	}
	main := proc.ID{PID: cmd.Process.Pid}
	if i, err := proc.Inspect(main.PID); err == nil {
		main = i.ID
	}
	u.sup.mu.Lock()
	u.rec.Main, u.rec.Since, u.rec.Relied = main, time.Now(), st.asked
	u.sup.mu.Unlock()
	return u.awaitReady(ctx)
}

// awaitNeeds waits until the services in after are ready.
func (u *unit) awaitNeeds(ctx context.Context) error {
	for {
		missing, changed := u.sup.missing(u)
		if missing == "" {
			return nil
		}
		u.set(StateWaiting, "for "+missing)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// awaitReady waits until the running process answers as itself, as long as it
// lives and makes progress.
func (u *unit) awaitReady(ctx context.Context) error {
	t := u.sup.stack.timing
	began := time.Now()
	log := u.sup.stack.logPath(u.name)
	f, err := openLog(log)
	if err != nil {
		return err
	}
	defer f.Close()
	st := u.sup.site(u, f)
	st.looks = true
	u.set(StateStarting, u.note())
	var progress struct {
		at   time.Time
		size int64
		cpu  time.Duration
	}
	progress.at = began
	var last error
	for {
		if !u.living() {
			return u.startingDeath()
		}
		if err := u.outdated(); err != nil {
			return err
		}
		last = u.ask(ctx, st)
		if d, ok := errors.AsType[displaced](last); ok {
			return d
		}
		if hopeless(last) {
			return last
		}
		if last == nil {
			break
		}
		u.sup.mu.Lock()
		cpu := u.cpu
		u.sup.mu.Unlock()
		size := lengthOf(log)
		if size != progress.size || cpu > progress.cpu {
			progress.at, progress.size, progress.cpu = time.Now(), size, cpu
		}
		if time.Since(progress.at) > t.stall {
			return fmt.Errorf("does nothing since %s and is not ready: %w", time.Since(progress.at).Round(time.Second), last)
		}
		u.sup.mu.Lock()
		u.message = joinNotes(u.portNote, last.Error())
		u.sup.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(t.poll):
		}
	}
	if u.settled != nil {
		u.set(StateStarting, joinNotes(u.note(), "answers, settling"))
		if err := u.settled(ctx, st); err != nil {
			if !u.living() {
				return u.startingDeath()
			}
			return fmt.Errorf("settling: %w", err)
		}
	}
	if who := u.taken(u.ports); who != "" {
		return displaced(who)
	}
	u.sup.mu.Lock()
	u.published = true
	u.sup.mu.Unlock()
	u.sup.look() // so that its whole tree is on record before any service relies on it
	u.set(StateReady, joinNotes(u.note(), "ready after "+time.Since(began).Round(100*time.Millisecond).String()))
	return nil
}

// hopeless reports whether a server is not ready for a reason that waiting does
// not change: it takes our secret for a stranger's, or the secret cannot be read.
func hopeless(err error) bool {
	_, refused := errors.AsType[refusal](err)
	return refused || errors.Is(err, mlops.ErrConflict) || errors.Is(err, mlops.ErrForbidden)
}

// ask puts the recipe's question, and makes sure that the answer came from a
// process of ours: a stranger may listen on the port.
func (u *unit) ask(ctx context.Context, st *site) error {
	ctx, cancel := context.WithTimeout(ctx, u.sup.stack.timing.answer)
	defer cancel()
	if who := u.taken(u.ports[:min(1, len(u.ports))]); who != "" {
		return displaced(who) // before it is asked: it may never answer
	}
	if u.ready == nil {
		return nil
	}
	return u.ready(ctx, st)
}

// watch returns when the process ends, or ctx.
func (u *unit) watch(ctx context.Context) error {
	t := u.sup.stack.timing
	tick := time.NewTicker(t.poll)
	defer tick.Stop()
	asked := time.Now()
	misses := 0
	late := slices.DeleteFunc(slices.Clone(u.ports), func(p port) bool { return !p.late })
	st := u.sup.site(u, nil)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if !u.living() {
			return u.death()
		}
		if err := u.outdated(); err != nil {
			return err
		}
		if u.ready == nil || time.Since(asked) < t.health {
			continue
		}
		if who := u.taken(late); who != "" {
			return displaced(who)
		}
		c, cancel := context.WithTimeout(ctx, t.answer)
		err := u.ready(c, st)
		cancel()
		asked = time.Now()
		switch {
		case ctx.Err() != nil:
		case err == nil && misses >= 3:
			misses = 0
			u.set(StateReady, u.note())
		case err == nil:
			misses = 0
		default:
			if misses++; misses == 3 {
				u.set(StateUnhealthy, err.Error())
			}
		}
	}
}

func (u *unit) living() bool {
	u.sup.mu.Lock()
	main := u.rec.Main
	u.sup.mu.Unlock()
	return proc.Alive(main)
}

// death describes how the main process ended, and reaps it if it was our
// child. What it left is on record, and ended by clear.
func (u *unit) death() error {
	u.sup.look() // while a zombie still proves whose session it was
	u.sup.mu.Lock()
	lived := time.Since(u.rec.Since).Round(100 * time.Millisecond)
	u.sup.mu.Unlock()
	how := "ended"
	if u.child != nil {
		if st := u.child.wait(); st != nil {
			how = st.String()
		}
		u.child = nil
	}
	return fmt.Errorf("%s after %s", how, lived)
}

// note is what a user should know about the ports.
func (u *unit) note() string {
	u.sup.mu.Lock()
	defer u.sup.mu.Unlock()
	return u.portNote
}

func joinNotes(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// set changes the phase, records it and tells the subscribers.
func (u *unit) set(phase State, message string) {
	u.sup.mu.Lock()
	same := u.phase == phase && u.message == message
	u.phase, u.message = phase, message
	u.sup.mu.Unlock()
	if same {
		return
	}
	u.sup.notify(Event{Time: time.Now(), Service: u.name, State: phase, Message: message})
}
