package dvc_test

import (
	"crypto/md5"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// everything lists all below a directory with modes and hashes, git's folder
// too. Only DVC's locks and own state are left out.
func everything(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if strings.HasSuffix(rel, ".dvc/tmp") {
			return filepath.SkipDir
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		out[rel] = fi.Mode().String()
		switch {
		case fi.Mode().IsRegular():
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			defer f.Close()
			h := md5.New()
			if _, err := io.Copy(h, f); err != nil {
				return err
			}
			out[rel] += " " + hex.EncodeToString(h.Sum(nil))
		case fi.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			out[rel] += " " + target
			return err
		}
		return nil
	})
	require.NoError(t, err)
	return out
}

// sandbox is a folder with a repository, its remote, and a place outside that
// nothing may touch.
type sandbox struct {
	t                      *testing.T
	dir, repo, store, away string
	r                      *dvc.Repo
}

func newSandbox(t *testing.T, w *world) sandbox {
	dir := w.dir()
	s := sandbox{t: t, dir: dir, repo: filepath.Join(dir, "repo"), store: filepath.Join(dir, "store"), away: filepath.Join(dir, "away")}
	for _, d := range []string{s.repo, s.store, s.away} {
		require.NoError(t, os.Mkdir(d, 0o755))
	}
	w.git(s.repo, "init", "-q", "-b", "main")
	var err error
	s.r, err = dvc.Init(s.repo)
	require.NoError(t, err)
	require.NoError(t, s.r.AddRemote(bg(t), "store", s.store, dvc.AddRemoteOptions{Default: true}))
	write(t, s.repo, map[string]string{"good": "good"})
	write(t, s.away, map[string]string{"precious": "precious"})
	_, err = s.r.Add(bg(t), []string{"good"}, dvc.AddOptions{})
	require.NoError(t, err)
	_, err = s.r.Push(bg(t), dvc.PushOptions{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(s.repo, "good")), "so that there is something to write")
	w.git(s.repo, "add", "-A")
	w.git(s.repo, "commit", "-q", "-m", "x")
	return s
}

// listing puts a directory's listing with these paths into cache and remote,
// and a .dvc file that names it.
func (s sandbox) listing(paths ...string) {
	var entries []string
	for _, p := range paths {
		entries = append(entries, `{"md5": "`+md5hex("evil")+`", "relpath": "`+p+`"}`)
	}
	s.rawListing("[" + strings.Join(entries, ", ") + "]")
}

func (s sandbox) rawListing(text string) {
	id := md5hex(text) + ".dir"
	for _, dir := range []string{s.store, filepath.Join(s.repo, ".dvc/cache")} {
		object(s.t, dir, id, text)
		object(s.t, dir, md5hex("evil"), "evil")
	}
	write(s.t, s.repo, map[string]string{"d.dvc": "outs:\n- md5: " + id + "\n  hash: md5\n  path: d\n"})
}

func (s sandbox) file(text string) { write(s.t, s.repo, map[string]string{"x.dvc": text}) }

func (s sandbox) link(target, at string) {
	require.NoError(s.t, os.Symlink(target, filepath.Join(s.repo, at)))
}

// outAt is a .dvc file whose output would be written at a path.
func outAt(p string) string {
	return "outs:\n- md5: " + md5hex("good") + "\n  size: 4\n  hash: md5\n  path: " + p + "\n"
}

func hashed(h string) string { return "outs:\n- md5: " + h + "\n  hash: md5\n  path: x\n" }

