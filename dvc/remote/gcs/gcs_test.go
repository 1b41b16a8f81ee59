package gcs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
	"github.com/mlops-integration/mlops/dvc/remote/gcs"
	"github.com/mlops-integration/mlops/dvc/remote/remotetest"
)

func TestGCSConformsAsRemote(t *testing.T) {
	remotetest.Live(t)
	bin := remotetest.InstallGo(t, "github.com/fsouza/fake-gcs-server", "v1.56.1")
	dir, port := t.TempDir(), remotetest.FreePort(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bucket"), 0o755))
	at := "http://127.0.0.1:" + port
	srv := &remotetest.Server{Args: []string{bin, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-data", dir, "-external-url", at}}
	srv.Start(t, remotetest.Answers(at+"/storage/v1/b"))
	remotetest.Conformance(t, func(t *testing.T) remote.Store {
		s, err := gcs.New(t.Context(), remote.Config{Name: "g", URL: "gs://bucket/" + remotetest.Random(), Options: map[string]string{"endpointurl": at, "allow_anonymous_login": "true"}})
		require.NoError(t, err)
		return s
	})
	s, err := gcs.New(t.Context(), remote.Config{Name: "g", URL: "gs://none/x", Options: map[string]string{"endpointurl": at, "allow_anonymous_login": "true"}})
	require.NoError(t, err)
	_, err = s.Get(t.Context(), "files/md5/00/00")
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestWrongOptionsOfAGCSRemoteAreNamed(t *testing.T) {
	for _, tt := range []struct {
		url, key, value string
		want            error
	}{
		{"gs://", "", "", mlops.ErrInvalid}, {"gcs://b/x", "jobs", "x", mlops.ErrInvalid}, {"gs://b/x", "allow_anonymous_login", "x", mlops.ErrInvalid},
		{"gs://b/x", "credentialpath", filepath.Join(t.TempDir(), "none"), mlops.ErrUnauthenticated},
		{"gs://b/x", "endpointurl", "https://theirs.example", mlops.ErrForbidden}, {"gs://b/x", "endpointurl", "https://googleapis.com.theirs.example", mlops.ErrForbidden},
		{"gs://b/x", "endpointurl", "http://storage.googleapis.com", mlops.ErrForbidden},
	} {
		_, err := remote.Open(t.Context(), remote.Config{Name: "g", URL: tt.url, Options: map[string]string{tt.key: tt.value}})
		require.ErrorIs(t, err, tt.want, tt.key)
	}
}
