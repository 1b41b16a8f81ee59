// Package ssh keeps a DVC remote on a machine that is reached by SSH (SFTP).
//
//	import _ "github.com/mlops-integration/mlops/dvc/remote/ssh"
//
// The remote's section of .dvc/config is read with dvc's own keys: user, port,
// keyfile, passphrase, password, allow_agent, timeout and jobs; of
// ~/.ssh/config HostName, User, Port and IdentityFile are. The password may
// come from MLOPS_DVC_SSH_PASSWORD instead. The server's key must be in
// ~/.ssh/known_hosts: there is no way to skip that. GSSAPI, jump hosts and asked
// passwords are not spoken.
//
// Objects are written under a temporary name and renamed when they are whole.
//
// Tested against a server made of x/crypto/ssh and pkg/sftp, and against
// OpenSSH on machines that have it with its user sshd; elsewhere OpenSSH is
// unverified.
package ssh

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
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

func init() {
	remote.Register("ssh", func(ctx context.Context, c remote.Config) (remote.Store, error) { return New(ctx, c) })
}

// Store is a remote behind SSH. One connection serves all calls.
type Store struct {
	sftp *sftp.Client
	dir  string
	jobs int
	made sync.Map // directories known to exist
}

var (
	_ remote.Lister  = (*Store)(nil)
	_ remote.Remover = (*Store)(nil)
	_ remote.Uploads = (*Store)(nil)
)

func fail(kind error, format string, args ...any) error {
	return &mlops.Error{Kind: kind, Service: "dvc", Op: "SSH", Message: fmt.Sprintf(format, args...)}
}

// New logs in at the remote that c describes, ssh://user@host:port/path.
func New(ctx context.Context, c remote.Config) (*Store, error) {
	l, err := parse(c)
	if err != nil {
		return nil, err
	}
	conf, err := l.client()
	if err != nil {
		return nil, err
	}
	addr := net.JoinHostPort(l.host, l.port)
	conn, err := c.Limit.Dial(&net.Dialer{Timeout: l.timeout})(ctx, "tcp", addr)
	if err != nil {
		return nil, &mlops.Error{Kind: mlops.ErrUnavailable, Service: "dvc", Op: "SSH", Cause: err}
	}
	_ = conn.SetDeadline(time.Now().Add(l.timeout))
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	sc, chans, reqs, err := ssh.NewClientConn(conn, addr, conf)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, l.explain(err)
	}
	_ = conn.SetDeadline(time.Time{})
	client, err := sftp.NewClient(ssh.NewClient(sc, chans, reqs), sftp.UseConcurrentWrites(true))
	if err != nil {
		_ = conn.Close()
		return nil, fail(mlops.ErrUnsupported, "remote %q: the server speaks no SFTP: %v", c.Name, err)
	}
	return &Store{sftp: client, dir: l.dir, jobs: l.jobs}, nil
}

// wrap turns an error of the connection into ours.
func wrap(ctx context.Context, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, fs.ErrNotExist):
		return fail(mlops.ErrNotFound, "object %s", key)
	case errors.Is(err, fs.ErrPermission):
		return fail(mlops.ErrForbidden, "object %s: %v", key, err)
	case errors.Is(err, sftp.ErrSSHFxConnectionLost), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "dvc", Op: "SSH", Message: "the connection was lost", Cause: err}
	}
	return fmt.Errorf("dvc: SSH: object %s: %w", key, err)
}

func (s *Store) path(ctx context.Context, key string) (string, error) {
	if err := remote.CheckKey(key); err != nil {
		return "", err
	}
	return path.Join(s.dir, key), ctx.Err()
}

// Missing looks for a few objects one by one, for many in their folders.
func (s *Store) Missing(ctx context.Context, keys []string) ([]string, error) {
	return remote.Missing(ctx, keys, s, remote.Search{Alone: 4, Jobs: s.jobs})
}

// Stat asks for a file.
func (s *Store) Stat(ctx context.Context, key string) (remote.Object, error) {
	p, err := s.path(ctx, key)
	if err != nil {
		return remote.Object{}, err
	}
	fi, err := s.sftp.Stat(p)
	if err == nil && !fi.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return remote.Object{}, wrap(ctx, key, err)
	}
	return remote.Object{Key: key, SizeBytes: fi.Size()}, nil
}

