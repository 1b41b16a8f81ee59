package stackfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

func TestStackComesBackAsWritten(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	_, err := stackfile.Read(home)
	require.ErrorIs(t, err, mlops.ErrNotFound)

	want := stackfile.Stack{
		Runtime: "process", Home: home, DVCRemote: "/data", DAGs: "/dags",
		Endpoints: map[string]stackfile.Endpoint{stackfile.MLflow: {URL: "http://127.0.0.1:5000", Username: "admin", SecretFile: "/x"}},
	}
	require.NoError(t, stackfile.Write(want))
	got, err := stackfile.Read(home)
	require.NoError(t, err)
	want.Version = stackfile.Version
	require.Equal(t, want, got)
	info, err := os.Stat(stackfile.Path(home))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, stackfile.Remove(home))
	require.NoError(t, stackfile.Remove(home), "removing twice is no error")
}

func TestADamagedOrForeignFileSaysWhatToDo(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, os.WriteFile(stackfile.Path(home), []byte(`{"version":`), 0o600))
	_, err := stackfile.Read(home)
	require.ErrorContains(t, err, "mlopsctl start")
	require.NoError(t, os.WriteFile(stackfile.Path(home), []byte(`{"version":99}`), 0o600))
	_, err = stackfile.Read(home)
	require.ErrorIs(t, err, mlops.ErrUnsupported)
}

func TestSecretsAreReadOnlyFromPrivateFiles(t *testing.T) {
	f := filepath.Join(t.TempDir(), "pw")
	require.NoError(t, os.WriteFile(f, []byte("canary\n"), 0o600))
	s, err := stackfile.Endpoint{SecretFile: f}.Secret()
	require.NoError(t, err)
	require.Equal(t, mlops.Secret("canary"), s)

	require.NoError(t, os.Chmod(f, 0o644))
	_, err = stackfile.Endpoint{SecretFile: f}.Secret()
	require.ErrorContains(t, err, "chmod 600")
	require.NotContains(t, err.Error(), "canary")

	s, err = stackfile.Endpoint{}.Secret()
	require.NoError(t, err)
	require.Empty(t, s)
}

func TestHomeFollowsTheVariable(t *testing.T) {
	t.Setenv("MLOPS_HOME", "/a/b")
	h, err := mlops.Home()
	require.NoError(t, err)
	require.Equal(t, "/a/b", h)
	t.Setenv("MLOPS_HOME", "")
	t.Setenv("HOME", "/u")
	h, err = mlops.Home()
	require.NoError(t, err)
	require.Equal(t, "/u/.mlops", h)
}
