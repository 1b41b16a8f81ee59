package dvc_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// What real dvc says of the same histories is compared in diff_live_test.go.
func TestDiffTellsWhatBecameOfData(t *testing.T) {
	want := map[string]string{
		"nothing changed":  `{"added":[],"deleted":[],"modified":[],"not in cache":[{"path":"o/"}],"renamed":[]}`,
		"workspace edited": `{"added":[{"path":"d/new"}],"deleted":[{"path":"b"},{"path":"d/sub/z"}],"modified":[{"path":"a"},{"path":"d/"},{"path":"d/x"}],"not in cache":[{"path":"o/"}],"renamed":[]}`,
		"renamed":          `{"added":[],"deleted":[],"modified":[{"path":"d/"}],"not in cache":[{"path":"o/"}],"renamed":[{"path":{"new":"a2","old":"a"}},{"path":{"new":"d/moved","old":"d/x"}},{"path":{"new":"d/sub/y","old":"d/y"}}]}`,
		"untracked now":    `{"added":[],"deleted":[{"path":"a"},{"path":"d/"},{"path":"d/sub/z"},{"path":"d/x"},{"path":"d/y"}],"modified":[],"not in cache":[{"path":"o/"}],"renamed":[]}`,
	}
	for _, h := range histories {
		if want[h.name] == "" {
			continue
		}
		t.Run(h.name, func(t *testing.T) {
			w := newWorld(t)
			dir, r := historyRepo(t, w)
			h.change(t, w, dir, r)
			d, err := r.Diff(bg(t), dvc.DiffOptions{})
			require.NoError(t, err)
			require.JSONEq(t, want[h.name], marshal(t, d))
		})
	}
}

func TestDataStatusTellsCommittedFromUncommitted(t *testing.T) {
	w := newWorld(t)
	dir, r := historyRepo(t, w)
	write(t, dir, map[string]string{"a": "edited", "c": "fresh", "loose": "l"})
	_, err := r.Add(bg(t), []string{"a", "c"}, dvc.AddOptions{})
	require.NoError(t, err)
	write(t, dir, map[string]string{"a": "and again", "d/x": "other"})
	s, err := r.DataStatus(bg(t), dvc.DataStatusOptions{Granular: true, Unchanged: true, Untracked: true})
	require.NoError(t, err)
	require.Equal(t, dvc.DataChanges{Added: []string{"c"}, Modified: []string{"a"}}, s.Committed)
	require.Equal(t, dvc.DataChanges{Modified: []string{"a", "d/", "d/x"}, Unknown: []string{"o/p"}}, s.Uncommitted)
	require.Equal(t, []string{"o/"}, s.NotInCache)
	require.Equal(t, []string{"c.dvc", "loose"}, s.Untracked)
	require.Equal(t, []string{"b", "d/sub/z", "d/y", "in/deep/f", "o/"}, s.Unchanged)

	rem := w.dir()
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	_, err = r.Push(bg(t), dvc.PushOptions{Targets: []string{"b", "d"}})
	require.NoError(t, err)
	s, err = r.DataStatus(bg(t), dvc.DataStatusOptions{NotInRemote: true})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c", "in/deep/f", "o/"}, s.NotInRemote)
}

func TestARevisionIsReadAsItWas(t *testing.T) {
	w := newWorld(t)
	dir, r := historyRepo(t, w)
	write(t, dir, map[string]string{"skip/x.dvc": "outs:\n- md5: " + md5hex("s") + "\n  hash: md5\n  path: x\n", ".dvcignore": "/skip/\n", "other/.dvc/config": "", "other/y.dvc": "outs: nonsense\n"})
	require.NoError(t, os.Remove(filepath.Join(dir, "b.dvc")))
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "two")
	write(t, dir, map[string]string{".dvcignore": ""})
	w.git(dir, "commit", "-q", "-a", "-m", "three")
	diff := func(from, to string) string {
		d, err := r.Diff(bg(t), dvc.DiffOptions{From: from, To: to})
		require.NoError(t, err)
		return marshal(t, d)
	}
	require.JSONEq(t, `{"added":[],"deleted":[{"path":"b"}],"modified":[],"renamed":[]}`, diff("HEAD~2", "HEAD~1"), "ignored there")
	require.JSONEq(t, `{"added":[{"path":"skip/x"}],"deleted":[],"modified":[],"renamed":[]}`, diff("HEAD~1", "HEAD"), "not ignored any more")
	require.JSONEq(t, `{}`, diff("HEAD", "main"))
	_, err := r.Diff(bg(t), dvc.DiffOptions{From: "nope"})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = r.Diff(bg(t), dvc.DiffOptions{From: "--all"})
	require.ErrorIs(t, err, mlops.ErrNotFound, "a revision is no flag")
	_, err = r.Diff(bg(t), dvc.DiffOptions{Targets: []string{"nope"}})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	d, err := r.Diff(bg(t), dvc.DiffOptions{From: "HEAD~2", To: "HEAD", Targets: []string{"b"}, Hashes: true})
	require.NoError(t, err)
	require.JSONEq(t, `{"added":[],"deleted":[{"path":"b","hash":"`+md5hex("2")+`"}],"modified":[],"renamed":[]}`, marshal(t, d))
}

func TestWithoutCommitsAllIsAdded(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "1"})
	_, err := r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	d, err := r.Diff(bg(t), dvc.DiffOptions{})
	require.NoError(t, err)
	require.True(t, d.Clean())
	s, err := r.DataStatus(bg(t), dvc.DataStatusOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, s.Committed.Added)
}
