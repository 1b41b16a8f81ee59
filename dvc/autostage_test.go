package dvc_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// staging is one repository with core.autostage on its way: each step of ours
// and dvc's leaves the same in git's index.
func staging(t *testing.T, w *world) (string, *dvc.Repo) {
	t.Helper()
	dir, r := w.repo()
	require.NoError(t, r.Set(bg(t), "core.autostage", "true", ""))
	write(t, dir, map[string]string{"x": "1", "s/d/y": "1", "s/it's": "1", "far": "1"})
	w.git(dir, "add", "-A", ".dvc", ".dvcignore")
	w.git(dir, "commit", "-qm", "i")
	return dir, r
}

func stagedIn(w *world, dir string) []string {
	return strings.Fields(w.git(dir, "diff", "--cached", "--name-status", "--no-renames"))
}

func TestAutostageAddsWhatAddAndImportWrite(t *testing.T) {
	w := newWorld(t)
	dir, r := staging(t, w)
	sub, err := dvc.Open(filepath.Join(dir, "s"))
	require.NoError(t, err)
	_, err = r.Add(bg(t), []string{"x"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"A", ".gitignore", "A", "x.dvc"}, stagedIn(w, dir))
	_, err = sub.Add(bg(t), []string{"d"}, dvc.AddOptions{})
	require.NoError(t, err)
	_, err = r.ImportURL(bg(t), filepath.Join(dir, "far"), dvc.ImportURLOptions{Out: "near"})
	require.NoError(t, err)
	require.Equal(t, []string{"A", ".gitignore", "A", "near.dvc", "A", "s/.gitignore", "A", "s/d.dvc", "A", "x.dvc"}, stagedIn(w, dir))
	w.git(dir, "commit", "-qm", "x")
	write(t, dir, map[string]string{"x": "2", "far": "2"})
	_, err = r.Commit(bg(t), dvc.CommitOptions{Targets: []string{"x"}, Force: true})
	require.NoError(t, err)
	_, err = r.Update(bg(t), dvc.UpdateOptions{Targets: []string{"near.dvc"}})
	require.NoError(t, err)
	require.Empty(t, stagedIn(w, dir), "dvc does not stage after these")
	require.NoError(t, r.Set(bg(t), "core.autostage", "false", dvc.LevelLocal))
	write(t, dir, map[string]string{"n": "n"})
	_, err = r.Add(bg(t), []string{"n"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.Empty(t, stagedIn(w, dir))
}

func TestLiveAutostageIsAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	ours, r := staging(t, w)
	theirs, _ := staging(t, w)
	for _, p := range []string{"x", "s/d", "s/it's"} {
		_, err := r.Add(bg(t), []string{p}, dvc.AddOptions{})
		require.NoError(t, err)
		w.dvc(theirs, "add", "-q", p)
		require.Equal(t, stagedIn(w, theirs), stagedIn(w, ours), p)
	}
}

func TestWithoutSCMGitIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	require.NoError(t, r.Set(bg(t), "core.no_scm", "true", ""))
	r, err := dvc.Open(dir)
	require.NoError(t, err)
	write(t, dir, map[string]string{"x": "1", ".gitignore": "*.dvc\n"})
	_, err = r.Add(bg(t), []string{"x"}, dvc.AddOptions{})
	require.NoError(t, err, "what git ignores is of no concern")
	require.Equal(t, "*.dvc\n", read(t, dir, ".gitignore"))
	s, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	require.True(t, s.Clean())
}

func TestOptionsThatOnlyDVCObeysAreKnown(t *testing.T) {
	for name, unused := range map[string]bool{
		"core.analytics": true, "core.autostage": false, "core.no_scm": false, "core.checksum_jobs": false, "cache.slow_link_warning": true, "cache.type": false,
		"plots.out_dir": true, "remote.s.replication": true, "remote.s.url": false, "remote.s.gdrive_client_id": true, "nope": false,
	} {
		require.Equal(t, unused, dvc.Unused(name), name)
	}
}
