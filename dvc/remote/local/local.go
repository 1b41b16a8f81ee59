// Package local keeps a DVC remote in a directory: a second disk, a network
// file system, a folder of the local stack.
//
//	import _ "github.com/mlops-integration/mlops/dvc/remote/local"
//
// Objects are written as DVC 3.67 writes them: mode 0444, under a temporary
// name first and then renamed. The mode is set before the rename, so that an
// object which DVC would trust is always whole.
package local

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

func init() { remote.Register("", open) }

func open(_ context.Context, c remote.Config) (remote.Store, error) {
	dir := c.URL
	if i := strings.Index(dir, "://"); i >= 0 {
		u, err := url.Parse(dir)
		if err != nil {
			return nil, fmt.Errorf("dvc: remote %q: %w: %w", c.Name, mlops.ErrInvalid, err)
		}
		dir = u.Path
	}
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("dvc: remote %q: %q is not an absolute path: %w", c.Name, dir, mlops.ErrInvalid)
	}
	return &Store{dir: filepath.Clean(dir), limit: c.Limit}, nil
}

// Store is a remote in a directory.
type Store struct {
	dir   string
	limit *remote.Limit
	made  sync.Map // directories known to exist
}

// New returns the remote in dir, an absolute path. The directory is created
// with the first object.
func New(dir string) *Store { return &Store{dir: dir} }

func (s *Store) path(key string) (string, error) {
	if err := remote.CheckKey(key); err != nil {
		return "", err
	}
	return filepath.Join(s.dir, filepath.FromSlash(key)), nil
}

// Missing looks for each object. An object that is not a regular file counts as
// missing.
func (s *Store) Missing(ctx context.Context, keys []string) ([]string, error) {
	var out []string
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := s.path(key)
		if err != nil {
			return nil, err
		}
		fi, err := os.Stat(p)
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == nil && !fi.Mode().IsRegular():
			out = append(out, key)
		case err != nil:
			return nil, err
		}
	}
	return out, nil
}

// Get opens an object.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	p, err := s.path(key)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := rawfile.Open(p, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dvc: remote object %s: %w", key, mlops.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if s.limit != nil {
		return limited{s.limit.Reader(ctx, f), f}, nil
	}
	return f, nil
}

type limited struct {
	io.Reader
	io.Closer
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<16); return &b }}

// Put copies body to a temporary file beside the object, checks its md5 and
// renames it.
func (s *Store) Put(ctx context.Context, key string, data remote.Blob) (err error) {
	body, sum := data.Body, data.MD5
	p, err := s.path(key)
	if err != nil {
		return err
	}
	dir := filepath.Dir(p)
	if _, ok := s.made.Load(dir); !ok {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		s.made.Store(dir, true)
	}
	var id [16]byte
	_, _ = rand.Read(id[:])
	tmp := filepath.Join(dir, "."+base64.RawURLEncoding.EncodeToString(id[:])+".tmp")
	f, err := rawfile.Open(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(tmp)
		}
	}()
	h := md5.New()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if _, err := io.CopyBuffer(io.MultiWriter(f, h), contextReader{ctx, s.limit.Reader(ctx, io.NewSectionReader(body, 0, body.Size()))}, *buf); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("dvc: object %s holds bytes with md5 %s: %w", sum, got, mlops.ErrInvalid)
	}
	if err := f.Mode(0o444); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return unix.Rename(tmp, p) // os.Rename looks at the target first
}

// isTemp tells the names of files that Put, or dvc, has not finished.
func isTemp(name string) bool { return strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".tmp") }

// walk visits the files below prefix.
func (s *Store) walk(ctx context.Context, prefix string, visit func(p string, d fs.DirEntry) error) error {
	err := filepath.WalkDir(filepath.Join(s.dir, filepath.FromSlash(prefix)), func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return visit(p, d)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was put yet, or a file went away meanwhile
	}
	return err
}

// List walks the directory.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[remote.Object, error] {
	return func(yield func(remote.Object, error) bool) {
		if prefix != "" {
			if err := remote.CheckKey(strings.TrimSuffix(prefix, "/")); err != nil {
				yield(remote.Object{}, err)
				return
			}
		}
		err := s.walk(ctx, prefix, func(p string, d fs.DirEntry) error {
			if isTemp(d.Name()) {
				return nil
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(s.dir, p)
			if err == nil && !yield(remote.Object{Key: filepath.ToSlash(rel), SizeBytes: fi.Size()}, nil) {
				return errStop
			}
			return err
		})
		if err != nil && err != errStop {
			yield(remote.Object{}, err)
		}
	}
}

var errStop = errors.New("enough")

// Remove deletes an object.
func (s *Store) Remove(ctx context.Context, key string) error {
	p, err := s.path(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Remove(p); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Unfinished lists the temporary files that a killed program left behind, dvc
// included, and those of programs that are at work.
func (s *Store) Unfinished(ctx context.Context) iter.Seq2[remote.Upload, error] {
	return func(yield func(remote.Upload, error) bool) {
		err := s.walk(ctx, "", func(p string, d fs.DirEntry) error {
			if !isTemp(d.Name()) {
				return nil
			}
			fi, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(s.dir, p)
			if err == nil && !yield(remote.Upload{ID: filepath.ToSlash(rel), Began: fi.ModTime()}, nil) {
				return errStop
			}
			return err
		})
		if err != nil && err != errStop {
			yield(remote.Upload{}, err)
		}
	}
}

// Discard deletes a temporary file.
func (s *Store) Discard(ctx context.Context, u remote.Upload) error {
	if !isTemp(path.Base(u.ID)) {
		return fmt.Errorf("dvc: %q is not an unfinished upload: %w", u.ID, mlops.ErrInvalid)
	}
	return s.Remove(ctx, u.ID)
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
