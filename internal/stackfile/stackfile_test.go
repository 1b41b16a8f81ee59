package stackfile_test

import (
	"os"
	"path/filepath"
	"strings"
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
		Endpoints: map[string]stackfile.Endpoint{stackfile.MLflow: {URL: "http://127.0.0.1:5000", Username: "admin", SecretFile: filepath.Join(home, "secrets", "mlflow")}},
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

func TestAHomeThatOthersCanChangeIsNotRead(t *testing.T) {
	write := func(t *testing.T) (home, secret string) {
		home = filepath.Join(t.TempDir(), "home")
		secret = filepath.Join(home, "secrets", "mlflow")
		require.NoError(t, os.MkdirAll(filepath.Dir(secret), 0o700))
		require.NoError(t, os.WriteFile(secret, []byte("canary"), 0o600))
		require.NoError(t, stackfile.Write(stackfile.Stack{Home: home, Endpoints: map[string]stackfile.Endpoint{stackfile.MLflow: {URL: "http://127.0.0.1:5000", SecretFile: secret}}}))
		s, err := stackfile.Read(home)
		require.NoError(t, err)
		require.Equal(t, secret, s.Endpoints[stackfile.MLflow].SecretFile)
		return home, secret
	}
	for name, change := range map[string]func(home string) (path string){
		"home": func(home string) string { require.NoError(t, os.Chmod(home, 0o777)); return home },
		"file": func(home string) string {
			require.NoError(t, os.Chmod(stackfile.Path(home), 0o606))
			return stackfile.Path(home)
		},
		"home of another user": func(home string) string {
			require.NoError(t, os.Chown(home, 12345, -1))
			return home
		},
		"file of another user": func(home string) string {
			require.NoError(t, os.Chown(stackfile.Path(home), 12345, -1))
			return stackfile.Path(home)
		},
		"home without a stack, of another user": func(home string) string {
			require.NoError(t, os.Remove(stackfile.Path(home)))
			require.NoError(t, os.Chown(home, 12345, -1))
			return home
		},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "another") && os.Geteuid() != 0 {
				t.Skip("only root can make files of other users")
			}
			home, _ := write(t)
			path := change(home)
			_, err := stackfile.Read(home)
			require.ErrorIs(t, err, mlops.ErrForbidden)
			require.ErrorContains(t, err, path)
		})
	}

	home, secret := write(t)
	s, err := stackfile.Read(home)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(filepath.Dir(secret), 0o777))
	_, err = s.Endpoints[stackfile.MLflow].Secret()
	require.ErrorIs(t, err, mlops.ErrForbidden)
	require.NotContains(t, err.Error(), "canary")
}

func TestACopiedHomePointsNobodyAtTheOriginalsServers(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	require.NoError(t, stackfile.Write(stackfile.Stack{Home: home, Endpoints: map[string]stackfile.Endpoint{stackfile.Serve: {URL: "http://127.0.0.1:8001"}}}))
	copied := home + "-copy"
	require.NoError(t, os.CopyFS(copied, os.DirFS(home)))
	require.NoError(t, os.Chmod(copied, 0o700))
	_, err := stackfile.Read(copied)
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.EqualError(t, err, stackfile.Path(copied)+" is of the stack of "+home+", of which "+copied+" is a copy: nothing is sent to its servers; for servers of this home, run: mlopsctl start")

	require.NoError(t, os.RemoveAll(home))
	_, err = stackfile.Read(copied)
	require.NoError(t, err, "a home that was moved still has its servers")
}

func TestASecretOutsideOfTheHomeIsNotRead(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(root, "token")
	require.NoError(t, os.WriteFile(outside, []byte("canary"), 0o600))
	home := filepath.Join(root, "home")
	require.NoError(t, os.MkdirAll(filepath.Join(home, "secrets"), 0o700))
	require.NoError(t, os.Symlink(outside, filepath.Join(home, "secrets", "link")))
	require.NoError(t, os.Symlink(root, filepath.Join(home, "up")))
	for _, file := range []string{outside, filepath.Join(home, "..", "token"), filepath.Join(home, "secrets", "link"), filepath.Join(home, "up", "token"), filepath.Join(home, "up", "none")} {
		require.NoError(t, stackfile.Write(stackfile.Stack{Home: home, Endpoints: map[string]stackfile.Endpoint{stackfile.Ray: {URL: "http://127.0.0.1:1", SecretFile: file}}}))
		_, err := stackfile.Read(home)
		require.ErrorIs(t, err, mlops.ErrForbidden, file)
		require.ErrorContains(t, err, file)
	}
	require.NoError(t, stackfile.Write(stackfile.Stack{Home: home, DVCOptions: map[string]string{"credentialpath": outside}}))
	_, err := stackfile.Read(home)
	require.ErrorIs(t, err, mlops.ErrForbidden, "DVC's credentials are no less a secret")

	link := filepath.Join(root, "link")
	require.NoError(t, os.Symlink(home, link))
	require.NoError(t, stackfile.Write(stackfile.Stack{Home: home, Endpoints: map[string]stackfile.Endpoint{stackfile.Ray: {SecretFile: filepath.Join(home, "secrets", "ray")}}}))
	_, err = stackfile.Read(link)
	require.NoError(t, err, "a link to the home is the home")
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
