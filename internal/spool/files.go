package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// fsys is how a journal writes; tests put faults between.
type fsys interface {
	MkdirAll(path string, perm fs.FileMode) error
	Mkdir(path string, perm fs.FileMode) error
	OpenFile(path string, flag int, perm fs.FileMode) (file, error)
	SyncDir(path string) error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
}

type disk struct{}

func (disk) MkdirAll(path string, perm fs.FileMode) error { return os.MkdirAll(path, perm) }
func (disk) Mkdir(path string, perm fs.FileMode) error    { return os.Mkdir(path, perm) }
func (disk) SyncDir(path string) error                    { return atomicfile.SyncDir(path) }

func (disk) OpenFile(path string, flag int, perm fs.FileMode) (file, error) {
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// The files of a journal's folder.
const (
	lockName    = "lock"
	ackName     = "ack"
	refusedName = "refused"
	filesName   = "files"
	segSuffix   = ".seg"
)

// segNumber returns the number of a segment file; 0: it is none.
func segNumber(name string) int {
	digits, ok := strings.CutSuffix(name, segSuffix)
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || len(digits) < 6 {
		return 0
	}
	return n
}

// lockFolder takes the lock of a journal's folder.
func lockFolder(path string) (*os.File, error) {
	name := filepath.Join(path, lockName)
	for try := 0; ; try++ {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &mlops.Error{Kind: mlops.ErrNotFound, Service: "spool", Op: "Open", Message: "there is no journal " + path}
		}
		if err != nil {
			return nil, err
		}
		err = lockfile.Try(f)
		if err == nil {
			if lockfile.Current(f) { // else its last owner removed it meanwhile
				return f, nil
			}
			f.Close()
			return nil, &mlops.Error{Kind: mlops.ErrNotFound, Service: "spool", Op: "Open", Message: "there is no journal " + path + " any more"}
		}
		f.Close()
		if !errors.Is(err, lockfile.ErrHeld) {
			return nil, err
		}
		if try == 3 { // one who only looks holds it for microseconds
			return nil, &mlops.Error{Kind: mlops.ErrConflict, Service: "spool", Op: "Open", Message: "another process writes the journal " + path}
		}
		time.Sleep(time.Millisecond)
	}
}

// held reports whether a process has the lock of a journal's folder.
func held(path string) (bool, error) {
	f, err := os.Open(filepath.Join(path, lockName))
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = lockfile.TryShared(f)
	if errors.Is(err, lockfile.ErrHeld) {
		return true, nil
	}
	return false, err
}

// release gives a lock up, also where another process has the open file from us.
func release(lock *os.File) {
	_ = lockfile.Unlock(lock)
	lock.Close()
}

// removeFolder deletes a journal whose lock is held, the lock last, and gives
// it up.
func removeFolder(path string, lock *os.File) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if e.Name() != lockName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
		}
	}
	if !removeLocked {
		release(lock)
	}
	err = errors.Join(err, os.Remove(filepath.Join(path, lockName)), os.Remove(path))
	if removeLocked {
		release(lock)
	}
	return err
}
