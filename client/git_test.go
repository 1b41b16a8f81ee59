package client

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repository makes one with a commit of a.txt, and tells how to speak to git.
func repository(t testing.TB) (dir string, run func(args ...string) string) {
	t.Helper()
	dir = t.TempDir()
	for _, kv := range []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b"} {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	run = func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	run("init", "-q", "-b", "main")
	put(t, dir, "a.txt", "one\ntwo\n")
	put(t, dir, "sub/train.py", "x = 1\n")
	run("add", "-A")
	run("commit", "-q", "-m", "first")
	return dir, run
}

func put(t testing.TB, dir, name, text string) {
	t.Helper()
	p := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
	require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
}

// source is what of tags is MLflow's.
func source(tags map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range tags {
		if name, ok := strings.CutPrefix(k, "mlflow.source.git."); ok {
			out[name] = v
		}
	}
	return out
}

func TestTheWorkTreeIsDescribedAsPythonDoesIt(t *testing.T) {
	dir, run := repository(t)
	sha := run("rev-parse", "HEAD")

	tags, diff := provenance(t.Context(), dir)
	require.Equal(t, map[string]string{"commit": sha, "branch": "main", "dirty": "false"}, source(tags))
	require.Nil(t, diff)

	run("remote", "add", "zzz", "https://me:token@git.example.com/a/b.git")
	run("remote", "add", "origin", "git@git.example.com:a/b.git")
	tags, _ = provenance(t.Context(), filepath.Join(dir, "sub"))
	require.Equal(t, "https://git.example.com/a/b.git", tags["mlflow.source.git.repoURL"], "the first remote of the configuration, whatever its name")

	put(t, dir, "new.txt", "x")
	tags, diff = provenance(t.Context(), dir)
	require.Equal(t, "false", tags["mlflow.source.git.dirty"], "files that git does not know do not count")
	require.Nil(t, diff)

	put(t, dir, "a.txt", "one\n2\n")
	put(t, dir, "bin.dat", "\x00\x01")
	run("add", "bin.dat")
	run("checkout", "-q", "--detach")
	tags, diff = provenance(t.Context(), filepath.Join(dir, "sub"))
	require.Equal(t, map[string]string{"commit": sha, "dirty": "true", "repoURL": "https://git.example.com/a/b.git"}, source(tags))
	require.Contains(t, string(diff), "-two\n+2\n")
	require.Contains(t, string(diff), "Binary files /dev/null and b/bin.dat differ\n")
	require.NotContains(t, tags, "mlops.git.diff_cut")
	require.NotContains(t, tags, "mlops.git.diff_redacted")

	run("worktree", "add", "-q", "-b", "other", filepath.Join(dir, "tree"))
	tags, _ = provenance(t.Context(), filepath.Join(dir, "tree"))
	require.Equal(t, map[string]string{"commit": sha, "branch": "other", "dirty": "false", "repoURL": "https://git.example.com/a/b.git"}, source(tags))
}

func TestWhereThereIsNoCommitNothingIsSaidOfGit(t *testing.T) {
	dir, _ := repository(t)
	unborn := t.TempDir()
	require.NoError(t, exec.Command("git", "-C", unborn, "init", "-q").Run())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, from := range map[string]struct {
		ctx context.Context
		dir string
	}{
		"no repository":   {t.Context(), t.TempDir()},
		"no folder":       {t.Context(), filepath.Join(dir, "none")},
		"no commit":       {t.Context(), unborn},
		"a context ended": {ended, dir},
	} {
		tags, diff := provenance(from.ctx, from.dir)
		require.Empty(t, source(tags), name)
		require.Nil(t, diff, name)
		require.NotEmpty(t, tags["mlops.go.version"], name)
		require.NotEmpty(t, tags["mlops.host.os"], name)
		require.NotEmpty(t, tags["mlops.host.name"], name)
	}
	t.Setenv("PATH", t.TempDir())
	tags, diff := provenance(t.Context(), dir)
	require.Empty(t, source(tags), "no git")
	require.Nil(t, diff)
}

func TestTheDiffIsThatOfTheFolderWhateverTheSettings(t *testing.T) {
	dir, run := repository(t)
	other, _ := repository(t)
	ran := filepath.Join(t.TempDir(), "ran")
	tool := filepath.Join(t.TempDir(), "tool")
	require.NoError(t, os.WriteFile(tool, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o755))
	for _, kv := range [][2]string{{"diff.external", tool}, {"core.fsmonitor", tool}, {"diff.mnemonicPrefix", "true"}, {"diff.noprefix", "true"}, {"color.ui", "always"}, {"core.pager", tool}, {"diff.x.textconv", tool}} {
		run("config", kv[0], kv[1])
	}
	put(t, dir, ".git/info/attributes", "*.txt diff=x\n")
	put(t, dir, "a.txt", "one\nzwei\n")
	t.Setenv("GIT_DIR", filepath.Join(other, ".git"))
	t.Setenv("GIT_EXTERNAL_DIFF", tool)
	tags, diff := provenance(t.Context(), dir)
	require.Equal(t, "true", tags["mlflow.source.git.dirty"])
	require.Contains(t, string(diff), "diff --git a/a.txt b/a.txt\n")
	require.Contains(t, string(diff), "\n-two\n+zwei\n")
	require.NoFileExists(t, ran, "a program that the repository names was run")
}

func TestASecretInTheWorkTreeStaysThere(t *testing.T) {
	dir, run := repository(t)
	put(t, dir, "a.txt", "one\npassword: hunter2\n")
	put(t, dir, ".env", "USER_NAME=me\n")
	run("add", ".env")
	tags, diff := provenance(t.Context(), dir)
	require.NotContains(t, string(diff), "hunter2")
	require.NotContains(t, string(diff), "USER_NAME")
	require.Equal(t, "2", tags["mlops.git.diff_redacted"])
	require.True(t, strings.HasPrefix(string(diff), "# lines that look like secrets and are left out: 2\ndiff --git "))
}

func TestALongDiffIsCutAtALineAndSaysSo(t *testing.T) {
	dir, run := repository(t)
	var b strings.Builder
	for b.Len() < 4<<20 {
		b.WriteString(strings.Repeat("words ", rand.IntN(20)) + "end\n")
	}
	put(t, dir, "a.txt", b.String())
	tags, diff := provenance(t.Context(), dir)
	require.Equal(t, "true", tags["mlops.git.diff_cut"])
	note, rest, _ := strings.Cut(string(diff), "\n")
	require.Equal(t, "# cut: only the first 256 KiB of the difference are here", note)
	require.LessOrEqual(t, len(rest), maxDiff)
	require.Greater(t, len(rest), maxDiff-200)
	require.True(t, strings.HasSuffix(rest, "end\n"))

	put(t, dir, "a.txt", "one\ntwo\nthree\n")
	_, diff = provenance(t.Context(), dir)
	patch := filepath.Join(t.TempDir(), "patch")
	require.NoError(t, os.WriteFile(patch, append([]byte("# a note before\n"), diff...), 0o644))
	run("checkout", "-q", "a.txt")
	run("apply", patch)
	got, err := os.ReadFile(filepath.Join(dir, "a.txt"))
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\nthree\n", string(got), "git apply has to take what was kept")
}

func BenchmarkProvenance(b *testing.B) {
	dir, run := repository(b)
	run("remote", "add", "origin", "git@git.example.com:a/b.git")
	for name, text := range map[string]string{"clean": "one\ntwo\n", "dirty": "one\n2\n"} {
		put(b, dir, "a.txt", text)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				provenance(b.Context(), dir)
			}
		})
	}
}
