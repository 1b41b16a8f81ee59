package dvc

import (
	"os"

	"golang.org/x/sys/unix"
)

// clonePath makes dst a file that shares src's blocks (APFS). dst must not exist.
func clonePath(src, dst string) error {
	if err := unix.Clonefile(src, dst, 0); err != nil {
		return err
	}
	return os.Chmod(dst, 0o644)
}

// renameNew is renameat that fails with EEXIST where something has the new name.
func renameNew(from int, old string, to int, name string) error {
	return unix.RenameatxNp(from, old, to, name, unix.RENAME_EXCL)
}
