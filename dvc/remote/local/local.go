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
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
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
	return &Store{dir: filepath.Clean(dir)}, nil
}

// Store is a remote in a directory.
type Store struct {
	dir  string
	made sync.Map // directories known to exist
}

// New returns the remote in dir, an absolute path. The directory is created
// with the first object.
func New(dir string) *Store { return &Store{dir: dir} }

func (s *Store) path(key string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(key)) {
		return "", fmt.Errorf("dvc: remote key %q: %w", key, mlops.ErrInvalid)
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
func (s *Store) Get(_ context.Context, key string) (io.ReadCloser, error) {
	p, err := s.path(key)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dvc: remote object %s: %w", key, mlops.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Put copies body to a temporary file beside the object, checks its md5 and
// renames it.
func (s *Store) Put(ctx context.Context, key string, body *io.SectionReader, sum string) (err error) {
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
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
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
	if _, err := io.Copy(io.MultiWriter(f, h), contextReader{ctx, body}); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fmt.Errorf("dvc: object %s holds bytes with md5 %s: %w", sum, got, mlops.ErrInvalid)
	}
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(tmp, p)
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
