package dvc_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

func partRepo(t *testing.T, w *world) (string, *dvc.Repo) {
	t.Helper()
	dir, r := w.repo()
	write(t, dir, map[string]string{"d/a": "a", "d/b": "b", "d/s/c": "c", "d/s/e": "e", "f": "f"})
	_, err := r.Add(bg(t), []string{"d", "f"}, dvc.AddOptions{})
	require.NoError(t, err)
	return dir, r
}

func TestAddOfADeletedPartRecordsTheDeletion(t *testing.T) {
	w := newWorld(t)
	dir, r := partRepo(t, w)
	for _, step := range []struct {
		part  string
		files int
	}{{"d/a", 3}, {"d/s", 1}, {"d/b", 0}} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, step.part)))
		out, err := r.Add(bg(t), []string{step.part}, dvc.AddOptions{})
		require.NoError(t, err)
		require.Equal(t, step.files, out[0].Files)
		require.Equal(t, "d", out[0].Path)
		s, err := r.Status(bg(t), dvc.StatusOptions{})
		require.NoError(t, err)
		require.True(t, s.Clean(), "%v", s.Changes)
	}
	require.Equal(t, "outs:\n- md5: d751713988987e9331980363e24189ce.dir\n  nfiles: 0\n  hash: md5\n  path: d\n", read(t, dir, "d.dvc"))
	before := snapshot(t, dir)
	require.NoError(t, os.Remove(filepath.Join(dir, "f")))
	for _, none := range []string{"d/a", "d/nope", "d/nope/deep", "f", "nope"} {
		_, err := r.Add(bg(t), []string{none}, dvc.AddOptions{})
		require.ErrorIs(t, err, mlops.ErrNotFound, none)
	}
	delete(before, "f")
	require.Equal(t, before, snapshot(t, dir))
}

func TestLiveAddOfADeletedPartIsAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	ours, r := partRepo(t, w)
	theirs, _ := partRepo(t, w)
	for _, part := range []string{"d/a", "d/s/c", "d/s", "d/b"} {
		for _, dir := range []string{ours, theirs} {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, part)))
		}
		_, err := r.Add(bg(t), []string{part}, dvc.AddOptions{})
		require.NoError(t, err)
		w.dvc(theirs, "add", "-q", part)
		require.Equal(t, read(t, theirs, "d.dvc"), read(t, ours, "d.dvc"), part)
		require.Equal(t, "{}", strings.TrimSpace(w.dvc(ours, "status", "--json")))
	}
}

const alwaysYAML = `stages:
  t:
    cmd: echo 1 > o
    outs: [o]
    always_changed: true
  n:
    cmd: echo 2 > p
    outs: [p]
  bare:
    cmd: echo
  frozen:
    cmd: echo
    frozen: true
`

func TestLiveAlwaysChangedIsToldAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"dvc.yaml": alwaysYAML, "f": "f", "g": "g"})
	w.dvc(dir, "repro", "-q", "t", "n")
	_, err := r.Add(bg(t), []string{"f", "g"}, dvc.AddOptions{})
	require.NoError(t, err)
	write(t, dir, map[string]string{"f.dvc": read(t, dir, "f.dvc") + "always_changed: true\n", "f": "changed", "g.dvc": "always_changed: false\n" + read(t, dir, "g.dvc")})
	for _, targets := range [][]string{nil, {"t"}, {"o"}, {"f"}, {"g.dvc", "n"}, {"dvc.yaml"}} {
		s, err := r.Status(bg(t), dvc.StatusOptions{Targets: targets})
		require.NoError(t, err)
		got, err := json.Marshal(s)
		require.NoError(t, err)
		want := w.dvc(dir, append([]string{"status", "--json"}, targets...)...)
		if len(targets) > 0 && targets[0] == "dvc.yaml" {
			want = strings.NewReplacer(`, "bare": ["always changed"]`, "", `, "frozen": ["always changed"]`, "").Replace(want) // a target stands for outputs here
		}
		require.JSONEq(t, want, string(got), "%v", targets)
	}
}

func TestAlwaysChangedIsInStatus(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"dvc.yaml": "stages: {bare: {cmd: echo}, deps: {cmd: echo, deps: [f]}}\n", "f": "f"})
	_, err := r.Add(bg(t), []string{"f"}, dvc.AddOptions{})
	require.NoError(t, err)
	write(t, dir, map[string]string{"f.dvc": read(t, dir, "f.dvc") + "always_changed: true\n"})
	s, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	got, err := json.Marshal(s)
	require.NoError(t, err)
	require.JSONEq(t, `{"bare": ["always changed"], "f.dvc": ["always changed"]}`, string(got))
	_, err = r.Commit(bg(t), dvc.CommitOptions{})
	require.NoError(t, err, "there is nothing to record")
}

func TestLiveDiffAndDataStatusInASubfolderAreAsInDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"s/d/a": "1", "s/d/b": "1", "top": "1", "s/old": "x"})
	_, err := r.Add(bg(t), []string{"s/d", "top", "s/old"}, dvc.AddOptions{})
	require.NoError(t, err)
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-qm", "x")
	write(t, dir, map[string]string{"s/d/a": "2", "top": "2"})
	require.NoError(t, os.Rename(filepath.Join(dir, "s/old"), filepath.Join(dir, "s/new")))
	_, err = r.Add(bg(t), []string{"s/new"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, "s/old.dvc")))
	sub, err := dvc.Open(filepath.Join(dir, "s"))
	require.NoError(t, err)
	d, err := sub.Diff(bg(t), dvc.DiffOptions{})
	require.NoError(t, err)
	got, err := json.Marshal(d)
	require.NoError(t, err)
	require.JSONEq(t, w.dvc(filepath.Join(dir, "s"), "diff", "--json"), string(got))
	require.Contains(t, string(got), `"s/d/a"`)
	data, err := sub.DataStatus(bg(t), dvc.DataStatusOptions{Granular: true})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"s/d/", "s/d/a", "top"}, data.Uncommitted.Modified)
}

