package rawfile

import "golang.org/x/sys/unix"

// Sync writes the file's content to the disk itself, as [os.File.Sync] does:
// fsync leaves it in the disk's own memory on macOS.
func (f *File) Sync() error {
	_, err := retry(func() (int, error) { return unix.FcntlInt(uintptr(f.fd), unix.F_FULLFSYNC, 0) })
	if err == unix.ENOTSUP || err == unix.EINVAL || err == unix.ENOTTY { // not on network disks
		_, err = retry(func() (int, error) { return 0, unix.Fsync(f.fd) })
	}
	return f.fault("sync", err)
}
