// Package atomicfile writes small files whole or not at all: a reader, and a
// machine that loses its power, sees the old content or the new one.
//
// github.com/google/renameio does the same for the replacement, without the
// fsync of the folder that makes the new name durable, and has no way to write
// a file only where there is none; both are needed here.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces the file at path, or makes it, with this content and mode (the
// umask does not count). A symbolic link at path is replaced, not followed.
func Write(path string, data []byte, mode os.FileMode) error {
	return place(path, data, mode, os.Rename)
}

// Create makes the file at path with this content and mode. The error matches
// [fs.ErrExist] if there is one: of several writers, one wins.
func Create(path string, data []byte, mode os.FileMode) error {
	return place(path, data, mode, os.Link)
}

func place(path string, data []byte, mode os.FileMode, name func(from, to string) error) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if mode != 0o600 {
		err = errors.Join(err, tmp.Chmod(mode))
	}
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := name(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}
