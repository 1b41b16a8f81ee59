// Package lockfile locks files against other processes, and against other open
// files of this one, by flock (LockFileEx on Windows). The system releases a
// lock when the last descriptor of its open file is closed, so a lock never
// outlives its process.
//
// github.com/gofrs/flock does less than is needed here: it opens the path
// itself, so that a file which is open already, one that must not be a symbolic
// link, or one whose descriptor a child inherits cannot be locked; it does not
// repeat a call that a signal interrupted (EINTR); and it has no answer to a
// file that its last owner removes.
package lockfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// ErrHeld is the error of a lock that another open file has.
var ErrHeld = errors.New("locked by another process")

// Open opens a file to be locked, and makes it with that mode if there is none.
// A symbolic link is an error.
func Open(path string, mode os.FileMode) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR|noFollow, mode)
}

// Try takes the exclusive lock of an open file without waiting. The error
// matches [ErrHeld] if another open file has a lock on it.
func Try(f *os.File) error { return try(f, false) }

// TryShared takes a shared lock of an open file without waiting. The error
// matches [ErrHeld] if another open file has the exclusive lock.
func TryShared(f *os.File) error { return try(f, true) }

func try(f *os.File, shared bool) error {
	err := flock(f, shared)
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// Wait takes the exclusive lock of an open file and asks for it again every so
// often until ctx ends; the error is then its cause. It calls waiting, if there
// is one, once before it waits.
func Wait(ctx context.Context, f *os.File, every time.Duration, waiting func()) error {
	err := Try(f)
	if !errors.Is(err, ErrHeld) {
		return err
	}
	if waiting != nil {
		waiting()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for errors.Is(err, ErrHeld) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			err = Try(f)
		}
	}
	return err
}

// Take makes and locks, without waiting, a file that its owner removes before
// the lock is released. The error matches [ErrHeld] if another process has it.
func Take(path string, mode os.FileMode) (*os.File, error) {
	for {
		f, err := Open(path, mode)
		if err != nil {
			return nil, err
		}
		if err := Try(f); err != nil {
			f.Close()
			return nil, err
		}
		if Current(f) { // else its last owner removed it between our open and our lock
			return f, nil
		}
		f.Close()
	}
}

// Current reports whether an open file is still the one at its path.
func Current(f *os.File) bool {
	opened, err := f.Stat()
	named, err2 := os.Lstat(f.Name())
	return err == nil && err2 == nil && os.SameFile(opened, named)
}

// Held reports whether a process has the exclusive lock of the file at path.
func Held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(TryShared(f), ErrHeld)
}
