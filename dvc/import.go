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
	"syscall"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// ImportOptions are options of [Repo.Import].
type ImportOptions struct {
	Out        string // where to; a directory gets it under its own name. "" is that name here
	Rev        string // branch, tag or commit that updates follow
	Remote     string // of the other repository; "" is its default
	Force      bool   // replace what lies there, and what tracks it
	NoDownload bool   // write down what it is, and leave the data for a later pull
	NoExec     bool   // write the .dvc file without looking at what it names
	Trust      bool   // as in [SourceOptions]
	Desc       string // written beside the data's path

	Transfers
}

// ImportURLOptions are options of [Repo.ImportURL].
type ImportURLOptions struct {
	Out        string // where to; a directory gets it under its own name. "" is that name here
	Force      bool   // replace what lies there, and what tracks it
	NoDownload bool   // write down what it is, and leave the data for a later pull
	NoExec     bool   // write the .dvc file without looking at what it names
	Desc       string // written beside the data's path

	ToRemote bool        // the data goes to a remote of this repository, and neither into the cache nor into the workspace
	Remote   string      // with ToRemote, its name; "" is the default one
	Config   [][2]string // options of the URL's remote; they are committed

	Transfers
}

// arrival is what becomes of data that an import brings.
type arrival struct {
	out                              string
	force, noDownload, noExec, trust bool
	desc                             string
	toRemote                         bool
	remote                           string // with toRemote
	Transfers
}

// Import downloads data of another git repository, tracked there by DVC or by
// git, and tracks it here with where it came from, as dvc import does. url is a
// folder or whatever git clones; p is a path there. [Repo.Update] brings it up
// to date. What is imported is committed there: changes in the work tree of a
// folder do not count.
//
// The error matches [mlops.ErrNotFound] for a repository, revision or path that
// is not there, [mlops.ErrAlreadyExists] if something lies at the destination,
// and [mlops.ErrInvalid] for URLs that would run a command or that hold a
// password, which would be committed.
func (r *Repo) Import(ctx context.Context, url, p string, o ImportOptions) (Output, error) {
	if err := checkGitURL(url); err != nil {
		return Output{}, err
	}
	if address.Public(url) != url {
		return Output{}, fail(mlops.ErrInvalid, "the URL of %s holds credentials, which would be committed; leave them to git's credential helper", address.Public(url))
	}
	at, err := sourcePath(p)
	if err != nil {
		return Output{}, err
	}
	if o.Remote != "" {
		if err := config.CheckRemote(o.Remote); err != nil {
			return Output{}, err
		}
	}
	name := path.Base(at)
	if at == "." && o.Out == "" {
		return Output{}, fail(mlops.ErrInvalid, "the whole of a repository needs a destination (--out)")
	}
	return r.bring(ctx, name, arrival{out: o.Out, force: o.Force, noDownload: o.NoDownload, noExec: o.NoExec, trust: o.Trust, desc: o.Desc, Transfers: o.Transfers}, func(string) (*dvcfile.Dep, error) {
		return &dvcfile.Dep{Path: p, Size: -1, NFiles: -1, Repo: &dvcfile.GitSource{URL: url, Rev: o.Rev, Remote: o.Remote}}, nil
	})
}

// ImportURL downloads a file or directory from a URL and tracks it with where it
// came from, as dvc import-url does: a path of this machine, http(s)://, what
// the linked drivers of remotes open (s3://, gs://, azure://, ssh://), or
// remote://name/path for what lies in a configured remote. [Repo.Update] fetches
// it again when its md5, ETag or checksum has changed.
//
// The errors are those of [Repo.Import].
func (r *Repo) ImportURL(ctx context.Context, url string, o ImportURLOptions) (Output, error) {
	if err := checkURL(url); err != nil {
		return Output{}, err
	}
	switch {
	case o.ToRemote && (o.NoExec || o.NoDownload):
		return Output{}, fail(mlops.ErrInvalid, "what goes to the remote is downloaded: no-exec and no-download do not go with to-remote")
	case o.Remote != "" && !o.ToRemote:
		return Output{}, fail(mlops.ErrInvalid, "a remote's name goes with to-remote")
	}
	for _, f := range o.Config {
		if kind, known := config.KindOf(`remote ""`, f[0]); !known || kind == config.Secret {
			return Output{}, fail(mlops.ErrInvalid, "option %s: not one of a remote, or a secret, which would be committed", f[0])
		}
	}
	to := arrival{out: o.Out, force: o.Force, noDownload: o.NoDownload, noExec: o.NoExec, desc: o.Desc, toRemote: o.ToRemote, remote: o.Remote, Transfers: o.Transfers}
	return r.bring(ctx, urlName(url), to, func(rel string) (*dvcfile.Dep, error) {
		at, err := r.urlFrom(url, path.Dir(rel))
		return &dvcfile.Dep{Path: at, Size: -1, NFiles: -1, Config: o.Config}, err
	})
}

