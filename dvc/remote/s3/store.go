package s3

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

func init() {
	remote.Register("s3", func(ctx context.Context, c remote.Config) (remote.Store, error) { return New(ctx, c) })
}

const (
	partSize = 16 << 20 // of an upload; smaller objects are one request
	span     = 8 << 20  // of a download
	tries    = 7        // of a request, and of a span without progress
)

// Store is a remote in S3.
type Store struct {
	s3     *s3.Client
	bucket string
	prefix string // of all keys; empty or with a slash at its end

	jobs  int           // requests at once, where the driver makes several
	parts chan struct{} // parts of uploads on their way
	ahead chan struct{} // spans that are read before they are asked for
	idle  time.Duration // a body that is silent for so long is given up
	https bool

	extra extra
}

// extra are the options that travel with each request that writes.
type extra struct {
	sse                    types.ServerSideEncryption
	kmsKey                 *string
	alg, key, keyMD5       *string // of the customer's own key: reads need it, too
	acl                    types.ObjectCannedACL
	full, read, racp, wacp *string
}

var (
	_ remote.Lister  = (*Store)(nil)
	_ remote.Remover = (*Store)(nil)
	_ remote.Uploads = (*Store)(nil)
)

// New opens the remote that c describes, s3://bucket/prefix. It makes no
// request, but may read files of the AWS tools.
func New(ctx context.Context, c remote.Config) (*Store, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fault(mlops.ErrInvalid, "remote %q: want s3://bucket/prefix", c.Name)
	}
	s := &Store{bucket: u.Host}
	if p := strings.Trim(u.Path, "/"); p != "" {
		s.prefix = p + "/"
	}
	if s.jobs, err = c.Int("jobs", 16); err != nil {
		return nil, err
	}
	s.parts, s.ahead = make(chan struct{}, min(s.jobs, 8)), make(chan struct{}, 4)
	if s.idle, err = c.Seconds("read_timeout", time.Minute); err != nil {
		return nil, err
	}
	if err := s.extra.parse(c); err != nil {
		return nil, err
	}
	load, err := s.loading(c)
	if err != nil {
		return nil, err
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fault(mlops.ErrInvalid, "remote %q: %v", c.Name, err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	ssl, err := c.Bool("use_ssl", true)
	if err != nil {
		return nil, err
	}
	s.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) {
		if e := c.Options["endpointurl"]; e != "" {
			o.BaseEndpoint = &e
		}
		o.EndpointOptions.DisableHTTPS = !ssl
		o.UsePathStyle = o.BaseEndpoint != nil || strings.Contains(s.bucket, ".")
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		s.https = ssl && (o.BaseEndpoint == nil || strings.HasPrefix(strings.ToLower(*o.BaseEndpoint), "https:"))
	})
	return s, nil
}

// loading is how the SDK's configuration is to be made.
func (s *Store) loading(c remote.Config) ([]func(*config.LoadOptions) error, error) {
	dial, err := c.Seconds("connect_timeout", 10*time.Second)
	if err != nil {
		return nil, err
	}
	transport := func(t *http.Transport) {
		t.DialContext = c.Limit.Dial(&net.Dialer{Timeout: dial, KeepAlive: 30 * time.Second})
		t.MaxIdleConnsPerHost, t.MaxIdleConns = max(64, 2*s.jobs), 0
		t.ResponseHeaderTimeout = s.idle
		t.DisableCompression = true
	}
	var load []func(*config.LoadOptions) error
	switch v := strings.TrimSpace(c.Options["ssl_verify"]); strings.ToLower(v) {
	case "", "true":
	case "false":
		was := transport
		transport = func(t *http.Transport) {
			was(t)
			t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for by name
		}
	default:
		f, err := os.Open(v)
		if err != nil {
			return nil, fault(mlops.ErrInvalid, "remote %q: ssl_verify: %v", c.Name, err)
		}
		defer f.Close()
		load = append(load, config.WithCustomCABundle(f))
	}
	load = append(load,
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(transport)),
		config.WithRetryer(func() aws.Retryer {
			return retry.AddWithErrorCodes(retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = tries
				o.Backoff = retry.BackoffDelayerFunc(func(try int, _ error) (time.Duration, error) { return backoff(try), nil })
				o.RateLimiter = noQuota{} // each object has its own tries, however many fail at once
			}), "BadDigest")
		}))
	if v := c.Options["region"]; v != "" {
		load = append(load, config.WithRegion(v))
	}
	if v := c.Options["profile"]; v != "" {
		load = append(load, config.WithSharedConfigProfile(v))
	}
	if v := c.Options["credentialpath"]; v != "" {
		load = append(load, config.WithSharedCredentialsFiles([]string{v}))
	}
	if v := c.Options["configpath"]; v != "" {
		load = append(load, config.WithSharedConfigFiles([]string{v}))
	}
	anonymous, err := c.Bool("allow_anonymous_login", false)
	if err != nil {
		return nil, err
	}
	id, key := c.Options["access_key_id"], c.Secret("secret_access_key")
	switch {
	case anonymous:
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	case id != "" && key != "":
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(id, string(key), string(c.Secret("session_token")))))
	case id != "" || key != "":
		return nil, fault(mlops.ErrInvalid, "remote %q: access_key_id and secret_access_key go together", c.Name)
	}
	return load, nil
}

// backoff is how long to wait after a try, counted from 1: 0.1 s, then twice as
// long each time, some 6 s together.
func backoff(try int) time.Duration {
	d := 50 * time.Millisecond << min(try, 6)
	return d/2 + rand.N(d)
}

// noQuota lets every request have all its tries.
type noQuota struct{}

func (noQuota) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (noQuota) AddTokens(uint) error { return nil }

func (e *extra) parse(c remote.Config) error {
	text := func(key string) *string {
		if v := c.Options[key]; v != "" {
			return &v
		}
		return nil
	}
	e.sse, e.kmsKey, e.acl = types.ServerSideEncryption(c.Options["sse"]), text("sse_kms_key_id"), types.ObjectCannedACL(c.Options["acl"])
	e.full, e.read, e.racp, e.wacp = text("grant_full_control"), text("grant_read"), text("grant_read_acp"), text("grant_write_acp")
	if e.acl != "" && (e.full != nil || e.read != nil || e.racp != nil || e.wacp != nil) {
		return fault(mlops.ErrInvalid, "remote %q: acl and grant_* exclude each other", c.Name)
	}
	if v := c.Secret("sse_customer_key"); v != "" {
		if e.kmsKey != nil {
			return fault(mlops.ErrInvalid, "remote %q: sse_kms_key_id and sse_customer_key exclude each other", c.Name)
		}
		raw, err := base64.StdEncoding.DecodeString(string(v))
		if err != nil {
			return c.Bad("sse_customer_key", "base64")
		}
		sum := md5.Sum(raw)
		e.key, e.keyMD5, e.alg = aws.String(string(v)), aws.String(base64.StdEncoding.EncodeToString(sum[:])), text("sse_customer_algorithm")
		if e.alg == nil {
			e.alg = aws.String("AES256")
		}
	}
	return nil
}

// name is the object's key in the bucket.
func (s *Store) name(key string) (*string, error) {
	if err := remote.CheckKey(key); err != nil {
		return nil, err
	}
	return aws.String(s.prefix + key), nil
}

// unsigned leaves a body out of the signature: it is guarded by its
// Content-MD5, which is signed, or by TLS.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}
