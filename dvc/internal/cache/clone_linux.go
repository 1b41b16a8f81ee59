package cache

import (
	"os"

	"golang.org/x/sys/unix"
)

// clonePath makes dst a file that shares src's blocks, where the file system
// can do that (btrfs, xfs). dst must not exist.
func clonePath(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := unix.IoctlFileClone(int(out.Fd()), int(in.Fd())); err != nil {
		_ = os.Remove(dst)
		return err
	}
	return nil
}
