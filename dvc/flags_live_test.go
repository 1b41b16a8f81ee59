package dvc_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

// pair is one repository in two copies: dvc works in one, ours in the other.
type pair struct {
	w            *world
	t            *testing.T
	theirs, ours string
	repo         *dvc.Repo
	remA, remB   string
}

// pairOf clones a repository twice, cache and all, each with a remote of its own.
func pairOf(t *testing.T, w *world, dir string) *pair {
	t.Helper()
	p := &pair{w: &world{t: t, bin: w.bin}, t: t, remA: filepath.Join(w.dir(), "rem"), remB: filepath.Join(w.dir(), "rem")}
	p.theirs, p.ours = filepath.Join(w.dir(), "r"), filepath.Join(w.dir(), "r")
	for to, rem := range map[string]string{p.theirs: p.remA, p.ours: p.remB} {
		out, err := exec.Command("cp", "-a", dir, to).CombinedOutput() // with its modes
		require.NoError(t, err, "%s", out)
		require.NoError(t, os.MkdirAll(rem, 0o755))
		w.git(to, "checkout", "-q", "-f", "main")
		write(t, to, map[string]string{".dvc/config.local": "[core]\n    remote = s\n['remote \"s\"']\n    url = " + rem + "\n"})
	}
	var err error
	p.repo, err = dvc.Open(p.ours)
	require.NoError(t, err)
	return p
}

func (p *pair) dvc(args ...string) {
	p.t.Helper()
	p.w.dvc(p.theirs, args...)
}

// same compares the remotes, or the repositories without their configuration.
func (p *pair) same(did string) {
	p.t.Helper()
	require.Empty(p.t, differ(snapshot(p.t, p.remA), snapshot(p.t, p.remB)), "the remotes after %s", did)
	a, b := snapshot(p.t, p.theirs), snapshot(p.t, p.ours)
	delete(a, ".dvc/config.local")
	delete(b, ".dvc/config.local")
	require.Empty(p.t, differ(a, b), "the repositories after %s", did)
}

// branches makes a repository whose data differs from commit to commit, with a
// pipeline of two stages and data in a folder. dvc has made all of it.
func branches(t *testing.T, w *world) string {
	t.Helper()
	dir := w.dir()
	w.git(dir, "init", "-q", "-b", "main")
	w.dvc(dir, "init", "-q")
	commit := func(text string) {
		write(t, dir, map[string]string{"d/f": text + " of d", "d/same": "same", "sub/x": text + " of x", "sub/deep/y": text + " of y", "in": text + " in"})
		w.dvc(dir, "add", "-q", "d", "sub/x", "sub/deep/y", "in")
		w.dvc(dir, "repro", "-q")
		w.git(dir, "add", "-A")
		w.git(dir, "commit", "-q", "-m", text)
	}
	write(t, dir, map[string]string{"dvc.yaml": "stages:\n  one:\n    cmd: cp in mid\n    deps: [in]\n    outs: [mid]\n  two:\n    cmd: cat mid mid > out\n    deps: [mid]\n    outs: [out]\n"})
	commit("first")
	w.git(dir, "tag", "v1")
	commit("second")
	w.git(dir, "branch", "side")
	w.git(dir, "checkout", "-q", "side")
	commit("of the branch")
	w.git(dir, "checkout", "-q", "main")
	w.dvc(dir, "checkout", "-q")
	commit("third")
	return dir
}

