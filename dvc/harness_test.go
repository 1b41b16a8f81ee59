package dvc_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
	_ "github.com/mlops-integration/mlops/dvc/remote/local"
)

// realDVC returns the dvc command to compare with.
func realDVC(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("MLOPS_DVC")
	if home := os.Getenv("MLOPS_HOME"); bin == "" && home != "" {
		bin = filepath.Join(home, "venvs", "dvc", "bin", "dvc")
	}
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	if os.Getenv("MLOPS_LIVE") == "1" {
		t.Fatal("dvc is not installed: set MLOPS_DVC, or MLOPS_HOME with venvs/dvc in it")
	}
	t.Skip("not live: no dvc to compare with (MLOPS_DVC)")
	return ""
}

// world keeps dvc and git away from the user's own settings.
type world struct {
	t   *testing.T
	bin string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	home := t.TempDir()
	set := map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, ".config"), "XDG_CONFIG_DIRS": filepath.Join(home, "xdg"),
		"DVC_SITE_CACHE_DIR": filepath.Join(home, "site"), "DVC_GLOBAL_CONFIG_DIR": filepath.Join(home, "global"),
		"DVC_SYSTEM_CONFIG_DIR": filepath.Join(home, "system"), "DVC_NO_ANALYTICS": "1",
		"GIT_CONFIG_GLOBAL": filepath.Join(home, ".gitconfig"), "GIT_CONFIG_NOSYSTEM": "1",
		"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com",
		"GIT_CEILING_DIRECTORIES": os.TempDir(),
	}
	for k, v := range set {
		t.Setenv(k, v)
	}
	return &world{t: t}
}

func (w *world) git(dir string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(w.t, err, "git %v: %s", args, out)
	return string(out)
}

func (w *world) dvc(dir string, args ...string) string {
	w.t.Helper()
	out, err := w.try(dir, args...)
	require.NoError(w.t, err)
	return out
}

// repo makes a git and DVC repository of ours.
func (w *world) repo(opts ...dvc.Option) (string, *dvc.Repo) {
	w.t.Helper()
	dir := w.dir()
	w.git(dir, "init", "-q", "-b", "main")
	r, err := dvc.Init(dir, opts...)
	require.NoError(w.t, err)
	return dir, r
}

func (w *world) dir() string {
	dir, err := filepath.EvalSymlinks(w.t.TempDir())
	require.NoError(w.t, err)
	return dir
}

func (w *world) clone(dir string) (string, *dvc.Repo) {
	w.t.Helper()
	to := filepath.Join(w.dir(), "clone")
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "x", "--allow-empty")
	w.git(dir, "clone", "-q", dir, to)
	r, err := dvc.Open(to)
	require.NoError(w.t, err)
	return to, r
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
	}
}

func read(t testing.TB, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	require.NoError(t, err)
	return string(b)
}

// snapshot lists a tree with modes and contents, without git's files and the
// temporary ones of DVC.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if rel == ".git" || rel == ".dvc/tmp" {
			return filepath.SkipDir
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			out[rel+"/"] = fi.Mode().Perm().String()
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			out[rel] = "-> " + target
			return err
		case !d.Type().IsRegular():
			out[rel] = d.Type().String()
		default:
			b, err := os.ReadFile(p)
			out[rel] = fi.Mode().Perm().String() + " " + strconv.Quote(string(b))
			return err
		}
		return nil
	})
	require.NoError(t, err)
	return out
}

// golden compares a snapshot with one that real dvc left, kept in testdata.
func golden(t testing.TB, name string) map[string]string {
	t.Helper()
	var out map[string]string
	require.NoError(t, json.Unmarshal([]byte(read(t, "..", "testdata", "dvc", name)), &out))
	return out
}

func record(t testing.TB, name string, snap map[string]string) {
	t.Helper()
	if os.Getenv("MLOPS_RECORD") != "1" {
		return
	}
	b, err := json.MarshalIndent(snap, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll("../testdata/dvc", 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("../testdata/dvc", name), append(b, '\n'), 0o644))
}

// hostile are names that YAML, JSON, git or a shell could
// take for something else.
var hostile = []string{
	"yes", "no", "on", "off", "y", "n", "NaN", "a:b", ":c", "?q", "-dash", "a,b", "a'b", `a"b`, "12:30", "1e", "e1",
	`back\slash`, "caf\u00e9", "cafe\u0301", "\U0001F600.bin", "\ufffd.bin", "\u200b",
	"true", "True", "null", "~", "123", "+1", "-1", "1e3", "0x1f", "0o7", "0b1", "1_000", "1.5", ".5", ".nan", "-.inf",
	"2020-01-01", "=", "<<", "a: b", "a #b", "#x", "- x", "? q", "*star", "&amp", "!bang", "%pct", "@at", "|pipe", ">gt",
	"[x]", "{x}", "trail ", "  lead", "`tick", "new\nline", "tab\tx", "\ufeffbom", "it's: x", "del\x7f", "esc\x1b",
	"---", "...", "a-b", "a b  c", "0e0", "_1", "0_", "12345678901234567890123456789012",
	strings.Repeat("a", 72), strings.Repeat("b", 73), strings.Repeat("long words ", 18) + "end",
	strings.Repeat("x", 70) + " y z " + strings.Repeat("w", 20), "q: " + strings.Repeat("long words ", 18) + "end",
	"t\t" + strings.Repeat("long words ", 15) + "end", "t\t" + strings.Repeat("z", 90),
}

// grow makes a random tree below dir, the same for one seed.
func grow(t testing.TB, dir string, seed uint64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	names := slices.Clone(hostile)
	rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	at := dir
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for i, name := range names {
		if name == "..." && i%2 == 0 {
			continue
		}
		switch rnd.IntN(6) {
		case 0:
			at = filepath.Join(at, name)
			if len(at)-len(dir) > 700 {
				at = dir
			}
			require.NoError(t, os.MkdirAll(at, 0o755))
			continue
		case 1:
			at = dir
		}
		b := make([]byte, rnd.IntN(3000))
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		mode := fs.FileMode(0o644)
		if rnd.IntN(4) == 0 {
			mode = 0o744
		}
		require.NoError(t, os.WriteFile(filepath.Join(at, name), b, mode))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "empty", "nested"), 0o755))
	write(t, dir, map[string]string{".hidden": "h", "sub/.gitignore": "*.tmp\n", "sub/z.tmp": "z", "crlf": "a\r\nb\r\n", "none": ""})
}

func bg(t testing.TB) context.Context { return t.Context() }

func itoa(n int) string { return strconv.Itoa(n) }
