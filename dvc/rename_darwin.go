package dvc

import "golang.org/x/sys/unix"

// renameNew is renameat that fails with EEXIST where something has the new name.
func renameNew(from int, old string, to int, name string) error {
	return unix.RenameatxNp(from, old, to, name, unix.RENAME_EXCL)
}
