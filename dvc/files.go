package dvc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/known"
)

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
	if c.gitRoot == "" || len(c.written) == 0 || !c.cfg.Bool("core", "autostage") {
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
func besides(rel string) string { return path.Join(path.Dir(rel), cache.TempName()) }

// writeFile replaces a small file durably: temporary file, fsync, rename, fsync
// of the directory. It keeps the mode of an existing file and refuses to
// replace what is not a regular file.
//
// internal/atomicfile does not do: it takes a path, where this must stay below
// root, sets a mode, and has its temporary file beside the file, where nothing
// sweeps it.
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

// sweepOwn looks for temporary files of killed programs in the repository's own
// folder for those, and removes them if told so. Only a holder of the
// repository's lock makes files there: all of them are left over when the lock
// was taken.
func (c *call) sweepOwn(remove bool) (cache.Amount, error) {
	var t cache.Amount
	dir := path.Dir(known.File)
	d, err := c.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	names, err := d.Readdirnames(-1)
	_ = d.Close()
	if err != nil {
		return t, err
	}
	for _, name := range names {
		if !cache.IsTemp(name) {
			continue
		}
		at := path.Join(dir, name)
		err := fs.WalkDir(c.root.FS(), at, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return t.Count(d)
		})
		if err == nil && remove {
			err = c.root.RemoveAll(at)
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

// tempRel names a file or folder that is not complete yet, in the repository's
// own folder for those. What killed programs left there goes first.
func (c *call) tempRel() (string, error) {
	dir := path.Dir(known.File)
	if err := c.root.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	c.swept.Do(func() { _, _ = c.sweepOwn(true) })
	return path.Join(dir, cache.TempName()), nil
}

// leftovers looks for temporary files of killed programs in the cache and in
// the repository, and removes them if told so; the lock is held then.
func (c *call) leftovers(remove bool) (cache.Amount, error) {
	own, err := c.sweepOwn(remove)
	if err != nil {
		return own, err
	}
	t, err := c.cache.Sweep(remove)
	return cache.Amount{Objects: own.Objects + t.Objects, SizeBytes: own.SizeBytes + t.SizeBytes}, err
}
