package mlflow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestNothingOutsideOfAFolderIsTakenAlong(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	s := &ill{fails: func(string, string) bool { return false }}
	c := illClient(t, s)
	r := startOne(t, c)
	for name, link := range map[string]func(dir string) error{
		"a link to a file outside": func(dir string) error { return os.Symlink(secret, filepath.Join(dir, "link")) },
		"a link upwards": func(dir string) error {
			return os.Symlink("../../../../../../../../etc/hostname", filepath.Join(dir, "link"))
		},
		"a link over a link":           func(dir string) error { return os.Symlink(filepath.Dir(secret), filepath.Join(dir, "link")) },
		"requirements outside":         func(dir string) error { return os.Symlink(secret, filepath.Join(dir, "requirements.txt")) },
		"a model file that is outside": func(dir string) error { return os.Symlink(secret, filepath.Join(dir, "MLmodel")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "model.py"), []byte("x"), 0o600))
			require.NoError(t, link(dir))
			for _, err := range []error{r.LogDir(t.Context(), dir, ""), c.UploadDir(t.Context(), "mlflow-artifacts:/0/r1/artifacts", dir, ""),
				second(newPackage(dir, ModelSpec{Flavors: []Flavor{PyFunc{Code: "model.py"}}}, "3.17.2"))} {
				require.ErrorIs(t, err, mlops.ErrInvalid)
			}
		})
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("inside"), 0o600))
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "b")))
	require.NoError(t, r.LogDir(t.Context(), dir, ""), "a link within the folder stays inside")
	files, err := localFiles(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, files)
}

func TestAnImportTakesNothingFromOutsideOfItsFolder(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	for name, spoil := range map[string]func(t *testing.T, run string) error{
		"params":    func(t *testing.T, run string) error { return os.Symlink(secret, filepath.Join(run, "params", "p")) },
		"tags":      func(t *testing.T, run string) error { return os.Symlink(secret, filepath.Join(run, "tags", "t")) },
		"artifacts": func(t *testing.T, run string) error { return os.Symlink(secret, filepath.Join(run, "artifacts", "a")) },
	} {
		t.Run(name, func(t *testing.T) {
			store := t.TempDir()
			run := filepath.Join(store, "0", "r1")
			for _, d := range []string{"params", "tags", "artifacts", "metrics"} {
				require.NoError(t, os.MkdirAll(filepath.Join(run, d), 0o700))
			}
			require.NoError(t, os.WriteFile(filepath.Join(store, "0", "meta.yaml"), []byte("name: Default\nexperiment_id: '0'\n"), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(run, "meta.yaml"), []byte("run_id: r1\nstatus: 3\nartifact_uri: file://"+filepath.Dir(secret)+"\n"), 0o600))
			from, err := OpenFileStore(store)
			require.NoError(t, err)
			at, err := from.run("0/r1")
			require.NoError(t, err)
			require.Equal(t, filepath.Join(run, "artifacts"), from.artifacts(at))
			require.NoError(t, os.RemoveAll(filepath.Join(run, "artifacts")))
			require.Empty(t, from.artifacts(at), "a meta.yaml names a folder outside")
			require.NoError(t, os.MkdirAll(filepath.Join(run, "artifacts"), 0o700))
			require.NoError(t, spoil(t, run))
			_, rerr := from.run("0/r1")
			_, lerr := localFiles(from.artifacts(at))
			if rerr == nil {
				rerr = lerr
			}
			require.ErrorIs(t, rerr, mlops.ErrInvalid)
			require.ErrorContains(t, rerr, "leads out of")
		})
	}
}
