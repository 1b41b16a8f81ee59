package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// mostDeaths is how often a container may end while its start is waited for.
const mostDeaths = 4

// start carries out the plan: images that are missing, then one "compose up",
// which keeps what runs as it is, and waits until all of it is ready.
func (d *docker) start(ctx context.Context, opt StartOptions) (Status, error) {
	if opt.Light {
		return Status{}, &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Op: "start", Message: "--light is of the process runtime; in containers, name the services: mlopsctl start mlflow"}
	}
	want, err := resolve(d.services(false), opt.Services, true)
	if err != nil {
		return Status{}, err
	}
	if err := d.setScale(opt.Scale); err != nil {
		return Status{}, err
	}
	if err := makeHome(d.home); err != nil {
		return Status{}, err
	}
	if err := d.claim(); err != nil {
		return Status{}, err
	}
	seen, _, err := d.observe(ctx)
	if err != nil {
		return Status{}, err
	}
	var names, fresh []string
	for _, step := range plan(want, seen).Steps {
		names = append(names, step.Service)
		if step.Action != "keep" {
			fresh = append(fresh, step.Service)
		}
		d.tell(Event{Service: step.Service, Message: joinNotes(step.Action, step.Reason)})
	}
	reserved := reserved{}
	defer reserved.giveBack()
	if err := d.choosePorts(seen, want, reserved); err != nil {
		return Status{}, err
	}
	d.record.Projects = d.projects()
	if err := d.record.write(d.home); err != nil {
		return Status{}, err
	}
	if err := d.makeImages(ctx, want); err != nil {
		return Status{}, err
	}
	if err := d.up(ctx, names, opt.WaitTimeout); err != nil {
		if !opt.KeepOnFailure && len(fresh) > 0 {
			_, stopped := d.compose(context.WithoutCancel(ctx), nil, append([]string{"stop"}, fresh...)...)
			err = errors.Join(err, stopped)
		}
		return Status{}, err
	}
	if err := d.confirm(ctx, want); err != nil {
		return Status{}, err
	}
	st, err := d.status(ctx)
	if err != nil {
		return st, err
	}
	return st, d.publishStack(st)
}

// up starts the services and waits, as long as nothing dies again and again.
func (d *docker) up(ctx context.Context, names []string, timeout time.Duration) error {
	before, err := d.deaths(ctx)
	if err != nil {
		return err
	}
	var args []string
	for _, name := range scalable {
		if n, ok := d.record.Scale[name]; ok && slices.Contains(names, name) {
			args = append(args, "--scale", fmt.Sprintf("%s=%d", name, n))
		}
	}
	work, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		d.watch(work, cancel, names, before)
	}()
	// Compose gives up at the first death of a container, although the engine
	// starts it again: Ray's nodes end when a busy machine lets them wait 30 s.
	until := time.Now().Add(timeout)
	for last := before; ; {
		left := max(1, int(time.Until(until).Round(time.Second).Seconds()))
		_, err = d.compose(work, nil, slices.Concat([]string{"up", "--detach", "--no-build", "--wait", "--wait-timeout", strconv.Itoa(left)}, args, names)...)
		if err == nil || work.Err() != nil || time.Now().After(until) {
			break
		}
		now, looked := d.deaths(work)
		if looked != nil || !more(now, last) {
			break
		}
		last = now
	}
	cancel(nil)
	<-watched
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	if dying, ok := errors.AsType[*StartError](err); ok {
		return dying
	}
	return d.blame(ctx, names, err)
}

// deaths are how often each container of this stack was started again.
func (d *docker) deaths(ctx context.Context) (map[string]int, error) {
	_, all, err := d.observe(ctx)
	n := map[string]int{}
	for _, c := range all {
		n[c.ID] = c.RestartCount
	}
	return n, err
}

// more reports whether one of the counts has grown.
func more(now, last map[string]int) bool {
	for id, n := range now {
		if n > last[id] {
			return true
		}
	}
	return false
}

// watch tells how the containers come up, and ends the start that cannot
// succeed because one of them dies again and again.
func (d *docker) watch(ctx context.Context, cancel context.CancelCauseFunc, names []string, before map[string]int) {
	told := map[string]string{}
	tick := time.NewTicker(d.timing.snapshot)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		st, all, err := d.observe(ctx)
		if err != nil {
			continue
		}
		for _, o := range st.Services {
			if now := string(o.State) + o.Message; slices.Contains(names, o.Name) && told[o.Name] != now {
				told[o.Name] = now
				d.tell(Event{Service: o.Name, State: o.State, Message: o.Message})
			}
		}
		for _, c := range all {
			if slices.Contains(names, c.service()) && c.RestartCount-before[c.ID] >= mostDeaths {
				_, why := c.state()
				cancel(d.failure(ctx, c.service(), joinNotes("its container dies again and again", why)))
				return
			}
		}
	}
}

