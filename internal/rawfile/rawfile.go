//go:build unix

// Package rawfile opens files on disks without the runtime's poller. An
// [os.File] asks the system five times more for each file that it opens, to
// wait in a way that files on disks do not offer; where ten thousand small
// files are opened one after the other, that is a third of all that is asked.
package rawfile

import (
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// File is an open file. It is for one goroutine, but for ReadAt, and must be
// closed: nothing closes a forgotten one.
type File struct {
	fd   int
	name string
}

// Open is [os.OpenFile]: flag are its flags, and errors are of the same kinds.
func Open(name string, flag int, perm fs.FileMode) (*File, error) {
	return OpenAt(unix.AT_FDCWD, name, flag, perm)
}

// OpenAt opens name in a directory that is open as dir.
func OpenAt(dir int, name string, flag int, perm fs.FileMode) (*File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dir, name, flag|unix.O_CLOEXEC, uint32(perm.Perm()))
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &File{fd, name}, nil
}

// Name is the name that the file was opened by.
func (f *File) Name() string { return f.name }

// Fd is the descriptor, good until Close.
func (f *File) Fd() int { return f.fd }

// Read is [io.Reader]'s.
func (f *File) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := retry(func() (int, error) { return unix.Read(f.fd, b[:min(len(b), most)]) })
	return f.got(n, err, "read")
}

// ReadAt is [io.ReaderAt]'s.
func (f *File) ReadAt(b []byte, at int64) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = retry(func() (int, error) {
			return unix.Pread(f.fd, b[n:min(len(b), n+most)], at+int64(n))
		})
		k, err = f.got(k, err, "read")
		n += k
	}
	return n, err
}

// most is what is read or written at once: macOS refuses 2 GiB.
const most = 1 << 30

func (f *File) got(n int, err error, op string) (int, error) {
	switch {
	case err != nil:
		return 0, f.fault(op, err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write is [io.Writer]'s.
func (f *File) Write(b []byte) (n int, err error) {
	for n < len(b) {
		k, err := retry(func() (int, error) { return unix.Write(f.fd, b[n:min(len(b), n+most)]) })
		if err == nil && k == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, f.fault("write", err)
		}
		n += k
	}
	return n, nil
}

// Seek is [io.Seeker]'s.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	at, err := unix.Seek(f.fd, offset, whence)
	return at, f.fault("seek", err)
}

// Stat fills st.
func (f *File) Stat(st *unix.Stat_t) error {
	_, err := retry(func() (int, error) { return 0, unix.Fstat(f.fd, st) })
	return f.fault("stat", err)
}

// Chmod changes the permission bits.
func (f *File) Chmod(perm fs.FileMode) error {
	_, err := retry(func() (int, error) { return 0, unix.Fchmod(f.fd, uint32(perm.Perm())) })
	return f.fault("chmod", err)
}

// Mode gives the file these permission bits where it lacks them: those that it
// was opened with are what an umask left of them.
func (f *File) Mode(perm fs.FileMode) error {
	var st unix.Stat_t
	if err := f.Stat(&st); err == nil && fs.FileMode(st.Mode&0o777) == perm {
		return nil
	}
	return f.Chmod(perm)
}

// Close closes the file; after that, Close answers [os.ErrClosed].
func (f *File) Close() error {
	fd := f.fd
	f.fd = -1
	if fd < 0 {
		return f.fault("close", os.ErrClosed)
	}
	if err := unix.Close(fd); err != unix.EINTR { // it is closed all the same
		return f.fault("close", err)
	}
	return nil
}

func (f *File) fault(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

func retry(do func() (int, error)) (int, error) {
	for {
		if n, err := do(); err != unix.EINTR {
			return n, err
		}
	}
}
