package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// supervisor runs the services of one home. There is one at a time, the owner
// of the lock.
type supervisor struct {
	stack *Stack
	log   *slog.Logger
	since time.Time

	ops sync.Mutex // one start or stop at a time

	mu          sync.Mutex
	units       map[string]*unit
	order       []string // names of units, as the recipes list them
	ports       map[string]int
	light       bool
	optional    []string      // names of optional services that belong to the stack
	changed     chan struct{} // closed and replaced at every change
	subscribers map[chan Event]bool
	starting    context.CancelCauseFunc // ends the start that is under way
	active      int                     // requests being answered
	operations  int                     // starts and stops that were answered
	ending      bool                    // the supervisor is on its way out
	marks       map[proc.ID]string      // what processes were seen to carry

	repairs  []string  // what was put back that others changed
	restored time.Time // when the lease expired after which pools had their base again

	saving               sync.Mutex
	savedAs, publishedAs stamp // the state file and the stack file as we left them

	healing  sync.Mutex // guards the four below
	healed   bool       // the supervisor is on its way out
	door     *door
	locked   *lock
	lockedAs stamp

	choosing sync.Mutex // one choice of ports at a time; guards reserved
	reserved reserved   // the numbers that supervisors of other homes leave to us
}

func newSupervisor(s *Stack, log *slog.Logger) *supervisor {
	return &supervisor{
		stack: s, log: log, since: time.Now(),
		units: map[string]*unit{}, ports: map[string]int{},
		changed: make(chan struct{}), subscribers: map[chan Event]bool{}, reserved: reserved{},
	}
}

// adopt takes over what the last supervisor left: living services are watched
// and keep their processes, dead ones are started again.
func (sup *supervisor) adopt() error {
	st, err := readState(sup.stack.home)
	if err != nil {
		return err
	}
	sup.mu.Lock()
	sup.light, sup.optional = st.Light, st.Optional
	maps.Copy(sup.ports, st.Ports)
	sup.mu.Unlock()
	for _, v := range sup.stack.recipes(st.Light) {
		r := st.Services[v.name]
		if r == nil {
			continue
		}
		lives := proc.Alive(r.Main)
		sup.log.Info("adopt", "service", v.name, "pid", r.Main.PID, "alive", lives)
		if lives {
			sup.keepPorts(v)
		}
		sup.add(v, *r, lives, true)
	}
	return nil
}

// add makes a unit and lets it run.
func (sup *supervisor) add(v service, r record, adopted, patient bool) *unit {
	ctx, cancel := context.WithCancelCause(context.Background())
	u := &unit{service: v, sup: sup, cancel: cancel, done: make(chan struct{}), phase: StateWaiting, rec: r, published: patient}
	sup.mu.Lock()
	sup.units[v.name] = u
	sup.order = nil
	for _, w := range sup.stack.recipes(sup.light) {
		if sup.units[w.name] != nil {
			sup.order = append(sup.order, w.name)
		}
	}
	sup.mu.Unlock()
	go u.keep(ctx, adopted, patient)
	return u
}

// remove ends units, dependents first, and forgets them.
func (sup *supervisor) remove(names []string) error {
	var errs []error
	left := slices.Clone(names)
	for len(left) > 0 {
		var wave []*unit
		sup.mu.Lock()
		for _, n := range left {
			needed := slices.ContainsFunc(left, func(m string) bool {
				return sup.units[m] != nil && slices.Contains(sup.units[m].after, n)
			})
			if u := sup.units[n]; u != nil && !needed {
				wave = append(wave, u)
			}
		}
		sup.mu.Unlock()
		if len(wave) == 0 {
			break
		}
		for _, u := range wave {
			u.cancel(errStopped)
		}
		for _, u := range wave {
			<-u.done
			if u.endErr != nil {
				errs = append(errs, fmt.Errorf("%s: %w", u.name, u.endErr))
			}
			sup.mu.Lock()
			delete(sup.units, u.name)
			sup.order = slices.DeleteFunc(sup.order, func(n string) bool { return n == u.name })
			sup.mu.Unlock()
			left = slices.DeleteFunc(left, func(n string) bool { return n == u.name })
		}
	}
	sup.publish()
	sup.save()
	return errors.Join(errs...)
}