// blame finds the service that kept a start from succeeding.
func (d *docker) blame(ctx context.Context, names []string, cause error) error {
	st, _, err := d.observe(ctx)
	if err != nil {
		return errors.Join(cause, err)
	}
	for _, v := range d.services(false) {
		for _, o := range st.Services {
			if o.Name == v.name && slices.Contains(names, v.name) && o.State != StateReady && o.State != StateWaiting {
				return d.failure(ctx, v.name, joinNotes(string(o.State), joinNotes(o.Message, cause.Error())))
			}
		}
	}
	return cause
}

// failure is a start that failed because of one service, with its last words.
func (d *docker) failure(ctx context.Context, service, reason string) error {
	out, _ := d.compose(ctx, nil, "logs", "--no-color", "--no-log-prefix", "--tail", "30", service)
	var log []string
	if text := strings.TrimSpace(string(out)); text != "" {
		log = strings.Split(text, "\n")
	}
	return &StartError{Service: service, Reason: reason, LogFile: "mlopsctl logs " + service, Log: log}
}

// confirm asks the servers from outside, as programs will: their own health
// checks cannot see a wrong port. Then it gives back to Ray what it forgot.
func (d *docker) confirm(ctx context.Context, want []service) error {
	here := d.site(io.Discard)
	for _, v := range want {
		if v.ready != nil {
			if err := v.ready(ctx, here); err != nil {
				return d.failure(ctx, v.name, "its container is healthy, but from outside: "+err.Error())
			}
		}
		if v.settled != nil {
			if err := v.settled(ctx, here); err != nil {
				return d.failure(ctx, v.name, "settling: "+err.Error())
			}
		}
	}
	return nil
}

// stop ends containers and keeps them, their volumes and what they logged.
func (d *docker) stop(ctx context.Context, opt StopOptions) error {
	want, err := resolve(d.services(false), opt.Services, false)
	if err != nil {
		return err
	}
	if _, err := os.Stat(d.files()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := d.judge(); err != nil {
		return err
	}
	args := []string{"stop"}
	for _, v := range want {
		d.tell(Event{Service: v.name, State: StateStopping})
		args = append(args, v.name)
	}
	if _, err := d.compose(ctx, nil, args...); err != nil {
		return err
	}
	st, _, err := d.observe(ctx)
	if err != nil {
		return err
	}
	return d.publishStack(st)
}

// destroy removes the containers, the networks and the volumes of this stack,
// and the images that no other stack uses.
func (d *docker) destroy(ctx context.Context) error {
	if isTwin(d.home) {
		return d.discard(func() error {
			// A client that outlived its program would go on making containers.
			return errors.Join(proc.End(ctx, proc.Family{Mark: proc.Mark(d.home, engineClient)}, syscall.SIGTERM, 3*time.Second), d.remove(ctx))
		})
	}
	if err := d.remove(ctx); err != nil {
		return err
	}
	tags, err := d.tags()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if os.Getenv(imageVariables[t]) != "" || !d.has(ctx, tags[t]) {
			continue
		}
		if _, err := d.docker(ctx, nil, "image", "rm", tags[t]); err != nil {
			d.tell(Event{Service: t, Message: "kept " + tags[t] + ", another container uses it"})
		}
	}
	return nil
}

// remove is destroy without the images.
func (d *docker) remove(ctx context.Context) error {
	if err := makeHome(d.home); err != nil {
		return err
	}
	if err := d.claim(); err != nil { // a copy must not delete what its original has
		return err
	}
	if err := d.writeFiles(); err != nil {
		return err
	}
	if _, err := d.compose(ctx, func(line string) { d.tell(Event{Message: line}) }, "down", "--volumes", "--remove-orphans"); err != nil {
		return err
	}
	_, left, err := d.observe(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 { // another command started it meanwhile
		return &mlops.Error{Kind: mlops.ErrConflict, Service: "compose", Op: "destroy",
			Message: fmt.Sprintf("%d containers came while the others were removed; run it again: mlopsctl destroy --yes", len(left))}
	}
	var errs []error
	for _, gone := range []string{d.files(), d.secrets(), dockerRecordPath(d.home)} {
		errs = append(errs, os.RemoveAll(gone))
	}
	return errors.Join(append(errs, stackfile.Remove(d.home))...)
}

func (d *docker) supervise(context.Context) error {
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Op: "supervise", Message: "containers are watched by their engine; no supervisor is needed"}
}

// mend does nothing: the engine keeps what is the containers'.
func (d *docker) mend(context.Context) ([]Finding, error) { return nil, nil }
