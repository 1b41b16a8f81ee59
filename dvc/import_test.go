package dvc_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

func TestImportedDataIsTrackedWithItsOrigin(t *testing.T) {
	w := newWorld(t)
	src := w.registry()
	head := strings.TrimSpace(w.git(src, "rev-parse", "HEAD"))
	dir, r := w.repo()
	w.git(w.dir(), "clone", "-q", "--bare", src, filepath.Join(dir, ".git", "src"))
	src = ".git/src" // a relative folder; short enough for one line
	out, err := r.Import(bg(t), src, "gd", dvc.ImportOptions{Desc: "about it"})
	require.NoError(t, err)
	require.Equal(t, "gd", out.Path)
	require.Equal(t, 3, out.Files)
	require.Equal(t, "h", read(t, dir, "gd/sub dir/it's: h"))
	require.Equal(t, "/gd\n", read(t, dir, ".gitignore"))
	text := read(t, dir, "gd.dvc")
	require.Regexp(t, `^md5: '?[0-9a-f]{32}'?\nfrozen: true\n`, text)
	require.Contains(t, text, "deps:\n- path: gd\n  repo:\n    url: .git/src\n    rev_lock: "+head+"\nouts:\n- md5: "+out.Hash+"\n  size: 3\n  nfiles: 3\n  hash: md5\n  path: gd\n  desc: about it\n")
	st, err := r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	require.True(t, st.Clean(), "%v", st)

	write(t, dir, map[string]string{"gd.dvc": strings.Replace(text, "path: gd\n  repo", "path: data\n  repo", 1)})
	st, err = r.Status(bg(t), dvc.StatusOptions{})
	require.NoError(t, err)
	js, err := st.MarshalJSON()
	require.NoError(t, err)
	require.JSONEq(t, `{"gd.dvc": ["changed checksum"]}`, string(js))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, ".dvc/cache")))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "gd")))
	_, err = r.Pull(bg(t), dvc.PullOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid, "the source has something else at that path")
	require.NoDirExists(t, filepath.Join(dir, "gd"))
	_, err = r.Update(bg(t), dvc.UpdateOptions{Targets: []string{"gd.dvc"}})
	require.NoError(t, err)
	require.Equal(t, "3", read(t, dir, "gd/sub/c"))
}

func TestAnImportGoesOnlyWhereNothingIsLost(t *testing.T) {
	w := newWorld(t)
	src := w.registry()
	dir, r := w.repo()
	write(t, dir, map[string]string{"here": "mine", "tracked/x": "1", "kept": "in git", ".dvcignore": "ignored\n"})
	_, err := r.Add(bg(t), []string{"tracked"}, dvc.AddOptions{})
	require.NoError(t, err)
	w.git(dir, "add", "kept")
	outside := w.dir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	before, beside := snapshot(t, dir), snapshot(t, outside)
	for _, tt := range []struct {
		name string
		out  string
		kind error
		o    dvc.ImportOptions
	}{
		{"a file is there", "here", mlops.ErrAlreadyExists, dvc.ImportOptions{}},
		{"tracked data is there", "tracked", mlops.ErrConflict, dvc.ImportOptions{}},
		{"inside tracked data", "tracked/y", mlops.ErrConflict, dvc.ImportOptions{}},
		{"in git", "kept", mlops.ErrInvalid, dvc.ImportOptions{Force: true}},
		{"ignored", "ignored", mlops.ErrInvalid, dvc.ImportOptions{}},
		{"behind a symlink", "link/x", mlops.ErrInvalid, dvc.ImportOptions{}},
		{"outside", "../x", mlops.ErrInvalid, dvc.ImportOptions{}},
		{"git's folder", ".git/hooks/post-checkout", mlops.ErrInvalid, dvc.ImportOptions{}},
		{"dvc's folder", ".dvc/config", mlops.ErrInvalid, dvc.ImportOptions{Force: true}},
		{"a .dvc file", "x.dvc", mlops.ErrInvalid, dvc.ImportOptions{}},
		{"no such directory", "no/where", mlops.ErrNotFound, dvc.ImportOptions{}},
		{"flags that exclude each other", "here", mlops.ErrInvalid, dvc.ImportOptions{Force: true, NoDownload: true, NoExec: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Out = tt.out
			_, err := r.Import(bg(t), src, "one.csv", tt.o)
			require.ErrorIs(t, err, tt.kind)
			require.Equal(t, before, snapshot(t, dir))
			require.Equal(t, beside, snapshot(t, outside))
		})
	}
	out, err := r.Import(bg(t), src, "one.csv", dvc.ImportOptions{Out: "here", Force: true})
	require.NoError(t, err)
	require.Equal(t, md5hex("two"), out.Hash)
	require.Equal(t, "two", read(t, dir, "here"))
}

