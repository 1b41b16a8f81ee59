package dvc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/gitcmd"
)

// gitFile is a file that git tracks at a source's revision.
type gitFile struct {
	path string
	mode string // 100644, 100755, 120000
	blob string // git's name of its content
	size int64
}

// files lists what git tracks.
func (s *Source) files(ctx context.Context) ([]gitFile, error) {
	if err := opened(s.r); err != nil {
		return nil, err
	}
	if s.blobs != nil {
		return s.blobs, nil
	}
	text, err := s.r.git(ctx, "ls-tree", "-r", "-l", "-z", s.Rev)
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(string(text), "\x00") {
		info, p, ok := strings.Cut(line, "\t")
		f := strings.Fields(info)
		if !ok || len(f) != 4 || f[1] != "blob" { // a submodule is no content
			continue
		}
		size, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			return nil, fail(mlops.ErrInvalid, "git ls-tree: %q", line)
		}
		s.blobs = append(s.blobs, gitFile{p, f[0], f[2], size})
	}
	return s.blobs, nil
}

// within returns what git and DVC track at a path, which is relative to the
// root. Files of DVC itself and what .dvcignore leaves out do not count.
func (s *Source) within(ctx context.Context, at string) ([]gitFile, []*dvcfile.Out, error) {
	if o := s.ix.owner(at); o != nil && o.Cache {
		named := *o
		if o.Path != at {
			if !o.ID.IsDir() {
				return nil, nil, nil
			}
			named.Part = strings.TrimPrefix(at, o.Path+"/")
		}
		return nil, []*dvcfile.Out{&named}, nil
	}
	all, err := s.files(ctx)
	if err != nil {
		return nil, nil, err
	}
	below := func(p string) bool { return at == "." || object.Within(p, at) }
	var files []gitFile
	for _, f := range all {
		base := path.Base(f.path)
		if !below(f.path) || object.Within(f.path, ".dvc") || strings.Contains(f.path, "/.dvc/") || base == "dvc.yaml" || base == ".dvcignore" ||
			strings.HasSuffix(base, ".dvc") || s.ix.ignore.Ignored(f.path, false) {
			continue
		}
		files = append(files, f)
	}
	var outs []*dvcfile.Out
	for _, p := range slices.Sorted(maps.Keys(s.ix.outs)) {
		if o := s.ix.outs[p]; o.Cache && below(p) {
			outs = append(outs, o)
		}
	}
	return files, outs, nil
}

// sourcePath checks a path in another repository.
func sourcePath(p string) (string, error) {
	at := path.Clean(p)
	if p == "" || !fs.ValidPath(at) || at != "." && object.UnsafePath(at) != "" {
		return "", fail(mlops.ErrInvalid, "path %q in the other repository", p)
	}
	return at, nil
}

