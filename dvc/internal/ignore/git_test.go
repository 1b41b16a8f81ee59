package ignore

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestIgnoreRulesAreGits(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "xdg"))
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(dir, "none"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	repo := filepath.Join(dir, "repo")
	run := func(stdin string, args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Stdin = repo, strings.NewReader(stdin)
		out, _ := cmd.Output()
		return string(out)
	}
	require.NoError(t, os.MkdirAll(repo, 0o755))
	run("", "init", "-q")
	lines := []string{
		"*.log", "!keep.log", "/top", "dir/", "a/b", "a/**/z", "**/deep", "x/**", "tr ail ", `sp\ `, "#comment", `\#hash`, `\!bang`,
		"[a-c]1", "[!a-c]2", "[]x]3", "q?x", `st\*ar`, "[[:digit:]]d", "*/mid", "foo*bar", "**", "!**/", "a**b", "/**/c.d", "[z-a]r",
		"[[:nope:]]n", "[unclosed", `end\`, "**/", "x/**/", "caf\u00e9", "!", "/", "//", "  lead", "a/*/c", "[^a]n", `[\]]b`, "[a\\-c]k", "[,-/]s", "***/tri", "x/***",
	}
	names := []string{
		"a.log", "keep.log", "sub/keep.log", "top", "sub/top", "dir/f", "dir", "a/b", "s/a/b", "a/z", "a/q/z", "a/q/r/z", "deep", "p/deep/f",
		"x/y", "x", "tr ail", "tr ail ", "sp ", "sp", "#hash", "!bang", "#comment", "a1", "d1", "a2", "d2", "]3", "x3", "q/x", "qax", "st*ar", "star",
		"7d", "[d", "e/mid", "e/f/mid", "mid", "fooXbar", "foo/bar", "aXXb", "a/x/b", "c.d", "g/c.d", "r", "n", "[unclosed", "end\\", "caf\u00e9", "  lead", "lead",
		"a/k/c", "a/k/l/c", "bn", "]b", "-k", "bk", ".s", "tri", "g/h/tri", "time", "tixx/me", "ti/a/me", "x/1/2",
	}
	for _, line := range lines {
		for _, second := range []string{"", "!*1\n"} {
			text := line + "\n" + second
			require.NoError(t, os.WriteFile(filepath.Join(repo, ".gitignore"), []byte(text), 0o644))
			got := run(strings.Join(names, "\x00"), "check-ignore", "--no-index", "-z", "--stdin")
			want := map[string]bool{}
			for _, n := range strings.Split(got, "\x00") {
				want[n] = true
			}
			f := &Files{root: repo, name: ".gitignore", parse: parsePatterns, read: map[string]Patterns{}, open: os.ReadFile}
			for _, n := range names {
				if have := f.Ignored(n, false); have != want[n] {
					t.Errorf("pattern %q, path %q: ignored is %v, git says %v", text, n, have, want[n])
				}
			}
		}
	}
}

func TestNestedIgnoreFilesAreGits(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "xdg"))
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(dir, "cfg"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	repo := filepath.Join(dir, "repo")
	for name, text := range map[string]string{
		"repo/.gitignore": "*.a\n!x.b\n/only\nshut/\n", "repo/s/.gitignore": "!keep.a\n*.b\n/only\n", "repo/shut/.gitignore": "!in\n",
		"repo/.git/info/exclude": "*.info\n", "user": "*.user\n", "cfg": "[core]\n\texcludesFile = ~/user\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	cmd := exec.Command("git", "init", "-q")
	cmd.Dir = repo
	require.NoError(t, cmd.Run())
	names := []string{"p.a", "s/p.a", "s/keep.a", "s/t/keep.a", "x.b", "s/x.b", "only", "s/only", "t/only", "shut/in", "q.info", "s/q.info", "q.user", "plain"}
	cmd = exec.Command("git", "check-ignore", "--no-index", "--stdin")
	cmd.Dir, cmd.Stdin = repo, strings.NewReader(strings.Join(names, "\n"))
	out, err := cmd.Output()
	require.NoError(t, err)
	g, err := NewGit(t.Context(), repo, repo, os.ReadFile)
	require.NoError(t, err)
	var have []string
	for _, n := range names {
		if g.Ignored(n, false) {
			have = append(have, n)
		}
	}
	require.Equal(t, strings.Fields(string(out)), have)
}

// git reads its configuration in more places than the user's own files.
func TestTheFileOfExcludesIsTheOneThatGitReads(t *testing.T) {
	for _, tt := range []struct{ name, file, text string }{
		{"the user's", "cfg", "[core]\n\texcludesFile = ~/mine # a comment\n"},
		{"the repository's", "repo/.git/config", "[core]\n\trepositoryformatversion = 0\n\texcludesfile = \"~/mine\"\n"},
		{"an included file's", "cfg", "[include]\n\tpath = more\n"},
		{"relative to the work tree", "cfg", "[core]\n\texcludesFile = ../mine\n"},
		{"none", "cfg", "[core]\n\texcludesFile =\n"},
		{"git's default", "cfg", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("HOME", dir)
			t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "xdg"))
			t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(dir, "cfg"))
			t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
			repo := filepath.Join(dir, "repo")
			require.NoError(t, exec.Command("git", "init", "-q", repo).Run())
			for name, text := range map[string]string{
				"mine": "*.mine\n", "more": "[core]\n\texcludesFile = ~/mine\n", "xdg/git/ignore": "*.default\n", tt.file: tt.text,
			} {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
			}
			cmd := exec.Command("git", "check-ignore", "--no-index", "a.mine", "a.default", "a")
			cmd.Dir = repo
			out, _ := cmd.Output()
			g, err := NewGit(t.Context(), repo, repo, os.ReadFile)
			require.NoError(t, err)
			have := []string{}
			for _, n := range []string{"a.mine", "a.default", "a"} {
				if g.Ignored(n, false) {
					have = append(have, n)
				}
			}
			require.NoError(t, g.Err())
			require.Equal(t, strings.Fields(string(out)), have)
		})
	}
}

// gitJudge returns a function that asks git which file of a repository a
// .gitignore ignores.
func gitJudge(f *testing.F) func(t *testing.T, text, name string) bool {
	repo := f.TempDir()
	env := append(os.Environ(), "HOME="+repo, "XDG_CONFIG_HOME="+repo, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	git := func(stdin string, args ...string) (string, error) {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env, cmd.Stdin = repo, env, strings.NewReader(stdin)
		out, err := cmd.Output()
		return string(out), err
	}
	_, err := git("", "init", "-q")
	require.NoError(f, err)
	return func(t *testing.T, text, name string) bool {
		require.NoError(t, os.WriteFile(filepath.Join(repo, ".gitignore"), []byte(text), 0o644))
		out, err := git(name+"\x00", "check-ignore", "--no-index", "-z", "--stdin")
		if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() == 1 {
			err = nil // nothing is ignored
		}
		require.NoError(t, err)
		return out != ""
	}
}

func FuzzIgnorePattern(f *testing.F) {
	judge := gitJudge(f)
	for _, s := range []string{"*.log", "a/**/b", "[!a-c]*", `\#x\ `, "[[:alpha:]]", "**/", "a**b*c*d*e", "[c- ].log", "c.log\x00x"} {
		f.Add(s, "a/b/c.log")
	}
	f.Fuzz(func(t *testing.T, line, name string) {
		if len(line) > 200 || len(name) > 200 {
			return
		}
		if ps, err := parseDVCPatterns([]byte(line), ""); err == nil {
			if file, _ := ps.Decide(name, false); file {
				if dir, matched := ps.Decide(name, true); !dir && !matched {
					t.Errorf("%q ignores the file %q and says nothing of the directory", line, name)
				}
			}
			if _, err := parseDVCPatterns([]byte(line), "sub"); err != nil && !errors.Is(err, mlops.ErrInvalid) {
				t.Errorf("%q in a directory: %v", line, err)
			}
		}
		if fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, "\x00") && !strings.Contains(strings.ToLower(name), "git") {
			ours := &Files{root: t.TempDir(), name: ".gitignore", parse: parsePatterns, read: map[string]Patterns{}, open: os.ReadFile}
			require.NoError(t, os.WriteFile(filepath.Join(ours.root, ".gitignore"), []byte(line), 0o644))
			if got, want := ours.Ignored(name, false), judge(t, line, name); got != want {
				t.Errorf("a .gitignore of %q, path %q: ignored is %v, git says %v", line, name, got, want)
			}
		}
		p, ok := parsePattern(line, "")
		if !ok {
			return
		}
		got := p.match(name, true)
		if p.match(name, false) && !got {
			t.Errorf("%q matches the file %q and not the directory", line, name)
		}
	})
}
