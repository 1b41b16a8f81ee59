package dvc

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"syscall"

	"github.com/mlops-integration/mlops"
)

// tmpName returns a name as DVC gives to its temporary files.
func tmpName() string {
	var id [16]byte
	_, _ = rand.Read(id[:])
	return "." + base64.RawURLEncoding.EncodeToString(id[:]) + ".tmp"
}

// leftover matches the names that tmpName gives.
var leftover = regexp.MustCompile(`^\.[A-Za-z0-9_-]{22}\.tmp$`)

// parentsAreDirs refuses a path below which, or on whose way, lies something
// other than a directory: a symlink there would lead a write elsewhere.
// Missing directories are fine.
func parentsAreDirs(root *os.Root, rel string) error {
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		fi, err := root.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("dvc: %s: %w: %w", rel, mlops.ErrInvalid, err)
		case fi.Mode()&fs.ModeSymlink != 0:
			return fail(mlops.ErrInvalid, "%s lies in %s, which is a symlink", rel, dir)
		case !fi.IsDir():
			return fail(mlops.ErrInvalid, "%s lies in %s, which is not a directory", rel, dir)
		}
	}
	return nil
}

// autostage adds to git's index what the call has written, if core.autostage
// says so. dvc does it after add and import alone.
func (c *call) autostage(ctx context.Context) error {
	if c.gitRoot == "" || len(c.written) == 0 || !c.cfg.boolean("core", "autostage") {
		return nil
	}
	_, err := c.git(ctx, append([]string{"--literal-pathspecs", "add", "--"}, c.written...)...)
	return err
}

// writeFile replaces a small file of the repository durably. A temporary file
// of a killed program goes with the next one; where .dvc/tmp is on another file
// system it lies beside the file, and stays.
func (c *call) writeFile(rel string, data []byte) error {
	c.written = append(c.written, rel)
	tmp, err := c.tempRel()
	if err == nil {
		err = writeFile(c.root, tmp, rel, data)
	}
	if errors.Is(err, syscall.EXDEV) {
		err = writeFile(c.root, besides(rel), rel, data)
	}
	return err
}

// besides is a temporary name in the folder of a file.
func besides(rel string) string { return path.Join(path.Dir(rel), tmpName()) }

// writeFile replaces a small file durably: temporary file, fsync, rename, fsync
// of the directory. It keeps the mode of an existing file and refuses to
// replace what is not a regular file.
func writeFile(root *os.Root, tmp, rel string, data []byte) (err error) {
	mode := fs.FileMode(0)
	switch fi, err := root.Lstat(rel); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fail(mlops.ErrInvalid, "%s is not a regular file", rel)
	default:
		mode = fi.Mode().Perm()
	}
	if err := parentsAreDirs(root, rel); err != nil {
		return err
	}
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = root.Remove(tmp)
		}
	}()
	if mode != 0 {
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := root.Rename(tmp, rel); err != nil {
		return err
	}
	return syncDir(root, path.Dir(rel))
}

func syncDir(root *os.Root, rel string) error {
	d, err := root.Open(rel)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