// fetch brings what a source has at a path into a cache, from the cache or the
// remote of the source, or out of git, and tells what it is.
//
// The error matches [mlops.ErrNotFound] if there is nothing at the path.
func (s *Source) fetch(ctx context.Context, c *cache.Cache, m *mover, p, remote string) (dvcfile.Content, error) {
	at, err := sourcePath(p)
	if err != nil {
		return dvcfile.Content{}, err
	}
	if s, at, err = s.nearest(ctx, at); err != nil {
		return dvcfile.Content{}, err
	}
	files, outs, err := s.within(ctx, at)
	if err != nil {
		return dvcfile.Content{}, err
	}
	if len(files)+len(outs) == 0 {
		return dvcfile.Content{}, fail(mlops.ErrNotFound, "%s is not in the repository at %.12s", p, s.Rev)
	}
	for _, o := range outs {
		if o.Odd != "" {
			return dvcfile.Content{}, fail(mlops.ErrUnsupported, "%s in %s of the other repository %s", o.Path, o.File.Rel, o.Odd)
		}
		if o.ID == "" {
			return dvcfile.Content{}, fail(mlops.ErrNotFound, "%s in %s of the other repository was never hashed there", o.Path, o.File.Rel)
		}
	}
	into := &call{Repo: s.r, cfg: s.c.cfg, cache: c}
	if _, err := into.fetchInto(ctx, m, outs, remote); err != nil {
		return dvcfile.Content{}, err
	}
	rel := func(p string) string {
		if at == "." {
			return p
		}
		return strings.TrimPrefix(strings.TrimPrefix(p, at), "/")
	}
	var t object.Listing
	for _, o := range outs {
		if !o.ID.IsDir() {
			t = append(t, object.Entry{Path: rel(o.Path), ID: o.ID})
			continue
		}
		listing, err := c.Listing(o.ID)
		if err != nil {
			return dvcfile.Content{}, err
		}
		for _, e := range listing.Below(o.Part) {
			t = append(t, object.Entry{Path: rel(o.Path + "/" + e.Path), ID: e.ID})
		}
	}
	if err := c.Modernize(ctx, t); err != nil {
		return dvcfile.Content{}, err
	}
	plain, err := s.fetchBlobs(ctx, c, m, files)
	if err != nil {
		return dvcfile.Content{}, err
	}
	for i, f := range files {
		t = append(t, object.Entry{Path: rel(f.path), ID: plain[i]})
	}
	size := int64(0)
	for _, e := range t {
		fi, err := os.Stat(c.Path(e.ID))
		if err != nil {
			return dvcfile.Content{}, fmt.Errorf("dvc: %s (%s): %w", e.Path, e.ID, ErrNotCached)
		}
		size += fi.Size()
	}
	isFile := len(t) == 1 && t[0].Path == ""
	switch {
	case isFile:
		return dvcfile.Content{ID: t[0].ID, Size: size, NFiles: -1}, nil
	case len(t) == 0 && len(outs) == 1 && outs[0].Part != "":
		return dvcfile.Content{}, fail(mlops.ErrNotFound, "%s is not in the repository at %.12s", p, s.Rev)
	}
	id, err := listed(ctx, c, t)
	return dvcfile.Content{ID: id, Size: size, NFiles: int64(len(t))}, err
}

const lfsPointer = "version https://git-lfs.github.com/spec/v1\n"

// fetchBlobs stores files out of git, by one process of it.
func (s *Source) fetchBlobs(ctx context.Context, c *cache.Cache, m *mover, files []gitFile) ([]object.ID, error) {
	if len(files) == 0 {
		return nil, nil
	}
	var ask strings.Builder
	var bytes int64
	for _, f := range files {
		if !strings.HasPrefix(f.mode, "100") {
			return nil, fail(mlops.ErrUnsupported, "%s is a symlink in the other repository", f.path)
		}
		ask.WriteString(f.blob + "\n")
		bytes += f.size
	}
	m.expect(len(files), bytes)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := gitcmd.Command(ctx, s.r.dir, "cat-file", "--batch")
	cmd.Stdin = strings.NewReader(ask.String())
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		cancel()
		_ = pipe.Close()
		_ = cmd.Wait()
	}()
	in := bufio.NewReaderSize(pipe, 1<<16)
	out := make([]object.ID, len(files))
	for i, f := range files {
		if _, err := in.ReadString('\n'); err != nil { // its head, which ls-tree told
			return nil, errors.Join(ctx.Err(), fmt.Errorf("dvc: git cat-file: %w", err))
		}
		if f.size < 1024 {
			if head, _ := in.Peek(int(f.size)); strings.HasPrefix(string(head), lfsPointer) {
				return nil, fail(mlops.ErrUnsupported, "%s is kept in git LFS by the other repository", f.path)
			}
		}
		id, n, err := c.Take(ctx, io.LimitReader(in, f.size))
		if err == nil && n != f.size {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			_, err = in.Discard(1) // a line end
		}
		if err != nil {
			return nil, fmt.Errorf("dvc: %s: %w", f.path, err)
		}
		out[i] = id
		m.done(need{oid: id, out: f.path}, n)
	}
	return out, nil
}
