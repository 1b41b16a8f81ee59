//go:build !linux && !darwin

package cache

import "errors"

// clonePath is for file systems that share blocks between files.
func clonePath(_, _ string) error { return errors.ErrUnsupported }
