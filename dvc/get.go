package dvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// GetOptions are options of [Get].
type GetOptions struct {
	Dir    string // what Out is relative to; "" is the program's directory
	Out    string // where to; a directory gets it under its own name. "" is that name in Dir
	Rev    string // branch, tag or commit; "" is what the repository has checked out
	Remote string // of the repository; "" is its default
	Force  bool   // replace files that are there
	Trust  bool   // as in [SourceOptions]

	Transfers
}

// Get downloads data of a git repository, tracked there by DVC or by git,
// without tracking it here, as dvc get does. It needs no repository here. Data
// is complete and checked before it gets its place.
//
// The errors are those of [Repo.Import].
func Get(ctx context.Context, url, p string, o GetOptions) (Output, error) {
	at, err := sourcePath(p)
	if err != nil {
		return Output{}, err
	}
	base, err := realDir(cmp.Or(o.Dir, "."))
	if err != nil {
		return Output{}, err
	}
	name := path.Base(at)
	if name == "." && o.Out == "" {
		return Output{}, fail(mlops.ErrInvalid, "the whole of a repository needs a destination (--out)")
	}
	to := cmp.Or(o.Out, name)
	if !filepath.IsAbs(to) {
		to = filepath.Join(base, to)
	}
	if fi, err := os.Stat(to); err == nil && fi.IsDir() && o.Out != "" {
		to = filepath.Join(to, name)
	}
	if strings.HasSuffix(to, ".dvc") || filepath.Base(to) == "dvc.yaml" {
		return Output{}, fail(mlops.ErrInvalid, "%s: a .dvc file is not data; name what it tracks", p)
	}
	was, err := os.Lstat(to)
	switch {
	case err == nil && !o.Force:
		return Output{}, fail(mlops.ErrAlreadyExists, "%s exists already; use force to replace it (-f)", to)
	case err == nil && was.Mode()&fs.ModeSymlink != 0:
		return Output{}, fail(mlops.ErrInvalid, "%s is a symlink", to)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Output{}, err
	}
	parent, err := os.OpenRoot(filepath.Dir(to))
	if err != nil {
		return Output{}, fail(mlops.ErrNotFound, "directory %s", filepath.Dir(to))
	}
	defer parent.Close()
	outside := &Repo{dir: base, base: base}
	s, err := openSource(ctx, outside.gitURL(url), SourceOptions{Rev: o.Rev, Trust: o.Trust}, true)
	if err != nil {
		return Output{}, err
	}
	defer func() { _ = s.Close() }()

	tmp := cache.TempName()
	if err := parent.Mkdir(tmp, 0o777); err != nil {
		return Output{}, err
	}
	defer func() { _ = parent.RemoveAll(tmp) }()
	c := cache.New(filepath.Join(filepath.Dir(to), tmp, "cache"), []string{"reflink", "copy"}, false)
	m := o.mover()
	got, err := s.fetch(ctx, c, m, at, o.Remote)
	if err != nil {
		return Output{}, fmt.Errorf("dvc: get %s: %w", p, err)
	}
	if err := unpack(ctx, c, parent, tmp+"/data", got); err != nil {
		return Output{}, err
	}
	out := Output{Path: to, Hash: got.ID.String(), SizeBytes: got.Size, Files: 1}
	if got.NFiles >= 0 {
		out.Files = int(got.NFiles)
	}
	return out, moveInto(parent, tmp+"/data", filepath.Base(to))
}

// unpack writes a content of the cache below root, for good: the objects become
// the files where they can.
func unpack(ctx context.Context, c *cache.Cache, root *os.Root, at string, got dvcfile.Content) error {
	t := object.Listing{{Path: "", ID: got.ID}}
	if got.ID.IsDir() {
		var err error
		if t, err = c.Listing(got.ID); err != nil {
			return err
		}
		if err := root.MkdirAll(at, 0o777); err != nil {
			return err
		}
	}
	uses := map[object.ID]int{}
	for _, e := range t {
		uses[e.ID]++
	}
	cacheAt := path.Join(path.Dir(at), "cache")
	for _, e := range t {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := path.Join(at, e.Path)
		if err := root.MkdirAll(path.Dir(to), 0o777); err != nil {
			return err
		}
		var err error
		if uses[e.ID]--; uses[e.ID] == 0 {
			err = root.Rename(path.Join(cacheAt, e.ID.Key()), to)
		} else {
			var dir *os.File
			if dir, err = root.Open(path.Dir(to)); err == nil {
				_, err = c.CopyOut(ctx, dir, path.Base(to), e.ID)
				err = errors.Join(err, dir.Close())
			}
		}
		if err == nil {
			err = root.Chmod(to, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moveInto renames complete data to its place, file by file where a directory
// is there: other files in it stay.
func moveInto(root *os.Root, from, to string) error {
	was, err := root.Lstat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return root.Rename(from, to)
	}
	if err != nil {
		return err
	}
	now, err := root.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case !now.IsDir() && was.Mode().IsRegular():
		return root.Rename(from, to)
	case now.IsDir() != was.IsDir() || !was.IsDir():
		return fail(mlops.ErrConflict, "%s is there, and not of the same kind", to)
	}
	d, err := root.Open(from)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	_ = d.Close()
	for _, name := range names {
		if err == nil {
			err = moveInto(root, path.Join(from, name), path.Join(to, name))
		}
	}
	return err
}