func TestLiveLineEndsOfWindowsBecomeThoseOfDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	crlf := func(dir, name string) {
		write(t, dir, map[string]string{name: strings.ReplaceAll(read(t, dir, name), "\n", "\r\n")})
	}
	for _, changed := range []bool{true, false} {
		ours, r := partRepo(t, w)
		theirs, _ := partRepo(t, w)
		for _, dir := range []string{ours, theirs} {
			write(t, dir, map[string]string{"f.dvc": "# c\n" + read(t, dir, "f.dvc") + "desc: hi\n", ".dvc/config": "[core]\n    remote = a # c\n['remote \"a\"']\n    url = /x\n"})
			crlf(dir, "f.dvc")
			crlf(dir, ".dvc/config")
			if changed {
				write(t, dir, map[string]string{"f": "other"})
			}
		}
		_, err := r.Add(bg(t), []string{"f"}, dvc.AddOptions{})
		require.NoError(t, err)
		w.dvc(theirs, "add", "-q", "f")
		require.Equal(t, read(t, theirs, "f.dvc"), read(t, ours, "f.dvc"))
		require.NoError(t, r.Set(bg(t), "core.autostage", "true", ""))
		w.dvc(theirs, "config", "core.autostage", "true")
		require.NotContains(t, read(t, ours, ".dvc/config"), "\r")
		require.NotContains(t, read(t, theirs, ".dvc/config"), "\r")
	}
}

// dvcFiles are .dvc files that dvc refuses, and what is said of them; "" is
// accepted.
var dvcFiles = []struct{ name, text, says string }{
	{"a key of the file", "OUTSnope: 1\n", `the key "nope"`},
	{"a key of an output", "OUTS  nope: 1\n", `the key "nope"`},
	{"a key of dvc 1.x", "OUTS  metric: true\n", `the key "metric"`},
	{"a key of a dependency", "OUTSdeps:\n- path: q\n  zzz: 1\n", `the key "zzz"`},
	{"a command", "OUTScmd: echo\n", `the key "cmd"`},
	{"an absolute wdir", "OUTSwdir: /abs\n", "wdir"},
	{"a wdir above", "OUTSwdir: ..\n", "outside"},
	{"a wdir that is a number", "OUTSwdir: 3\n", "not a text"},
	{"frozen: 1", "frozen: 1\nOUTS", "neither true nor false"},
	{"isexec: maybe", "OUTS  isexec: maybe\n", "neither true nor false"},
	{"cache: 1", "OUTS  cache: 1\n", "neither true nor false"},
	{"a path that is a number", "OUTS- path: 3\n", "not a text"},
	{"conflict markers", "<<<<<<< HEAD\nOUTS=======\nOUTS>>>>>>> x\n", "conflict markers"},
	{"outs as a mapping", "outs: {}\n", "not a list"},
	{"all keys", "OUTS  labels: [a]\n  type: t\n  desc: d\n  meta: 3\n  persist: true\n  push: true\nfrozen: false\nlocked: false\nalways_changed: false\ndesc: d\nmeta: {a: 1}\nwdir: null\n", ""},
	{"no outs", "outs: null\n", ""},
	{"empty", "", ""},
}

func dvcFileRepo(t *testing.T, w *world, text string) (string, *dvc.Repo) {
	dir, r := w.repo()
	outs := "outs:\n- md5: " + md5hex("1") + "\n  size: 1\n  hash: md5\n  path: x\n"
	write(t, dir, map[string]string{"x": "1", "x.dvc": strings.ReplaceAll(text, "OUTS", outs)})
	return dir, r
}

func TestADVCFileThatDVCRefusesIsRefused(t *testing.T) {
	for _, tt := range dvcFiles {
		_, r := dvcFileRepo(t, newWorld(t), tt.text)
		_, err := r.Status(bg(t), dvc.StatusOptions{})
		if tt.says == "" {
			require.NoError(t, err, tt.name)
			continue
		}
		require.ErrorIs(t, err, mlops.ErrInvalid, tt.name)
		require.ErrorContains(t, err, tt.says, tt.name)
	}
}

func TestLiveADVCFileThatIsRefusedIsRefusedByDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	for _, tt := range dvcFiles {
		dir, _ := dvcFileRepo(t, w, tt.text)
		_, err := w.try(dir, "status")
		require.Equal(t, tt.says != "", err != nil, "%s: %v", tt.name, err)
	}
}

func TestConflictMarkersAreNamed(t *testing.T) {
	const markers = "<<<<<<< HEAD\n[core]\n=======\n[cache]\n>>>>>>> x\n"
	for _, name := range []string{".dvc/config", "dvc.yaml", "dvc.lock"} {
		w := newWorld(t)
		dir, r := w.repo()
		write(t, dir, map[string]string{"dvc.yaml": "stages: {}\n"})
		write(t, dir, map[string]string{name: markers})
		_, err := r.Status(bg(t), dvc.StatusOptions{})
		require.ErrorContains(t, err, "conflict markers", name)
		require.ErrorContains(t, err, filepath.Base(name))
	}
}
