package s3

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// alone keeps this machine's AWS configuration out of a test.
func alone(t *testing.T) string {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	dir := t.TempDir()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
	return dir
}

func with(opts ...string) remote.Config {
	c := remote.Config{Name: "r", URL: "s3://bucket/a/b/", Options: map[string]string{}}
	for i := 0; i < len(opts); i += 2 {
		c.Options[opts[i]] = opts[i+1]
	}
	return c
}

func TestOptionsMeanWhatTheyMeanToDVC(t *testing.T) {
	dir, ctx := alone(t), t.Context()
	creds, conf := filepath.Join(dir, "credentials"), filepath.Join(dir, "config")
	require.NoError(t, os.WriteFile(creds, []byte("[team]\naws_access_key_id = id-of-team\naws_secret_access_key = b\n"), 0o600))
	require.NoError(t, os.WriteFile(conf, []byte("[profile team]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:1\n"), 0o600))

	s, err := New(ctx, with("credentialpath", creds, "configpath", conf, "profile", "team"))
	require.NoError(t, err)
	require.Equal(t, "bucket", s.bucket)
	require.Equal(t, "a/b/", s.prefix)
	o := s.s3.Options()
	require.Equal(t, "eu-west-1", o.Region)
	require.Equal(t, "http://127.0.0.1:1", *o.BaseEndpoint)
	require.True(t, o.UsePathStyle)
	require.False(t, s.https)
	got, err := o.Credentials.Retrieve(ctx)
	require.NoError(t, err)
	require.Equal(t, "id-of-team", got.AccessKeyID)

	s, err = New(ctx, with("access_key_id", "id", "secret_access_key", "key", "session_token", "token", "region", "eu-north-1",
		"jobs", "3", "read_timeout", "7", "connect_timeout", "2", "sse", "aws:kms", "sse_kms_key_id", "kms", "acl", "private"))
	require.NoError(t, err)
	o = s.s3.Options()
	got, err = o.Credentials.Retrieve(ctx)
	require.NoError(t, err)
	require.Equal(t, "token", got.SessionToken)
	require.Equal(t, "eu-north-1", o.Region)
	require.False(t, o.UsePathStyle)
	require.True(t, s.https)
	require.Equal(t, 3, s.jobs)
	require.Equal(t, 7*time.Second, s.idle)
	require.EqualValues(t, "aws:kms", s.extra.sse)
	require.Equal(t, "kms", *s.extra.kmsKey)
	require.EqualValues(t, "private", s.extra.acl)

	s, err = New(ctx, with("allow_anonymous_login", "True", "use_ssl", "false", "ssl_verify", "false", "sse_customer_key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "grant_read", "id=1"))
	require.NoError(t, err)
	o = s.s3.Options()
	require.Nil(t, o.Credentials, "there is no key to sign with")
	require.True(t, o.EndpointOptions.DisableHTTPS)
	require.False(t, s.https)
	require.Equal(t, "us-east-1", o.Region)
	require.Equal(t, "AES256", *s.extra.alg)
	require.Equal(t, "KYvwGXoFFJ42a2u2GDWhwQ==", *s.extra.keyMD5)
	require.Equal(t, "id=1", *s.extra.read)
}

func TestAWrongOptionIsNamedAndItsValueIsNot(t *testing.T) {
	dir := alone(t)
	const secret = "!Sesame"
	for _, opts := range [][]string{
		{"use_ssl", secret}, {"allow_anonymous_login", secret}, {"jobs", secret}, {"jobs", "0"}, {"read_timeout", secret}, {"connect_timeout", "-1"},
		{"access_key_id", secret}, {"secret_access_key", secret}, {"sse_customer_key", secret},
		{"sse_customer_key", "MDEy", "sse_kms_key_id", "k"}, {"acl", "private", "grant_read", "x"}, {"profile", "nobody"}, {"ssl_verify", filepath.Join(dir, "none")},
	} {
		_, err := New(t.Context(), with(opts...))
		require.ErrorIs(t, err, mlops.ErrInvalid, opts)
		require.ErrorContains(t, err, `"r"`)
		require.NotContains(t, err.Error(), secret)
	}
	for _, url := range []string{"s3://", "s3:///x", "s3://user:pw@bucket/x"} {
		_, err := New(t.Context(), remote.Config{Name: "r", URL: url})
		require.ErrorIs(t, err, mlops.ErrInvalid, url)
	}
	c := with("secret_access_key", secret)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c), secret)
}

func FuzzHashed(f *testing.F) {
	f.Add("files/md5/ab/cd.dir")
	f.Add("ab/cd")
	f.Add("runs/ab/cd/ef")
	f.Fuzz(func(t *testing.T, key string) {
		base, ok := hashed(key)
		if !ok {
			return
		}
		rest := strings.TrimPrefix(key, base)
		if !strings.HasPrefix(key, base) || len(rest) < 3 || rest[2] != '/' {
			t.Errorf("%q lies in %q", key, base)
		}
		if at := position(rest); at <= 0 || at > 1 {
			t.Errorf("%q is at %v", rest, at)
		}
	})
}

func TestBoundsDivideTheHashesEvenly(t *testing.T) {
	require.Equal(t, "7f/ffffff", bound(0.5)[:9])
	require.Equal(t, "ff/ffffff", bound(1)[:9])
	require.Equal(t, "00/000000", bound(0)[:9])
	require.InDelta(t, 0.25, position("40/0000abc"), 1e-6)
	require.InDelta(t, 0.3, position(bound(0.3)), 1e-6)
}