func TestLiveScopesAreDVCs(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir := branches(t, w)
	for _, tt := range []struct {
		flags   []string
		targets []string
		scope   dvc.Scope
	}{
		{[]string{"-a"}, nil, dvc.Scope{AllBranches: true}},
		{[]string{"-T"}, nil, dvc.Scope{AllTags: true}},
		{[]string{"-A"}, nil, dvc.Scope{AllCommits: true}},
		{[]string{"-a", "-T"}, []string{"d"}, dvc.Scope{AllBranches: true, AllTags: true}},
		{[]string{"-R"}, []string{"sub"}, dvc.Scope{Recursive: true}},
		{[]string{"-R", "-T"}, []string{"sub"}, dvc.Scope{Recursive: true, AllTags: true}},
		{[]string{"-d"}, []string{"two"}, dvc.Scope{WithDeps: true}},
		{[]string{"-d"}, []string{"one"}, dvc.Scope{WithDeps: true}},
		{nil, []string{"two"}, dvc.Scope{}},
	} {
		did := append(append([]string{"push", "-q"}, tt.flags...), tt.targets...)
		t.Run(itoa(len(did))+" "+did[len(did)-1], func(t *testing.T) {
			p := pairOf(t, w, dir)
			p.dvc(did...)
			_, err := p.repo.Push(bg(t), dvc.PushOptions{Targets: tt.targets, Scope: tt.scope})
			require.NoError(t, err)
			p.same("push")

			st, err := p.repo.Status(bg(t), dvc.StatusOptions{Cloud: true, Targets: tt.targets, Scope: tt.scope, Jobs: 2})
			require.NoError(t, err)
			require.True(t, st.Clean(), "%v", st)

			for _, to := range []string{p.theirs, p.ours} {
				require.NoError(t, os.RemoveAll(filepath.Join(to, ".dvc/cache")))
				require.NoError(t, os.RemoveAll(filepath.Join(to, ".dvc/tmp")))
			}
			did[0] = "fetch"
			p.dvc(did...)
			_, err = p.repo.Fetch(bg(t), dvc.FetchOptions{Targets: tt.targets, Scope: tt.scope})
			require.NoError(t, err)
			p.same("fetch")
		})
	}
}

func TestLiveFlagsOfAddAreDVCs(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	for _, links := range []string{"copy", "hardlink"} {
		dir, _ := w.cacheType(links)
		write(t, dir, map[string]string{"d/a": "a", "d/b/c": "c", "f": "text", "part/x": "x", "g": "g", "e/f": "f"})
		w.dvc(dir, "add", "-q", "part")
		w.git(dir, "add", "-A")
		w.git(dir, "commit", "-q", "-m", "x")
		p := pairOf(t, w, dir)
		write(t, p.theirs, map[string]string{"part/new": "new"})
		write(t, p.ours, map[string]string{"part/new": "new"})
		w.git(p.theirs, "rm", "-rq", "--cached", "d", "f", "g", "e")
		w.git(p.ours, "rm", "-rq", "--cached", "d", "f", "g", "e")
		p.dvc("add", "-q", "--no-commit", "d", "f", "part")
		_, err := p.repo.Add(bg(t), []string{"d", "f", "part"}, dvc.AddOptions{NoCommit: true})
		require.NoError(t, err)
		p.same("add --no-commit, " + links)
		p.dvc("add", "-q", "--no-relink", "g", "e")
		_, err = p.repo.Add(bg(t), []string{"g", "e"}, dvc.AddOptions{NoRelink: true})
		require.NoError(t, err)
		p.same("add --no-relink, " + links)
		p.dvc("commit", "-q", "-f", "d.dvc", "f.dvc", "part.dvc")
		_, err = p.repo.Add(bg(t), []string{"d", "f", "part"}, dvc.AddOptions{})
		require.NoError(t, err)
		require.NoError(t, p.w.clean(p.ours))
	}
}