// What each row says is what a repository from elsewhere may hold. None may
// write a byte, outside of the repository or inside, and the good file beside it
// is not restored either: the refusal comes before the first write.
var refusedRows = []struct {
	name  string // of the row
	plant func(s sandbox)
	kind  error
	says  string
}{
	{"listing: parent", func(s sandbox) { s.listing("ok", "../x") }, mlops.ErrInvalid, `"../x" is not a plain relative path`},
	{"listing: outside of the repository", func(s sandbox) { s.listing("../../away/x") }, mlops.ErrInvalid, `"../../away/x" is not a plain relative path`},
	{"listing: git's hooks", func(s sandbox) { s.listing("../.git/hooks/x") }, mlops.ErrInvalid, `"../.git/hooks/x" is not a plain relative path`},
	{"listing: a git folder inside", func(s sandbox) { s.listing("a/.GIT/config") }, mlops.ErrInvalid, "leads into .GIT"},
	{"listing: a DVC folder inside", func(s sandbox) { s.listing(".dvc/config") }, mlops.ErrInvalid, "leads into .dvc"},
	{"listing: absolute", func(s sandbox) { s.listing("ok", s.away+"/x") }, mlops.ErrInvalid, "is absolute"},
	{"listing: empty path", func(s sandbox) { s.listing("") }, mlops.ErrInvalid, "is empty"},
	{"listing: a file and a directory", func(s sandbox) { s.listing("a", "a/b") }, mlops.ErrInvalid, `"a" is a file and a directory`},
	{"listing: twice", func(s sandbox) { s.listing("a", "a") }, mlops.ErrInvalid, "given twice"},
	{"listing: dot", func(s sandbox) { s.listing("./q") }, mlops.ErrInvalid, `"./q" is not a plain relative path`},
	{"listing: two slashes", func(s sandbox) { s.listing("w//e") }, mlops.ErrInvalid, `"w//e" is not a plain relative path`},
	{"listing: zero byte", func(s sandbox) { s.listing(`a\u0000b`) }, mlops.ErrInvalid, "zero byte"},
	{"listing: a very long name", func(s sandbox) { s.listing(strings.Repeat("n", 256)) }, mlops.ErrInvalid, "longer than 255 bytes"},
	{"listing: very deep", func(s sandbox) { s.listing(strings.Repeat("d/", 1<<18) + "f") }, mlops.ErrInvalid, "longer than 4096 bytes"},
	{"listing: a hash with a path", func(s sandbox) { s.rawListing(`[{"md5": "../../../etc/passwd", "relpath": "a"}]`) }, mlops.ErrInvalid, "has hash"},
	{"listing: a listing in it", func(s sandbox) { s.rawListing(`[{"md5": "` + md5hex("evil") + `.dir", "relpath": "a"}]`) }, mlops.ErrInvalid, "has hash"},
	{"listing: not a list", func(s sandbox) { s.rawListing(`{"a": 1}`) }, mlops.ErrInvalid, "not a JSON list"},
	{"listing: nested", func(s sandbox) { s.rawListing(strings.Repeat("[", 1<<20)) }, mlops.ErrInvalid, "directory listing: entry 1"},
	{"output: behind a symlink that leads out", func(s sandbox) { s.link(s.away, "link"); s.file(outAt("link/b")) }, mlops.ErrInvalid, "link, which is a symlink"},
	{"output: behind a symlink inside", func(s sandbox) { s.link(".git", "link"); s.file(outAt("link/hooks/b")) }, mlops.ErrInvalid, "which is a symlink"},
	{"output: git's hooks", func(s sandbox) { s.file(outAt(".git/hooks/pre-commit")) }, mlops.ErrInvalid, "leads into .git"},
	{"output: DVC's configuration", func(s sandbox) { s.file(outAt(".dvc/config")) }, mlops.ErrInvalid, "not data"},
	{"output: above the repository", func(s sandbox) { s.file(outAt("../away/x")) }, mlops.ErrInvalid, `"../away/x" is outside the repository`},
	{"output: absolute", func(s sandbox) { s.file(outAt(s.away + "/x")) }, mlops.ErrInvalid, "is outside the repository"},
	{"output: another scheme", func(s sandbox) { s.file(outAt("s3://bucket/x")) }, mlops.ErrInvalid, "is outside the repository"},
	{"output: wdir above", func(s sandbox) { s.file("wdir: ..\n" + outAt("x")) }, mlops.ErrInvalid, "is outside the repository"},
	{"output: the repository", func(s sandbox) { s.file(outAt(".")) }, mlops.ErrInvalid, `"." is outside the repository or not data`},
	{"output: in another's directory", func(s sandbox) { s.listing("ok"); s.file(outAt("d/ok")) }, mlops.ErrInvalid, "overlaps with"},
	{"hash: a path", func(s sandbox) { s.file(hashed("../../../x")) }, mlops.ErrInvalid, "is not an md5"},
	{"hash: absolute", func(s sandbox) { s.file(hashed("/etc/hostname")) }, mlops.ErrInvalid, "is not an md5"},
	{"hash: short", func(s sandbox) { s.file(hashed("abc")) }, mlops.ErrInvalid, "is not an md5"},
	{"hash: upper case", func(s sandbox) { s.file(hashed(strings.ToUpper(md5hex("good")))) }, mlops.ErrInvalid, "is not an md5"},
	{"stage: an output above", func(s sandbox) {
		write(s.t, s.repo, map[string]string{
			"dvc.yaml": "stages:\n  a:\n    cmd: x\n    outs:\n    - ../away/x\n",
			"dvc.lock": "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n    - path: ../away/x\n      hash: md5\n      md5: " + md5hex("good") + "\n",
		})
	}, mlops.ErrInvalid, "is outside the repository"},
	{".dvc file: aliases", func(s sandbox) { s.file("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n" + outAt("x")) }, mlops.ErrInvalid, "aliases are not allowed"},
	{".dvc file: a key twice", func(s sandbox) { s.file(outAt("x") + "outs: []\n") }, mlops.ErrInvalid, "outs"},
	{".dvc file: too large", func(s sandbox) { s.file(outAt("x") + "desc: " + strings.Repeat("x", 17<<20) + "\n") }, mlops.ErrInvalid, "bytes are too many"},
	{".dvc file: very deep", func(s sandbox) { s.file(outAt("x") + "meta: " + strings.Repeat("[", 1<<20) + "\n") }, mlops.ErrInvalid, "depth"},
	{"stage: very deep", func(s sandbox) {
		write(s.t, s.repo, map[string]string{"dvc.yaml": "stages: " + strings.Repeat("{a: ", 1<<18)})
	}, mlops.ErrInvalid, "depth"},
	{"remote: a tampered object", func(s sandbox) {
		s.file(hashed(md5hex("tampered")))
		object(s.t, s.store, md5hex("tampered"), "something else")
	}, mlops.ErrInvalid, "came with md5"},
	{"cache: a poisoned object that looks trusted", func(s sandbox) {
		object(s.t, filepath.Join(s.repo, ".dvc/cache"), md5hex("good"), "evil")
	}, mlops.ErrInvalid, "in the cache is damaged"},
}

