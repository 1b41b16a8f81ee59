package dvc

import (
	"cmp"
	"context"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// ListOptions are options of [Source.List].
type ListOptions struct {
	Path      string // below it; "" is the whole repository
	Recursive bool   // files in all directories, and no directories
	DVCOnly   bool   // leave out what git tracks
	Tree      bool   // as Recursive, with the directories; each comes before what is in it
	Level     int    // with Recursive or Tree, how deep: directories at that depth are listed, not looked into; 0 is no limit
}

// ListEntry is what a repository holds at a path. Its JSON is dvc's.
type ListEntry struct {
	IsOut     bool    `json:"isout"` // tracked by a .dvc file or stage, or in what is
	IsDir     bool    `json:"isdir"`
	IsExec    bool    `json:"isexec"`
	SizeBytes *int64  `json:"size"` // null where it is not known
	Hash      *string `json:"md5"`  // null for what git tracks
	Path      string  `json:"path"` // relative to ListOptions.Path
}

// List lists what git and DVC track at the source's revision, by path. Of a
// tracked directory the listing is fetched, no data.
//
// The error matches [mlops.ErrNotFound] if there is nothing at the path.
func (s *Source) List(ctx context.Context, o ListOptions) ([]ListEntry, error) {
	at := path.Clean(cmp.Or(o.Path, "."))
	if !fs.ValidPath(at) {
		return nil, fail(mlops.ErrInvalid, "path %q of a repository", o.Path)
	}
	near, in, err := s.nearest(ctx, at)
	if err != nil {
		return nil, err
	}
	if near != s {
		o.Path = in
		return near.List(ctx, o)
	}
	o.Recursive = o.Recursive || o.Tree
	found := map[string]ListEntry{}
	add := func(p string, e ListEntry) {
		rel, below := p, true
		if at != "." {
			if p == at {
				rel = path.Base(p)
			} else if rel, below = strings.CutPrefix(p, at+"/"); !below {
				return
			}
		}
		depth := 1
		if o.Recursive {
			depth = o.Level
		}
		if head, deep := cutPath(rel, depth); deep {
			rel = head
			if _, known := found[rel]; known {
				return
			}
			e = ListEntry{IsDir: true, IsOut: s.ix.owner(path.Join(at, head)) != nil}
		}
		e.Path = rel
		found[rel] = e
	}
	if !o.DVCOnly {
		text, err := s.r.git(ctx, "ls-tree", "-r", "-l", "-z", s.Rev)
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(string(text), "\x00") {
			info, p, ok := strings.Cut(line, "\t")
			f := strings.Fields(info)
			if !ok || len(f) != 4 || object.Within(p, ".dvc") { // dvc hides its own
				continue
			}
			e := ListEntry{IsExec: f[0] == "100755"}
			if n, err := strconv.ParseInt(f[3], 10, 64); err == nil {
				e.SizeBytes = &n
			}
			add(p, e)
		}
	}
	for p, out := range s.ix.outs {
		if out.ID == "" || out.Odd != "" || !out.Cache || at != "." && !object.Within(p, at) && !object.Within(at, p) {
			continue
		}
		cut := !o.Recursive || o.Level > 0 && strings.Count(path.Join("/", strings.TrimPrefix(p, strings.TrimPrefix(at, "."))), "/") >= o.Level
		if !out.ID.IsDir() || cut && !object.Within(at, p) {
			add(p, entryOf(out))
			continue
		}
		err := fs.WalkDir(s.fs, p, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			n, err := s.fs.find(file)
			if err == nil {
				id := n.oid.String()
				add(file, ListEntry{IsOut: true, Hash: &id})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(found) == 0 && at != "." {
		return nil, fail(mlops.ErrNotFound, "%s is not in the repository at %.12s", at, s.Rev)
	}
	order := cmp.Compare[string]
	if o.Tree {
		s.addDirs(found, at)
		order = byNames
	}
	out := slices.Collect(maps.Values(found))
	slices.SortFunc(out, func(a, b ListEntry) int { return order(a.Path, b.Path) })
	return out, nil
}

// addDirs adds the directories of what was found.
func (s *Source) addDirs(found map[string]ListEntry, at string) {
	for p := range maps.Clone(found) {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if _, known := found[dir]; known {
				break
			}
			e := ListEntry{IsDir: true}
			if full := path.Join(at, dir); s.ix.outs[full] != nil {
				e = entryOf(s.ix.outs[full])
			} else {
				e.IsOut = s.ix.owner(full) != nil
			}
			e.Path = dir
			found[dir] = e
		}
	}
}

// byNames compares paths name by name, so that a directory is followed by what
// is in it.
func byNames(a, b string) int {
	return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
}

// cutPath returns the first n names of a path, 0 for all, and whether there are more.
func cutPath(p string, n int) (head string, deep bool) {
	for i := range len(p) {
		if p[i] == '/' {
			if n--; n == 0 {
				return p[:i], true
			}
		}
	}
	return p, false
}

func entryOf(o *dvcfile.Out) ListEntry {
	id := o.ID.String()
	e := ListEntry{IsOut: true, IsDir: o.ID.IsDir(), IsExec: o.Exec, Hash: &id}
	if o.Size >= 0 {
		e.SizeBytes = &o.Size
	}
	return e
}
