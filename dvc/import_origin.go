package dvc

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/known"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// origin is where data that DVC does not track comes from: files with what is
// known of them without reading them.
type origin struct {
	kind  string // how a change of it is seen: md5 of the content, etag or checksum
	dir   bool
	files []originFile

	stored func(ctx context.Context, id object.ID) error // called for each object that fetch has stored; may be nil
}

type originFile struct {
	rel  string // "" of a single file
	size int64  // -1 when not known
	etag string
	exec bool
	open func(ctx context.Context) (io.ReadCloser, error)
}

// origin finds what an import-url names. Relative paths start at dir.
func (c *call) origin(ctx context.Context, d *dvcfile.Dep, dir string) (*origin, error) {
	cfg, key, err := c.located(d, dir)
	if err != nil {
		return nil, err
	}
	if remote.Scheme(cfg.URL) == "" {
		return localOrigin(ctx, filepath.Join(cfg.URL, filepath.FromSlash(key)), d)
	}
	s, err := remote.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	o, err := farOrigin(ctx, s, key)
	if errors.Is(err, mlops.ErrNotFound) {
		return nil, fail(mlops.ErrNotFound, "%s: there is no such file or folder", d)
	}
	if err != nil {
		return nil, err
	}
	switch remote.Scheme(cfg.URL) {
	case "ssh":
		o.kind = "md5"
	case "http", "https":
		o.kind = "checksum"
	default:
		o.kind = "etag"
	}
	return o, nil
}

// located splits a URL into the place that a driver opens and the key there.
func (c *call) located(d *dvcfile.Dep, dir string) (cfg remote.Config, key string, err error) {
	at := d.Path
	var more []setting
	for _, f := range d.Config {
		if f[0] == "version_aware" {
			return cfg, "", fail(mlops.ErrUnsupported, "%s %s", d, "is kept by file versions in the cloud")
		}
		s := setting{f[0], config.Value{Items: []string{f[1]}, Dir: dir}}
		if d.Node != nil { // not of a call, but of a file
			s.Level, s.In = config.Repo, "the .dvc file"
		}
		more = append(more, s)
	}
	if name, isRemote := strings.CutPrefix(at, "remote://"); isRemote {
		name, key, _ = strings.Cut(name, "/")
		if cfg, err = c.remoteConfig(strings.ToLower(name), more...); err != nil {
			return cfg, "", err
		}
	} else {
		cfg = remote.Config{Name: address.Redact(at), URL: at, Options: map[string]string{}}
		switch scheme := remote.Scheme(at); scheme {
		case "":
			if u, err := url.Parse(at); err == nil && u.Scheme != "" && strings.Contains(at, "://") {
				at = u.Path
			}
			if !filepath.IsAbs(at) {
				at = filepath.Join(dir, filepath.FromSlash(at))
			}
			cfg.URL = filepath.Clean(at)
		case "http", "https":
			cfg.Exact, key = true, "object"
		default:
			u, err := url.Parse(at)
			if err != nil || u.Host == "" {
				return cfg, "", fail(mlops.ErrInvalid, "URL %s", address.Redact(at))
			}
			if u.RawQuery != "" || u.Fragment != "" {
				return cfg, "", fail(mlops.ErrUnsupported, "%s: versions and other queries are not spoken", address.Redact(at))
			}
			key = strings.Trim(u.Path, "/")
			if scheme == "ssh" { // its paths start at the root
				u.Path = "/"
			} else {
				u.Path = ""
			}
			cfg.URL = u.String()
		}
		from := config.Settings{}
		for _, s := range more {
			cfg.Options[s.key], from[s.key] = s.Text(), s.Value
		}
		if err := c.vet(cfg.Name, cfg, from); err != nil {
			return cfg, "", err
		}
	}
	key = strings.TrimSuffix(key, "/")
	if key != "" {
		if err := remote.CheckKey(key); err != nil {
			return cfg, "", err
		}
	}
	return cfg, key, nil
}

// localOrigin lists a file or directory of this machine. Symlinks to files
// count, symlinks to directories are passed over, as dvc does.
func localOrigin(ctx context.Context, at string, d *dvcfile.Dep) (*origin, error) {
	o := &origin{kind: "md5"}
	fi, err := os.Stat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(mlops.ErrNotFound, "%s: there is no such file or folder", d)
	}
	if err != nil {
		return nil, err
	}
	add := func(rel, file string, fi fs.FileInfo) error {
		if !fi.Mode().IsRegular() {
			return fail(mlops.ErrInvalid, "%s is neither a file nor a directory", file)
		}
		o.files = append(o.files, originFile{rel: rel, size: fi.Size(), exec: fi.Mode()&0o111 != 0, open: func(context.Context) (io.ReadCloser, error) {
			f, _, err := known.OpenRegular(file)
			return f, err
		}})
		return nil
	}
	if o.dir = fi.IsDir(); !o.dir {
		return o, add("", at, fi)
	}
	err = filepath.WalkDir(at, func(file string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := os.Stat(file)
		if err != nil || fi.IsDir() {
			return err
		}
		rel, err := filepath.Rel(at, file)
		if err != nil {
			return err
		}
		return add(filepath.ToSlash(rel), file, fi)
	})
	if err != nil {
		return nil, err
	}
	return o, o.check(d)
}