func TestNoRowOfTheSafetyTableWritesAByte(t *testing.T) {
	for _, row := range refusedRows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			s := newSandbox(t, w)
			row.plant(s)
			before := everything(t, s.dir)
			_, pulled := s.r.Pull(bg(t), dvc.PullOptions{Force: true})
			_, checked := s.r.Checkout(bg(t), dvc.CheckoutOptions{Force: true})
			_, collected := s.r.GC(bg(t), dvc.GCOptions{Workspace: true, Yes: true})
			err := pulled
			if !strings.HasPrefix(row.name, "remote") && !strings.HasPrefix(row.name, "cache") {
				require.ErrorIs(t, checked, mlops.ErrInvalid)
				if !strings.HasPrefix(row.name, "output: behind") && !strings.HasPrefix(row.name, "output: in") {
					require.Error(t, collected, "gc does not guess what such a file needs")
				}
			}
			require.ErrorIs(t, err, row.kind)
			require.ErrorContains(t, err, row.says)
			after := everything(t, s.dir)
			if strings.HasPrefix(row.name, "remote") { // the other file came
				delete(after, "repo/good")
				id := md5hex("tampered")
				delete(after, "repo/.dvc/cache/files/md5/"+id[:2]) // an empty folder for it
			}
			require.Equal(t, before, after)
		})
	}
}