// checkURL refuses a URL that cannot be written down.
func checkURL(url string) error {
	switch {
	case url == "" || strings.ContainsAny(url, "\x00\n\r"):
		return fail(mlops.ErrInvalid, "URL %q", address.Redact(url))
	case address.Redact(url) != url:
		return fail(mlops.ErrInvalid, "%s: the URL holds a password, which would be committed; configure a remote and name remote://…", address.Redact(url))
	}
	return nil
}

// urlName is the last name of a URL's path.
func urlName(url string) string {
	if i := strings.Index(url, "://"); i >= 0 {
		url = url[i+3:]
		if _, p, ok := strings.Cut(before(before(url, "#"), "?"), "/"); ok {
			url = p
		}
	}
	return path.Base(path.Clean("/" + filepath.ToSlash(url)))
}

// urlFrom is a URL as the .dvc file in dir has it: what lies in the repository,
// or was given by a relative path, is relative to dir.
func (r *Repo) urlFrom(url, dir string) (string, error) {
	if remote.Scheme(url) != "" {
		return url, nil
	}
	if i := strings.Index(url, "://"); i >= 0 { // a file:// that dvc reads by its path alone
		url = url[i+3:]
	}
	abs := url
	if !filepath.IsAbs(url) {
		abs = filepath.Join(r.base, url)
	}
	if in, err := filepath.Rel(r.dir, abs); filepath.IsAbs(url) && (err != nil || !filepath.IsLocal(in)) {
		return url, nil
	}
	rel, err := filepath.Rel(r.abs(dir), abs)
	return filepath.ToSlash(rel), err
}

// importer runs one import, or the update of one.
type importer struct {
	*call
	m *mover
	o arrival

	rel   string // of the output
	dep   *dvcfile.Dep
	old   *dvcfile.File // that tracks it already; nil for a new one
	plain bool          // where it comes from is not written down: an add
}

// bring imports what a dependency names to where the options say.
func (r *Repo) bring(ctx context.Context, name string, o arrival, from func(rel string) (*dvcfile.Dep, error)) (Output, error) {
	if o.noExec && o.noDownload {
		return Output{}, fail(mlops.ErrInvalid, "no-exec and no-download exclude each other")
	}
	c, err := r.change(ctx)
	if err != nil {
		return Output{}, err
	}
	defer c.end()
	return c.bring(ctx, name, o, false, from)
}

// bring is [Repo.bring] with the lock held; plain does not write down where the
// data comes from.
func (c *call) bring(ctx context.Context, name string, o arrival, plain bool, from func(rel string) (*dvcfile.Dep, error)) (Output, error) {
	rel, old, err := c.destination(name, o)
	if err != nil {
		return Output{}, err
	}
	if plain && old != nil && old.Imports != nil {
		return Output{}, fail(mlops.ErrConflict, "%s imports it; use: dvc update", c.show(old.Rel))
	}
	if err := c.notInGit(ctx, []string{rel}); err != nil {
		return Output{}, err
	}
	if again, err := c.claim(ctx, []string{rel}); err != nil {
		return Output{}, err
	} else if again {
		return c.bring(ctx, name, o, plain, from)
	}
	d, err := from(rel)
	if err != nil {
		return Output{}, err
	}
	b := &importer{call: c, m: o.mover(), o: o, rel: rel, dep: d, old: old, plain: plain}
	out, err := b.run(ctx)
	if err == nil {
		err = c.autostage(ctx)
	}
	return out, err
}

