// Package azure keeps a DVC remote in Azure Blob Storage.
//
//	import _ "github.com/mlops-integration/mlops/dvc/remote/azure"
//
// The remote's section of .dvc/config is read with dvc's own keys:
// connection_string, account_name, account_key, sas_token, tenant_id,
// client_id, client_secret, allow_anonymous_login, read_timeout and jobs; what
// is not there comes from AZURE_STORAGE_CONNECTION_STRING,
// AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY and AZURE_STORAGE_SAS_TOKEN, else
// from Azure's default chain of credentials.
//
// Each request that writes carries its md5, which the store checks. Blocks of
// an upload that was broken off are no object; the store drops them after a week.
//
// Tested against the emulator Azurite; Azure's own service and Entra ID are
// unverified.
package azure

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

func init() {
	remote.Register("azure", func(_ context.Context, c remote.Config) (remote.Store, error) { return New(c) })
}

const (
	block     = 8 << 20 // of an upload; what is smaller is one request
	mostParts = 50_000
	few       = 64 // keys that are asked for one by one
)

// Store is a remote in a container.
type Store struct {
	c      *container.Client
	prefix string // empty or with a slash at its end
	jobs   int
	blocks chan struct{} // on their way, each in memory
}

var (
	_ remote.Lister  = (*Store)(nil)
	_ remote.Remover = (*Store)(nil)
)

func fail(kind error, format string, args ...any) error {
	return &mlops.Error{Kind: kind, Service: "dvc", Op: "Azure", Message: fmt.Sprintf(format, args...)}
}

// New opens the remote that c describes, azure://container/prefix.
func New(c remote.Config) (*Store, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fail(mlops.ErrInvalid, "remote %q: want azure://container/prefix", c.Name)
	}
	s := &Store{blocks: make(chan struct{}, 4)}
	if p := strings.Trim(u.Path, "/"); p != "" {
		s.prefix = p + "/"
	}
	if s.jobs, err = c.Int("jobs", 16); err != nil {
		return nil, err
	}
	idle, err := c.Seconds("read_timeout", time.Minute)
	if err != nil {
		return nil, err
	}
	dial, err := c.Seconds("connection_timeout", 10*time.Second)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = c.Limit.Dial(&net.Dialer{Timeout: dial, KeepAlive: 30 * time.Second})
	t.MaxIdleConnsPerHost, t.ResponseHeaderTimeout, t.DisableCompression = max(64, 2*s.jobs), idle, true
	opts := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: t},
		Retry:     policy.RetryOptions{MaxRetries: 5, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 5 * time.Second},
	}}
	if s.c, err = login(c, u.Host, opts); err != nil {
		if _, ours := errors.AsType[*mlops.Error](err); !ours {
			err = fail(mlops.ErrInvalid, "remote %q: the credentials cannot be used", c.Name) // the SDK's words may hold them
		}
		return nil, err
	}
	return s, nil
}

// login chooses the credentials as dvc does: the connection string first.
func login(c remote.Config, name string, opts *container.ClientOptions) (*container.Client, error) {
	first := func(key, env string) string {
		if v := c.Options[key]; v != "" {
			return v
		}
		return os.Getenv(env)
	}
	if v := first("connection_string", "AZURE_STORAGE_CONNECTION_STRING"); v != "" {
		return container.NewClientFromConnectionString(v, name, opts)
	}
	account := first("account_name", "AZURE_STORAGE_ACCOUNT")
	if account == "" {
		return nil, fail(mlops.ErrInvalid, "remote %q: account_name or connection_string is missing", c.Name)
	}
	at := "https://" + account + ".blob.core.windows.net/" + name
	anonymous, err := c.Bool("allow_anonymous_login", false)
	if err != nil {
		return nil, err
	}
	if anonymous {
		return container.NewClientWithNoCredential(at, opts)
	}
	if key := first("account_key", "AZURE_STORAGE_KEY"); key != "" {
		cred, err := blob.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, err
		}
		return container.NewClientWithSharedKeyCredential(at, cred, opts)
	}
	if sas := first("sas_token", "AZURE_STORAGE_SAS_TOKEN"); sas != "" {
		return container.NewClientWithNoCredential(at+"?"+strings.TrimPrefix(sas, "?"), opts)
	}
	var cred azcore.TokenCredential
	if id := c.Options["client_id"]; id != "" {
		cred, err = azidentity.NewClientSecretCredential(c.Options["tenant_id"], id, c.Options["client_secret"], nil)
	} else {
		cred, err = azidentity.NewDefaultAzureCredential(nil)
	}
	if err != nil {
		return nil, err
	}
	return container.NewClient(at, cred, opts)
}

// wrap turns an error of the SDK into ours.
func wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := &mlops.Error{Kind: mlops.ErrUnavailable, Service: "dvc", Op: "Azure", Cause: err}
	if r, ok := errors.AsType[*azcore.ResponseError](err); ok {
		e.Status, e.Code, e.Message = r.StatusCode, r.ErrorCode, "the store answers "+fmt.Sprint(r.StatusCode)
	}
	switch {
	case e.Status == 404:
		e.Kind = mlops.ErrNotFound
	case e.Status == 401, e.Code == "AuthenticationFailed":
		e.Kind = mlops.ErrUnauthenticated
	case e.Status == 403:
		e.Kind = mlops.ErrForbidden
	case e.Status == 429:
		e.Kind = mlops.ErrRateLimited
	case e.Status/100 == 4 && e.Status != 408:
		e.Kind = mlops.ErrInvalid
	}
	return e
}

