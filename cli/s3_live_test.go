package cli_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// TestDVCAndOursShareTheStacksS3 starts a stack of its own, with s3 alone, and
// follows the README.
func TestDVCAndOursShareTheStacksS3(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: needs versitygw and the real dvc of MLOPS_HOME (make test)")
	}
	installed, err := mlops.Home()
	require.NoError(t, err)
	home := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(installed, "tools"), filepath.Join(home, "tools")))
	ctl := func(args ...string) string {
		t.Helper()
		out, stderr, code := run(t, "mlopsctl", append([]string{"--home", home}, args...)...)
		require.Zero(t, code, "mlopsctl %v: %s%s", args, out, stderr)
		return out
	}
	t.Cleanup(func() {
		out, err := exec.CommandContext(context.Background(), "mlopsctl", "--home", home, "stop").CombinedOutput()
		require.NoError(t, err, string(out))
	})

	ctl("start", "s3")
	var st compose.Status
	require.NoError(t, json.Unmarshal([]byte(ctl("status", "--json")), &st))
	require.Equal(t, compose.StateHealthy, st.State)
	require.Contains(t, ctl("logs", "s3"), "No IAM service configured")
	require.Contains(t, ctl("doctor"), "ok\ts3\t")
	require.NotContains(t, ctl("start", "s3", "--dry-run"), "start\t", "it runs already")

	repo := t.TempDir()
	t.Chdir(repo)
	dvc := func(args ...string) {
		t.Helper()
		out, stderr, code := run(t, filepath.Join(installed, "venvs", "dvc", "bin", "dvc"), args...)
		require.Zero(t, code, "dvc %v: %s%s", args, out, stderr)
	}
	t.Setenv("DVC_NO_ANALYTICS", "1")
	_, stderr, code := run(t, "git", "init", "-q")
	require.Zero(t, code, stderr)
	ctl("dvc-init")
	ctl("dvc", "remote", "add", "-d", "store", "s3://mlops/my-project")
	ctl("dvc", "remote", "modify", "--local", "store", "credentialpath", filepath.Join(home, "secrets", "s3.aws"))

	write := func(name string) {
		t.Helper()
		require.NoError(t, os.WriteFile(name, []byte(name+" of "+t.Name()), 0o644))
	}
	forget := func() {
		t.Helper()
		for _, p := range []string{"a", "b", filepath.Join(".dvc", "cache")} {
			require.NoError(t, os.RemoveAll(p))
		}
	}
	holds := func(name string) {
		t.Helper()
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, name+" of "+t.Name(), string(b))
	}
	write("a")
	ctl("dvc", "add", "a")
	ctl("dvc", "push")
	write("b")
	dvc("add", "b")
	dvc("push")
	forget()
	ctl("dvc", "pull")
	holds("a")
	holds("b")
	forget()
	dvc("pull")
	holds("a")
	holds("b")

	// The remote's address is in the credentials file, which follows the port.
	ctl("restart", "s3")
	forget()
	ctl("dvc", "pull")
	holds("b")
}
