package s3store

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// Options say where the store is and how to reach it. The zero value takes all
// from the environment and from the files of the AWS tools.
type Options struct {
	// Endpoint is the address of a store that is not Amazon's,
	// "http://127.0.0.1:9000"; empty: MLFLOW_S3_ENDPOINT_URL, then what the
	// AWS tools use: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile's.
	Endpoint string
	Region   string // empty: AWS_REGION, the profile's, then us-east-1
	Profile  string // empty: AWS_PROFILE

	// KeyID and Secret; empty: the chain of the AWS tools.
	KeyID  string
	Secret mlops.Secret

	// VirtualHosts puts the bucket into the host's name also at a custom
	// Endpoint; MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE=virtual does as well.
	VirtualHosts bool

	// PartSize is how much of a large object is one request, 5 MiB at least;
	// 0: 16 MiB. What is smaller goes in one.
	PartSize int64
	Parallel int // parts on their way at once; 0: 4
	Tries    int // attempts per request; 0: 5
}

// Store is an S3 store. It is a [mlflow.Store].
type Store struct {
	s3       *s3.Client
	partSize int64
	parallel int
	owner    *string // MLFLOW_S3_EXPECTED_BUCKET_OWNER
	extra    extra
}

var _ mlflow.Store = (*Store)(nil)

// extra are the arguments of MLFLOW_S3_UPLOAD_EXTRA_ARGS that are known here.
type extra struct {
	ServerSideEncryption types.ServerSideEncryption
	SSEKMSKeyId          *string
	StorageClass         types.StorageClass
	ACL                  types.ObjectCannedACL
}

// New returns a Store. It makes no request, but may read files of the AWS
// tools. The error matches [mlops.ErrUnauthenticated] if there are no
// credentials.
//
// It reads MLFLOW_S3_ENDPOINT_URL, MLFLOW_S3_IGNORE_TLS,
// MLFLOW_S3_EXPECTED_BUCKET_OWNER, MLFLOW_S3_UPLOAD_EXTRA_ARGS
// (ServerSideEncryption, SSEKMSKeyId, StorageClass, ACL),
// MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE and the AWS_* variables.
func New(ctx context.Context, opt Options) (*Store, error) {
	s := &Store{partSize: max(cmp.Or(opt.PartSize, 16<<20), 5<<20), parallel: cmp.Or(opt.Parallel, 4)}
	if v := os.Getenv("MLFLOW_S3_EXPECTED_BUCKET_OWNER"); v != "" {
		s.owner = &v
	}
	if v := os.Getenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS"); v != "" {
		dec := json.NewDecoder(strings.NewReader(v))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&s.extra); err != nil {
			return nil, fault("New", mlops.ErrUnsupported, "MLFLOW_S3_UPLOAD_EXTRA_ARGS: "+err.Error(), err)
		}
	}
	load := []func(*config.LoadOptions) error{config.WithRetryMaxAttempts(cmp.Or(opt.Tries, 5))}
	if opt.Region != "" {
		load = append(load, config.WithRegion(opt.Region))
	}
	if opt.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(opt.Profile))
	}
	if opt.KeyID != "" {
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(opt.KeyID, string(opt.Secret), "")))
	}
	if v := strings.ToLower(os.Getenv("MLFLOW_S3_IGNORE_TLS")); v == "true" || v == "1" {
		load = append(load, config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by name
		})))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fault("New", mlops.ErrInvalid, err.Error(), err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, fault("New", mlops.ErrUnauthenticated, "there are no credentials for S3: "+err.Error(), err)
	}
	endpoint := cmp.Or(opt.Endpoint, os.Getenv("MLFLOW_S3_ENDPOINT_URL"))
	style := os.Getenv("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE")
	s.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		o.UsePathStyle = o.BaseEndpoint != nil && !opt.VirtualHosts && style != "virtual" || style == "path"
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	return s, nil
}

// split takes an address apart. Nothing in it is escaped.
func split(uri string) (bucket, key string, err error) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	bucket, key, _ = strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return "", "", fault("Artifacts", mlops.ErrInvalid, fmt.Sprintf("%q: want s3://bucket/path", uri), nil)
	}
	return bucket, key, nil
}

// List yields what lies directly in a folder.
//
// S3 REST: ListObjectsV2
func (s *Store) List(ctx context.Context, uri string) iter.Seq2[mlflow.FileInfo, error] {
	return func(yield func(mlflow.FileInfo, error) bool) {
		bucket, key, err := split(uri)
		if err != nil {
			yield(mlflow.FileInfo{}, err)
			return
		}
		prefix := folder(key)
		pages := s3.NewListObjectsV2Paginator(s.s3, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, Delimiter: aws.String("/"), ExpectedBucketOwner: s.owner})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(mlflow.FileInfo{}, wrap(ctx, "Artifacts", err))
				return
			}
			for _, p := range page.CommonPrefixes {
				name := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), prefix), "/")
				if name != "" && !yield(mlflow.FileInfo{Path: name, IsDir: true}, nil) {
					return
				}
			}
			for _, o := range page.Contents {
				name := strings.TrimPrefix(aws.ToString(o.Key), prefix)
				if name == "" || strings.HasSuffix(name, "/") {
					continue // the marker of a folder
				}
				if !yield(mlflow.FileInfo{Path: name, SizeBytes: aws.ToInt64(o.Size)}, nil) {
					return
				}
			}
		}
	}
}