func TestGitURLsThatRunCommandsOrHoldPasswordsAreRefused(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	mark := filepath.Join(w.dir(), "ran")
	before := snapshot(t, dir)
	for _, url := range []string{
		"--upload-pack=touch " + mark, "-oProxyCommand=touch", "ext::sh -c touch% " + mark, "fd::17", "EXT::sh", "gopher://x/y", "a\nb", "",
		"https://user:hunter2@example.com/x.git", "https://hunter2@example.com/x.git",
	} {
		_, err := r.Import(bg(t), url, "x", dvc.ImportOptions{})
		require.ErrorIs(t, err, mlops.ErrInvalid, url)
		require.NotContains(t, err.Error(), "hunter2")
		if !strings.HasPrefix(url, "https") {
			_, err = dvc.OpenSource(bg(t), url, dvc.SourceOptions{})
			require.ErrorIs(t, err, mlops.ErrInvalid, url)
			_, err = dvc.Get(bg(t), url, "x", dvc.GetOptions{Dir: dir})
			require.ErrorIs(t, err, mlops.ErrInvalid, url)
		}
		write(t, dir, map[string]string{"x.dvc": fmt.Sprintf("frozen: true\ndeps:\n- path: x\n  repo: {url: %q, rev_lock: %s}\nouts:\n- hash: md5\n  path: x\n", url, strings.Repeat("a", 40))})
		if !strings.HasPrefix(url, "https") {
			_, err = r.Pull(bg(t), dvc.PullOptions{})
			require.ErrorIs(t, err, mlops.ErrInvalid, url)
			_, err = r.Status(bg(t), dvc.StatusOptions{})
			require.ErrorIs(t, err, mlops.ErrInvalid, url)
		}
		require.NoError(t, os.Remove(filepath.Join(dir, "x.dvc")))
	}
	_, err := r.ImportURL(bg(t), "https://user:hunter2@example.com/x", dvc.ImportURLOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = r.ImportURL(bg(t), "s3://b/x", dvc.ImportURLOptions{Config: [][2]string{{"secret_access_key", "hunter2"}}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NotContains(t, err.Error(), "hunter2")
	require.NoFileExists(t, mark)
	require.Equal(t, before, snapshot(t, dir))
	_, err = dvc.Get(bg(t), "http://user:hunter2@127.0.0.1:1/x.git", "x", dvc.GetOptions{Dir: w.dir()})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestASourceCannotReachIntoThisMachine(t *testing.T) {
	w := newWorld(t)
	private := w.registry()
	src, sr := w.repo() // a repository of another team, which imports from a folder
	_, err := sr.Import(bg(t), private, "one.csv", dvc.ImportOptions{})
	require.NoError(t, err)
	write(t, src, map[string]string{
		"passwd.dvc":  "frozen: true\ndeps:\n- md5: " + strings.Repeat("a", 32) + "\n  hash: md5\n  path: /etc/hostname\nouts:\n- hash: md5\n  path: passwd\n",
		"nothing.txt": "x",
	})
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(src, "link")))
	write(t, src, map[string]string{"lfs": "version https://git-lfs.github.com/spec/v1\noid sha256:x\nsize 1\n"})
	w.git(src, "add", "-A")
	w.git(src, "commit", "-q", "-m", "x")
	dir, r := w.repo()
	before := snapshot(t, dir)
	for _, tt := range []struct {
		path string
		kind error
	}{
		{"one.csv", mlops.ErrForbidden}, {"passwd", mlops.ErrNotFound}, {"link", mlops.ErrUnsupported}, {"lfs", mlops.ErrUnsupported},
		{"../x", mlops.ErrInvalid}, {"/etc/hostname", mlops.ErrInvalid}, {".git/config", mlops.ErrInvalid}, {"", mlops.ErrInvalid}, {"none", mlops.ErrNotFound},
	} {
		_, err := r.Import(bg(t), "file://"+src, tt.path, dvc.ImportOptions{Out: "x"})
		require.ErrorIs(t, err, tt.kind, tt.path)
		require.Equal(t, before, filled(snapshot(t, dir)), tt.path)
	}
	_, err = r.Import(bg(t), "file://"+src, "one.csv", dvc.ImportOptions{Trust: true})
	require.NoError(t, err, "the user may trust it")
	require.Equal(t, "two", read(t, dir, "one.csv"))
}

// filled leaves out the empty folders of a cache.
func filled(snap map[string]string) map[string]string {
	for p := range snap {
		if strings.HasPrefix(p, ".dvc/cache/") && strings.HasSuffix(p, "/") {
			delete(snap, p)
		}
	}
	return snap
}

func TestAnImportThatIsCancelledLeavesTheWorkTreeAsItWas(t *testing.T) {
	w := newWorld(t)
	src := w.registry()
	dir, r := w.repo()
	before := tracked(t, dir)
	for _, at := range []int{1, 2, 3} { // in the midst of the transfer
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		_, err := r.Import(ctx, src, ".", dvc.ImportOptions{Out: "all", Transfers: dvc.Transfers{Jobs: 1, Progress: func(dvc.Progress) {
			if calls++; calls == at {
				cancel()
			}
		}}})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, before, tracked(t, dir))
		whole(t, filepath.Join(dir, ".dvc/cache"), false)
	}
	_, err := r.Import(bg(t), src, ".", dvc.ImportOptions{Out: "all"})
	require.NoError(t, err)
	before = tracked(t, dir)
	write(t, src, map[string]string{"plain.txt": "once more", "gd/k": "k"})
	w.git(src, "add", "-A")
	w.git(src, "commit", "-q", "-m", "y")
	ctx, cancel := context.WithCancel(t.Context())
	_, err = r.Update(ctx, dvc.UpdateOptions{Targets: []string{"all.dvc"}, Transfers: dvc.Transfers{Progress: func(dvc.Progress) { cancel() }}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, tracked(t, dir))
}

func TestAnImportThatCannotBeRecordedLeavesTheWorkTreeAsItWas(t *testing.T) {
	w := newWorld(t)
	src := w.registry()
	dir, r := w.repo()
	_, err := r.Import(bg(t), src, "gd", dvc.ImportOptions{Rev: "v1"})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, ".gitignore")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".gitignore"), 0o755))
	before := tracked(t, dir)
	_, err = r.Import(bg(t), src, "data", dvc.ImportOptions{})
	require.ErrorContains(t, err, ".gitignore")
	require.Equal(t, before, tracked(t, dir))
	_, err = r.Update(bg(t), dvc.UpdateOptions{Targets: []string{"gd.dvc"}, Rev: "main"})
	require.ErrorContains(t, err, ".gitignore")
	require.Equal(t, before, tracked(t, dir))
}

