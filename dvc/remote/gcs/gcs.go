// Package gcs keeps a DVC remote in Google Cloud Storage.
//
//	import _ "github.com/mlops-integration/mlops/dvc/remote/gcs"
//
// The remote's section of .dvc/config is read with dvc's own keys:
// credentialpath, endpointurl, allow_anonymous_login, projectname (which names
// no object and changes nothing here) and jobs. Without credentialpath the
// credentials are the application's default ones.
//
// It is not linked into mlopsctl, see cli/remotes.go.
//
// Every object is sent with its md5, which the store checks. An upload that is
// broken off leaves nothing.
//
// Tested against the emulator fake-gcs-server; Google's own service is
// unverified.
package gcs

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

func init() {
	for _, scheme := range []string{"gs", "gcs"} {
		remote.Register(scheme, func(ctx context.Context, c remote.Config) (remote.Store, error) { return New(ctx, c) })
	}
}

const (
	chunk = 16 << 20 // of an upload; what is smaller is one request
	few   = 64       // keys that are asked for one by one
)

// Store is a remote in a bucket.
type Store struct {
	bucket *storage.BucketHandle
	prefix string // empty or with a slash at its end
	jobs   int
	large  chan struct{} // uploads that hold a chunk in memory
}

var (
	_ remote.Lister  = (*Store)(nil)
	_ remote.Remover = (*Store)(nil)
)

func fail(kind error, format string, args ...any) error {
	return &mlops.Error{Kind: kind, Service: "dvc", Op: "GCS", Message: fmt.Sprintf(format, args...)}
}

// New opens the remote that c describes, gs://bucket/prefix.
func New(ctx context.Context, c remote.Config) (*Store, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fail(mlops.ErrInvalid, "remote %q: want gs://bucket/prefix", c.Name)
	}
	s := &Store{large: make(chan struct{}, 4)}
	if p := strings.Trim(u.Path, "/"); p != "" {
		s.prefix = p + "/"
	}
	if s.jobs, err = c.Int("jobs", 16); err != nil {
		return nil, err
	}
	opts := []option.ClientOption{storage.WithJSONReads()}
	anonymous, err := c.Bool("allow_anonymous_login", false)
	if err != nil {
		return nil, err
	}
	if anonymous {
		opts = append(opts, option.WithoutAuthentication())
	} else if f := c.Options["credentialpath"]; f != "" {
		opts = append(opts, option.WithAuthCredentialsFile(option.ServiceAccount, f))
	}
	if e := strings.TrimSuffix(c.Options["endpointurl"], "/"); e != "" {
		if !anonymous && c.Options["credentialpath"] == "" && !ofGoogle(e) { // the token of this machine would be sent there
			return nil, fail(mlops.ErrForbidden, "remote %q: endpointurl %s is not Google's: set credentialpath (--local), or allow_anonymous_login", c.Name, e)
		}
		opts = append(opts, option.WithEndpoint(e+"/storage/v1/"))
	}
	client, err := storage.NewClient(context.WithoutCancel(ctx), opts...)
	if err != nil {
		return nil, fail(mlops.ErrUnauthenticated, "remote %q: %v", c.Name, err)
	}
	s.bucket = client.Bucket(u.Host)
	return s, nil
}

// ofGoogle reports whether a URL's host is one that Google's tokens are for.
func ofGoogle(at string) bool {
	u, err := url.Parse(at)
	return err == nil && u.Scheme == "https" && (u.Hostname() == "googleapis.com" || strings.HasSuffix(u.Hostname(), ".googleapis.com"))
}

// wrap turns an error of the SDK into ours.
func wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := &mlops.Error{Kind: mlops.ErrUnavailable, Service: "dvc", Op: "GCS", Cause: err}
	if a, ok := errors.AsType[*googleapi.Error](err); ok {
		e.Status, e.Message = a.Code, a.Message
	}
	switch {
	case errors.Is(err, storage.ErrObjectNotExist), errors.Is(err, storage.ErrBucketNotExist), e.Status == 404:
		e.Kind = mlops.ErrNotFound
	case e.Status == 401:
		e.Kind = mlops.ErrUnauthenticated
	case e.Status == 403:
		e.Kind = mlops.ErrForbidden
	case e.Status == 429:
		e.Kind = mlops.ErrRateLimited
	case e.Status/100 == 4:
		e.Kind = mlops.ErrInvalid
	}
	return e
}