// Get opens an object.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	p, err := s.path(ctx, key)
	if err != nil {
		return nil, err
	}
	f, err := s.sftp.Open(p)
	if err != nil {
		return nil, wrap(ctx, key, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	return &object{f, ctx, key, stop}, nil
}

type object struct {
	*sftp.File
	ctx  context.Context
	key  string
	stop func() bool
}

func (o *object) Read(p []byte) (int, error) {
	n, err := o.File.Read(p)
	if err != nil && err != io.EOF {
		err = wrap(o.ctx, o.key, err)
	}
	return n, err
}

func (o *object) Close() error {
	if !o.stop() {
		return nil // its context has closed it
	}
	return o.File.Close()
}

// isTemp tells the names of files that Put, or dvc, has not finished.
func isTemp(name string) bool { return strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".tmp") }

// Put writes a temporary file beside the object, checks its md5 and renames it.
func (s *Store) Put(ctx context.Context, key string, data remote.Blob) (err error) {
	body, sum := data.Body, data.MD5
	p, err := s.path(ctx, key)
	if err != nil {
		return err
	}
	dir := path.Dir(p)
	if _, ok := s.made.Load(dir); !ok {
		if err := s.sftp.MkdirAll(dir); err != nil {
			return wrap(ctx, key, err)
		}
		s.made.Store(dir, true)
	}
	var id [16]byte
	_, _ = rand.Read(id[:])
	tmp := path.Join(dir, "."+base64.RawURLEncoding.EncodeToString(id[:])+".tmp")
	f, err := s.sftp.Create(tmp)
	if err != nil {
		return wrap(ctx, key, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = s.sftp.Remove(tmp)
		}
	}()
	h := md5.New()
	if _, err := f.ReadFromWithConcurrency(&sender{ctx: ctx, report: data.Report, r: io.TeeReader(io.NewSectionReader(body, 0, body.Size()), h)}, 16); err != nil {
		return wrap(ctx, key, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fail(mlops.ErrInvalid, "object %s holds bytes with md5 %s", sum, got)
	}
	if err := f.Close(); err != nil {
		return wrap(ctx, key, err)
	}
	if err := s.sftp.PosixRename(tmp, p); err != nil {
		return wrap(ctx, key, err)
	}
	return nil
}

// sender reads until its context ends, and reports each mebibyte.
type sender struct {
	ctx    context.Context
	report func(int64)
	r      io.Reader
	n      int64
}

func (s *sender) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	if s.n += int64(n); s.n >= 1<<20 {
		s.report(s.n)
		s.n = 0
	}
	return n, err
}

// walk visits the files below prefix.
func (s *Store) walk(ctx context.Context, prefix string, visit func(rel string, fi fs.FileInfo) bool) error {
	w := s.sftp.Walk(path.Join(s.dir, prefix))
	for w.Step() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := w.Err(); errors.Is(err, fs.ErrNotExist) {
			continue // nothing was put yet, or a file went away meanwhile
		} else if err != nil {
			return wrap(ctx, prefix, err)
		}
		if !w.Stat().Mode().IsRegular() {
			continue
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(w.Path(), s.dir), "/")
		if !visit(rel, w.Stat()) {
			return nil
		}
	}
	return nil
}

// List walks the directory.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[remote.Object, error] {
	return func(yield func(remote.Object, error) bool) {
		err := s.walk(ctx, prefix, func(rel string, fi fs.FileInfo) bool {
			return isTemp(path.Base(rel)) || yield(remote.Object{Key: rel, SizeBytes: fi.Size()}, nil)
		})
		if err != nil {
			yield(remote.Object{}, err)
		}
	}
}

// Remove deletes an object.
func (s *Store) Remove(ctx context.Context, key string) error {
	p, err := s.path(ctx, key)
	if err != nil {
		return err
	}
	if err = wrap(ctx, key, s.sftp.Remove(p)); errors.Is(err, mlops.ErrNotFound) {
		return nil
	}
	return err
}

// Unfinished lists the temporary files that a killed program left behind, dvc
// included, and those of programs that are at work.
func (s *Store) Unfinished(ctx context.Context) iter.Seq2[remote.Upload, error] {
	return func(yield func(remote.Upload, error) bool) {
		err := s.walk(ctx, "", func(rel string, fi fs.FileInfo) bool {
			return !isTemp(path.Base(rel)) || yield(remote.Upload{ID: rel, Began: fi.ModTime()}, nil)
		})
		if err != nil {
			yield(remote.Upload{}, err)
		}
	}
}

// Discard deletes a temporary file.
func (s *Store) Discard(ctx context.Context, u remote.Upload) error {
	if !isTemp(path.Base(u.ID)) {
		return fail(mlops.ErrInvalid, "%q is not an unfinished upload", u.ID)
	}
	return s.Remove(ctx, u.ID)
}
