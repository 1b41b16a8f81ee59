package dvc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/ignore"
	"github.com/mlops-integration/mlops/dvc/internal/lock"
	"github.com/mlops-integration/mlops/internal/gitcmd"
)

// ErrNotCached is the error for an object that is needed and lies neither in
// the cache nor anywhere else it could be taken from. The message names it.
var ErrNotCached = cache.ErrNotCached

// Repo is a DVC repository. It is safe for concurrent use; calls that write
// exclude each other, and other programs, through DVC's own lock.
type Repo struct {
	dir     string // absolute, symlinks resolved: holds .dvc
	base    string // absolute: what relative paths are relative to
	gitRoot string // "" without git, and with core.no_scm

	workTree bool     // it lies in a git repository, used or not
	foreign  *foreign // nil for a repository of the user's own

	jobs        int
	lockTimeout time.Duration

	readFile func(name string) ([]byte, error) // os.ReadFile: of configuration and ignore files

	subdir, noSCM, force bool // how Init makes it
}

// Option is an option of [Open] and [Init].
type Option func(*Repo)

// Jobs sets how many files are hashed, copied and moved at once. The default
// is core.checksum_jobs or the number of CPUs, and at least 4 for transfers.
func Jobs(n int) Option { return func(r *Repo) { r.jobs = n } }

// LockTimeout sets how long a call waits while another program, dvc included,
// holds the repository's lock. The default is dvc's 3 s; 0 does not wait.
func LockTimeout(d time.Duration) Option { return func(r *Repo) { r.lockTimeout = d } }

// Subdir lets [Init] make a repository of a folder within a git repository, as
// dvc init --subdir does.
func Subdir() Option { return func(r *Repo) { r.subdir = true } }

// NoSCM lets [Init] make a repository that uses no git, as dvc init --no-scm does.
func NoSCM() Option { return func(r *Repo) { r.noSCM = true } }

// Force lets [Init] replace the .dvc folder that is there, with its
// configuration and its cache, as dvc init --force does.
func Force() Option { return func(r *Repo) { r.force = true } }

// Open finds the repository that holds dir: the nearest directory upward with
// a .dvc folder. Relative paths in later calls are relative to dir.
//
// The error matches [mlops.ErrNotFound] if there is none.
func Open(dir string, opts ...Option) (*Repo, error) {
	base, err := realDir(dir)
	if err != nil {
		return nil, err
	}
	for root := base; ; root = filepath.Dir(root) {
		if fi, err := os.Stat(filepath.Join(root, ".dvc")); err == nil && fi.IsDir() {
			return newRepo(root, base, opts), nil
		}
		if root == filepath.Dir(root) {
			return nil, fail(mlops.ErrNotFound, "no DVC repository in %s or above; run: mlopsctl dvc-init", base)
		}
	}
}