// start carries out a plan for opt and waits until all of it is ready.
func (sup *supervisor) start(ctx context.Context, opt StartOptions) error {
	sup.ops.Lock()
	defer sup.ops.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sup.mu.Lock()
	sup.starting = cancel
	sup.mu.Unlock()

	observed := sup.status(false)
	if err := modeConflict(observed, opt.Light); err != nil {
		return err
	}
	sup.mu.Lock()
	sup.light = opt.Light
	kept := slices.Clone(sup.optional)
	sup.mu.Unlock()
	all := sup.stack.recipes(opt.Light)
	want, err := toStart(all, opt.Services, kept)
	if err != nil {
		return err
	}
	var created, wanted []string
	steps := plan(want, observed).Steps
	for _, step := range steps {
		wanted = append(wanted, step.Service)
		sup.tell(Event{Service: step.Service, Message: joinNotes(step.Action, step.Reason)})
		if step.Action != "keep" {
			created = append(created, step.Service)
		}
	}
	if err := sup.remove(created); err != nil { // what failed, waits to be restarted, or hangs
		return err
	}
	if err := sup.choosePorts(all, want); err != nil {
		return err
	}
	for _, v := range want {
		if slices.Contains(created, v.name) {
			sup.add(v, record{}, false, false)
		}
	}
	sup.save()
	err = sup.await(ctx, wanted, opt.WaitTimeout)
	if err != nil && !opt.KeepOnFailure {
		return errors.Join(err, sup.remove(created))
	}
	sup.mu.Lock()
	for _, v := range want {
		if v.optional && !slices.Contains(sup.optional, v.name) {
			sup.optional = append(sup.optional, v.name)
		}
	}
	sup.mu.Unlock()
	sup.save()
	return err
}

// await waits until the named units are ready, or one of them has failed.
func (sup *supervisor) await(ctx context.Context, names []string, timeout time.Duration) error {
	over := time.NewTimer(timeout)
	defer over.Stop()
	for {
		sup.mu.Lock()
		changed := sup.changed
		var behind, failed *unit
		for _, n := range names {
			u := sup.units[n]
			switch {
			case u == nil:
			case u.phase == StateFailed && failed == nil:
				failed = u
			case u.phase != StateReady && behind == nil:
				behind = u
			}
		}
		var reason string
		if failed != nil {
			reason = failed.message
		} else if behind != nil {
			reason = fmt.Sprintf("is not ready after %s: %s", timeout, joinNotes(string(behind.phase), behind.message))
		}
		sup.mu.Unlock()
		switch {
		case failed != nil:
			return sup.startError(failed, reason)
		case behind == nil:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over.C:
			return sup.startError(behind, reason)
		case <-changed:
		}
	}
}

func (sup *supervisor) startError(u *unit, reason string) error {
	file := sup.stack.logPath(u.name)
	sup.mu.Lock()
	from := u.logFrom
	sup.mu.Unlock()
	return &StartError{Service: u.name, Reason: reason, LogFile: file, Log: tail(file, from, 30)}
}

// errInterrupted is why a start ends that its caller gave up.
var errInterrupted = errors.New("interrupted")

