package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops/mlflow"
)

// endings are the signals that end a shell, a session or a job; others are
// handed on, too.
var (
	endings = []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM}
	others  = []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTSTP, syscall.SIGCONT,
		syscall.SIGPIPE} // caught, so that talk to a closed stderr does not end us before the command
)

// relay hands the signals that mlopsctl gets on to the command that it runs.
// Before the command runs, a signal that ends programs ends ctx.
//
// Without a controlling terminal the command has a process group of its own,
// which gets the signals: a shell that dies by SIGTERM would leave behind what
// it had started. At a terminal it shares ours, so that the shell's job control
// sees one job; what the terminal sends, it sends to the whole group, and is
// not handed on once more.
type relay struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	ch     chan os.Signal
	done   chan struct{}
	grace  time.Duration // 0: no end is enforced
	apart  bool          // the command has a process group of its own

	mu    sync.Mutex  // held while the command is started and while a signal is handled
	child *os.Process // nil: the command was not started
}

func newRelay(parent context.Context, grace time.Duration) *relay {
	r := &relay{ch: make(chan os.Signal, 64), done: make(chan struct{}), grace: grace}
	_, terminal := foregroundGroup()
	r.apart = !terminal
	r.ctx, r.cancel = context.WithCancelCause(parent)
	listen(r.ch, append(others, endings...)...)
	go r.serve(parent)
	return r
}

func (r *relay) close() {
	close(r.done)
	signal.Stop(r.ch)
	r.cancel(nil)
}

// run runs cmd to its end, which becomes the run's status; err has the exit
// code. lent stays open in the command.
func (r *relay) run(cmd *exec.Cmd, lent *os.File) (status mlflow.RunStatus, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: r.apart}
	if lent != nil {
		cmd.ExtraFiles = []*os.File{lent}
	}
	err = r.start(cmd)
	if lent != nil {
		lent.Close()
	}
	switch {
	case err != nil && r.ctx.Err() != nil:
		return mlflow.RunKilled, err
	case err != nil:
		return mlflow.RunFailed, withCode(exitNoExec, err)
	}
	return outcome(cmd.Wait())
}

// start starts cmd, unless a signal has ended ctx. A signal that comes meanwhile
// is handled afterwards, so that none falls between "not started" and "started".
func (r *relay) start(cmd *exec.Cmd) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	err := cmd.Start()
	if err == nil {
		r.child = cmd.Process
	}
	return err
}

// outcome is what a command's end makes of its run, and the exit code that a
// shell would have.
func outcome(err error) (status mlflow.RunStatus, _ error) {
	x, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		if err != nil {
			return mlflow.RunFailed, err
		}
		return mlflow.RunFinished, nil
	}
	by, code := syscall.Signal(0), x.ExitCode()
	if ws, ok := x.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		by = ws.Signal()
		code = exitSignal + int(by)
	} else if code > exitSignal {
		by = syscall.Signal(code - exitSignal) // so does a shell tell how its last command ended
	}
	status = mlflow.RunFailed
	if by == syscall.SIGKILL || slices.Contains(endings, by) {
		status = mlflow.RunKilled
	}
	return status, withCode(code, err)
}

// serve handles signals until the relay is closed.
func (r *relay) serve(parent context.Context) {
	var kill <-chan time.Time
	ended := parent.Done()
	for {
		var s os.Signal
		select {
		case <-r.done:
			return
		case <-kill:
			s = syscall.SIGKILL
		case <-ended:
			ended = nil
			if _, ok := errors.AsType[*signalled](context.Cause(parent)); ok {
				continue // signals arrive here by themselves
			}
			s = syscall.SIGTERM
		case s = <-r.ch:
		}
		if r.handle(s.(syscall.Signal)) && r.grace > 0 && kill == nil {
			kill = time.After(r.grace)
		}
	}
}

// handle does what a signal asks for, and reports whether the command was asked
// to end.
func (r *relay) handle(sig syscall.Signal) (asked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ends := slices.Contains(endings, sig)
	switch {
	case sig == syscall.SIGPIPE:
	case r.child != nil:
		r.send(r.child, sig)
		asked = ends
	case ends:
		r.cancel(&signalled{sig})
	}
	if sig == syscall.SIGTSTP {
		stopSelf()
	}
	return asked
}

// send hands one signal on.
func (r *relay) send(child *os.Process, sig syscall.Signal) {
	group, terminal := foregroundGroup()
	switch typed := sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGTSTP; {
	case r.apart && child.Signal(syscall.Signal(0)) == nil:
		_ = syscall.Kill(-child.Pid, sig)
	case r.apart: // it has ended
	case typed && terminal && group == syscall.Getpgrp(): // the terminal has sent it
	default:
		_ = child.Signal(sig)
	}
}

// stopSelf stops this process as an unhandled SIGTSTP does: not where
// no shell could continue it.
func stopSelf() {
	parent := os.Getppid()
	ours, err := unix.Getsid(0)
	theirs, perr := unix.Getsid(parent)
	group, gerr := syscall.Getpgid(parent)
	if errors.Join(err, perr, gerr) == nil && ours == theirs && group != syscall.Getpgrp() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
}

// foregroundGroup is the process group that the terminal of this session takes
// input for; false: there is no terminal.
func foregroundGroup() (int, bool) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return 0, false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return group, err == nil
}
