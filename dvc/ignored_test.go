package dvc_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// ignoredRows are what a .gitignore makes of add; refused is dvc's answer, too.
var ignoredRows = []struct {
	name, ignore, path string
	refused            bool
}{
	{"a folder", "/ig/\n", "ig/a", true},
	{"deeper", "/ig/\n", "ig/sub/b", true},
	{"the folder's content", "/ig/*\n", "ig/a", true},
	{"all .dvc files", "*.dvc\n", "q", true},
	{"by its beginning", "q*\n", "q", true},
	{"this .dvc file", "/q.dvc\n", "q", true},
	{"the data alone", "/q\n", "q", false},
	{"the folder itself is the data", "/ig/\n", "ig", false},
	{"taken back", "*.dvc\n!q.dvc\n", "q", false},
}

func ignoredRepo(t *testing.T, w *world, ignore string) (string, *dvc.Repo) {
	t.Helper()
	dir, r := w.repo()
	write(t, dir, map[string]string{"ig/a": "a", "ig/sub/b": "b", "q": "q", ".gitignore": ignore})
	return dir, r
}

func TestNoDVCFileIsWrittenThatGitIgnores(t *testing.T) {
	for _, tt := range ignoredRows {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			dir, r := ignoredRepo(t, w, tt.ignore)
			before := snapshot(t, dir)
			_, err := r.Add(bg(t), []string{tt.path}, dvc.AddOptions{})
			if !tt.refused {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, mlops.ErrInvalid)
			require.ErrorContains(t, err, "git ignores "+tt.path+".dvc")
			away := w.dir()
			write(t, away, map[string]string{"f": "f"})
			require.NoError(t, os.Remove(filepath.Join(dir, tt.path)))
			_, err = r.ImportURL(bg(t), filepath.Join(away, "f"), dvc.ImportURLOptions{Out: tt.path})
			require.ErrorContains(t, err, "git ignores")
			write(t, dir, map[string]string{tt.path: before[tt.path][len(before[tt.path])-2 : len(before[tt.path])-1]})
			require.Equal(t, before, snapshot(t, dir))
		})
	}
}

func TestLiveAddBelowAnIgnoredFolderIsAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	for _, tt := range ignoredRows {
		dir, _ := ignoredRepo(t, w, tt.ignore)
		_, err := w.try(dir, "add", "-q", tt.path)
		require.Equal(t, tt.refused, err != nil, "%s: %v", tt.name, err)
	}
}
