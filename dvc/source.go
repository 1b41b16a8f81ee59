package dvc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/gitcmd"
)

// SourceOptions are options of [OpenSource].
type SourceOptions struct {
	Rev string // branch, tag or commit; "" is what the source has checked out

	// Trust believes the source's committed configuration where it names things
	// of this machine: directories as remotes, credential files, profiles, keys.
	// Without it they are left out, and a remote in a directory is refused
	// unless the source is a directory itself.
	Trust bool
}

// Source is another git repository with data in DVC, at one revision. It is a
// clone in a temporary directory, without a checkout.
type Source struct {
	Rev string // the full name of the commit

	fs  *FS
	r   *Repo
	c   *call
	ix  *index
	dir string

	local string             // the original, where that is a directory
	blobs []gitFile          // filled by [Source.files]
	subs  map[string]*Source // by folder: repositories of DVC in that of git
}

// foreign is what a repository that was cloned to be read differs in.
type foreign struct {
	trust  bool
	config string       // .dvc of the original, which relative paths start from; "" for a URL
	near   *cache.Cache // of the original, where it is a directory
	depth  int          // of sources that import from sources
}

// OpenSource clones a git repository, an URL or a directory, to read its data.
// Its own remotes are asked for it, with the user's credentials. The caller
// closes it.
//
// The error matches [mlops.ErrNotFound] if there is no such repository or
// revision, or if DVC is not used there.
func OpenSource(ctx context.Context, url string, o SourceOptions) (*Source, error) {
	return openSource(ctx, url, o, false)
}