func TestLiveFlagsOfFetchAndCheckoutAreDVCs(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, _ := w.repo()
	write(t, dir, map[string]string{"d/a": "aaaaaaaaaa", "d/b": "bbbbbbbbbb", "small": "1234", "big": "1234567890123456"})
	w.dvc(dir, "add", "-q", "d", "small", "big")
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "x")
	p := pairOf(t, w, dir)
	empty := func(also ...string) {
		t.Helper()
		for _, to := range []string{p.theirs, p.ours} {
			for _, at := range append([]string{".dvc/cache", ".dvc/tmp", "d", "small", "big"}, also...) {
				require.NoError(t, os.RemoveAll(filepath.Join(to, at)))
			}
		}
	}
	p.dvc("push", "-q")
	_, err := p.repo.Push(bg(t), dvc.PushOptions{CheckChildren: true, Transfers: dvc.Transfers{Rate: 1 << 20}})
	require.NoError(t, err)
	p.same("push")
	for _, size := range []int64{4, 5, 16, 17, 20, 21} {
		empty()
		p.dvc("fetch", "-q", "--max-size", itoa(int(size)))
		_, err := p.repo.Fetch(bg(t), dvc.FetchOptions{MaxSize: size})
		require.NoError(t, err)
		p.same("fetch --max-size " + itoa(int(size)))
	}

	// The links are made anew as the configuration says now.
	p.dvc("pull", "-q")
	_, err = p.repo.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	for _, to := range []string{p.theirs, p.ours} {
		write(t, to, map[string]string{".dvc/config": "[cache]\n    type = hardlink\n"})
	}
	p.dvc("checkout", "-q", "--relink")
	_, err = p.repo.Checkout(bg(t), dvc.CheckoutOptions{Relink: true})
	require.NoError(t, err)
	p.same("checkout --relink")
	a, err := os.Stat(filepath.Join(p.ours, "d/a"))
	require.NoError(t, err)
	b, err := os.Stat(objectOf(p.ours, "aaaaaaaaaa"))
	require.NoError(t, err)
	require.True(t, os.SameFile(a, b), "ours is a link now")

	// A single file that is nowhere.
	empty()
	for _, rem := range []string{p.remA, p.remB} {
		id := md5hex("1234")
		require.NoError(t, os.Remove(filepath.Join(rem, "files/md5", id[:2], id[2:])))
	}
	_, err = p.w.try(p.theirs, "pull", "-q")
	require.Error(t, err)
	_, err = p.repo.Pull(bg(t), dvc.PullOptions{})
	require.Error(t, err)
	empty()
	p.dvc("pull", "-q", "--allow-missing")
	_, err = p.repo.Pull(bg(t), dvc.PullOptions{AllowMissing: true})
	require.NoError(t, err)
	p.same("pull --allow-missing")
	p.dvc("checkout", "-q", "--allow-missing")
	_, err = p.repo.Checkout(bg(t), dvc.CheckoutOptions{AllowMissing: true})
	require.NoError(t, err)
	p.same("checkout --allow-missing")
	_, err = p.repo.Checkout(bg(t), dvc.CheckoutOptions{})
	require.ErrorIs(t, err, dvc.ErrNotCached)
}

func TestLiveGCKeepsWhatIsNotInTheRemoteAsDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, _ := w.repo()
	write(t, dir, map[string]string{"d/a": "a", "f": "f", "old": "1"})
	w.dvc(dir, "add", "-q", "d", "f", "old")
	write(t, dir, map[string]string{"old": "2"})
	w.dvc(dir, "add", "-q", "old")
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "x")
	p := pairOf(t, w, dir)
	p.dvc("push", "-q", "d")
	_, err := p.repo.Push(bg(t), dvc.PushOptions{Targets: []string{"d"}})
	require.NoError(t, err)
	p.dvc("gc", "-q", "-f", "-w", "--not-in-remote")
	_, err = p.repo.GC(bg(t), dvc.GCOptions{Workspace: true, NotInRemote: true, Yes: true})
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(p.ours, ".dvc/cache/trash")))
	have := func(dir string) map[string]bool { return objects(t, dir) }
	require.Equal(t, have(p.theirs), have(p.ours))
	require.Len(t, have(p.ours), 2, "f and the new old")
	_, err = p.repo.GC(bg(t), dvc.GCOptions{Workspace: true, NotInRemote: true, Cloud: true})
	require.ErrorContains(t, err, "not both")
}

func TestLiveListGoesAsDeepAsDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	dir, _ := w.repo()
	write(t, dir, map[string]string{"d/a": "a", "d/b/c": "c", "sub/deep/out/x": "x", "sub/deep/out/y/z": "z", "sub/f": "f", "sub/g/h/i": "git"})
	w.dvc(dir, "add", "-q", "d", "sub/deep/out", "sub/f")
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "x")
	src, err := dvc.OpenSource(bg(t), dir, dvc.SourceOptions{})
	require.NoError(t, err)
	defer src.Close()
	for _, at := range []string{"", "sub", "d", "sub/deep/out"} {
		for _, level := range []int{0, 1, 2, 3, 4} {
			args := []string{"list", "-R", "--json"}
			if level > 0 {
				args = append(args, "-L", itoa(level))
			}
			if args = append(args, dir); at != "" {
				args = append(args, at)
			}
			all, err := src.List(bg(t), dvc.ListOptions{Path: at, Recursive: true, Level: level})
			require.NoError(t, err)
			type entry struct {
				IsOut, IsDir bool
				Path         string
				MD5          *string
			}
			var theirs []entry
			require.NoError(t, json.Unmarshal([]byte(w.dvc(dir, args...)), &theirs))
			var ours []entry
			for _, e := range all {
				ours = append(ours, entry{e.IsOut, e.IsDir, e.Path, e.Hash})
			}
			require.Equal(t, theirs, ours, "%v", args)
		}
	}
}