// stop ends the named services, or all; a start that is under way is given up.
func (sup *supervisor) stop(opt StopOptions) error {
	sup.mu.Lock()
	if sup.starting != nil {
		sup.starting(errStopped)
	}
	sup.mu.Unlock()
	sup.ops.Lock()
	defer sup.ops.Unlock()
	sup.mu.Lock()
	light := sup.light
	sup.mu.Unlock()
	var names []string
	for _, v := range sup.stack.recipes(light) {
		if len(opt.Services) == 0 || slices.Contains(opt.Services, v.name) || slices.Contains(opt.Services, v.group) {
			names = append(names, v.name)
		}
	}
	sup.mu.Lock()
	sup.optional = slices.DeleteFunc(sup.optional, func(n string) bool { return slices.Contains(opt.Services, n) })
	names = slices.DeleteFunc(names, func(n string) bool { return sup.units[n] == nil })
	sup.mu.Unlock()
	if !slices.Contains(names, "agent") {
		return sup.remove(names)
	}
	// It gives the pools of projects their base while Airflow is there.
	err := sup.remove([]string{"agent"})
	sup.restoreShares(context.Background(), true)
	return errors.Join(err, sup.remove(slices.DeleteFunc(names, func(n string) bool { return n == "agent" })))
}

// missing names a service in after that u has to wait for.
func (sup *supervisor) missing(u *unit) (string, <-chan struct{}) {
	sup.mu.Lock()
	defer sup.mu.Unlock()
	for _, a := range u.after {
		if n := sup.units[a]; n == nil || n.phase != StateReady {
			return a, sup.changed
		}
	}
	return "", nil
}

// site is what a recipe sees of u's surroundings now. Without a file it has no
// log and cannot run commands.
func (sup *supervisor) site(u *unit, log *os.File) *site {
	sup.mu.Lock()
	defer sup.mu.Unlock()
	st := sup.stack.siteOf(maps.Clone(sup.ports), sup.light, io.Discard)
	if log != nil {
		st.looks = false
		st.log = log
		st.run = sup.stack.runner(u.name, log)
	}
	return st
}

func (sup *supervisor) isLight() bool {
	sup.mu.Lock()
	defer sup.mu.Unlock()
	return sup.light
}

// notify saves the state, publishes e and wakes all that wait for a change.
func (sup *supervisor) notify(e Event) {
	if e.State == StateReady || e.State == StateStopped {
		sup.publish()
	}
	sup.save()
	sup.tell(e)
	sup.mu.Lock()
	close(sup.changed)
	sup.changed = make(chan struct{})
	sup.mu.Unlock()
}

// tell hands an event to the log and to the subscribers; one that does not
// keep up loses events.
func (sup *supervisor) tell(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	sup.log.Info("event", "service", e.Service, "state", e.State, "message", e.Message)
	sup.mu.Lock()
	defer sup.mu.Unlock()
	for c := range sup.subscribers {
		select {
		case c <- e:
		default:
		}
	}
}

// save writes the state file if it would differ.
func (sup *supervisor) save() {
	sup.saving.Lock()
	defer sup.saving.Unlock()
	sup.mu.Lock()
	st := state{Version: stateVersion, Home: sup.stack.home, Boot: proc.BootID(), Light: sup.light, Ports: maps.Clone(sup.ports), Services: map[string]*record{}, Optional: slices.Clone(sup.optional)}
	for n, u := range sup.units {
		r := u.rec
		r.Seen = slices.Clone(r.Seen)
		st.Services[n] = &r
	}
	sup.mu.Unlock()
	if err := st.write(sup.stack.home); err != nil {
		sup.log.Error("state file", "error", err)
	}
	sup.savedAs = stampOf(statePath(sup.stack.home))
}

// housekeeping looks at processes and logs until ctx ends.
func (sup *supervisor) housekeeping(ctx context.Context) {
	tick := time.NewTicker(sup.stack.timing.snapshot)
	defer tick.Stop()
	var marked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sup.look()
		sup.heal()
		logs, _ := filepath.Glob(filepath.Join(sup.stack.home, "logs", "*.log"))
		for _, l := range logs {
			if err := rotate(l, logSize); err != nil {
				sup.log.Error("rotate", "log", l, "error", err)
			}
			if time.Since(marked) > 10*time.Second {
				markLog(l, time.Now())
			}
		}
		if time.Since(marked) > 10*time.Second {
			sup.restoreShares(ctx, false)
			marked = time.Now()
		}
	}
}
