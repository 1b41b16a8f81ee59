package dvc_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// cached lists the objects below a cache or remote by name.
func cached(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	base := filepath.Join(dir, "files/md5")
	err := filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, filepath.Base(filepath.Dir(p))+filepath.Base(p))
		}
		return nil
	})
	require.NoError(t, err)
	slices.Sort(out)
	return out
}

var md5InFile = regexp.MustCompile(`[0-9a-f]{32}(\.dir)?`)

// neededAt lists what the .dvc files of a git revision, or with "" those of the
// workspace, need; read by git and by eye, not by the code under test.
func neededAt(w *world, dir, rev string, lists map[string]string) []string {
	var out []string
	for _, name := range []string{"f", "d", "g"} {
		text := ""
		if rev == "" {
			b, _ := os.ReadFile(filepath.Join(dir, name+".dvc"))
			text = string(b)
		} else if slices.Contains(strings.Fields(w.git(dir, "ls-tree", "--name-only", rev)), name+".dvc") {
			text = w.git(dir, "show", rev+":"+name+".dvc")
		}
		for _, id := range md5InFile.FindAllString(text, -1) {
			out = append(out, id)
			out = append(out, md5InFile.FindAllString(lists[id], -1)...)
		}
	}
	return out
}

func TestGCKeepsWhatTheScopeNeedsAndNothingElse(t *testing.T) {
	newWorld(t)
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("history ", seed), func(t *testing.T) {
			w := &world{t: t}
			rnd := rand.New(rand.NewPCG(seed, 7))
			dir, r := w.repo()
			lists := map[string]string{} // listings by name
			n := 0
			for range 9 {
				if rnd.IntN(3) == 0 {
					branches := strings.Fields(w.git(dir, "branch", "--format=%(refname:short)"))
					if len(branches) > 1 && rnd.IntN(2) == 0 {
						w.git(dir, "checkout", "-q", "-f", branches[rnd.IntN(len(branches))])
					} else {
						n++
						w.git(dir, "checkout", "-q", "-b", fmt.Sprint("b", n))
					}
					for _, name := range []string{"f", "d", "g"} { // data that this branch does not track
						if _, err := os.Stat(filepath.Join(dir, name+".dvc")); err != nil {
							require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
						}
					}
					_, err := r.Checkout(bg(t), dvc.CheckoutOptions{Force: true})
					require.NoError(t, err)
				}
				name := []string{"f", "d", "g"}[rnd.IntN(3)]
				if name == "d" {
					write(t, dir, map[string]string{"d/" + itoa(rnd.IntN(4)): itoa(rnd.IntN(50)), "d/s/" + itoa(rnd.IntN(3)): itoa(rnd.IntN(50))})
				} else {
					write(t, dir, map[string]string{name: itoa(rnd.IntN(50))})
				}
				outs, err := r.Add(bg(t), []string{name}, dvc.AddOptions{})
				require.NoError(t, err)
				if id := outs[0].Hash; strings.HasSuffix(id, ".dir") {
					lists[id] = read(t, dir, ".dvc/cache/files/md5", id[:2], id[2:])
				}
				if rnd.IntN(4) > 0 {
					w.git(dir, "add", "-A")
					w.git(dir, "commit", "-q", "-m", "x", "--allow-empty")
				}
				if rnd.IntN(4) == 0 && strings.TrimSpace(w.git(dir, "rev-list", "--all", "-n", "1")) != "" {
					w.git(dir, "tag", "-f", fmt.Sprint("t", rnd.IntN(3)))
				}
			}
			w.git(dir, "add", "-A")
			w.git(dir, "commit", "-q", "-m", "last", "--allow-empty")
			commits := strings.Fields(w.git(dir, "rev-list", "--all"))
			scopes := []struct {
				name string
				o    dvc.GCOptions
				revs []string
			}{
				{"all commits", dvc.GCOptions{AllCommits: true}, commits},
				{"branches and tags", dvc.GCOptions{AllBranches: true, AllTags: true}, strings.Fields(w.git(dir, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags"))},
				{"two of a branch", dvc.GCOptions{Revs: []string{"HEAD"}, Num: 2}, strings.Fields(w.git(dir, "rev-list", "--first-parent", "-n", "2", "HEAD"))},
				{"a commit", dvc.GCOptions{Revs: commits[len(commits)-1:]}, commits[len(commits)-1:]},
				{"the workspace", dvc.GCOptions{Workspace: true}, nil},
			}
			cache := filepath.Join(dir, ".dvc/cache")
			all := cached(t, cache)
			for _, s := range scopes {
				_, err := r.RestoreTrash(bg(t))
				require.NoError(t, err)
				before := cached(t, cache)
				require.Equal(t, all, before, "the trash gives all back")
				want := map[string]bool{}
				for _, rev := range append(s.revs, "") {
					for _, id := range neededAt(w, dir, rev, lists) {
						want[id] = true
					}
				}
				var kept []string
				for _, id := range before {
					if want[id] {
						kept = append(kept, id)
					}
				}
				require.GreaterOrEqual(t, len(kept), len(want), "%s: all that is needed is there before", s.name)
				g, err := r.GC(bg(t), s.o)
				require.NoError(t, err)
				require.Equal(t, before, cached(t, cache), "%s: nothing moves without Yes", s.name)
				require.Len(t, g.Cache, len(before)-len(kept))
				s.o.Yes = true
				g, err = r.GC(bg(t), s.o)
				require.NoError(t, err)
				require.Equal(t, kept, cached(t, cache), "%s", s.name)
				require.Equal(t, len(g.Cache) > 0, g.Trash != "")
				whole(t, cache, false)
			}
			_, err := r.Checkout(bg(t), dvc.CheckoutOptions{Force: true})
			require.NoError(t, err)
			if os.Getenv("MLOPS_LIVE") == "1" && seed < 2 {
				w.dvc(dir, "status", "-q")
				_, err := r.RestoreTrash(bg(t))
				require.NoError(t, err)
				_, err = r.GC(bg(t), dvc.GCOptions{AllBranches: true, AllTags: true, Yes: true})
				require.NoError(t, err)
				left := cached(t, cache)
				w.dvc(dir, "gc", "-q", "-a", "-T", "-f")
				require.Equal(t, left, cached(t, cache), "dvc keeps what we kept, and removes nothing more")
			}
		})
	}
}

func TestTheTrashKeepsObjectsForItsGrace(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "1"})
	_, err := r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	write(t, dir, map[string]string{"a": "2"})
	_, err = r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	g, err := r.GC(bg(t), dvc.GCOptions{Workspace: true, Yes: true})
	require.NoError(t, err)
	require.Equal(t, []dvc.Garbage{{Hash: md5hex("1"), Kind: "md5", SizeBytes: 1}}, g.Cache)
	size, err := r.TrashSize(bg(t))
	require.NoError(t, err)
	require.Equal(t, dvc.Trash{Objects: 1, SizeBytes: 1}, size)
	gone, err := r.EmptyTrash(bg(t), time.Hour)
	require.NoError(t, err)
	require.Zero(t, gone, "it is not an hour old")

	old := filepath.Join(filepath.Dir(g.Trash), "20200101T000000Z-x")
	require.NoError(t, os.Rename(g.Trash, old))
	write(t, dir, map[string]string{"a": "3"})
	_, err = r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	g, err = r.GC(bg(t), dvc.GCOptions{Workspace: true, Yes: true})
	require.NoError(t, err)
	require.Equal(t, 1, g.Emptied.Objects, "a later gc deletes what is past its grace")
	require.NoDirExists(t, old)
	back, err := r.RestoreTrash(bg(t))
	require.NoError(t, err)
	require.Equal(t, 1, back.Objects)
	require.Equal(t, []string{md5hex("2"), md5hex("3")}, slices.Sorted(slices.Values(cached(t, filepath.Join(dir, ".dvc/cache")))))
	require.NoDirExists(t, filepath.Join(dir, ".dvc/cache/trash"))
}

