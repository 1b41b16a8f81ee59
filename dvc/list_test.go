package dvc_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

func listed(t *testing.T, s *dvc.Source, o dvc.ListOptions) []string {
	t.Helper()
	all, err := s.List(bg(t), o)
	require.NoError(t, err)
	var out []string
	for _, e := range all {
		p := e.Path
		if e.IsDir {
			p += "/"
		}
		if e.IsOut {
			p += " out"
		}
		out = append(out, p)
	}
	return out
}

func TestListShowsWhatGitAndDVCTrack(t *testing.T) {
	w := newWorld(t)
	dir, _ := historyRepo(t, w)
	s, err := dvc.OpenSource(bg(t), dir, dvc.SourceOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.Equal(t, []string{".dvcignore", ".gitignore", "a out", "a.dvc", "b out", "b.dvc", "d/ out", "d.dvc", "dvc.lock", "dvc.yaml", "in/", "m.json", "o/ out"}, listed(t, s, dvc.ListOptions{}))
	require.Equal(t, []string{"sub/ out", "x out", "y out"}, listed(t, s, dvc.ListOptions{Path: "d"}))
	require.Equal(t, []string{"deep/f out"}, listed(t, s, dvc.ListOptions{Path: "in", Recursive: true, DVCOnly: true}))
	require.Equal(t, []string{"z out"}, listed(t, s, dvc.ListOptions{Path: "d/sub", Recursive: true}))
	all, err := s.List(bg(t), dvc.ListOptions{Path: "a"})
	require.NoError(t, err)
	require.JSONEq(t, `[{"isout":true,"isdir":false,"isexec":false,"size":1,"md5":"`+md5hex("1")+`","path":"a"}]`, marshal(t, all))
	_, err = s.List(bg(t), dvc.ListOptions{Path: "nope"})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = s.List(bg(t), dvc.ListOptions{Path: "../x"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func TestLiveListSaysWhatDVCSays(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, _ := historyRepo(t, w)
	s, err := dvc.OpenSource(bg(t), dir, dvc.SourceOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, tt := range []struct {
		args []string
		o    dvc.ListOptions
	}{
		{[]string{"-R", "--dvc-only", dir, "in"}, dvc.ListOptions{Path: "in", Recursive: true, DVCOnly: true}},
		{[]string{"--dvc-only", dir}, dvc.ListOptions{DVCOnly: true}},
		{[]string{dir, "d"}, dvc.ListOptions{Path: "d"}},
	} {
		all, err := s.List(bg(t), tt.o)
		require.NoError(t, err)
		theirs := sorted(t, w.dvc(dir, append([]string{"list", "--json", "--rev", "HEAD"}, tt.args...)...))
		ours := sorted(t, marshal(t, all))
		require.Equal(t, theirs, ours, "%v", tt.args)
	}
}

func TestCommitRecordsWhatChanged(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "1", "d/x": "x"})
	_, err := r.Add(bg(t), []string{"a", "d"}, dvc.AddOptions{})
	require.NoError(t, err)
	out, err := r.Commit(bg(t), dvc.CommitOptions{})
	require.NoError(t, err)
	require.Empty(t, out)
	write(t, dir, map[string]string{"a": "2", "d/y": "y"})
	_, err = r.Commit(bg(t), dvc.CommitOptions{})
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, "a and 1 more changed")
	out, err = r.Commit(bg(t), dvc.CommitOptions{Targets: []string{"d"}, Force: true})
	require.NoError(t, err)
	require.Equal(t, 2, out[0].Files)
	require.NoError(t, os.Remove(filepath.Join(dir, "a")))
	_, err = r.Commit(bg(t), dvc.CommitOptions{Force: true})
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestCommitLeavesStagesToDVC(t *testing.T) {
	w := newWorld(t)
	dir, r := historyRepo(t, w)
	_, err := r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	object(t, filepath.Join(dir, ".dvc/cache"), md5hex(`[{"md5": "`+md5hex("p")+`", "relpath": "p"}]`)+".dir", `[{"md5": "`+md5hex("p")+`", "relpath": "p"}]`)
	object(t, filepath.Join(dir, ".dvc/cache"), md5hex("p"), "p")
	write(t, dir, map[string]string{"o/p": "changed"})
	_, err = r.Commit(bg(t), dvc.CommitOptions{Force: true})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.ErrorContains(t, err, "train")
}

func TestDoctorFindsWhatShouldBeDone(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "1"})
	_, err := r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	sick := func() map[string]string {
		all, err := r.Doctor(bg(t), "")
		require.NoError(t, err)
		out := map[string]string{}
		for _, f := range all {
			if !f.OK {
				out[f.Check] = f.Text
				require.NotEmpty(t, f.Next)
			}
		}
		return out
	}
	require.Empty(t, sick())
	tmp := filepath.Join(dir, ".dvc/cache/files/md5/.aaaaaaaaaaaaaaaaaaaaaa.tmp")
	require.NoError(t, os.WriteFile(tmp, []byte("half"), 0o644))
	require.Empty(t, sick(), "another program may be writing it")
	long := time.Now().Add(-48 * time.Hour)
	require.NoError(t, os.Chtimes(tmp, long, long))
	write(t, dir, map[string]string{".dvc/config": "[cache]\n    type = reflink\n['remote \"r\"']\n    url = https://me:hunter2@example.com/x\n    password = hunter3\n"})
	found := sick()
	require.Contains(t, found["temp"], "1 temporary files")
	require.Contains(t, found["config"], "remote.r.password")
	for _, text := range found {
		require.NotContains(t, text, "hunter")
	}
}

func TestVersionTellsWhereTheDataIsKept(t *testing.T) {
	w := newWorld(t)
	dir, r := historyRepo(t, w)
	require.NoError(t, r.AddRemote(bg(t), "r", "https://me:hunter2@example.com/x?sig=hunter3", dvc.AddRemoteOptions{Default: true, Level: dvc.LevelLocal}))
	for p, hash := range map[string]string{"a": md5hex("1"), "d/sub/z": md5hex("z"), "o": md5hex(`[{"md5": "`+md5hex("p")+`", "relpath": "p"}]`) + ".dir"} {
		v, err := r.Version(bg(t), p)
		require.NoError(t, err)
		require.Equal(t, hash, v.Hash)
		require.Equal(t, "https://example.com/x", v.RemoteURL)
		require.Len(t, v.GitRevision, 40, "%s is as it was committed in %s", p, dir)
	}
}