// openSource is OpenSource; with plain, DVC need not be used there.
func openSource(ctx context.Context, url string, o SourceOptions, plain bool) (*Source, error) {
	if err := checkGitURL(url); err != nil {
		return nil, err
	}
	local := ""
	if fi, err := os.Stat(url); err == nil && fi.IsDir() {
		if local, err = realDir(url); err != nil {
			return nil, err
		}
		url = local
	}
	tmp, err := os.MkdirTemp("", "mlops-dvc-")
	if err != nil {
		return nil, err
	}
	s := &Source{dir: tmp, local: local, subs: map[string]*Source{}}
	if err := s.open(ctx, url, o, plain); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// gitHelper is how git is told to run another program for a URL.
var gitHelper = regexp.MustCompile(`^[A-Za-z0-9+.-]+::`)

// checkGitURL refuses what git would take for an option or for a command.
func checkGitURL(url string) error {
	if url == "" || strings.HasPrefix(url, "-") || strings.ContainsFunc(url, unicode.IsControl) || gitHelper.MatchString(url) {
		return fail(mlops.ErrInvalid, "git repository %q; want a folder, or an https://, ssh:// or git:// URL", address.Redact(url))
	}
	if m := address.Scheme(url); m != "" && !slices.Contains(gitcmd.Protocols, strings.ToLower(strings.TrimSuffix(m, "://"))) {
		return fail(mlops.ErrInvalid, "git repository %s: %s is not fetched from", address.Public(url), m)
	}
	return nil
}

// gitRemote runs git for a URL of elsewhere.
func gitRemote(ctx context.Context, url string, args ...string) ([]byte, error) {
	cmd := gitcmd.Apart(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		said := strings.ReplaceAll(strings.Join(strings.Fields(stderr.String()), " "), url, address.Public(url))
		return nil, fail(mlops.ErrNotFound, "git %s %s: %s", args[0], address.Public(url), said)
	}
	return out, nil
}

func (s *Source) open(ctx context.Context, url string, o SourceOptions, plain bool) error {
	root, err := filepath.EvalSymlinks(s.dir)
	if err != nil {
		return err
	}
	root = filepath.Join(root, "src")
	if _, err := gitRemote(ctx, url, "clone", "-q", "--no-checkout", "--", url, root); err != nil {
		return err
	}
	s.r = newRepo(root, root, nil)
	s.r.foreign = &foreign{trust: o.Trust}
	for _, rev := range []string{o.Rev, "origin/" + o.Rev} {
		if s.Rev, err = s.r.commit(ctx, cmp.Or(rev, "HEAD")); err == nil {
			break
		}
	}
	if err != nil && dvcfile.IsCommit(o.Rev) { // no branch leads there any more
		if _, e := gitRemote(ctx, url, "-C", root, "fetch", "-q", "origin", o.Rev); e == nil {
			s.Rev, err = s.r.commit(ctx, o.Rev)
		}
	}
	if errors.Is(err, mlops.ErrNotFound) {
		return fail(mlops.ErrNotFound, "git repository %s has no revision %s", address.Public(url), cmp.Or(o.Rev, "HEAD"))
	}
	if err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil || plain {
		return err
	}
	files, err := s.files(ctx)
	if err == nil && !slices.ContainsFunc(files, func(f gitFile) bool { return isConfig(f.path) }) {
		err = fail(mlops.ErrNotFound, "%s has no .dvc/config at %s: DVC is not used there", address.Public(url), s.Rev)
	}
	return err
}

func isConfig(p string) bool { return p == ".dvc/config" || strings.HasSuffix(p, "/.dvc/config") }

// nearest returns the DVC repository of the source that encloses a path most
// closely, as dvc does, and the path in it.
func (s *Source) nearest(ctx context.Context, at string) (*Source, string, error) {
	files, err := s.files(ctx)
	if err != nil {
		return nil, "", err
	}
	dir := ""
	for _, f := range files {
		if d := path.Dir(path.Dir(f.path)); isConfig(f.path) && d != "." && object.Within(at, d) && len(d) > len(dir) {
			dir = d
		}
	}
	if dir == "" {
		return s, at, nil
	}
	in := cmp.Or(strings.TrimPrefix(strings.TrimPrefix(at, dir), "/"), ".")
	if s.subs[dir] == nil {
		sub := &Source{Rev: s.Rev, dir: s.dir}
		root := filepath.Join(s.r.dir, filepath.FromSlash(dir))
		if err := os.MkdirAll(root, 0o777); err != nil {
			return nil, "", err
		}
		if s.local != "" {
			sub.local = filepath.Join(s.local, filepath.FromSlash(dir))
		}
		sub.r = newRepo(root, root, nil)
		sub.r.foreign = &foreign{trust: s.r.foreign.trust, depth: s.r.foreign.depth}
		if err := sub.enter(ctx); err != nil {
			return nil, "", err
		}
		s.subs[dir] = sub
	}
	return s.subs[dir], in, nil
}

// enter reads what DVC tracks in the source's directory at the revision.
func (s *Source) enter(ctx context.Context) error {
	root := s.r.dir
	config, _ := s.r.git(ctx, "cat-file", "blob", s.Rev+":./.dvc/config") // none where DVC is not used
	if err := os.Mkdir(filepath.Join(root, ".dvc"), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, ".dvc", "config"), config, 0o666); err != nil {
		return err
	}
	var err error
	if s.ix, err = newHistory(s.r).index(ctx, s.Rev); err != nil {
		return err
	}
	own := &cache.Cache{Dir: filepath.Join(root, ".dvc", "cache")}
	if s.local != "" { // its cache is at hand
		s.r.foreign.config = filepath.Join(s.local, ".dvc")
		if near, err := Open(s.local); err == nil {
			look, err := near.look()
			if err != nil {
				return err
			}
			own, s.r.foreign.near = look.cache, look.cache
		}
	}
	cfg, err := s.r.config()
	if err != nil {
		return err
	}
	s.c = &call{Repo: s.r, cfg: cfg, cache: own}
	s.fs, err = newFS(ctx, s.c, s.ix)
	return err
}

// FS returns the data that the source tracks.
func (s *Source) FS() *FS { return s.fs }

// Open opens tracked data of the source for reading, by its path there.
func (s *Source) Open(name string) (fs.File, error) { return s.fs.Open(name) }

// Close removes the clone.
func (s *Source) Close() error { return os.RemoveAll(s.dir) }

// allows reports whether a setting counts for a source. The user's own settings
// do not: the source decides where a remote is, and they hold secrets.
func (f *foreign) allows(level config.Level, section, key string) bool {
	if f == nil || f.trust {
		return true
	}
	return level == config.Repo && section != "cache" && !forThisMachine[key] && key != "profile" && (section != "core" || key == "remote")
}

// dir is where relative paths of a configuration file start.
func (f *foreign) dir(file string) string {
	if f == nil || f.config == "" {
		return filepath.Dir(file)
	}
	return f.config
}

// allowsURL refuses a remote in a directory of this machine that a repository
// from elsewhere names.
func (f *foreign) allowsURL(name string, local bool) error {
	if f == nil || f.trust || !local || f.config != "" {
		return nil
	}
	return fail(mlops.ErrForbidden, "remote %q of the other repository is a directory of this machine; trust it to use that", name)
}