func TestGCRefusesWhatCouldLoseData(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"a": "1", "d/x": "x"})
	outs, err := r.Add(bg(t), []string{"a", "d"}, dvc.AddOptions{})
	require.NoError(t, err)
	write(t, dir, map[string]string{"a": "2"})
	_, err = r.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	refused := func(o dvc.GCOptions, kind error) {
		t.Helper()
		o.Yes = true
		before := snapshot(t, dir)
		_, err := r.GC(bg(t), o)
		require.ErrorIs(t, err, kind)
		require.Equal(t, before, snapshot(t, dir), "nothing moves")
	}
	refused(dvc.GCOptions{}, mlops.ErrInvalid)
	refused(dvc.GCOptions{Workspace: true, Num: 3}, mlops.ErrInvalid)
	refused(dvc.GCOptions{Revs: []string{"nope"}}, mlops.ErrNotFound)
	refused(dvc.GCOptions{Workspace: true, Projects: []string{"nope"}}, mlops.ErrNotFound)
	refused(dvc.GCOptions{Workspace: true, Cloud: true}, mlops.ErrNotFound)

	rem := w.dir()
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	uncache(t, dir, outs[1].Hash)
	require.NoError(t, os.Rename(rem, rem+".away"))
	refused(dvc.GCOptions{Workspace: true}, dvc.ErrNotCached)
	require.NoError(t, os.Rename(rem+".away", rem))
	g, err := r.GC(bg(t), dvc.GCOptions{Workspace: true})
	require.NoError(t, err, "the listing comes from the remote")
	require.Equal(t, []dvc.Garbage{{Hash: md5hex("1"), Kind: "md5", SizeBytes: 1}}, g.Cache)

	write(t, dir, map[string]string{"v.dvc": "outs:\n- md5: " + md5hex("v") + "\n  hash: md5\n  path: v\n  cloud:\n    r:\n      etag: x\n"})
	refused(dvc.GCOptions{Workspace: true}, mlops.ErrUnsupported)
	require.NoError(t, os.Remove(filepath.Join(dir, "v.dvc")))
}

