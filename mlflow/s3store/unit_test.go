package s3store

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// alone keeps this machine's AWS configuration out of a test.
func alone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "MLFLOW_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	return dir
}

func TestSettingsComeFromTheEnvironmentAndTheProfile(t *testing.T) {
	dir, ctx := alone(t), t.Context()
	_, err := New(ctx, Options{})
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config"), []byte("[profile team]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:1\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "credentials"), []byte("[team]\naws_access_key_id = a\naws_secret_access_key = b\n"), 0o600))
	s, err := New(ctx, Options{Profile: "team"})
	require.NoError(t, err)
	o := s.s3.Options()
	require.Equal(t, "eu-west-1", o.Region)
	require.Equal(t, "http://127.0.0.1:1", *o.BaseEndpoint)
	require.True(t, o.UsePathStyle)

	t.Setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:2")
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:3")
	t.Setenv("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "virtual")
	t.Setenv("MLFLOW_S3_IGNORE_TLS", "true")
	t.Setenv("MLFLOW_S3_EXPECTED_BUCKET_OWNER", "42")
	t.Setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", `{"ServerSideEncryption": "AES256"}`)
	s, err = New(ctx, Options{KeyID: "a", Secret: "b"})
	require.NoError(t, err)
	o = s.s3.Options()
	require.Equal(t, "http://127.0.0.1:2", *o.BaseEndpoint)
	require.Equal(t, "us-east-1", o.Region)
	require.False(t, o.UsePathStyle)
	require.Equal(t, "42", *s.owner)
	require.EqualValues(t, "AES256", s.extra.ServerSideEncryption)
	t.Setenv("MLFLOW_S3_ENDPOINT_URL", "")
	s, err = New(ctx, Options{KeyID: "a", Secret: "b", Region: "eu-north-1"})
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1:3", *s.s3.Options().BaseEndpoint)
	require.Equal(t, "eu-north-1", s.s3.Options().Region)
	t.Setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", `{"Tagging": "a=b"}`)
	_, err = New(ctx, Options{KeyID: "a", Secret: "b"})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	t.Setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", "")
	_, err = New(ctx, Options{Profile: "none"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func TestAnswersOfAStoreHaveTheRightKind(t *testing.T) {
	alone(t)
	for _, tt := range []struct {
		status int
		code   string
		want   error
	}{
		{404, "NoSuchKey", mlops.ErrNotFound}, {403, "AccessDenied", mlops.ErrForbidden}, {403, "SignatureDoesNotMatch", mlops.ErrUnauthenticated},
		{503, "SlowDown", mlops.ErrRateLimited}, {500, "Odd", mlops.ErrUnavailable}, {412, "Odd", mlops.ErrConflict}, {400, "Odd", mlops.ErrInvalid},
		{401, "Odd", mlops.ErrUnauthenticated}, {403, "Odd", mlops.ErrForbidden}, {404, "Odd", mlops.ErrNotFound}, {429, "Odd", mlops.ErrRateLimited},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte("<Error><Code>" + tt.code + "</Code><Message>m</Message></Error>"))
		}))
		s, err := New(t.Context(), Options{Endpoint: srv.URL, KeyID: "a", Secret: "b", Tries: 1})
		require.NoError(t, err)
		_, err = s.Open(t.Context(), "s3://b/k", mlflow.Range{})
		require.ErrorIs(t, err, tt.want, "%d %s", tt.status, tt.code)
		e, ok := errors.AsType[*mlops.Error](err)
		require.True(t, ok)
		require.Equal(t, tt.code, e.Code)
		require.Equal(t, tt.status, e.Status)
		srv.Close()
		_, err = s.Open(t.Context(), "s3://b/k", mlflow.Range{})
		require.ErrorIs(t, err, mlops.ErrUnavailable, "no server answers")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Open(ended, "s3://b/k", mlflow.Range{})
		require.ErrorIs(t, err, context.Canceled)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("s3://bucket/a b%.txt")
	f.Fuzz(func(t *testing.T, uri string) {
		bucket, key, err := split(uri)
		if err == nil && (bucket == "" || strings.Contains(bucket, "/") || !strings.HasPrefix(uri, "s3://"+bucket) || !strings.HasSuffix(uri, key)) {
			t.Errorf("%q gives %q and %q", uri, bucket, key)
		}
	})
}