func TestAnUpdateKeepsWhatIsNowhereElse(t *testing.T) {
	w := newWorld(t)
	src := w.registry()
	dir, r := w.repo()
	_, err := r.Import(bg(t), src, "plain.txt", dvc.ImportOptions{})
	require.NoError(t, err)
	write(t, dir, map[string]string{"plain.txt": "my own change"})
	write(t, src, map[string]string{"plain.txt": "theirs"})
	w.git(src, "commit", "-q", "-a", "-m", "y")
	before := tracked(t, dir)
	for _, o := range []dvc.UpdateOptions{{}, {NoDownload: true}} {
		o.Targets = []string{"plain.txt.dvc"}
		_, err = r.Update(bg(t), o)
		require.ErrorIs(t, err, mlops.ErrConflict)
		require.Equal(t, before, tracked(t, dir))
	}
	outs, err := r.Update(bg(t), dvc.UpdateOptions{Targets: []string{"plain.txt"}, Force: true})
	require.NoError(t, err)
	require.Len(t, outs, 1)
	require.Equal(t, "theirs", read(t, dir, "plain.txt"))
	outs, err = r.Update(bg(t), dvc.UpdateOptions{Targets: []string{"plain.txt"}})
	require.NoError(t, err)
	require.Empty(t, outs, "nothing to do")

	write(t, dir, map[string]string{"added": "x"})
	_, err = r.Add(bg(t), []string{"added"}, dvc.AddOptions{})
	require.NoError(t, err)
	for _, targets := range [][]string{{"added.dvc"}, nil} {
		_, err = r.Update(bg(t), dvc.UpdateOptions{Targets: targets})
		require.ErrorIs(t, err, mlops.ErrInvalid)
	}
	_, err = r.Update(bg(t), dvc.UpdateOptions{Targets: []string{"plain.txt"}, Rev: "no-such"})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	short := strings.TrimSpace(w.git(src, "rev-parse", "--short", "v1"))
	_, err = r.Update(bg(t), dvc.UpdateOptions{Targets: []string{"plain.txt"}, Rev: short})
	require.NoError(t, err)
	require.Equal(t, "plain", read(t, dir, "plain.txt"))
}

