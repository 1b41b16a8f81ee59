package dvc_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/dvc/remote"
	_ "github.com/mlops-integration/mlops/dvc/remote/http"
	"github.com/mlops-integration/mlops/dvc/remote/remotetest"
)

// registry makes a repository to import from: data in DVC and in git, two
// commits, the first of them tagged v1. All data is in its remote.
func (w *world) registry() string {
	w.t.Helper()
	dir, r := w.repo()
	require.NoError(w.t, r.AddRemote(bg(w.t), "store", w.dir(), dvc.AddRemoteOptions{Default: true}))
	commit := func(files map[string]string) {
		write(w.t, dir, files)
		_, err := r.Add(bg(w.t), []string{"data", "one.csv", "run.sh"}, dvc.AddOptions{})
		require.NoError(w.t, err)
		_, err = r.Push(bg(w.t), dvc.PushOptions{})
		require.NoError(w.t, err)
		w.git(dir, "add", "-A")
		w.git(dir, "commit", "-q", "-m", "x")
	}
	write(w.t, dir, map[string]string{"run.sh": "#!/bin/sh\n", "tool": "a tool", ".dvcignore": "*.skip\n", "gd/c.skip": "skipped"})
	require.NoError(w.t, os.Chmod(filepath.Join(dir, "run.sh"), 0o755))
	require.NoError(w.t, os.Chmod(filepath.Join(dir, "tool"), 0o755))
	commit(map[string]string{"data/a": "1", "data/sub/b": "2", "one.csv": "one", "plain.txt": "plain", "gd/g": "g", "gd/sub dir/it's: h": "h"})
	w.git(dir, "tag", "v1")
	commit(map[string]string{"data/sub/c": "3", "one.csv": "two", "plain.txt": "plainer", "gd/i": "i"})
	return dir
}

// importCase is one import, by dvc's arguments and by ours.
type importCase struct {
	path string
	o    dvc.ImportOptions
}

func (c importCase) args(url string) []string {
	args := []string{"import", "-q", url, c.path}
	for _, f := range []struct{ flag, val string }{{"-o", c.o.Out}, {"--rev", c.o.Rev}, {"--remote", c.o.Remote}} {
		if f.val != "" {
			args = append(args, f.flag, f.val)
		}
	}
	for flag, set := range map[string]bool{"--force": c.o.Force, "--no-download": c.o.NoDownload, "--no-exec": c.o.NoExec} {
		if set {
			args = append(args, flag)
		}
	}
	return args
}

// tracked is a repository without DVC's folder.
func tracked(t testing.TB, dir string) map[string]string {
	out := snapshot(t, dir)
	maps.DeleteFunc(out, func(p, _ string) bool { return strings.HasPrefix(p, ".dvc/") })
	return out
}

func sameTracked(t testing.TB, theirs, ours, what string) {
	t.Helper()
	a, b := tracked(t, theirs), tracked(t, ours)
	for p := range b {
		if a[p] != b[p] {
			t.Errorf("%s: %s\n dvc:  %s\n ours: %s", what, p, orNone(a[p]), b[p])
		}
	}
	for p := range a {
		if _, ok := b[p]; !ok {
			t.Errorf("%s: %s is dvc's alone: %s", what, p, a[p])
		}
	}
}

