package dvc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
)

// index is what the repository tracks, as the workspace says now.
type index struct {
	files     []*dvcFile
	outs      map[string]*out   // by path
	pipelines []string          // dvc.yaml files
	stageOuts map[string]string // outputs of dvc.lock: path to file
}

// index walks the workspace as dvc does: not into ignored directories, tracked
// ones, or other DVC repositories.
func (r *Repo) index() (*index, error) {
	ix := &index{outs: map[string]*out{}, stageOuts: map[string]string{}}
	ig, err := newGitIgnore(r)
	if err != nil {
		return nil, err
	}
	di := newDVCIgnore(r)
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := os.ReadDir(r.abs(orDefault(dir, ".")))
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
			isDVC := strings.HasSuffix(e.Name(), ".dvc")
			if !isDVC && e.Name() != "dvc.yaml" && e.Name() != "dvc.lock" || di.entry(rel, false) || ig.entry(rel, false) {
				continue
			}
			if err := ix.read(r, rel, isDVC); err != nil {
				return err
			}
		}
		for _, rel := range dirs {
			if ix.outs[rel] != nil || di.entry(rel, true) || ig.entry(rel, true) {
				continue
			}
			if _, err := os.Lstat(r.abs(rel + "/.dvc")); err == nil {
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
	if di.err != nil {
		return nil, di.err
	}
	if ig != nil && ig.files.err != nil {
		return nil, ig.files.err
	}
	return ix, nil
}

func (ix *index) read(r *Repo, rel string, isDVC bool) error {
	f, _, err := openRegular(r.abs(rel))
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDVCFile+1))
	if err != nil {
		return err
	}
	if !isDVC {
		if path.Base(rel) == "dvc.yaml" {
			ix.pipelines = append(ix.pipelines, rel)
			return nil
		}
		return ix.readLock(rel, text)
	}
	d, err := parseDVCFile(rel, text)
	if err != nil {
		return err
	}
	for _, o := range d.outs {
		if other := ix.outs[o.path]; other != nil {
			return fail(mlops.ErrInvalid, "%s is an output of %s and of %s", o.path, other.file.rel, rel)
		}
		ix.outs[o.path] = o
	}
	ix.files = append(ix.files, d)
	return nil
}

// readLock takes the outputs' paths from a dvc.lock.
func (ix *index) readLock(rel string, text []byte) error {
	if len(text) > maxDVCFile {
		return fail(mlops.ErrInvalid, "%s is too large", rel)
	}
	var lock struct {
		Stages map[string]struct {
			Outs []struct {
				Path string `yaml:"path"`
			} `yaml:"outs"`
		} `yaml:"stages"`
	}
	if err := yaml.Unmarshal(text, &lock); err != nil {
		return fmt.Errorf("dvc: %s: %w: %w", rel, mlops.ErrInvalid, err)
	}
	for _, s := range lock.Stages {
		for _, o := range s.Outs {
			ix.stageOuts[path.Join(path.Dir(rel), o.Path)] = rel
		}
	}
	return nil
}

// owner returns the output that is rel or holds it.
func (ix *index) owner(rel string) *out {
	for p := rel; p != "."; p = path.Dir(p) {
		if o := ix.outs[p]; o != nil {
			return o
		}
	}
	return nil
}

// targets returns the outputs that the caller names, by .dvc file or by path;
// no name means all. It refuses outputs that would have to be left out.
func (r *Repo) targets(ix *index, names []string) ([]*out, error) {
	var outs []*out
	if len(names) == 0 {
		if len(ix.pipelines) > 0 {
			return nil, fail(mlops.ErrUnsupported, "outputs of %s are not handled yet; name .dvc files as targets", ix.pipelines[0])
		}
		for _, f := range ix.files {
			outs = append(outs, f.outs...)
		}
	}
	for _, name := range names {
		rel, err := r.rel(name)
		if err != nil {
			return nil, err
		}
		n := len(outs)
		if o := ix.outs[rel]; o != nil {
			outs = append(outs, o)
		}
		for _, f := range ix.files {
			if f.rel == rel {
				outs = append(outs, f.outs...)
			}
		}
		if len(outs) > n {
			continue
		}
		if o := ix.owner(rel); o != nil {
			return nil, fail(mlops.ErrUnsupported, "target %s is a part of %s; name that", name, r.show(o.path))
		}
		return nil, fail(mlops.ErrNotFound, "target %s is neither tracked data nor a .dvc file", name)
	}
	slices.SortFunc(outs, func(a, b *out) int { return strings.Compare(a.path, b.path) })
	outs = slices.Compact(outs)
	for i, o := range outs {
		if i > 0 && within(o.path, outs[i-1].path) {
			return nil, fail(mlops.ErrInvalid, "output %s of %s overlaps with %s of %s", o.path, o.file.rel, outs[i-1].path, outs[i-1].file.rel)
		}
		if why := o.unsupported(); why != "" {
			return nil, fail(mlops.ErrUnsupported, "%s in %s %s", o.path, o.file.rel, why)
		}
	}
	return outs, nil
}

func (o *out) unsupported() string {
	if o.legacy && o.oid != "" {
		return "was written by dvc 2.x (no hash: md5); run: dvc cache migrate --dvc-files"
	}
	return o.odd
}

// dataFile is a file found in the workspace.
type dataFile struct {
	path string // relative to the directory, or "" for a single file
	link bool   // a symlink to the file
}

// walkData lists the files of a tracked directory as dvc does: symlinks to
// files count, symlinks to directories are passed over, ignored names too.
func (r *Repo) walkData(di *ignoreFiles, rel string) ([]dataFile, error) {
	var out []dataFile
	var walk func(dir string) error
	walk = func(dir string) error {
		entries, err := os.ReadDir(r.abs(path.Join(rel, dir)))
		if err != nil {
			return err
		}
		for _, e := range entries {
			sub := path.Join(dir, e.Name())
			at := path.Join(rel, sub)
			isDir, link := e.IsDir(), e.Type()&fs.ModeSymlink != 0
			if link {
				fi, err := os.Stat(r.abs(at))
				if err != nil && !di.entry(at, false) {
					if errors.Is(err, fs.ErrNotExist) {
						return fail(mlops.ErrNotFound, "%s is a symlink to nothing", at)
					}
					return err
				}
				isDir = err == nil && fi.IsDir()
			}
			if di.entry(at, isDir) {
				continue
			}
			if !isDir {
				out = append(out, dataFile{sub, link})
				continue
			}
			if link {
				continue
			}
			if _, err := os.Lstat(r.abs(at + "/.dvc")); err == nil {
				return fail(mlops.ErrInvalid, "%s is a DVC repository of its own", at)
			}
			if err := walk(sub); err != nil {
				return err
			}
		}
		return nil
	}
	err := walk("")
	if err == nil {
		err = di.err
	}
	return out, err
}
