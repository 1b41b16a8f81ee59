package compose

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

var (
	errNoSupervisor = errors.New("no supervisor")
	errHungUp       = errors.New("the supervisor hung up")
)

// ask puts one request to the supervisor and passes its events on. With begin
// it starts a supervisor if there is none.
func (s *Stack) ask(ctx context.Context, req request, begin bool) (answer, error) {
	c, err := s.dialPatiently(ctx)
	if err != nil && begin {
		if err := s.begin(ctx); err != nil {
			return answer{}, err
		}
		c, err = dial(s.home)
	}
	if err != nil {
		if begin {
			return answer{}, errHungUp
		}
		return answer{}, errNoSupervisor
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(req); err != nil {
		return answer{}, errHungUp
	}
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-over:
		case <-ctx.Done():
			if req.Op == "start" {
				_ = json.NewEncoder(c).Encode(request{Op: "cancel"}) // and wait until it is undone
			} else {
				c.Close()
			}
		}
	}()
	lines := bufio.NewReader(c)
	for {
		var a answer
		if err := readLine(lines, &a); err != nil {
			if ctx.Err() != nil {
				return answer{}, ctx.Err()
			}
			return answer{}, errHungUp
		}
		if a.Event != nil {
			s.tell(*a.Event)
		}
		if a.Done {
			if ctx.Err() != nil && a.Error != nil && a.Error.Kind == "interrupted" {
				err := ctx.Err()
				if a.Ending {
					err = errors.Join(err, s.awaitEnd(context.WithoutCancel(ctx)))
				}
				return answer{}, err
			}
			return a, nil
		}
	}
}

// dialPatiently waits for the socket of a supervisor that lives: it opens it
// again when its file was removed.
func (s *Stack) dialPatiently(ctx context.Context) (net.Conn, error) {
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, err := dial(s.home)
		if err == nil || time.Now().After(deadline) || !held(s.home) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// askLasting asks again when the supervisor hangs up: one that is just ending
// is followed by another, or by none.
func (s *Stack) askLasting(ctx context.Context, req request, begin bool) (a answer, err error) {
	for range 5 {
		if a, err = s.ask(ctx, req, begin); !errors.Is(err, errHungUp) {
			break
		}
	}
	return a, err
}

// begin starts a supervisor in the background and waits until it answers.
func (s *Stack) begin(ctx context.Context) error {
	log := s.logPath(supervisorName)
	from := lengthOf(log)
	f, err := openLog(log)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(s.command, "supervise")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, proc.MarkVariable+"=") || strings.HasPrefix(v, "MLOPS_HOME=")
	}), "MLOPS_HOME="+s.home)
	cmd.Dir = s.home
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	for {
		if c, err := dial(s.home); err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			if c, err := dial(s.home); err == nil { // another was faster
				return c.Close()
			}
			return &StartError{Service: supervisorName, Reason: fmt.Sprintf("ended at once (%v)", err), LogFile: log, Log: tail(log, from, 30)}
		case <-patience.C:
			return &StartError{Service: supervisorName, Reason: "does not answer after 30 s", LogFile: log, Log: tail(log, from, 30)}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitEnd waits until the supervisor has given its lock back.
func (s *Stack) awaitEnd(ctx context.Context) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat(lockPath(s.home)); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return &mlops.Error{Kind: mlops.ErrConflict, Service: "compose", Op: "stop", Message: "the supervisor does not end; see: mlopsctl logs supervisor"}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stopAlone stops services that no supervisor watches.
func (s *Stack) stopAlone(ctx context.Context, opt StopOptions) error {
	if err := makeHome(s.home); err != nil {
		return err
	}
	l, err := s.awaitLock(ctx, 10*time.Second)
	if err != nil {
		return err
	}
	defer l.release()
	st, err := readState(s.home)
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range slices.Backward(s.recipes(st.Light)) {
		if len(opt.Services) > 0 && !slices.Contains(opt.Services, v.name) && !slices.Contains(opt.Services, v.group) {
			continue
		}
		r := st.Services[v.name]
		if r == nil {
			r = &record{}
		} else {
			s.tell(Event{Service: v.name, State: StateStopping})
		}
		if err := s.endService(ctx, v, *r); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", v.name, err))
			continue
		}
		delete(st.Services, v.name)
	}
	st.Optional = slices.DeleteFunc(st.Optional, func(n string) bool { return slices.Contains(opt.Services, n) })
	errs = append(errs, st.write(s.home))
	if len(st.Services) == 0 {
		errs = append(errs, stackfile.Remove(s.home))
	}
	return errors.Join(errs...)
}

// statusAlone is the status while no supervisor runs.
func (s *Stack) statusAlone() (Status, error) {
	rec, err := readState(s.home)
	if err != nil {
		return Status{}, err
	}
	st := Status{Runtime: "process", Home: s.home, State: StateStopped, Light: rec.Light}
	for _, v := range s.recipes(rec.Light) {
		o := ServiceStatus{Name: v.name, Group: v.group, State: StateStopped, Ports: portsOf(v, rec.Ports)}
		if r := rec.Services[v.name]; r != nil {
			st.State = StateDegraded
			o.Since, o.Restarts = r.Since, r.Restarts
			if proc.Alive(r.Main) {
				o.State, o.PID, o.Message = StateReady, r.Main.PID, "runs, but no supervisor watches it; run: mlopsctl start"
				for _, p := range r.Seen {
					if proc.Alive(p) {
						o.PSSBytes += proc.MemoryOf(p)
					}
				}
			} else {
				o.State, o.Message = StateFailed, "died while no supervisor watched it; run: mlopsctl start"
			}
		}
		st.Services = append(st.Services, o)
	}
	if st.State == StateDegraded {
		st.Message = "the supervisor is gone; run: mlopsctl start"
	}
	return st, nil
}