// folder is the prefix that all keys in a folder have.
func folder(key string) string {
	if key = strings.Trim(key, "/"); key == "" {
		return ""
	}
	return key + "/"
}

// Open begins to read an object.
//
// S3 REST: GetObject
func (s *Store) Open(ctx context.Context, uri string, span mlflow.Range) (*mlflow.Object, error) {
	bucket, key, err := split(uri)
	if err != nil {
		return nil, err
	}
	in := &s3.GetObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: s.owner}
	if span.From > 0 || span.To > 0 {
		r := fmt.Sprintf("bytes=%d-", span.From)
		if span.To > 0 {
			r += fmt.Sprint(span.To - 1)
		}
		in.Range = &r
	}
	if span.Version != "" {
		in.IfMatch = &span.Version
	}
	out, err := s.s3.GetObject(ctx, in)
	if err != nil {
		err = wrap(ctx, "Download", err)
		if e, ok := errors.AsType[*mlops.Error](err); ok && e.Status == http.StatusRequestedRangeNotSatisfiable && span.From == 0 && span.To > 0 {
			return s.Open(ctx, uri, mlflow.Range{Version: span.Version}) // it is empty
		}
		return nil, err
	}
	obj := &mlflow.Object{Body: out.Body, Size: aws.ToInt64(out.ContentLength), Version: aws.ToString(out.ETag)}
	if cr := aws.ToString(out.ContentRange); cr != "" {
		var last int64
		if n, err := fmt.Sscanf(cr, "bytes %d-%d/%d", &obj.Offset, &last, &obj.Size); n != 3 || err != nil {
			out.Body.Close()
			return nil, fault("Download", mlops.ErrInvalid, fmt.Sprintf("the store answers a part with Content-Range %.60q", cr), err)
		}
	}
	return obj, nil
}

// Put stores src: in one request if it is small, else in parts. A part that
// does not get through is sent again, the others are not. What cannot be
// completed is taken back. The store checks the sum of each request.
//
// S3 REST: PutObject, CreateMultipartUpload, UploadPart,
// CompleteMultipartUpload, AbortMultipartUpload
func (s *Store) Put(ctx context.Context, uri string, src mlflow.Source) error {
	bucket, key, err := split(uri)
	if err != nil {
		return err
	}
	if key == "" || strings.HasSuffix(key, "/") {
		return fault("Upload", mlops.ErrInvalid, fmt.Sprintf("%q names no object", uri), nil)
	}
	if src.Size() > s.partSize {
		return s.putParts(ctx, bucket, key, src)
	}
	size := src.Size()
	_, err = s.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: io.NewSectionReader(src, 0, size), ContentLength: &size, ContentType: contentType(key), ExpectedBucketOwner: s.owner,
		ServerSideEncryption: s.extra.ServerSideEncryption, SSEKMSKeyId: s.extra.SSEKMSKeyId, StorageClass: s.extra.StorageClass, ACL: s.extra.ACL,
	})
	return wrap(ctx, "Upload", err)
}

// contentType is what a browser takes an object for.
func contentType(key string) *string {
	if t := mime.TypeByExtension(path.Ext(key)); t != "" {
		return &t
	}
	return nil
}

// Delete removes an object, and all that lies in the folder of that name.
//
// S3 REST: DeleteObject, ListObjectsV2, DeleteObjects
func (s *Store) Delete(ctx context.Context, uri string) error {
	bucket, key, err := split(uri)
	if err != nil {
		return err
	}
	if strings.Trim(key, "/") == "" {
		return fault("DeleteArtifacts", mlops.ErrInvalid, fmt.Sprintf("%q is a whole bucket", uri), nil)
	}
	if _, err := s.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, ExpectedBucketOwner: s.owner}); err != nil {
		if werr := wrap(ctx, "DeleteArtifacts", err); !errors.Is(werr, mlops.ErrNotFound) {
			return werr
		}
	}
	prefix := folder(key)
	pages := s3.NewListObjectsV2Paginator(s.s3, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix, ExpectedBucketOwner: s.owner})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return wrap(ctx, "DeleteArtifacts", err)
		}
		var ids []types.ObjectIdentifier
		for _, o := range page.Contents {
			ids = append(ids, types.ObjectIdentifier{Key: o.Key})
		}
		if len(ids) == 0 {
			continue
		}
		out, err := s.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)}, ExpectedBucketOwner: s.owner})
		if err != nil {
			return wrap(ctx, "DeleteArtifacts", err)
		}
		for _, e := range out.Errors {
			return &mlops.Error{Kind: kinds[aws.ToString(e.Code)], Service: service, Op: "DeleteArtifacts", Code: aws.ToString(e.Code), Message: aws.ToString(e.Key) + ": " + aws.ToString(e.Message)}
		}
	}
	return nil
}