func TestAListingFromARemoteIsLookedAtBeforeItEntersTheCache(t *testing.T) {
	w := newWorld(t)
	s := newSandbox(t, w)
	s.listing("ok", "../x")
	require.NoError(t, os.RemoveAll(filepath.Join(s.repo, ".dvc/cache")))
	_, err := s.r.Fetch(bg(t), dvc.FetchOptions{Targets: []string{"d"}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "plain relative path")
	for p := range everything(t, s.repo) {
		require.NotContains(t, p, ".dir", "the listing is not kept")
	}
}

func TestWritesDoNotFollowSymlinksOut(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(s sandbox) func() error // plants, and returns what must be refused
	}{
		{".gitignore", func(s sandbox) func() error {
			write(s.t, s.repo, map[string]string{"sub/new": "n"})
			s.link(s.away+"/precious", "sub/.gitignore")
			return s.adding("sub/new")
		}},
		{".gitignore that leads nowhere", func(s sandbox) func() error {
			write(s.t, s.repo, map[string]string{"sub/new": "n"})
			s.link(s.away+"/made", "sub/.gitignore")
			return s.adding("sub/new")
		}},
		{".dvc file", func(s sandbox) func() error {
			write(s.t, s.away, map[string]string{"precious": outAt("new")})
			write(s.t, s.repo, map[string]string{"new": "n", ".gitignore": "/good\n/new\n"})
			s.link(s.away+"/precious", "new.dvc")
			return s.adding("new")
		}},
		{"configuration", func(s sandbox) func() error {
			write(s.t, s.away, map[string]string{"precious": "[core]\n    remote = store\n"})
			s.link(s.away+"/precious", ".dvc/config.local")
			return func() error { return s.r.Set(bg(s.t), "core.autostage", "true", dvc.LevelLocal) }
		}},
		{"folder of the data", func(s sandbox) func() error {
			write(s.t, s.away, map[string]string{"f": "f"})
			s.link(s.away, "link")
			return s.adding("link/f")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			s := newSandbox(t, w)
			act := tt.make(s)
			before := everything(t, s.away)
			require.ErrorIs(t, act(), mlops.ErrInvalid)
			require.Equal(t, before, everything(t, s.away))
		})
	}
}

func (s sandbox) adding(p string) func() error {
	return func() error {
		_, err := s.r.Add(bg(s.t), []string{p}, dvc.AddOptions{})
		return err
	}
}

func TestWhatIsHarmlessIsAccepted(t *testing.T) {
	w := newWorld(t)
	s := newSandbox(t, w)
	require.NoError(t, os.Remove(filepath.Join(s.repo, "good.dvc")))
	write(t, s.repo, map[string]string{"s/x.dvc": outAt("../up.bin")})
	s.rawListing(`[{"md5": "` + md5hex("evil") + `", "relpath": "a", "size": 4, "mode": 2541}]`)
	_, err := s.r.Pull(bg(t), dvc.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, "good", read(t, s.repo, "up.bin"), "a path above the .dvc file, in the repository")
	require.Equal(t, "evil", read(t, s.repo, "d/a"), "keys of a listing that are not known mean nothing")
}

func TestNoFileGetsASetuidBit(t *testing.T) {
	for _, kind := range []string{"hardlink", "copy", "reflink,copy"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			s := newSandbox(t, w)
			require.NoError(t, s.r.Set(bg(t), "cache.type", kind, ""))
			obj := filepath.Join(s.repo, ".dvc/cache/files/md5", md5hex("good")[:2], md5hex("good")[2:])
			require.NoError(t, os.Chmod(obj, 0o555|fs.ModeSetuid|fs.ModeSetgid))
			_, err := s.r.Checkout(bg(t), dvc.CheckoutOptions{})
			require.NoError(t, err)
			for _, p := range []string{obj, filepath.Join(s.repo, "good")} {
				fi, err := os.Lstat(p)
				require.NoError(t, err)
				require.Zero(t, fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid), p)
			}
			write(t, s.repo, map[string]string{"suid": "s"})
			require.NoError(t, os.Chmod(filepath.Join(s.repo, "suid"), 0o755|fs.ModeSetuid))
			_, err = s.r.Add(bg(t), []string{"suid"}, dvc.AddOptions{})
			require.NoError(t, err)
			fi, err := os.Lstat(filepath.Join(s.repo, ".dvc/cache/files/md5", md5hex("s")[:2], md5hex("s")[2:]))
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o444), fi.Mode())
		})
	}
}

func TestAConfigurationThatCannotBeReadIsLeftAlone(t *testing.T) {
	for _, text := range []string{
		"[core\n", "[core]\nremote\n", "remote = x\n", "[core]\n  remote = 'x\n", "[core]\n[core]\n",
		strings.Repeat("[", 1<<20), "[a]\n" + strings.Repeat("k = '''", 1<<16),
	} {
		w := newWorld(t)
		s := newSandbox(t, w)
		write(t, s.repo, map[string]string{".dvc/config": text})
		before := everything(t, s.dir)
		require.ErrorIs(t, s.r.Set(bg(t), "core.remote", "x", ""), mlops.ErrInvalid, "%.20q", text)
		_, err := s.r.Pull(bg(t), dvc.PullOptions{})
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.Equal(t, before, everything(t, s.dir))
	}
}
