package dvc

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/ignore"
	"github.com/mlops-integration/mlops/dvc/internal/known"
)

// index is what the repository tracks, as the workspace says now.
type index struct {
	files []*dvcfile.File
	outs  map[string]*dvcfile.Out // by path; of two files with one output, that of the later file
	twice error                   // names an output that two files have: nothing may be written then

	ignore *ignore.Files // of a revision
}

// index walks the workspace as dvc does: not into ignored directories, tracked
// ones, or other DVC repositories.
func (c *call) index() (*index, error) {
	ix := &index{outs: map[string]*dvcfile.Out{}}
	di, ig := c.dvcIgnore, c.gitIgnore
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := os.ReadDir(c.abs(cmp.Or(dir, ".")))
		if err != nil {
			return err
		}
		var dirs []string
		for _, e := range entries {
			rel := path.Join(dir, e.Name())
			if e.IsDir() {
				dirs = append(dirs, rel)
				continue
			}
			if !strings.HasSuffix(e.Name(), ".dvc") && e.Name() != "dvc.yaml" || di.Entry(rel, false) || ig.Entry(rel, false) {
				continue
			}
			if err := ix.read(c.Repo, rel); err != nil {
				return err
			}
		}
		for _, rel := range dirs {
			if ix.outs[rel] != nil || di.Entry(rel, true) || ig.Entry(rel, true) {
				continue
			}
			if _, err := os.Lstat(c.abs(rel + "/.dvc")); err == nil {
				continue
			}
			if err := walk(rel); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(""); err != nil {
		return nil, err
	}
	if err := di.Err(); err != nil {
		return nil, err
	}
	return ix, ig.Err()
}

// read adds a .dvc file, or the stages of a dvc.yaml with its dvc.lock.
func (ix *index) read(r *Repo, rel string) error {
	text, err := r.readSmall(rel)
	if err != nil {
		return err
	}
	var lock []byte
	if !strings.HasSuffix(rel, ".dvc") {
		lock, err = r.readSmall(strings.TrimSuffix(rel, ".yaml") + ".lock")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if strings.HasSuffix(rel, "dvc.yaml") {
		if err := dvcfile.CheckPipeline(rel, text, r.readSmall); err != nil {
			return err
		}
	}
	return ix.parse(rel, text, lock)
}

// parse adds a .dvc file, or the stages of a dvc.yaml with its dvc.lock's text.
func (ix *index) parse(rel string, text, lock []byte) error {
	if strings.HasSuffix(rel, ".dvc") {
		f, err := dvcfile.Parse(rel, text)
		if err != nil {
			return err
		}
		ix.add([]*dvcfile.File{f})
		return nil
	}
	files, err := dvcfile.ParsePipeline(rel, text, lock)
	if err != nil {
		return err
	}
	ix.add(files)
	return nil
}

func (ix *index) add(files []*dvcfile.File) {
	for i, f := range files {
		f.Order = len(ix.files) + i
		for _, o := range f.Outs {
			if other := ix.outs[o.Path]; other != nil {
				ix.twice = fail(mlops.ErrConflict, "%s is an output of %s and of %s; take it out of one of them", o.Path, other.File.Rel, f.Rel)
				other.Shadowed, o.Shadowed = true, true
			}
			ix.outs[o.Path] = o
		}
	}
	ix.files = append(ix.files, files...)
}

// readSmall reads a file of DVC's own making, up to a byte more than is allowed.
func (r *Repo) readSmall(rel string) ([]byte, error) {
	f, _, err := known.OpenRegular(r.abs(rel))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, dvcfile.MaxSize+1))
}

// owner returns the output that is rel or holds it.
func (ix *index) owner(rel string) *dvcfile.Out {
	for p := rel; p != "."; p = path.Dir(p) {
		if o := ix.outs[p]; o != nil {
			return o
		}
	}
	return nil
}
