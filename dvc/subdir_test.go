package dvc_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// monorepo is a git repository without DVC at its root: one DVC repository is
// in team/a, another in team/a/deep. Their data is in remotes alone.
func monorepo(t *testing.T, w *world) string {
	t.Helper()
	dir := w.dir()
	w.git(dir, "init", "-q", "-b", "main")
	write(t, dir, map[string]string{"README": "hi", "team/a/plain": "p", "team/a/data/x": "x", "team/a/f": "f", "team/a/deep/g": "g", "other/o": "o"})
	for _, sub := range []string{"team/a/deep", "team/a"} {
		r, err := dvc.Init(filepath.Join(dir, sub), dvc.Subdir())
		require.NoError(t, err)
		require.NoError(t, r.AddRemote(bg(t), "store", dir+"-"+filepath.Base(sub), dvc.AddRemoteOptions{Default: true}))
		paths := []string{"data", "f"}
		if sub == "team/a/deep" {
			paths = []string{"g"}
		}
		_, err = r.Add(bg(t), paths, dvc.AddOptions{})
		require.NoError(t, err)
		_, err = r.Push(bg(t), dvc.PushOptions{})
		require.NoError(t, err)
		require.NoError(t, os.RemoveAll(filepath.Join(r.Root(), ".dvc/cache")))
	}
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-qm", "x")
	return dir
}

func TestDataOfARepositoryInASubfolderIsFoundFromOutside(t *testing.T) {
	w := newWorld(t)
	from := monorepo(t, w)
	for p, want := range map[string]string{"team/a/data/x": "x", "team/a/f": "f", "team/a/deep/g": "g", "team/a/plain": "p", "README": "hi"} {
		to := w.dir()
		_, err := dvc.Get(bg(t), from, p, dvc.GetOptions{Dir: to})
		require.NoError(t, err, p)
		require.Equal(t, want, read(t, to, filepath.Base(p)))
	}
	to := w.dir()
	_, err := dvc.Get(bg(t), from, "team/a/data", dvc.GetOptions{Dir: to, Rev: "main"})
	require.NoError(t, err)
	require.Equal(t, "x", read(t, to, "data/x"))

	dir, r := w.repo()
	_, err = r.Import(bg(t), from, "team/a/data", dvc.ImportOptions{})
	require.NoError(t, err)
	require.Equal(t, "x", read(t, dir, "data/x"))
	_, err = r.Import(bg(t), from, "team/a/deep/g", dvc.ImportOptions{NoDownload: true})
	require.NoError(t, err)
	_, err = r.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, "g", read(t, dir, "g"))
	_, err = r.Import(bg(t), from, "team/a/nope", dvc.ImportOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)

	src, err := dvc.OpenSource(bg(t), from, dvc.SourceOptions{})
	require.NoError(t, err)
	defer src.Close()
	for p, want := range map[string][]string{
		"team/a": {".dvcignore", ".gitignore", "data", "data.dvc", "deep", "f", "f.dvc", "plain"}, "team/a/data": {"x"}, "other": {"o"},
	} {
		all, err := src.List(bg(t), dvc.ListOptions{Path: p})
		require.NoError(t, err, p)
		var names []string
		for _, e := range all {
			names = append(names, e.Path)
		}
		require.Equal(t, want, names, p)
	}
	plain := w.dir()
	w.git(plain, "init", "-q")
	write(t, plain, map[string]string{"x": "x"})
	w.git(plain, "add", "-A")
	w.git(plain, "commit", "-qm", "x")
	_, err = dvc.OpenSource(bg(t), plain, dvc.SourceOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestLiveDataOfARepositoryInASubfolderIsAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	from := monorepo(t, w)
	src, err := dvc.OpenSource(bg(t), from, dvc.SourceOptions{})
	require.NoError(t, err)
	defer src.Close()
	for _, p := range []string{"team/a/data", "team/a/deep"} {
		all, err := src.List(bg(t), dvc.ListOptions{Path: p})
		require.NoError(t, err)
		got, err := json.Marshal(all)
		require.NoError(t, err)
		require.JSONEq(t, w.dvc(w.dir(), "list", "--json", "--size", "--show-hash", from, p, "--rev", "main"), string(got), p)
	}
	ours, r := w.repo()
	theirs, _ := w.repo()
	_, err = r.Import(bg(t), from, "team/a/data", dvc.ImportOptions{})
	require.NoError(t, err)
	w.dvc(theirs, "import", "-q", from, "team/a/data")
	require.Equal(t, read(t, theirs, "data.dvc"), read(t, ours, "data.dvc"))
}