func (s *Store) blob(key string) (*blockblob.Client, error) {
	if err := remote.CheckKey(key); err != nil {
		return nil, err
	}
	return s.c.NewBlockBlobClient(s.prefix + key), nil
}

// Missing asks for a few keys one by one; for many it lists the 256 folders of
// hashes they lie in.
func (s *Store) Missing(ctx context.Context, keys []string) ([]string, error) {
	return remote.Missing(ctx, keys, s, remote.Search{Few: few, Alone: 1, Jobs: s.jobs})
}

// Stat asks for an object.
func (s *Store) Stat(ctx context.Context, key string) (remote.Object, error) {
	b, err := s.blob(key)
	if err != nil {
		return remote.Object{}, err
	}
	p, err := b.GetProperties(ctx, nil)
	if err != nil {
		return remote.Object{}, wrap(ctx, err)
	}
	o := remote.Object{Key: key, SizeBytes: -1, ETag: etag(p.ETag)}
	if p.ContentLength != nil {
		o.SizeBytes = *p.ContentLength
	}
	return o, nil
}

// etag is an object's as dvc writes it: in quotes. Source:
// dvc_data/hashfile/meta.py.
func etag(e *azcore.ETag) string {
	if e == nil {
		return ""
	}
	return `"` + strings.Trim(string(*e), `"`) + `"`
}

// Get opens an object. The SDK resumes where a body broke off.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	b, err := s.blob(key)
	if err != nil {
		return nil, err
	}
	out, err := b.DownloadStream(ctx, nil)
	if err != nil {
		return nil, wrap(ctx, err)
	}
	return &reader{out.NewRetryReader(ctx, &blob.RetryReaderOptions{MaxRetries: 5}), ctx}, nil
}

type reader struct {
	io.ReadCloser
	ctx context.Context
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = wrap(r.ctx, err)
	}
	return n, err
}

// Put sends an object: in one request if it is small, else in blocks that
// become an object when all are there and the whole has the right md5.
func (s *Store) Put(ctx context.Context, key string, data remote.Blob) error {
	body, sum := data.Body, data.MD5
	b, err := s.blob(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	h, size := md5.New(), body.Size()
	if _, err := io.Copy(h, io.NewSectionReader(body, 0, size)); err != nil {
		return err
	}
	whole := h.Sum(nil)
	if got := hex.EncodeToString(whole); got != sum {
		return fail(mlops.ErrInvalid, "object %s holds bytes with md5 %s", sum, got)
	}
	headers := &blob.HTTPHeaders{BlobContentMD5: whole}
	if size <= block {
		_, err := b.Upload(ctx, streaming.NopCloser(io.NewSectionReader(body, 0, size)), &blockblob.UploadOptions{HTTPHeaders: headers, TransactionalValidation: blob.TransferValidationTypeMD5(whole)})
		return wrap(ctx, err)
	}
	step := max(block, (size+mostParts-1)/mostParts)
	ids := make([]string, (size+step-1)/step)
	g, gctx := errgroup.WithContext(ctx)
	for i := range ids {
		ids[i] = base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s%08d", sum[:8], i))
		g.Go(func() error {
			select {
			case s.blocks <- struct{}{}:
				defer func() { <-s.blocks }()
			case <-gctx.Done():
				return gctx.Err()
			}
			from := int64(i) * step
			buf := make([]byte, min(step, size-from))
			if n, err := body.ReadAt(buf, from); n < len(buf) {
				return err
			}
			part := md5.Sum(buf)
			_, err := b.StageBlock(gctx, ids[i], streaming.NopCloser(bytes.NewReader(buf)), &blockblob.StageBlockOptions{TransactionalValidation: blob.TransferValidationTypeMD5(part[:])})
			if err == nil {
				data.Report(int64(len(buf)))
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return wrap(ctx, err)
	}
	_, err = b.CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{HTTPHeaders: headers})
	return wrap(ctx, err)
}

// List yields the objects below prefix.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[remote.Object, error] {
	return func(yield func(remote.Object, error) bool) {
		full := s.prefix + prefix
		pages := s.c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &full})
		for pages.More() {
			p, err := pages.NextPage(ctx)
			if err != nil {
				yield(remote.Object{}, wrap(ctx, err))
				return
			}
			for _, o := range p.Segment.BlobItems {
				key := remote.Object{Key: strings.TrimPrefix(*o.Name, s.prefix)}
				if o.Properties != nil && o.Properties.ContentLength != nil {
					key.SizeBytes = *o.Properties.ContentLength
				}
				if o.Properties != nil {
					key.ETag = etag(o.Properties.ETag)
				}
				if !yield(key, nil) {
					return
				}
			}
		}
	}
}

// Remove deletes an object.
func (s *Store) Remove(ctx context.Context, key string) error {
	b, err := s.blob(key)
	if err != nil {
		return err
	}
	_, err = b.Delete(ctx, nil)
	if err = wrap(ctx, err); errors.Is(err, mlops.ErrNotFound) {
		return nil
	}
	return err
}