func TestLiveImportsAreWrittenAsDVCWritesThem(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	src := w.registry()
	theirs, _ := w.repo()
	ours, r := w.repo()
	for _, dir := range []string{theirs, ours} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "into"), 0o755))
	}
	for _, c := range []importCase{
		{"one.csv", dvc.ImportOptions{}},
		{"one.csv", dvc.ImportOptions{Out: "old one.csv", Rev: "v1"}},
		{"one.csv", dvc.ImportOptions{Out: "into"}},
		{"one.csv", dvc.ImportOptions{Out: "123", Remote: "store"}},
		{"run.sh", dvc.ImportOptions{}},
		{"data", dvc.ImportOptions{}},
		{"data/", dvc.ImportOptions{Out: "slashed", Rev: "main"}},
		{"data", dvc.ImportOptions{Out: strings.Repeat("long name ", 7) + "end", Rev: "v1"}},
		{"data/sub", dvc.ImportOptions{Out: "part"}},
		{"data/sub/b", dvc.ImportOptions{Out: "café"}},
		{"plain.txt", dvc.ImportOptions{}},
		{"tool", dvc.ImportOptions{Rev: "v1"}},
		{"gd", dvc.ImportOptions{}},
		{"gd/sub dir/it's: h", dvc.ImportOptions{Out: "quoted"}},
		{".", dvc.ImportOptions{Out: "all"}},
		{"one.csv", dvc.ImportOptions{Out: "later.csv", NoDownload: true}},
		{"data", dvc.ImportOptions{Out: "later", NoDownload: true, Rev: "v1"}},
		{"one.csv", dvc.ImportOptions{Out: "unknown.csv", NoExec: true}},
		{"one.csv", dvc.ImportOptions{Rev: "v1", Force: true}},
	} {
		w.dvc(theirs, c.args(src)...)
		_, err := r.Import(bg(t), src, c.path, c.o)
		require.NoError(t, err, "%v", c)
		sameTracked(t, theirs, ours, strings.Join(c.args("src"), " "))
	}
	sameStatus(t, w, theirs, ours)
}

