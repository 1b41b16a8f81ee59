package rayserve

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestThePackageDependsOnNamesAndContentsOnly(t *testing.T) {
	file := func(s string, at time.Time) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(s), ModTime: at, Mode: 0o600}
	}
	n1, b1, err := pack(fstest.MapFS{"m/a.py": file("1", time.Now()), "m/b.py": file("2", time.Time{})})
	require.NoError(t, err)
	n2, b2, err := pack(fstest.MapFS{"m/b.py": file("2", time.Unix(1, 0)), "m/a.py": file("1", time.Unix(9, 0))})
	require.NoError(t, err)
	require.Equal(t, n1, n2)
	require.Equal(t, b1, b2, "equal code has to be uploaded once")
	n3, _, err := pack(fstest.MapFS{"m/a.py": file("1", time.Time{}), "m/b.py": file("3", time.Time{})})
	require.NoError(t, err)
	require.NotEqual(t, n1, n3, "other code under the same name would never arrive")
	require.Equal(t, n1, packageOf("gcs://"+n1))
	require.Empty(t, packageOf("gcs://../"+n1))
}

func TestAPackageStaysInsideItsFolder(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"a link out of it": func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "m", "bad")))
		},
		"a link within it": func(t *testing.T, dir string) { require.NoError(t, os.Symlink("a.py", filepath.Join(dir, "m", "bad"))) },
		"a linked folder":  func(t *testing.T, dir string) { require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "m", "bad"))) },
		"a link to nothing": func(t *testing.T, dir string) {
			require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "m", "bad")))
		},
		"a pipe, which may hang": func(t *testing.T, dir string) {
			require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "m", "bad"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(dir, "m"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "m", "a.py"), []byte("1"), 0o600))
			root, err := os.OpenRoot(dir)
			require.NoError(t, err)
			defer root.Close()
			_, _, err = pack(root.FS())
			require.NoError(t, err)
			spoil(t, dir)
			_, _, err = pack(root.FS())
			require.ErrorIs(t, err, mlops.ErrInvalid)
			require.ErrorContains(t, err, "m/bad", "it has to be named")
		})
	}
}

func TestTheBuilderIsInThePackage(t *testing.T) {
	name, data, err := builder()
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`^_ray_pkg_[0-9a-f]{32}\.zip$`), name)
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	var names []string
	for _, f := range r.File {
		names = append(names, f.Name)
	}
	require.Equal(t, []string{"mlops_serve/__init__.py", "mlops_serve/app.py"}, names)
	f, err := r.Open("mlops_serve/app.py")
	require.NoError(t, err)
	code, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Contains(t, string(code), "def build(args):")
}