// destination is where the output goes, and the file that tracks it already.
func (c *call) destination(name string, o arrival) (string, *dvcfile.File, error) {
	rel, err := c.rel(cmp.Or(o.out, name))
	if err != nil {
		return "", nil, err
	}
	if fi, err := os.Stat(c.abs(rel)); err == nil && fi.IsDir() && o.out != "" {
		rel = path.Join(rel, name)
	}
	refuse := func(kind error, format string, args ...any) (string, *dvcfile.File, error) {
		return "", nil, fail(kind, "%s: "+format, append([]any{c.show(rel)}, args...)...)
	}
	if why := notData(rel, "not a place for data"); why != "" {
		return refuse(mlops.ErrInvalid, "%s", why)
	}
	if c.dvcIgnore.Ignored(rel, false) {
		return refuse(mlops.ErrInvalid, "ignored by .dvcignore")
	}
	if err := parentsAreDirs(c.root, rel); err != nil {
		return "", nil, err
	}
	if fi, err := c.root.Stat(path.Dir(rel)); err != nil || !fi.IsDir() {
		return refuse(mlops.ErrNotFound, "the directory %s does not exist", c.show(path.Dir(rel)))
	}
	for p, out := range c.ix.outs {
		if p != rel && (object.Within(p, rel) || object.Within(rel, p)) {
			return refuse(mlops.ErrConflict, "overlaps with %s, which %s tracks", c.show(p), out.File.At(c.show))
		}
	}
	var old *dvcfile.File
	if out := c.ix.outs[rel]; out != nil {
		if old = out.File; old.Stage != "" || old.Rel != rel+".dvc" {
			return refuse(mlops.ErrConflict, "an output of %s", old.At(c.show))
		}
	}
	_, err = c.root.Lstat(rel)
	there := err == nil
	if _, err := c.root.Lstat(rel + ".dvc"); err == nil {
		if there = true; old == nil && o.force {
			return refuse(mlops.ErrAlreadyExists, "%s.dvc tracks something else", c.show(rel))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	if old == nil {
		if err := c.notIgnored(rel + ".dvc"); err != nil {
			return "", nil, err
		}
	}
	if there && !o.force {
		return refuse(mlops.ErrAlreadyExists, "exists already; use force to replace it (-f)")
	}
	return rel, old, nil
}

// run fetches into the cache, then changes the workspace, then writes the .dvc
// file. What fails before the second step has changed nothing.
func (b *importer) run(ctx context.Context) (Output, error) {
	got, err := b.fetch(ctx)
	if err != nil {
		return Output{}, fmt.Errorf("dvc: %s to %s: %w", b.verb(), b.show(b.rel), err)
	}
	o, err := b.record(ctx, got)
	if err != nil {
		return Output{}, fmt.Errorf("dvc: %s to %s: %w", b.verb(), b.show(b.rel), err)
	}
	return o, nil
}

func (b *importer) verb() string {
	if b.plain {
		return "add"
	}
	return "import"
}

// fetch fills the dependency, and returns the content: none, if the data is not
// wanted yet.
func (b *importer) fetch(ctx context.Context) (dvcfile.Content, error) {
	none := dvcfile.Content{Size: -1, NFiles: -1}
	d := b.dep
	switch {
	case b.o.noExec:
		return none, nil
	case d.Repo != nil:
		s, err := b.source(ctx, d.Repo, d.Repo.Rev, b.o.trust)
		if err != nil {
			return none, err
		}
		defer func() { _ = s.Close() }()
		d.Repo.Lock = s.Rev
		if b.o.noDownload {
			s, at, err := s.nearest(ctx, path.Clean(d.Path))
			if err != nil {
				return none, err
			}
			files, outs, err := s.within(ctx, at)
			if err == nil && len(files)+len(outs) == 0 {
				err = fail(mlops.ErrNotFound, "%s is not in the repository at %.12s", d.Path, s.Rev)
			}
			return none, err
		}
		return s.fetch(ctx, b.cache, b.m, d.Path, d.Repo.Remote)
	}
	from, err := b.origin(ctx, d, filepath.Dir(b.abs(b.rel)))
	if err != nil {
		return none, err
	}
	c := b.cache
	if b.o.noDownload {
		if c = nil; from.kind != "md5" {
			return none, from.note(d, none)
		}
	}
	var got dvcfile.Content
	if b.o.toRemote {
		got, err = b.send(ctx, from)
	} else {
		got, err = from.fetch(ctx, c, b.m, b.rel)
	}
	if err == nil && !b.plain {
		err = from.note(d, got)
	}
	if b.o.noDownload {
		got = none
	}
	return got, err
}

// record brings the content into the workspace and writes .gitignore and the
// .dvc file. When that fails the workspace is as it was, but for what Force let
// go of.
func (b *importer) record(ctx context.Context, got dvcfile.Content) (Output, error) {
	r, rel := b, b.rel
	file := rel + ".dvc"
	text, err := b.text(file, got)
	if err != nil {
		return Output{}, err
	}
	f, err := dvcfile.Parse(file, text)
	if err != nil {
		return Output{}, fmt.Errorf("%s would not be readable: %w", file, err)
	}
	if len(f.Outs) != 1 || f.Outs[0].Path != rel || f.Outs[0].ID != got.ID || !b.plain && (f.Imports == nil || !f.Imports.Same(b.dep)) {
		return Output{}, fail(mlops.ErrUnsupported, "%s: its layout cannot be changed in place", file)
	}
	_, err = b.root.Lstat(rel)
	isNew := errors.Is(err, fs.ErrNotExist)
	switch {
	case b.o.toRemote:
		err = nil
	case got.ID != "":
		err = r.checkout(ctx, f.Outs, CheckoutOptions{Force: b.o.force}, &b.m.t)
	case !isNew && !b.o.noExec:
		err = b.clear(ctx)
	default:
		err = nil
	}
	if err == nil && !(b.plain && b.o.toRemote) { // dvc leaves it out there
		err = b.addGitIgnore(rel, got.ID.IsDir())
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = r.writeFile(file, text)
	}
	if err != nil {
		return Output{}, errors.Join(err, b.undo(context.WithoutCancel(ctx), isNew && got.ID != ""))
	}
	out := Output{Path: r.show(rel), DVCFile: r.show(file), Hash: got.ID.String(), SizeBytes: got.Size, Files: 1}
	if got.NFiles >= 0 {
		out.Files = int(got.NFiles)
	}
	return out, nil
}

// text is the .dvc file.
func (b *importer) text(file string, got dvcfile.Content) ([]byte, error) {
	switch name := path.Base(b.rel); {
	case !b.plain:
		return dvcfile.Import(file, name, b.old, b.dep, got, b.o.desc, !b.o.noExec)
	case b.old != nil:
		return b.old.Outs[0].Patch(got)
	default:
		return dvcfile.New(name, got), nil
	}
}

// undo takes back what a checkout did that came to no end.
func (b *importer) undo(ctx context.Context, isNew bool) error {
	if b.o.toRemote {
		return nil
	}
	if isNew {
		return b.root.RemoveAll(b.rel)
	}
	if b.old == nil || b.old.Outs[0].ID == "" {
		return nil
	}
	if ok, err := b.cache.Complete(ctx, b.old.Outs[0].ID); !ok || err != nil {
		return err
	}
	err := b.checkout(ctx, b.old.Outs, CheckoutOptions{}, new(Transfer))
	if errors.Is(err, mlops.ErrConflict) {
		return nil // what lies there is the user's, and was not touched
	}
	return err
}

// clear removes data from the workspace that the cache has, or with Force any.
// Files that .dvcignore hides are not data: without Force they stay.
func (b *importer) clear(ctx context.Context) error {
	have, _, _, err := b.scan(ctx, b.rel, false)
	if err != nil {
		return err
	}
	for p, f := range have {
		ok := false
		if f.oid != "" {
			if ok, err = b.cache.Has(ctx, f.oid, f.stamp.Size); err != nil {
				return err
			}
		}
		if !ok && !b.o.force {
			return fail(mlops.ErrConflict, "%s holds content that is not in the cache; add it, move it away, or use force", b.show(path.Join(b.rel, p)))
		}
	}
	if b.o.force {
		return b.root.RemoveAll(b.rel)
	}
	for p := range have {
		if err := b.root.Remove(path.Join(b.rel, p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := removeEmptyDirs(b.root, b.rel); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	return nil
}