func TestLivePulledImportsAreWhatDVCPulls(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	src := w.registry()
	theirs, _ := w.repo()
	ours, r := w.repo()
	for _, c := range []importCase{
		{"one.csv", dvc.ImportOptions{}}, {"data", dvc.ImportOptions{}}, {"gd/g", dvc.ImportOptions{}},
		{"run.sh", dvc.ImportOptions{Out: "later.sh", NoDownload: true}}, {"gd/sub dir", dvc.ImportOptions{Out: "later", NoDownload: true}},
	} {
		w.dvc(theirs, c.args(src)...)
		_, err := r.Import(bg(t), src, c.path, c.o)
		require.NoError(t, err)
	}
	for _, dir := range []string{theirs, ours} {
		clone, _ := w.clone(dir)
		w.dvc(clone, "pull", "-q")
		again, ar := w.clone(dir)
		_, err := ar.Pull(bg(t), dvc.PullOptions{})
		require.NoError(t, err)
		sameTracked(t, clone, again, "pull")
		sameStatus(t, w, clone, again)

		// Nothing of it is pushed.
		rem := w.dir()
		require.NoError(t, ar.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
		_, err = ar.Push(bg(t), dvc.PushOptions{})
		require.NoError(t, err)
		w.dvc(again, "push", "-q")
		require.Len(t, snapshot(t, rem), 1)
	}
}

// sameStatus compares status and data status, each tool in its own repository
// and in the other's.
func sameStatus(t testing.TB, w *world, theirs, ours string) {
	t.Helper()
	for _, args := range [][]string{{"status", "--json"}, {"data", "status", "--json"}} {
		want := w.dvc(theirs, args...)
		require.JSONEq(t, want, w.dvc(ours, args...), "dvc %v of theirs and of ours", args)
		for _, dir := range []string{theirs, ours} {
			r, err := dvc.Open(dir)
			require.NoError(t, err)
			var js []byte
			if args[0] == "status" {
				st, e := r.Status(bg(t), dvc.StatusOptions{})
				require.NoError(t, e)
				js, err = st.MarshalJSON()
			} else {
				st, e := r.DataStatus(bg(t), dvc.DataStatusOptions{})
				require.NoError(t, e)
				js, err = json.Marshal(st)
			}
			require.NoError(t, err)
			require.JSONEq(t, want, string(js), "%v in %s", args, filepath.Base(filepath.Dir(dir)))
		}
	}
}

func TestLiveUpdatesAreWrittenAsDVCWritesThem(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	src := w.registry()
	theirs, tr := w.repo()
	ours, r := w.repo()
	for _, in := range []*dvc.Repo{tr, r} {
		for _, c := range []importCase{
			{"one.csv", dvc.ImportOptions{}}, {"one.csv", dvc.ImportOptions{Out: "old.csv", Rev: "v1"}}, {"data", dvc.ImportOptions{Out: "d"}},
			{"gd", dvc.ImportOptions{}}, {"one.csv", dvc.ImportOptions{Out: "later.csv", NoDownload: true}},
			{"one.csv", dvc.ImportOptions{Out: "unknown.csv", NoExec: true, Rev: "v1"}}, {"data/sub", dvc.ImportOptions{Out: "branch", Rev: "main"}},
		} {
			_, err := in.Import(bg(t), src, c.path, c.o)
			require.NoError(t, err)
		}
	}
	for _, dir := range []string{theirs, ours} { // as people edit them
		text := read(t, dir, "d.dvc")
		write(t, dir, map[string]string{"d.dvc": "# a comment\n" + strings.Replace(text, "    rev_lock", "    # locked\n    rev_lock", 1) + "meta:\n  who: me\n"})
	}
	sr, err := dvc.Open(src)
	require.NoError(t, err)
	write(t, src, map[string]string{"data/new": "new", "one.csv": "three", "gd/j": "j"})
	_, err = sr.Add(bg(t), []string{"data", "one.csv"}, dvc.AddOptions{})
	require.NoError(t, err)
	_, err = sr.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	w.git(src, "add", "-A")
	w.git(src, "commit", "-q", "-m", "y")
	sameStatus(t, w, theirs, ours)
	for _, u := range []dvc.UpdateOptions{
		{Targets: []string{"one.csv.dvc"}},
		{Targets: []string{"one.csv.dvc"}},
		{Targets: []string{"old.csv.dvc"}},
		{Targets: []string{"old.csv.dvc"}, Rev: "main"},
		{Targets: []string{"d.dvc", "later.csv.dvc"}},
		{Targets: []string{"d.dvc"}, Rev: "v1"},
		{Targets: []string{"unknown.csv.dvc"}},
		{Targets: []string{"branch.dvc", "gd.dvc"}, NoDownload: true},
		{Targets: []string{"."}, Recursive: true},
	} {
		args := append([]string{"update", "-q"}, u.Targets...)
		if u.Rev != "" {
			args = append(args, "--rev", u.Rev)
		}
		if u.NoDownload {
			args = append(args, "--no-download")
		}
		if u.Recursive {
			args = append(args, "-R")
		}
		w.dvc(theirs, args...)
		_, err := r.Update(bg(t), u)
		require.NoError(t, err, "%v", u)
		sameTracked(t, theirs, ours, strings.Join(args, " "))
	}
	sameStatus(t, w, theirs, ours)
}

func TestLiveImportsFromURLsAreWrittenAsDVCWritesThem(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	ext := w.dir()
	write(t, ext, map[string]string{"file.txt": "a file", "dir/a": "1", "dir/sub/b é": "2", "exec": "x"})
	require.NoError(t, os.Chmod(filepath.Join(ext, "exec"), 0o755))
	plain := httptest.NewServer(http.FileServer(http.Dir(ext)))
	defer plain.Close()
	tagged := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a 'tag'"`)
		http.ServeFile(w, r, filepath.Join(ext, "file.txt"))
	}))
	defer tagged.Close()
	theirs, _ := w.repo()
	ours, r := w.repo()
	for _, dir := range []string{theirs, ours} {
		write(t, dir, map[string]string{"inner/x": "in", "s/keep": ""})
	}
	for _, c := range []struct {
		url string
		o   dvc.ImportURLOptions
	}{
		{filepath.Join(ext, "file.txt"), dvc.ImportURLOptions{}},
		{filepath.Join(ext, "exec"), dvc.ImportURLOptions{}},
		{filepath.Join(ext, "dir"), dvc.ImportURLOptions{}},
		{filepath.Join(ext, "file.txt"), dvc.ImportURLOptions{Out: "s"}},
		{"inner/x", dvc.ImportURLOptions{Out: "s/copy"}},
		{"inner", dvc.ImportURLOptions{Out: "copy"}},
		{plain.URL + "/file.txt", dvc.ImportURLOptions{Out: "h.txt"}},
		{plain.URL + "/file.txt?x=1", dvc.ImportURLOptions{Out: "query"}},
		{tagged.URL + "/file.txt", dvc.ImportURLOptions{Out: "tagged"}},
		{filepath.Join(ext, "file.txt"), dvc.ImportURLOptions{Out: "later", NoDownload: true}},
		{filepath.Join(ext, "dir"), dvc.ImportURLOptions{Out: "later dir", NoDownload: true}},
		{tagged.URL + "/file.txt", dvc.ImportURLOptions{Out: "later http", NoDownload: true}},
		{filepath.Join(ext, "file.txt"), dvc.ImportURLOptions{Out: "unknown", NoExec: true}},
		{filepath.Join(ext, "exec"), dvc.ImportURLOptions{Out: "file.txt", Force: true}},
	} {
		args := []string{"import-url", "-q", c.url}
		if c.o.Out != "" {
			args = append(args, c.o.Out)
		}
		for flag, set := range map[string]bool{"--force": c.o.Force, "--no-download": c.o.NoDownload, "--no-exec": c.o.NoExec} {
			if set {
				args = append(args, flag)
			}
		}
		w.dvc(theirs, args...)
		_, err := r.ImportURL(bg(t), c.url, c.o)
		require.NoError(t, err, "%v", c)
		sameTracked(t, theirs, ours, strings.Join(args, " "))
	}
	sameStatus(t, w, theirs, ours)
	write(t, ext, map[string]string{"exec": "changed", "dir/new": "n"})
	all := []string{"file.txt.dvc", "dir.dvc", "later.dvc", "h.txt.dvc"}
	w.dvc(theirs, append([]string{"update", "-q"}, all...)...)
	_, err := r.Update(bg(t), dvc.UpdateOptions{Targets: all})
	require.NoError(t, err)
	sameTracked(t, theirs, ours, "update")
	sameStatus(t, w, theirs, ours)
}

