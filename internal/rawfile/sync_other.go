//go:build unix && !darwin

package rawfile

import "golang.org/x/sys/unix"

// Sync writes the file's content to the disk.
func (f *File) Sync() error {
	_, err := retry(func() (int, error) { return 0, unix.Fsync(f.fd) })
	return f.fault("sync", err)
}