func TestGCOfASharedCacheKeepsWhatOthersNeed(t *testing.T) {
	w := newWorld(t)
	shared := w.dir()
	one, r1 := w.repo()
	two, r2 := w.repo()
	for i, r := range []*dvc.Repo{r1, r2} {
		require.NoError(t, r.Set(bg(t), "cache.dir", shared, ""))
		write(t, []string{one, two}[i], map[string]string{"a": "of " + itoa(i), "d/x": "x of " + itoa(i)})
		_, err := r.Add(bg(t), []string{"a", "d"}, dvc.AddOptions{})
		require.NoError(t, err)
	}
	write(t, one, map[string]string{"a": "newer"})
	_, err := r1.Add(bg(t), []string{"a"}, dvc.AddOptions{})
	require.NoError(t, err)
	_, err = r1.GC(bg(t), dvc.GCOptions{Workspace: true, Yes: true})
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, "--projects")
	g, err := r1.GC(bg(t), dvc.GCOptions{Workspace: true, Yes: true, Projects: []string{two}})
	require.NoError(t, err)
	require.Len(t, g.Cache, 1)
	require.Equal(t, md5hex("of 0"), g.Cache[0].Hash)
	for _, r := range []*dvc.Repo{r1, r2} {
		st, err := r.Status(bg(t), dvc.StatusOptions{})
		require.NoError(t, err)
		require.True(t, st.Clean(), "%v", st)
	}
}

func TestGCOfARemoteDeletesListingsFirst(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	rem := w.dir()
	require.NoError(t, r.AddRemote(bg(t), "r", rem, dvc.AddRemoteOptions{Default: true}))
	for _, v := range []string{"1", "2"} {
		write(t, dir, map[string]string{"d/x": v, "d/same": "s"})
		_, err := r.Add(bg(t), []string{"d"}, dvc.AddOptions{})
		require.NoError(t, err)
		_, err = r.Push(bg(t), dvc.PushOptions{})
		require.NoError(t, err)
	}
	write(t, rem, map[string]string{"runs/ab/whatever": "run cache", "readme": "not ours", "ab/" + strings.Repeat("c", 30): "of dvc 2.x"})
	before := cached(t, rem)
	g, err := r.GC(bg(t), dvc.GCOptions{Workspace: true, Cloud: true})
	require.NoError(t, err)
	require.Len(t, g.Remote, 3)
	require.True(t, strings.HasSuffix(g.Remote[0].Hash, ".dir"))
	require.Equal(t, "md5-dos2unix", g.Remote[slices.IndexFunc(g.Remote, func(g dvc.Garbage) bool { return strings.HasPrefix(g.Hash, "abccc") })].Kind)
	require.Equal(t, before, cached(t, rem))
	_, err = r.GC(bg(t), dvc.GCOptions{Workspace: true, Cloud: true, Yes: true})
	require.NoError(t, err)
	require.Len(t, cached(t, rem), len(before)-2)
	require.FileExists(t, filepath.Join(rem, "readme"))
	require.FileExists(t, filepath.Join(rem, "runs/ab/whatever"))
	require.NoFileExists(t, filepath.Join(rem, "ab", strings.Repeat("c", 30)))
	st, err := r.Status(bg(t), dvc.StatusOptions{Cloud: true})
	require.NoError(t, err)
	require.True(t, st.Clean(), "%v", st)
}

func TestVerifyNamesDamageAndWhomItHurts(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	rem := w.dir()
	write(t, dir, map[string]string{"a": "right", "d/x": "x", "d/y": "y"})
	_, err := r.Add(bg(t), []string{"a", "d"}, dvc.AddOptions{})
	require.NoError(t, err)
	require.NoError(t, r.AddRemote(bg(t), "store", rem, dvc.AddRemoteOptions{Default: true}))
	_, err = r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	v, err := r.Verify(bg(t), dvc.VerifyOptions{Cloud: true})
	require.NoError(t, err)
	require.True(t, v.OK(), "%v", v)
	require.Equal(t, 8, v.Objects)

	object(t, filepath.Join(dir, ".dvc/cache"), md5hex("y"), "Y")
	object(t, filepath.Join(dir, ".dvc/cache"), md5hex("nobody's"), "x")
	object(t, rem, md5hex("right"), "wrong")
	require.NoError(t, os.Remove(filepath.Join(rem, "files/md5", md5hex("x")[:2], md5hex("x")[2:])))
	v, err = r.Verify(bg(t), dvc.VerifyOptions{Remote: "store"})
	require.NoError(t, err)
	require.ElementsMatch(t, []dvc.Damage{
		{Hash: md5hex("y"), Where: "cache", Reason: "content has md5 " + md5hex("Y"), Data: []string{"d/y"}},
		{Hash: md5hex("nobody's"), Where: "cache", Reason: "content has md5 " + md5hex("x")},
		{Hash: md5hex("right"), Where: "store", Reason: "content has md5 " + md5hex("wrong"), Data: []string{"a"}},
		{Hash: md5hex("x"), Where: "store", Reason: "missing", Data: []string{"d/x"}},
	}, v.Damaged)
}
