package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// choosePorts gives the services that are going to run their numbers. The others
// keep those that they ran with, or get their first, so that each recipe can
// know the addresses of all: a process that holds one meanwhile may be gone when it is
// wanted.
func (sup *supervisor) choosePorts(all, want []service) error {
	for _, v := range all {
		sup.mu.Lock()
		running := sup.units[v.name] != nil
		wanted := slices.ContainsFunc(want, func(w service) bool { return w.name == v.name })
		for _, p := range v.ports {
			if key := v.name + "/" + p.name; !wanted && sup.ports[key] == 0 {
				sup.ports[key] = p.first
			}
		}
		sup.mu.Unlock()
		if running || !wanted {
			continue
		}
		if _, err := sup.assign(all, v); err != nil {
			return err
		}
	}
	return nil
}

// assign chooses the ports of a service that does not run.
func (sup *supervisor) assign(all []service, v service) (note string, err error) {
	sup.choosing.Lock()
	defer sup.choosing.Unlock()
	for _, p := range v.ports {
		key := v.name + "/" + p.name
		sup.mu.Lock()
		taken := map[int]bool{}
		for _, w := range all {
			for _, q := range w.ports {
				if k := w.name + "/" + q.name; k != key {
					taken[q.first], taken[sup.ports[k]] = true, true
				}
			}
		}
		before := sup.ports[key]
		sup.mu.Unlock()
		n, why, err := choosePort(p, before, func(n int) bool { return taken[n] }, sup.mayHave, holders)
		if err != nil {
			return "", fmt.Errorf("%s: %w", v.name, err)
		}
		note = joinNotes(note, why)
		sup.mu.Lock()
		sup.ports[key] = n
		sup.mu.Unlock()
	}
	return note, nil
}

// confirmPorts looks at u's ports again just before it starts. After a death
// the number is given a moment to come free.
func (sup *supervisor) confirmPorts(ctx context.Context, u *unit) error {
	sup.mu.Lock()
	again := u.published
	sup.mu.Unlock()
	for deadline := time.Now().Add(sup.stack.timing.linger); again && time.Now().Before(deadline); {
		busy := slices.ContainsFunc(u.ports, func(p port) bool {
			sup.mu.Lock()
			n := sup.ports[u.name+"/"+p.name]
			sup.mu.Unlock()
			return !portFree(n)
		})
		if !busy {
			break
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(sup.stack.timing.poll):
		}
	}
	note, err := sup.assign(sup.stack.recipes(sup.isLight()), u.service)
	if err != nil {
		return err
	}
	for _, p := range u.ports {
		sup.mu.Lock()
		n := sup.ports[u.name+"/"+p.name]
		sup.mu.Unlock()
		if note == "" && n != p.first {
			if who := holders(p.first); len(who) > 0 {
				note = fmt.Sprintf("%s; using %d", heldText(p.first, who), n)
			}
		}
	}
	sup.mu.Lock()
	u.portNote = note
	sup.mu.Unlock()
	if note != "" {
		sup.tell(Event{Service: u.name, State: StatePreparing, Message: note})
	}
	return nil
}

// mayHave reports whether a number is free, and takes it for this supervisor.
func (sup *supervisor) mayHave(n int) bool {
	ok, err := sup.reserved.take(n, sup.stack.home)
	if err != nil {
		sup.log.Warn("reservation", "port", n, "error", err)
	}
	return ok
}

// keepPorts takes the numbers of a service that runs already.
func (sup *supervisor) keepPorts(v service) {
	sup.choosing.Lock()
	defer sup.choosing.Unlock()
	for _, p := range v.ports {
		n := sup.ports[v.name+"/"+p.name]
		if f, err := reserve(n, sup.stack.home); err == nil {
			sup.reserved[n] = f
		}
	}
}

// giveBack ends all reservations.
func (sup *supervisor) giveBack() {
	sup.choosing.Lock()
	defer sup.choosing.Unlock()
	sup.reserved.giveBack()
}

// reserved are the numbers that the stacks of other homes leave to us.
type reserved map[int]*os.File

// take reports whether a number is free, and takes it. Without a place for
// reservations, which the error tells, the number still serves.
func (r reserved) take(n int, home string) (bool, error) {
	if !portFree(n) {
		return false, nil
	}
	if r[n] != nil {
		return true, nil
	}
	f, err := reserve(n, home)
	if err == nil {
		r[n] = f
	}
	if errors.Is(err, lockfile.ErrHeld) {
		return false, nil
	}
	return true, err
}

// giveBack ends all reservations.
func (r reserved) giveBack() {
	for n, f := range r {
		(&lock{f}).release()
		delete(r, n)
	}
}

// reservations is a folder with a file for each number that a supervisor of
// this user has chosen; the supervisor holds the file's lock while it lives. A server binds its port a minute after the choice, and Ray opens that
// of models with the first application: until then the number looks free.
func reservations() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("mlops-ports-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, private(dir)
}

// private makes sure that dir is a folder that only we can write to.
func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a private folder of ours", dir)
	}
	return nil
}

// reserve takes a number, or fails with lockfile.ErrHeld if another has it.
func reserve(n int, home string) (*os.File, error) {
	dir, err := reservations()
	if err != nil {
		return nil, err
	}
	f, err := lockfile.Take(filepath.Join(dir, strconv.Itoa(n)), 0o600)
	if err != nil {
		return nil, err
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(home), 0) // for those who ask who has it
	return f, nil
}

// holders returns who listens on a port, or else whose it is to be.
func holders(n int) []proc.Owner {
	if who := proc.Listeners(n); len(who) > 0 {
		return who
	}
	dir, err := reservations()
	if err != nil {
		return nil
	}
	note := filepath.Join(dir, strconv.Itoa(n))
	if !lockfile.Held(note) {
		return nil // it belongs to no stack any more
	}
	home, _ := os.ReadFile(note)
	return []proc.Owner{{Command: "the stack of " + strings.TrimSpace(string(home))}}
}
