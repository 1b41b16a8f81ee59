package cache

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
