package client

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestArtifactsInS3WantCredentialsAtTheirFirstUse(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	p, err := FromProject(t.Context(), "wine", In(t.TempDir()), WithHome(t.TempDir()))
	require.NoError(t, err, "a program that has no artifacts in S3 needs no credentials")
	defer p.Close()
	store := &s3{}
	ctx := t.Context()
	require.ErrorIs(t, store.Put(ctx, "s3://bucket/a", strings.NewReader("x")), mlops.ErrUnauthenticated)
	require.ErrorIs(t, store.Delete(ctx, "s3://bucket/a"), mlops.ErrUnauthenticated)
	_, err = mlops.Collect(store.List(ctx, "s3://bucket/a"))
	require.ErrorIs(t, err, mlops.ErrUnauthenticated)
}