// farOrigin looks for an object, or for objects below its name.
func farOrigin(ctx context.Context, s remote.Store, key string) (*origin, error) {
	o := &origin{}
	add := func(rel string, obj remote.Object) {
		o.files = append(o.files, originFile{rel: rel, size: obj.SizeBytes, etag: obj.ETag, open: func(ctx context.Context) (io.ReadCloser, error) {
			return s.Get(ctx, obj.Key)
		}})
	}
	stater, ok := s.(remote.Stater)
	if !ok {
		return nil, fail(mlops.ErrUnsupported, "data cannot be imported from there: the driver cannot tell about a single object")
	}
	if key != "" {
		obj, err := stater.Stat(ctx, key)
		if err == nil {
			add("", obj)
			return o, nil
		}
		if !errors.Is(err, mlops.ErrNotFound) {
			return nil, err
		}
		key += "/"
	}
	lister, ok := s.(remote.Lister)
	if !ok {
		return nil, fail(mlops.ErrNotFound, "no such object")
	}
	o.dir = true
	for obj, err := range lister.List(ctx, key) {
		if err != nil {
			return nil, err
		}
		add(strings.TrimPrefix(obj.Key, key), obj)
	}
	if len(o.files) == 0 {
		return nil, fail(mlops.ErrNotFound, "no such object")
	}
	return o, o.check(nil)
}

// check refuses names that no directory here may have.
func (o *origin) check(d *dvcfile.Dep) error {
	slices.SortFunc(o.files, func(a, b originFile) int { return strings.Compare(a.rel, b.rel) })
	for _, f := range o.files {
		if why := object.UnsafePath(f.rel); why != "" {
			return fail(mlops.ErrInvalid, "the name %q %s", f.rel, why)
		}
		if path.Base(f.rel) == ".dvcignore" {
			return fail(mlops.ErrInvalid, "%s: a .dvcignore must not lie in tracked data", f.rel)
		}
	}
	return nil
}

// note writes into a dependency what the origin holds. got is its content, if
// that was read.
func (o *origin) note(d *dvcfile.Dep, got dvcfile.Content) error {
	d.Kind, d.Hash, d.Size, d.NFiles, d.Exec = o.kind, "", 0, -1, !o.dir && o.files[0].exec
	for _, f := range o.files {
		if f.size < 0 {
			d.Size = -1
			break
		}
		d.Size += f.size
	}
	if o.dir {
		d.NFiles = int64(len(o.files))
	}
	switch {
	case o.kind == "md5":
		d.Hash, d.Size = got.ID.String(), got.Size
	case !o.dir:
		d.Hash = o.files[0].etag
	default: // dvc hashes a listing of etags
		var b bytes.Buffer
		b.WriteByte('[')
		for i, f := range o.files {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(`{"` + o.kind + `": `)
			object.PyQuote(&b, f.etag)
			b.WriteString(`, "relpath": `)
			object.PyQuote(&b, f.rel)
			b.WriteByte('}')
		}
		b.WriteByte(']')
		sum := md5.Sum(b.Bytes())
		d.Kind, d.Hash = "md5", hex.EncodeToString(sum[:])+".dir"
	}
	if d.Hash == "" {
		return fail(mlops.ErrUnsupported, "%s: the server tells nothing by which a change could be seen", d)
	}
	return nil
}

// fetch reads all files, and with a cache stores them, into which the listing
// of a directory goes as well.
func (o *origin) fetch(ctx context.Context, c *cache.Cache, m *mover, name string) (dvcfile.Content, error) {
	needs := make([]need, len(o.files))
	at := make(map[string]int, len(o.files))
	var bytes int64
	for i, f := range o.files {
		needs[i], at[f.rel] = need{out: name, file: f.rel}, i
		bytes += max(0, f.size)
	}
	m.expect(len(needs), bytes)
	var mu sync.Mutex
	t := make(object.Listing, len(o.files))
	size := int64(0)
	jobs := m.jobs
	if jobs < 1 {
		jobs = 8
	}
	m.each(ctx, &place{jobs: jobs}, needs, func(ctx context.Context, n need, moved func(int64)) (int64, error) {
		f := o.files[at[n.file]]
		id, got, err := f.take(ctx, c, moved)
		if err == nil && f.size >= 0 && got != f.size {
			err = fail(mlops.ErrInvalid, "%d of %d bytes came", got, f.size)
		}
		if err == nil && o.stored != nil {
			err = o.stored(ctx, id)
		}
		mu.Lock()
		defer mu.Unlock()
		t[at[n.file]] = object.Entry{Path: f.rel, ID: id}
		size += got
		return got, err
	})
	if err := errors.Join(m.errs...); err != nil {
		return dvcfile.Content{}, err
	}
	if err := ctx.Err(); err != nil {
		return dvcfile.Content{}, err
	}
	if !o.dir {
		return dvcfile.Content{ID: t[0].ID, Size: size, NFiles: -1}, nil
	}
	id, err := listed(ctx, c, t)
	if err == nil && o.stored != nil {
		err = o.stored(ctx, id)
	}
	return dvcfile.Content{ID: id, Size: size, NFiles: int64(len(t))}, err
}

// listed names a directory's listing, and with a cache stores it.
func listed(ctx context.Context, c *cache.Cache, t object.Listing) (object.ID, error) {
	t.Sort()
	data, id := t.Hash()
	if _, err := object.Decode(string(data)); err != nil || c == nil {
		return id, err
	}
	return c.PutListing(ctx, t)
}

func (f originFile) take(ctx context.Context, c *cache.Cache, moved func(int64)) (object.ID, int64, error) {
	body, err := f.open(ctx)
	if err != nil {
		return "", 0, err
	}
	defer body.Close()
	switch file, local := body.(*rawfile.File); {
	case c == nil:
		sum, n, err := cache.HashReader(ctx, body, md5.New())
		return object.ID(sum), n, err
	case local:
		return c.StoreFile(ctx, file, f.size)
	}
	id, n, err := c.Take(ctx, &counted{r: body, moved: moved})
	if err != nil {
		return "", n, fmt.Errorf("%s: %w", cmp.Or(f.rel, "the file"), err)
	}
	return id, n, nil
}