// inits are the ways to make a repository, and what dvc says of them.
var inits = []struct {
	name, sub string // where, below a git repository; "/" is outside of it
	args      []string
	opts      []dvc.Option
	kind      error
}{
	{"the root", "", nil, nil, nil},
	{"a folder", "sub", nil, nil, mlops.ErrInvalid},
	{"a folder, as such", "sub", []string{"--subdir"}, []dvc.Option{dvc.Subdir()}, nil},
	{"the root, as a folder", "", []string{"--subdir"}, []dvc.Option{dvc.Subdir()}, nil},
	{"outside of git", "/", nil, nil, mlops.ErrInvalid},
	{"outside of git, as a folder", "/", []string{"--subdir"}, []dvc.Option{dvc.Subdir()}, mlops.ErrInvalid},
	{"without git", "/", []string{"--no-scm"}, []dvc.Option{dvc.NoSCM()}, nil},
	{"without git, in git", "sub", []string{"--no-scm"}, []dvc.Option{dvc.NoSCM()}, nil},
}

// initAt makes a repository as one of inits says, and returns its folder.
func (w *world) initAt(sub string, make func(dir string) error) (string, error) {
	w.t.Helper()
	dir := w.dir()
	if sub != "/" {
		w.git(dir, "init", "-q")
	}
	at := filepath.Join(dir, sub)
	require.NoError(w.t, os.MkdirAll(at, 0o777))
	return at, make(at)
}

func TestInitMakesWhatItIsToldTo(t *testing.T) {
	w := newWorld(t)
	for _, tt := range inits {
		t.Run(tt.name, func(t *testing.T) {
			at, err := w.initAt(tt.sub, func(dir string) error { _, err := dvc.Init(dir, tt.opts...); return err })
			if tt.kind != nil {
				require.ErrorIs(t, err, tt.kind)
				require.NoDirExists(t, filepath.Join(at, ".dvc"))
				return
			}
			require.NoError(t, err)
			write(t, at, map[string]string{"data": "x", ".dvc/cache/files/x": "x", ".dvc/config.local": "[core]\n    no_scm = true\n"})
			_, err = dvc.Init(at, tt.opts...)
			require.ErrorIs(t, err, mlops.ErrAlreadyExists)
			r, err := dvc.Init(at, append(tt.opts, dvc.Force())...)
			require.NoError(t, err)
			require.NoDirExists(t, filepath.Join(at, ".dvc/cache"), "as dvc init --force removes it")
			_, err = r.Add(bg(t), []string{"data"}, dvc.AddOptions{})
			require.NoError(t, err)
		})
	}
}

func TestForceTakesNothingThatIsUsedOrElsewhere(t *testing.T) {
	w := newWorld(t)
	at, err := w.initAt("/", func(dir string) error { _, err := dvc.Init(dir, dvc.NoSCM()); return err })
	require.NoError(t, err)
	write(t, at, map[string]string{".dvc/cache/files/x": "x"})
	f, err := lockfile.Open(filepath.Join(at, ".dvc/tmp/lock"), 0o666)
	require.NoError(t, err)
	require.NoError(t, lockfile.Try(f))
	force := []dvc.Option{dvc.NoSCM(), dvc.Force(), dvc.LockTimeout(0)}
	_, err = dvc.Init(at, force...)
	require.ErrorIs(t, err, mlops.ErrConflict, "another program works in it")
	require.FileExists(t, filepath.Join(at, ".dvc/cache/files/x"))
	require.NoError(t, f.Close())
	_, err = dvc.Init(at, force...)
	require.NoError(t, err)
	require.NoDirExists(t, filepath.Join(at, ".dvc/cache"))
	entries, err := os.ReadDir(at)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing stays but .dvc and .dvcignore: %v", entries)

	elsewhere := filepath.Join(w.dir(), "meta")
	require.NoError(t, os.Rename(filepath.Join(at, ".dvc"), elsewhere))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(at, ".dvc")))
	_, err = dvc.Init(at, force...)
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.FileExists(t, filepath.Join(elsewhere, "config"))
}

func TestLiveInitMakesWhatDVCMakes(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	for _, tt := range inits {
		ours, err := w.initAt(tt.sub, func(dir string) error { _, err := dvc.Init(dir, tt.opts...); return err })
		theirs, derr := w.initAt(tt.sub, func(dir string) error {
			_, err := w.try(dir, append([]string{"init", "-q"}, tt.args...)...)
			return err
		})
		require.Equal(t, derr == nil, err == nil, "%s: dvc says %v, this %v", tt.name, derr, err)
		require.Equal(t, snapshot(t, theirs), snapshot(t, ours), tt.name)
		if tt.sub != "/" {
			require.Equal(t, w.git(theirs, "status", "--porcelain"), w.git(ours, "status", "--porcelain"), tt.name)
		}
	}
}