func TestImportsAreFetchedFromWhereTheyComeFrom(t *testing.T) {
	w := newWorld(t)
	src := w.registry()
	dir, r := w.repo()
	rem := w.dir()
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	for path, o := range map[string]dvc.ImportOptions{"data": {}, "plain.txt": {Rev: "v1"}, "gd": {NoDownload: true}} {
		_, err := r.Import(bg(t), src, path, o)
		require.NoError(t, err)
	}
	write(t, dir, map[string]string{"own": "mine"})
	_, err := r.Add(bg(t), []string{"own"}, dvc.AddOptions{})
	require.NoError(t, err)
	tr, err := r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, tr.Objects, "nothing of others is pushed")

	clone, cr := w.clone(dir)
	g, err := cr.GC(bg(t), dvc.GCOptions{Workspace: true})
	require.NoError(t, err, "an import that was not fetched does not stop it")
	require.Empty(t, g.Cache)
	_, err = cr.Fetch(bg(t), dvc.FetchOptions{})
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(clone, "plain.txt"))
	w.git(src, "tag", "-d", "v1")
	require.NoError(t, os.Rename(src, src+"-away")) // all is in the cache by now, but what has no hash
	_, err = cr.Pull(bg(t), dvc.PullOptions{Targets: []string{"data", "plain.txt", "own"}})
	require.NoError(t, err)
	require.Equal(t, "plain", read(t, clone, "plain.txt"))
	_, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = cr.Status(bg(t), dvc.StatusOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	st, err := cr.Status(bg(t), dvc.StatusOptions{NoUpdates: true})
	require.NoError(t, err)
	require.Equal(t, []dvc.Change{{DVCFile: "gd.dvc", Path: "gd", State: dvc.ChangeDeleted}}, st.Changes)
	require.NoError(t, os.Rename(src+"-away", src))
	tr, err = cr.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"gd"}, tr.Added)
	require.Equal(t, read(t, dir, "gd.dvc"), read(t, clone, "gd.dvc"), "a pull writes no .dvc file")
	g, err = cr.GC(bg(t), dvc.GCOptions{Workspace: true})
	require.NoError(t, err)
	for _, x := range g.Cache {
		require.NotEqual(t, md5hex("plain"), x.Hash, "what an import needs is kept")
	}
}

func TestDamagedDataOfASourceIsNotImported(t *testing.T) {
	w := newWorld(t)
	src := w.registry()
	require.NoError(t, os.RemoveAll(filepath.Join(src, ".dvc/cache")))
	sr, err := dvc.Open(src)
	require.NoError(t, err)
	rem, err := sr.DefaultRemote()
	require.NoError(t, err)
	object(t, rem.URL, md5hex("two"), "not two")
	dir, r := w.repo()
	_, err = r.Import(bg(t), src, "one.csv", dvc.ImportOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NoFileExists(t, filepath.Join(dir, "one.csv"))
	require.NoFileExists(t, filepath.Join(dir, "one.csv.dvc"))
	_, err = r.Import(bg(t), src, "data", dvc.ImportOptions{})
	require.NoError(t, err)
}

func TestGetNeedsNoRepository(t *testing.T) {
	w := newWorld(t)
	src := w.registry()
	dir := w.dir()
	out, err := dvc.Get(bg(t), src, "data", dvc.GetOptions{Dir: dir})
	require.NoError(t, err)
	require.Equal(t, 3, out.Files)
	_, err = dvc.Get(bg(t), src, "one.csv", dvc.GetOptions{Dir: dir, Out: "old.csv", Rev: "v1"})
	require.NoError(t, err)
	_, err = dvc.Get(bg(t), src, "plain.txt", dvc.GetOptions{Dir: dir, Out: "data"})
	require.NoError(t, err)
	mode := "-rw-r--r-- "
	require.Equal(t, map[string]string{
		"data/a": mode + `"1"`, "data/sub/b": mode + `"2"`, "data/sub/c": mode + `"3"`, "data/plain.txt": mode + `"plainer"`, "old.csv": mode + `"one"`,
	}, filesOf(t, dir))

	_, err = dvc.Get(bg(t), src, "one.csv", dvc.GetOptions{Dir: dir, Out: "old.csv"})
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	_, err = dvc.Get(bg(t), src, "one.csv", dvc.GetOptions{Dir: dir, Out: "old.csv", Force: true})
	require.NoError(t, err)
	write(t, dir, map[string]string{"data/own": "mine", "data/a": "mine, too"})
	_, err = dvc.Get(bg(t), src, "data", dvc.GetOptions{Dir: dir, Force: true})
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"data/a": mode + `"1"`, "data/sub/b": mode + `"2"`, "data/sub/c": mode + `"3"`, "data/plain.txt": mode + `"plainer"`, "data/own": mode + `"mine"`,
		"old.csv": mode + `"two"`,
	}, filesOf(t, dir))
	before := snapshot(t, dir)
	for _, tt := range []struct {
		path string
		o    dvc.GetOptions
		kind error
	}{
		{"data", dvc.GetOptions{Out: "old.csv", Force: true}, mlops.ErrConflict},
		{"none", dvc.GetOptions{}, mlops.ErrNotFound},
		{"one.csv", dvc.GetOptions{Rev: "none"}, mlops.ErrNotFound},
		{"one.csv", dvc.GetOptions{Out: "no/such/folder"}, mlops.ErrNotFound},
		{"one.csv.dvc", dvc.GetOptions{}, mlops.ErrInvalid},
		{".", dvc.GetOptions{}, mlops.ErrInvalid},
	} {
		tt.o.Dir = dir
		_, err := dvc.Get(bg(t), src, tt.path, tt.o)
		require.ErrorIs(t, err, tt.kind, tt.path)
		require.Equal(t, before, snapshot(t, dir), "nothing is left behind")
	}
	other := w.dir()
	require.NoError(t, os.Symlink(other, filepath.Join(dir, "plain.txt")))
	_, err = dvc.Get(bg(t), src, "plain.txt", dvc.GetOptions{Dir: dir, Out: dir + "/.", Force: true})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

