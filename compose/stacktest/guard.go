package stacktest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// A test binary's stack lies in a folder of its own, and beside it a file whose
// lock the test binary holds as long as it lives: the system takes it back,
// however the process ends. Guards wait for that lock.
const lockSuffix = ".lock"

// poll is the time between two looks at a lock.
const poll = 50 * time.Millisecond

// The test binary runs as its own guard, because that is the only program whose
// path is known here: as the supervisor of processes, or beside the engine that
// watches containers. It does so before anything of the user's begins, and ends
// before it: neither TestMain nor a test may run in a guard.
func init() {
	home := os.Getenv("MLOPS_HOME")
	if !isGuard(os.Args, home) {
		return
	}
	if err := guard(context.Background(), home); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// isGuard reports whether a program was started to guard the stack of home.
func isGuard(args []string, home string) bool {
	if len(args) != 2 || args[1] != "supervise" || filepath.Base(filepath.Dir(home)) != "stacktest" {
		return false
	}
	_, err := os.Stat(home + lockSuffix)
	return err == nil
}

// mlopsctl is the program that tasks of DAGs call. Without one there must be
// none: they must not run the test binary.
func mlopsctl(home string) string {
	command, err := exec.LookPath("mlopsctl")
	if err != nil {
		return filepath.Join(home, "none", "mlopsctl")
	}
	return command
}

// begin starts the guard of a stack in containers; that of processes is started
// as their supervisor. It is in a session of its own, and no program waits for it.
func begin(home string) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	log, err := os.OpenFile(filepath.Join(home, "logs", "guard.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.Command(self, "supervise")
	cmd.Env = append(os.Environ(), "MLOPS_HOME="+home)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the guard: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return cmd.Process.Pid, nil
}

// guard supervises the stack of home until its test binary is gone, and then
// deletes it.
func guard(ctx context.Context, home string) error {
	s, err := compose.New(compose.Options{Home: home, Command: mlopsctl(home)})
	if err != nil {
		return err
	}
	ctx, over := context.WithCancel(ctx)
	defer over()
	deleted := make(chan error, 1)
	go func() {
		defer over()
		f, err := os.Open(home + lockSuffix)
		if err == nil {
			err = errors.Join(lockfile.Wait(context.WithoutCancel(ctx), f, poll, nil), destroy(context.WithoutCancel(ctx), s, home), f.Close())
		}
		deleted <- err
	}()
	err = s.Supervise(ctx)
	if errors.Is(err, mlops.ErrConflict) || errors.Is(err, mlops.ErrUnsupported) { // an earlier guard does, or the engine
		err = nil
	}
	return errors.Join(err, <-deleted)
}

// destroy deletes a stack whose lock the caller holds.
func destroy(ctx context.Context, s *compose.Stack, home string) error {
	err := s.Destroy(ctx)
	if _, inContainers := os.Stat(filepath.Join(home, "run", "docker.json")); inContainers != nil && errors.Is(err, mlops.ErrUnsupported) {
		err = os.RemoveAll(home) // it is gone already, or was not made to its end
	}
	if err != nil {
		return err
	}
	if err := os.Remove(home + lockSuffix); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// claim makes the folder of this test binary's stack, and returns it with the
// locked file that has to stay open. First it deletes what test binaries left
// whose guards were killed.
func claim(ctx context.Context, original *compose.Stack, below string, say func(format string, args ...any)) (home string, held *os.File, err error) {
	if err := os.MkdirAll(below, 0o700); err != nil {
		return "", nil, err
	}
	claims, err := lockfile.Open(filepath.Join(below, "claims"), 0o600) // one at a time
	if err != nil {
		return "", nil, err
	}
	defer claims.Close()
	if err := lockfile.Wait(ctx, claims, poll, nil); err != nil {
		return "", nil, err
	}
	if err := sweep(ctx, below, say); err != nil {
		return "", nil, err
	}
	home = filepath.Join(below, project(strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")))
	held, err = os.OpenFile(home+lockSuffix, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := lockfile.Try(held); err != nil {
		return "", nil, errors.Join(err, held.Close())
	}
	if _, err := original.Twin(home); err != nil {
		return "", nil, errors.Join(err, held.Close())
	}
	return home, held, nil
}

// sweep deletes the stacks below a folder that no test binary holds. Containers whose
// engine is not there wait for another time.
func sweep(ctx context.Context, below string, say func(format string, args ...any)) error {
	locks, err := filepath.Glob(filepath.Join(below, "*"+lockSuffix))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range locks {
		f, err := os.Open(path)
		if err != nil {
			continue // its guard was faster
		}
		if err = lockfile.Try(f); err == nil {
			home := strings.TrimSuffix(path, lockSuffix)
			var s *compose.Stack
			if s, err = compose.New(compose.Options{Home: home, Command: mlopsctl(home)}); err == nil {
				err = destroy(ctx, s, home)
			}
		}
		switch {
		case errors.Is(err, mlops.ErrUnavailable), errors.Is(err, mlops.ErrUnsupported):
			say("stacktest: what is left of %s stays: %v", strings.TrimSuffix(path, lockSuffix), err)
		case !errors.Is(err, lockfile.ErrHeld):
			errs = append(errs, err)
		}
		f.Close()
	}
	return errors.Join(errs...)
}
