//go:build !linux && !darwin

package dvc

import "errors"

// clonePath is for file systems that share blocks between files.
func clonePath(_, _ string) error { return errors.ErrUnsupported }

// renameNew is renameat that fails with EEXIST where something has the new name.
func renameNew(_ int, _ string, _ int, _ string) error { return errors.ErrUnsupported }
