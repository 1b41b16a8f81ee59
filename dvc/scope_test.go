package dvc_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

func TestAScopeTakesInOtherCommitsFoldersAndStages(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	require.NoError(t, r.AddRemote(bg(t), "r", w.dir(), dvc.AddRemoteOptions{Default: true}))
	commit := func(text string) {
		write(t, dir, map[string]string{"f": text, "sub/x": text + " x"})
		_, err := r.Add(bg(t), []string{"f", "sub/x"}, dvc.AddOptions{})
		require.NoError(t, err)
		w.git(dir, "add", "-A")
		w.git(dir, "commit", "-q", "-m", text)
	}
	commit("first")
	w.git(dir, "tag", "v1")
	commit("second")
	commit("third")
	w.git(dir, "rm", "-q", "--cached", "sub/x.dvc")
	require.NoError(t, os.Remove(filepath.Join(dir, "sub/x.dvc")))

	states := func(s dvc.Scope, targets ...string) int {
		t.Helper()
		st, err := r.Status(bg(t), dvc.StatusOptions{Cloud: true, Scope: s, Targets: targets})
		require.NoError(t, err)
		return len(st.Changes)
	}
	require.Equal(t, 1, states(dvc.Scope{}), "f alone is there")
	require.Equal(t, 3, states(dvc.Scope{AllTags: true}))
	require.Equal(t, 4, states(dvc.Scope{AllTags: true, AllBranches: true}), "f of main is in the workspace, too")
	require.Equal(t, 6, states(dvc.Scope{AllCommits: true}))
	require.Equal(t, 3, states(dvc.Scope{AllCommits: true}, "sub/x"), "what only other commits have")
	require.Equal(t, 3, states(dvc.Scope{AllCommits: true, Recursive: true}, "sub"))
	_, err := r.Push(bg(t), dvc.PushOptions{Targets: []string{"sub"}, Scope: dvc.Scope{Recursive: true}})
	require.ErrorIs(t, err, mlops.ErrNotFound, "no commit is asked")
	_, err = r.Push(bg(t), dvc.PushOptions{Targets: []string{"nope"}, Scope: dvc.Scope{AllCommits: true}})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = r.Status(bg(t), dvc.StatusOptions{Scope: dvc.Scope{AllTags: true}})
	require.ErrorIs(t, err, mlops.ErrInvalid)

	got, err := r.Push(bg(t), dvc.PushOptions{Scope: dvc.Scope{AllCommits: true}})
	require.NoError(t, err)
	require.Equal(t, 6, got.Objects)
	require.Zero(t, states(dvc.Scope{AllCommits: true}))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/cache")))
	got, err = r.Pull(bg(t), dvc.PullOptions{Scope: dvc.Scope{AllTags: true}})
	require.NoError(t, err)
	require.Equal(t, 3, got.Objects, "the tag's data is fetched")
	require.Equal(t, "third", read(t, dir, "f"), "and not checked out")
}

func TestWithDepsFollowsThePipelineUpward(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	require.NoError(t, r.AddRemote(bg(t), "r", w.dir(), dvc.AddRemoteOptions{Default: true}))
	write(t, dir, map[string]string{
		"in": "in", "mid": "mid", "out": "out", "apart": "apart",
		"dvc.yaml": "stages:\n  one:\n    cmd: x\n    deps: [in]\n    outs: [mid]\n  two:\n    cmd: x\n    deps: [mid]\n    outs: [out]\n",
		"dvc.lock": "schema: '2.0'\nstages:\n  one:\n    cmd: x\n    deps:\n    - path: in\n    outs:\n    - path: mid\n      hash: md5\n      md5: " + md5hex("mid") +
			"\n  two:\n    cmd: x\n    outs:\n    - path: out\n      hash: md5\n      md5: " + md5hex("out") + "\n",
	})
	_, err := r.Add(bg(t), []string{"in", "apart"}, dvc.AddOptions{})
	require.NoError(t, err)
	paths := func(s dvc.Scope, target string) (out []string) {
		t.Helper()
		st, err := r.Status(bg(t), dvc.StatusOptions{Cloud: true, Scope: s, Targets: []string{target}})
		require.NoError(t, err)
		for _, c := range st.Changes {
			out = append(out, c.Path)
		}
		return out
	}
	require.Equal(t, []string{"out"}, paths(dvc.Scope{}, "two"))
	require.Equal(t, []string{"in", "mid", "out"}, paths(dvc.Scope{WithDeps: true}, "two"))
	require.Equal(t, []string{"in", "mid"}, paths(dvc.Scope{WithDeps: true}, "one"))
	require.Equal(t, []string{"apart"}, paths(dvc.Scope{WithDeps: true}, "apart"))
}