func (s *Store) object(key string) (*storage.ObjectHandle, error) {
	if err := remote.CheckKey(key); err != nil {
		return nil, err
	}
	// Writing an object twice gives the same object: it may always be tried again.
	return s.bucket.Object(s.prefix+key).Retryer(storage.WithPolicy(storage.RetryAlways), storage.WithMaxAttempts(6)), nil
}

// Missing asks for a few keys one by one; for many it lists the 256 folders of
// hashes they lie in.
func (s *Store) Missing(ctx context.Context, keys []string) ([]string, error) {
	return remote.Missing(ctx, keys, s, remote.Search{Few: few, Alone: 1, Jobs: s.jobs})
}

// Stat asks for an object.
func (s *Store) Stat(ctx context.Context, key string) (remote.Object, error) {
	o, err := s.object(key)
	if err != nil {
		return remote.Object{}, err
	}
	a, err := o.Attrs(ctx)
	if err != nil {
		return remote.Object{}, wrap(ctx, err)
	}
	return remote.Object{Key: key, SizeBytes: a.Size, ETag: etag(a)}, nil
}

// etag is an object's as dvc writes it: in hex. Source: dvc_data/hashfile/meta.py.
func etag(a *storage.ObjectAttrs) string {
	b, err := base64.StdEncoding.DecodeString(a.Etag)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(b)
}

// Get opens an object. The SDK resumes where a body broke off.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	o, err := s.object(key)
	if err != nil {
		return nil, err
	}
	r, err := o.NewReader(ctx)
	if err != nil {
		return nil, wrap(ctx, err)
	}
	return &reader{r, ctx}, nil
}

type reader struct {
	*storage.Reader
	ctx context.Context
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = wrap(r.ctx, err)
	}
	return n, err
}

// Put sends an object with its md5.
func (s *Store) Put(ctx context.Context, key string, data remote.Blob) error {
	body, sum := data.Body, data.MD5
	o, err := s.object(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	h := md5.New()
	if _, err := io.Copy(h, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return fail(mlops.ErrInvalid, "object %s holds bytes with md5 %s", sum, got)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // an upload that is not closed ends with its context, and leaves nothing
	w := o.NewWriter(ctx)
	w.MD5, w.ChunkSize, w.ContentType = h.Sum(nil), 0, "application/octet-stream"
	if body.Size() > chunk {
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-ctx.Done():
			return ctx.Err()
		}
		w.ChunkSize = chunk
		var told int64
		w.ProgressFunc = func(n int64) {
			data.Report(n - told)
			told = n
		}
	} else if body.Size() > 0 {
		w.ChunkSize = int((body.Size() + 256<<10 - 1) / (256 << 10) * (256 << 10)) // so that it can be sent again
	}
	if _, err := io.Copy(w, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return wrap(ctx, err)
	}
	return wrap(ctx, w.Close())
}

// List yields the objects below prefix.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[remote.Object, error] {
	return func(yield func(remote.Object, error) bool) {
		q := &storage.Query{Prefix: s.prefix + prefix}
		if err := q.SetAttrSelection([]string{"Name", "Size", "Etag"}); err != nil {
			yield(remote.Object{}, err)
			return
		}
		it := s.bucket.Objects(ctx, q)
		for {
			a, err := it.Next()
			if err == iterator.Done {
				return
			}
			if err != nil {
				yield(remote.Object{}, wrap(ctx, err))
				return
			}
			if !strings.HasSuffix(a.Name, "/") && !yield(remote.Object{Key: strings.TrimPrefix(a.Name, s.prefix), SizeBytes: a.Size, ETag: etag(a)}, nil) {
				return
			}
		}
	}
}

// Remove deletes an object.
func (s *Store) Remove(ctx context.Context, key string) error {
	o, err := s.object(key)
	if err != nil {
		return err
	}
	if err = wrap(ctx, o.Delete(ctx)); errors.Is(err, mlops.ErrNotFound) {
		return nil
	}
	return err
}
