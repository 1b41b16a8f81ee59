package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// removeLocked: a file that is open cannot be removed.
const removeLocked = false

// tryLock takes the exclusive (or shared) lock of a file; false: another has it.
func tryLock(f *os.File, shared bool) (bool, error) {
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY | windows.LOCKFILE_EXCLUSIVE_LOCK)
	if shared {
		how = windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// letGo gives up a lock.
func letGo(lock *os.File) { lock.Close() }

// lend does nothing: locks belong to processes here.
func lend(*os.File) (*os.File, error) { return nil, nil }

// syncDir does nothing: the system offers no such call.
func syncDir(string) error { return nil }
