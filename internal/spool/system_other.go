//go:build !windows

package spool

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// removeLocked: a lock file can be removed by its holder.
const removeLocked = true

// tryLock takes the exclusive (or shared) lock of a file; false: another has it.
func tryLock(f *os.File, shared bool) (bool, error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, os.NewSyscallError("flock", err)
		}
	}
}

// letGo gives up a lock, also where another process has the open file from us,
// and closes it.
func letGo(lock *os.File) {
	_ = unix.Flock(int(lock.Fd()), unix.LOCK_UN)
	lock.Close()
}

// lend returns the same open file once more: who has either has the lock.
func lend(lock *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), lock.Name()), nil
}

// syncDir makes the names in a folder durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
