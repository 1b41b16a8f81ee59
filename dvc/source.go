package dvc

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mlops-integration/mlops"
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
	ix  *index
	dir string
}

// foreign is what a repository that was cloned to be read differs in.
type foreign struct {
	trust  bool
	config string // .dvc of the original, which relative paths start from; "" for a URL
}

// OpenSource clones a git repository, an URL or a directory, to read its data.
// Its own remotes are asked for it, with the user's credentials. The caller
// closes it.
//
// The error matches [mlops.ErrNotFound] if there is no such repository or
// revision, or if DVC is not used there.
func OpenSource(ctx context.Context, url string, o SourceOptions) (*Source, error) {
	if url == "" || strings.HasPrefix(url, "-") {
		return nil, fail(mlops.ErrInvalid, "git repository %q", url)
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
	s := &Source{dir: tmp}
	if err := s.open(ctx, url, local, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Source) open(ctx context.Context, url, local string, o SourceOptions) error {
	root, err := filepath.EvalSymlinks(s.dir)
	if err != nil {
		return err
	}
	root = filepath.Join(root, "src")
	cmd := exec.CommandContext(ctx, "git", "clone", "-q", "--no-checkout", "--", url, root)
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fail(mlops.ErrNotFound, "git clone %s: %s", redact(url), strings.ReplaceAll(strings.Join(strings.Fields(stderr.String()), " "), url, redact(url)))
	}
	s.r = newRepo(root, root, nil)
	s.r.foreign = &foreign{trust: o.Trust}
	for _, rev := range []string{o.Rev, "origin/" + o.Rev} {
		if s.Rev, err = s.r.commit(ctx, orDefault(rev, "HEAD")); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	config, err := s.r.git(ctx, "cat-file", "blob", s.Rev+":.dvc/config")
	if err != nil {
		return fail(mlops.ErrNotFound, "%s has no .dvc/config at %s: DVC is not used there", redact(url), s.Rev)
	}
	if err := os.Mkdir(filepath.Join(root, ".dvc"), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, ".dvc", "config"), config, 0o666); err != nil {
		return err
	}
	if s.ix, err = s.r.history().index(ctx, s.Rev); err != nil {
		return err
	}
	c := &cache{dir: filepath.Join(root, ".dvc", "cache")}
	if local != "" { // its cache is at hand
		s.r.foreign.config = filepath.Join(local, ".dvc")
		if near, err := Open(local); err == nil {
			if c, err = near.cache(); err != nil {
				return err
			}
		}
	}
	s.fs, err = newFS(ctx, s.r, c, s.ix)
	return err
}

// FS returns the data that the source tracks.
func (s *Source) FS() *FS { return s.fs }

// Open opens tracked data of the source for reading, by its path there.
func (s *Source) Open(name string) (fs.File, error) { return s.fs.Open(name) }

// Close removes the clone.
func (s *Source) Close() error { return os.RemoveAll(s.dir) }

// forThisMachine are the keys of a remote that name what only its user has.
var forThisMachine = map[string]bool{
	"credentialpath": true, "configpath": true, "profile": true, "keyfile": true,
	"cert_path": true, "key_path": true, "gdrive_user_credentials_file": true, "gdrive_service_account_json_file_path": true,
}

// allows tells whether a setting counts for a source. The user's own settings
// do not: the source decides where a remote is, and they hold secrets.
func (f *foreign) allows(level, section, key string) bool {
	if f == nil || f.trust {
		return true
	}
	return level == "repo" && section != "cache" && !forThisMachine[key] && (section != "core" || key == "remote")
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