func TestLiveImportsFromS3AreWrittenAsDVCWritesThem(t *testing.T) {
	g := remotetest.StartS3(t)
	w := newWorld(t)
	w.bin = realDVC(t)
	store, err := remote.Open(bg(t), g.Config("x"))
	require.NoError(t, err)
	put := func(name, text string) {
		body := io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))
		require.NoError(t, store.Put(bg(t), name, remote.Blob{Body: body, MD5: md5hex(text)}))
	}
	for name, text := range map[string]string{"file": "in S3", "dir/a": "1", "dir/sub/b": "2"} {
		put(name, text)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", g.Key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", g.Secret)
	t.Setenv("AWS_DEFAULT_REGION", "us-east-1")
	t.Setenv("AWS_REGION", "us-east-1")
	direct := "s3://" + g.Bucket + "/x/"
	at := [][2]string{{"endpointurl", g.URL}}
	theirs, _ := w.repo()
	ours, r := w.repo()
	useS3(t, theirs, g, "x")
	useS3(t, ours, g, "x")
	for _, c := range []struct {
		url string
		o   dvc.ImportURLOptions
	}{
		{"remote://s/file", dvc.ImportURLOptions{}},
		{"remote://s/dir", dvc.ImportURLOptions{}},
		{"remote://s/dir", dvc.ImportURLOptions{Out: "later", NoDownload: true}},
		{"remote://s/file", dvc.ImportURLOptions{Out: "later.txt", NoDownload: true}},
		{direct + "file", dvc.ImportURLOptions{Out: "direct", Config: at}},
		{direct + "dir", dvc.ImportURLOptions{Out: "direct dir", Config: at}},
	} {
		args := []string{"import-url", "-q", c.url}
		if c.o.Out != "" {
			args = append(args, c.o.Out)
		}
		if c.o.NoDownload {
			args = append(args, "--no-download")
		}
		for _, f := range c.o.Config {
			args = append(args, "--fs-config", f[0]+"="+f[1])
		}
		w.dvc(theirs, args...)
		_, err := r.ImportURL(bg(t), c.url, c.o)
		require.NoError(t, err, "%v", c)
		sameTracked(t, theirs, ours, strings.Join(args, " "))
	}
	sameStatus(t, w, theirs, ours)
}