// Init makes a DVC repository of dir, which must be the root of a git repository
// unless [Subdir] or [NoSCM] says otherwise. It writes the files that dvc init
// writes and stages them in git.
//
// The error matches [mlops.ErrAlreadyExists] if dir has a .dvc folder, and
// [Force] is not given.
func Init(dir string, opts ...Option) (*Repo, error) {
	root, err := realDir(dir)
	if err != nil {
		return nil, err
	}
	dvcDir := filepath.Join(root, ".dvc")
	r := newRepo(root, root, opts)
	if err := mayInit(r, dvcDir); err != nil {
		return nil, err
	}
	files := map[string]string{"config": "[core]\n    no_scm = True\n", "tmp/btime": ""}
	if !r.noSCM {
		files["config"], files[".gitignore"] = "", "/config.local\n/tmp\n/cache\n"
	}
	dir = filepath.Join(root, cache.TempName()) // renamed when it is complete
	if err := os.Mkdir(dir, 0o777); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o777); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			return nil, err
		}
	}
	if r.force {
		old, held, err := setAside(dvcDir, r.lockTimeout)
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.Rename(old, dvcDir); _ = os.RemoveAll(old); lock.Release(held) }() // back, if the new one is not there
	}
	if err := os.Rename(dir, dvcDir); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fail(mlops.ErrAlreadyExists, "%s exists already", dvcDir)
		}
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(root, ".dvcignore"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err == nil {
		_, err = f.WriteString("# Add patterns of files dvc should ignore, which could improve\n" +
			"# the performance. Learn more at\n" +
			"# https://dvc.org/doc/user-guide/dvcignore\n")
		if e := f.Close(); err == nil {
			err = e
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	r = newRepo(root, root, opts)
	if r.noSCM {
		return r, nil
	}
	if _, err := r.git(context.Background(), "add", "--", ".dvc/config", ".dvc/.gitignore", ".dvcignore"); err != nil {
		return nil, err
	}
	return r, nil
}

// setAside gives the folder dvcDir another name, with dvc's lock held, which the
// caller releases. There being none is no error.
func setAside(dvcDir string, wait time.Duration) (aside string, held *os.File, err error) {
	if err := os.MkdirAll(filepath.Join(dvcDir, "tmp"), 0o777); err != nil {
		return "", nil, err
	}
	if held, err = lock.Take(context.Background(), filepath.Join(dvcDir, "tmp", "lock"), wait); err != nil {
		return "", nil, err
	}
	aside = filepath.Join(filepath.Dir(dvcDir), cache.TempName())
	if err := os.Rename(dvcDir, aside); err != nil {
		lock.Release(held)
		return "", nil, err
	}
	return aside, held, nil
}

// mayInit reports why Init may not make the folder dvcDir.
func mayInit(r *Repo, dvcDir string) error {
	switch fi, err := os.Lstat(dvcDir); {
	case err == nil && !r.force:
		return fail(mlops.ErrAlreadyExists, "%s exists already; to replace it, with the cache in it, use force (-f)", dvcDir)
	case err == nil && !fi.IsDir(): // dvc keeps what a link leads to
		return fail(mlops.ErrConflict, "%s is no folder of this repository's own; remove it first", dvcDir)
	}
	gitRoot := gitAbove(r.dir)
	switch {
	case r.noSCM:
		return nil
	case gitRoot == "":
		return fail(mlops.ErrInvalid, "%s is not in a git repository; run: git init, or use --no-scm", r.dir)
	case gitRoot != r.dir && !r.subdir:
		return fail(mlops.ErrInvalid, "%s is a folder of the git repository %s; use --subdir to use DVC in this folder alone", r.dir, gitRoot)
	}
	ig, err := ignore.NewGit(context.Background(), gitRoot, r.dir, r.readFile)
	if err != nil {
		return err
	}
	if ig.Ignored(".dvc", true) {
		return fail(mlops.ErrInvalid, ".dvc is ignored by git; add !.dvc to .gitignore")
	}
	return nil
}

// Root returns the absolute path of the directory that holds .dvc.
func (r *Repo) Root() string { return r.dir }

func newRepo(root, base string, opts []Option) *Repo {
	r := &Repo{dir: root, base: base, lockTimeout: 3 * time.Second, readFile: os.ReadFile}
	for _, o := range opts {
		o(r)
	}
	cfg, err := r.config() // one that cannot be read is an error of the calls
	if err != nil {
		cfg = &config.Config{}
	}
	if v, ok := cfg.Get("core", "checksum_jobs"); ok && r.jobs < 1 {
		r.jobs, _ = strconv.Atoi(v.Text())
	}
	if r.jobs < 1 {
		r.jobs = runtime.GOMAXPROCS(0)
	}
	git := gitAbove(root)
	r.workTree = git != ""
	if !cfg.Bool("core", "no_scm") {
		r.gitRoot = git
	}
	return r
}

// gitAbove returns the root of the git repository that holds dir, "" if there is none.
func gitAbove(dir string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

func realDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	abs, err = filepath.EvalSymlinks(abs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fail(mlops.ErrNotFound, "directory %s", dir)
	}
	return abs, err
}

// rel turns a caller's path into a slash path relative to the root. The parent
// directory's symlinks above the root are followed, so that /tmp and
// /private/tmp name one place.
func (r *Repo) rel(path string) (string, error) {
	if path == "" || strings.ContainsRune(path, 0) {
		return "", fail(mlops.ErrInvalid, "path %q", path)
	}
	abs := path
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(r.base, path)
	}
	abs = filepath.Clean(abs)
	rel, err := filepath.Rel(r.dir, abs)
	if err == nil && !filepath.IsLocal(rel) && filepath.IsAbs(path) {
		if dir, e := filepath.EvalSymlinks(filepath.Dir(abs)); e == nil {
			rel, err = filepath.Rel(r.dir, filepath.Join(dir, filepath.Base(abs)))
		}
	}
	if err != nil || !filepath.IsLocal(rel) {
		return "", fail(mlops.ErrInvalid, "%s is outside the repository %s", path, r.dir)
	}
	return filepath.ToSlash(rel), nil
}

// show turns a slash path relative to the root into one for the caller.
func (r *Repo) show(rel string) string {
	if r.base == r.dir {
		return rel
	}
	p, err := filepath.Rel(r.base, filepath.Join(r.dir, filepath.FromSlash(rel)))
	if err != nil {
		return rel
	}
	return filepath.ToSlash(p)
}

// opened is an error for a Repo that Open did not make.
func opened(r *Repo) error {
	if r == nil || r.dir == "" {
		return fail(mlops.ErrInvalid, "a repository of no folder; make one with dvc.Open")
	}
	return nil
}

func (r *Repo) abs(rel string) string { return filepath.Join(r.dir, filepath.FromSlash(rel)) }

// git runs git in the root and returns what it printed.
func (r *Repo) git(ctx context.Context, args ...string) ([]byte, error) {
	cmd := gitcmd.Command(ctx, r.dir, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("dvc: git %s: %s: %w", args[0], strings.Join(strings.Fields(stderr.String()), " "), err)
	}
	return out, nil
}
