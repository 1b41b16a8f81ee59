//go:build !linux && !darwin

package dvc

import "errors"

// renameNew is renameat that fails with EEXIST where something has the new name.
func renameNew(_ int, _ string, _ int, _ string) error { return errors.ErrUnsupported }