// filesOf is a snapshot without directories.
func filesOf(t *testing.T, dir string) map[string]string {
	out := snapshot(t, dir)
	for p := range out {
		if strings.HasSuffix(p, "/") {
			delete(out, p)
		}
	}
	return out
}

func TestAURLIsFetchedAgainWhenItHasChanged(t *testing.T) {
	w := newWorld(t)
	text, tag, gets := "one", `"1"`, 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/file", http.StatusFound)
		case "/file":
			if r.Method == http.MethodGet {
				gets++
			}
			w.Header().Set("ETag", tag)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
		case "/short":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("not a hundred bytes"))
		case "/liar":
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", "100")
				return
			}
			_, _ = w.Write([]byte("a few"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	dir, r := w.repo()
	_, err := r.ImportURL(bg(t), srv.URL+"/moved", dvc.ImportURLOptions{Out: "f"})
	require.NoError(t, err)
	require.Contains(t, read(t, dir, "f.dvc"), "- checksum: '\"1\"'\n  size: 3\n")
	up := dvc.UpdateOptions{Targets: []string{"f.dvc"}}
	outs, err := r.Update(bg(t), up)
	require.NoError(t, err)
	require.Empty(t, outs)
	require.Equal(t, 1, gets, "what has not changed is not fetched")
	text, tag = "two!", `"2"`
	outs, err = r.Update(bg(t), up)
	require.NoError(t, err)
	require.Len(t, outs, 1)
	require.Equal(t, "two!", read(t, dir, "f"))

	_, err = r.ImportURL(bg(t), srv.URL+"/file", dvc.ImportURLOptions{Out: "later", NoDownload: true})
	require.NoError(t, err)
	text, tag = "three", `"3"`
	_, err = r.Pull(bg(t), dvc.PullOptions{Targets: []string{"later"}})
	require.ErrorIs(t, err, mlops.ErrConflict, "it is not what the .dvc file says any more")
	require.NoFileExists(t, filepath.Join(dir, "later"))
	_, err = r.Update(bg(t), dvc.UpdateOptions{Targets: []string{"later.dvc"}})
	require.NoError(t, err)
	require.Equal(t, "three", read(t, dir, "later"))

	before := tracked(t, dir)
	for at, kind := range map[string]error{"/none": mlops.ErrNotFound, "/short": mlops.ErrUnavailable, "/liar": mlops.ErrInvalid} {
		_, err = r.ImportURL(bg(t), srv.URL+at, dvc.ImportURLOptions{Out: "x"})
		require.ErrorIs(t, err, kind, at)
		require.Equal(t, before, tracked(t, dir))
	}
	whole(t, filepath.Join(dir, ".dvc/cache"), false)
}
