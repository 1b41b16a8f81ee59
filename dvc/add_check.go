package dvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// notData returns why nothing at a path can be tracked, "" if it can; itself is
// what is said of the repository's own places.
func notData(rel, itself string) string {
	base := path.Base(rel)
	switch why := object.UnsafePath(rel); {
	case why != "" || rel == "." || object.Within(rel, ".dvc"):
		return cmp.Or(why, itself)
	case strings.ContainsAny(rel, "\u0085\u2028\u2029"):
		return "dvc does not write names with such line breaks readably"
	case strings.HasSuffix(base, ".dvc") || base == "dvc.yaml" || base == "dvc.lock" || base == ".dvcignore" || base == ".gitignore":
		return "a file of DVC or git itself"
	}
	return ""
}

// check looks at a target without writing anything.
func (c *adder) check(name string) (*addition, error) {
	refuse := func(kind error, format string, args ...any) (*addition, error) {
		return nil, fail(kind, "add %s: "+format, append([]any{name}, args...)...)
	}
	rel, err := c.rel(name)
	if err != nil {
		return nil, err
	}
	if why := notData(rel, "the repository itself cannot be tracked"); why != "" {
		return refuse(mlops.ErrInvalid, "%s", why)
	}
	if err := parentsAreDirs(c.root, rel); err != nil {
		return nil, err
	}
	lfi, err := os.Lstat(c.abs(rel))
	if errors.Is(err, fs.ErrNotExist) {
		// Of a tracked directory, the deletion of a part can be recorded.
		if o := c.ix.owner(rel); o == nil || o.Path == rel || !o.ID.IsDir() {
			return refuse(mlops.ErrNotFound, "no such file or directory")
		}
		a := &addition{rel: rel, gone: true}
		if err := c.checkOwner(a, name); err != nil {
			return nil, err
		}
		if len(a.old.Below(strings.TrimPrefix(rel, a.out.Path+"/"))) == 0 {
			return refuse(mlops.ErrNotFound, "no such file or directory")
		}
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	a := &addition{rel: rel, link: lfi.Mode()&fs.ModeSymlink != 0}
	fi, err := os.Stat(c.abs(rel))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return refuse(mlops.ErrNotFound, "a symlink to nothing")
	case err != nil:
		return nil, err
	case a.link && fi.IsDir():
		return refuse(mlops.ErrInvalid, "a symlink to a directory")
	case !fi.IsDir() && !fi.Mode().IsRegular():
		return refuse(mlops.ErrInvalid, "neither a file nor a directory")
	}
	a.isDir = fi.IsDir()
	if c.dvcIgnore.Ignored(rel, a.isDir) {
		return refuse(mlops.ErrInvalid, "ignored by .dvcignore")
	}
	if a.isDir {
		if _, err := os.Lstat(c.abs(rel + "/.dvc")); err == nil {
			return refuse(mlops.ErrInvalid, "a DVC repository of its own")
		}
		if a.files, err = c.walkData(rel); err != nil {
			return nil, err
		}
		for _, f := range a.files {
			switch base := path.Base(f.Path); {
			case base == ".dvcignore":
				return refuse(mlops.ErrInvalid, "%s: a .dvcignore must not lie in tracked data", f.Path)
			case strings.HasSuffix(base, ".dvc") || base == "dvc.yaml":
				return refuse(mlops.ErrConflict, "%s lies in it: tracked data would overlap", f.Path)
			case !utf8.ValidString(f.Path):
				return refuse(mlops.ErrInvalid, "%q is not UTF-8", f.Path)
			}
		}
	} else {
		st, err := known.Stat(c.abs(rel), true)
		if err != nil {
			return nil, err
		}
		a.files = []known.Found{{Path: "", Link: a.link, Stamp: st}}
	}
	if err := c.checkOwner(a, name); err != nil {
		return nil, err
	}
	for p, o := range c.ix.outs {
		if p != rel && object.Within(p, rel) {
			return refuse(mlops.ErrConflict, "%s in it is tracked by %s; run: dvc remove %s", c.show(p), o.File.At(c.show), o.File.At(c.show))
		}
	}
	if a.out == nil {
		if err := c.notIgnored(rel + ".dvc"); err != nil {
			return nil, err
		}
		if _, err := os.Lstat(c.abs(rel + ".dvc")); err == nil {
			for _, f := range c.ix.files {
				if f.Rel == rel+".dvc" {
					return refuse(mlops.ErrAlreadyExists, "%s tracks something else", c.show(f.Rel))
				}
			}
			return refuse(mlops.ErrInvalid, "%s.dvc exists but is ignored", name)
		}
	}
	return a, nil
}

// checkOwner finds what tracks a target already, and refuses what add cannot
// change there.
func (c *adder) checkOwner(a *addition, name string) error {
	refuse := func(kind error, format string, args ...any) error {
		return fail(kind, "add %s: "+format, append([]any{name}, args...)...)
	}
	rel := a.rel
	if a.out = c.ix.owner(rel); a.out == nil {
		return nil
	}
	if a.out.File.Stage != "" {
		return refuse(mlops.ErrConflict, "an output of the stage %s", a.out.File.At(c.show))
	}
	if a.out.Odd != "" {
		return refuse(mlops.ErrUnsupported, "%s %s", c.show(a.out.File.Rel), a.out.Odd)
	}
	if a.out.ID.Legacy() && a.out.Path != rel {
		return refuse(mlops.ErrUnsupported, "%s is of dvc 2.x (no hash: md5); add all of %s", c.show(a.out.File.Rel), c.show(a.out.Path))
	}
	if a.out.File.Deps {
		return refuse(mlops.ErrConflict, "%s imports it; use: dvc update", c.show(a.out.File.Rel))
	}
	if a.out.Path != rel {
		if !a.out.ID.IsDir() {
			return refuse(mlops.ErrConflict, "%s is tracked as a file", c.show(a.out.Path))
		}
		var err error
		if a.old, err = c.cache.Listing(a.out.ID); err != nil {
			return fmt.Errorf("dvc: add %s: %w", name, err)
		}
	} else if a.out.ID.IsDir() && a.isDir && !a.out.ID.Legacy() {
		a.old, _ = c.cache.Listing(a.out.ID) // only to save work
	}
	return nil
}

// notIgnored refuses a .dvc file that git would ignore: it would never be
// committed.
func (c *call) notIgnored(rel string) error {
	ignored := c.gitIgnore.Ignored(rel, false)
	err := c.gitIgnore.Err() // of what that question made git read, too
	if err == nil && ignored {
		err = fail(mlops.ErrInvalid, "git ignores %[1]s, which would track the data; put !%[2]s into .gitignore, or track a folder above it", c.show(rel), path.Base(rel))
	}
	return err
}

// notInGit refuses data that git tracks.
func (c *call) notInGit(ctx context.Context, rels []string) error {
	if c.gitRoot == "" {
		return nil
	}
	out, err := c.git(ctx, append([]string{"--literal-pathspecs", "ls-files", "-z", "--"}, rels...)...)
	if err != nil {
		return err
	}
	tracked, _, found := strings.Cut(string(out), "\x00")
	if !found {
		return nil
	}
	for _, rel := range rels {
		if object.Within(tracked, rel) {
			tracked = rel
		}
	}
	return fail(mlops.ErrInvalid, "%s is tracked by git; run: git rm -r --cached '%s'", c.show(tracked), c.show(tracked))
}
