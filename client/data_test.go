package client

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/stackfile"
)

func TestTheRemoteFollowsTheStackFromFoldersToS3AndBack(t *testing.T) {
	home, dir := alone(t)
	running(t, home)
	out, err := exec.CommandContext(t.Context(), "git", "init", "--quiet", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, open(t, home, dir).Data.Init(t.Context()))
	config := func() string {
		_, err := open(t, home, dir).Data.Repo(t.Context())
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(dir, ".dvc", "config.local"))
		require.NoError(t, err)
		return string(b)
	}
	folder := config()
	require.Contains(t, folder, filepath.Join("remote", "demo"))

	in := func(port string) stackfile.Stack {
		s, err := stackfile.Read(home)
		require.NoError(t, err)
		s.DVCRemote, s.DVCOptions = "s3://dvc", map[string]string{"endpointurl": "http://127.0.0.1:" + port, "profile": "mlops"}
		return s
	}
	require.NoError(t, stackfile.Write(in("7070")))
	for _, line := range []string{"url = s3://dvc/demo", "endpointurl = http://127.0.0.1:7070", "profile = mlops", "remote = mlops"} {
		require.Contains(t, config(), "    "+line+"\n")
	}
	require.NoError(t, stackfile.Write(in("7071")))
	require.Contains(t, config(), "endpointurl = http://127.0.0.1:7071", "the store has moved to another port")

	running(t, home)
	require.Equal(t, folder, config(), "DVC refuses a folder that has an endpoint")

	require.NoError(t, stackfile.Write(in("7070")))
	t.Setenv("MLOPS_DVC_REMOTE", "s3://elsewhere")
	require.NotContains(t, config(), "endpointurl", "the stack's store is not asked for another's bucket")
}
