package gitcmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// trap is a program that leaves a mark when it is run.
func trap(t *testing.T) (script, mark string) {
	t.Helper()
	dir := t.TempDir()
	script, mark = filepath.Join(dir, "trap"), filepath.Join(dir, "ran")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho \"$0 $@\" >>"+mark+"\ncat\n"), 0o755))
	return script, mark
}

func quiet(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "a")
		t.Setenv("GIT_"+who+"_EMAIL", "a@example.com")
	}
}

// repository makes one with a commit and a file that differs from it.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("1\n"), 0o644))
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "f"}, {"commit", "-q", "-m", "x"}} {
		out, err := Command(t.Context(), dir, args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("2\n"), 0o644))
	return dir
}

// asked is what the packages ask git for.
var asked = [][]string{
	{"status", "--porcelain=v2"}, {"ls-files", "-z"}, {"diff", "HEAD", "--no-ext-diff", "--no-textconv"}, {"add", "--", "f"},
	{"rev-parse", "HEAD"}, {"ls-tree", "-r", "-z", "HEAD"}, {"log", "--format=%H"}, {"for-each-ref"},
}

func TestNoProgramOfARepositoryRuns(t *testing.T) {
	for _, tt := range []struct{ name, config, attributes string }{
		{"fsmonitor", "core.fsmonitor", ""},
		{"pager", "core.pager", ""},
		{"external diff", "diff.external", ""},
		{"diff driver", "diff.x.command", "f diff=x\n"},
		{"textconv", "diff.x.textconv", "f diff=x\n"},
		{"editor", "core.editor", ""},
		{"askpass", "core.askPass", ""},
		{"ssh", "core.sshCommand", ""},
		{"credentials", "credential.helper", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			quiet(t)
			dir := repository(t)
			script, mark := trap(t)
			require.NoError(t, Command(t.Context(), dir, "config", tt.config, script).Run())
			require.NoError(t, os.WriteFile(filepath.Join(dir, ".gitattributes"), []byte(tt.attributes), 0o644))
			for _, args := range asked {
				out, err := Command(t.Context(), dir, args...).CombinedOutput()
				require.NoError(t, err, "%v: %s", args, out)
			}
			require.NoFileExists(t, mark)
		})
	}
}

func TestNoHookRuns(t *testing.T) {
	quiet(t)
	dir := repository(t)
	script, mark := trap(t)
	for _, hook := range []string{"post-index-change", "pre-commit", "reference-transaction", "post-checkout"} {
		require.NoError(t, os.Symlink(script, filepath.Join(dir, ".git/hooks", hook)))
	}
	for _, args := range append(asked, []string{"commit", "-q", "-m", "y"}) {
		out, err := Command(t.Context(), dir, args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	require.NoFileExists(t, mark)
}

// A clone may hold a folder that git takes for a repository, and what its config
// says then counts.
func TestAFolderOfAWorkTreeIsNoRepository(t *testing.T) {
	quiet(t)
	dir := repository(t)
	script, mark := trap(t)
	sub := filepath.Join(dir, "sub")
	for _, d := range []string{"objects", "refs/heads", "work"} {
		require.NoError(t, os.MkdirAll(filepath.Join(sub, d), 0o755))
	}
	config := fmt.Sprintf("[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = work\n\tfsmonitor = %s\n[filter \"x\"]\n\tclean = %s\n[diff \"x\"]\n\ttextconv = %[1]s\n", script, script)
	for name, text := range map[string]string{"HEAD": "ref: refs/heads/main\n", "config": config, "work/f": "1", "work/.gitattributes": "* filter=x\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(sub, name), []byte(text), 0o644))
	}
	for _, args := range asked {
		require.Error(t, Command(t.Context(), sub, args...).Run(), "%v", args)
	}
	require.NoFileExists(t, mark)
}

func TestAURLIsNoCommand(t *testing.T) {
	quiet(t)
	script, mark := trap(t)
	to := filepath.Join(t.TempDir(), "to")
	for _, url := range []string{"ext::" + script, "ext::sh -c " + script} {
		out, err := Apart(t.Context(), "clone", "-q", "--", url, to).CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "not allowed")
	}
	t.Setenv("GIT_ALLOW_PROTOCOL", "ext")
	require.Error(t, Apart(t.Context(), "ls-remote", "ext::"+script).Run())
	require.NoFileExists(t, mark)
}

// In a hook, git's variables name another repository.
func TestTheEnvironmentDoesNotNameTheRepository(t *testing.T) {
	quiet(t)
	dir, other := repository(t), repository(t)
	script, mark := trap(t)
	t.Setenv("GIT_DIR", filepath.Join(other, ".git"))
	t.Setenv("GIT_WORK_TREE", other)
	t.Setenv("GIT_INDEX_FILE", filepath.Join(other, "index"))
	t.Setenv("GIT_EXTERNAL_DIFF", script)
	t.Setenv("GIT_TRACE", "1")
	out, err := Command(t.Context(), dir, "rev-parse", "--show-toplevel").CombinedOutput()
	require.NoError(t, err, "%s", out)
	real, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	require.Equal(t, real, strings.TrimSpace(string(out)))
	require.NoError(t, Command(t.Context(), dir, "diff").Run())
	require.NoFileExists(t, mark)
}
