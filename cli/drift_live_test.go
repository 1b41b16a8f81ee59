package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/cli"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// TestLiveAVerdictDoesNotDependOnTheService needs Evidently's Python; its
// service is away.
func TestLiveAVerdictDoesNotDependOnTheService(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: needs a Python with Evidently (make test)")
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	table := func(name string, shift int) string {
		var b strings.Builder
		b.WriteString("x\n")
		for i := range 60 {
			fmt.Fprintf(&b, "%d.5\n", i*7%60+shift)
		}
		return file(t, name, b.String())
	}
	reference, moved := table("ref.csv", 0), table("cur.csv", 100)
	t.Setenv("MLOPS_EVIDENTLY_PYTHON", stack.Pythons["evidently"])
	t.Setenv("MLOPS_EVIDENTLY_URL", "http://"+freePort(t))
	t.Setenv("MLOPS_HOME", t.TempDir())
	check := []string{"drift", "check", "-p", "wine", "-C", t.TempDir(), "--json", reference}
	var doc struct {
		Drifted                      bool
		Waiting, Unsent, Snapshot_id string
	}
	require.NoError(t, json.Unmarshal([]byte(mlopsctl(t, 10, append(check, moved)...)), &doc))
	require.True(t, doc.Drifted)
	require.FileExists(t, doc.Waiting)
	require.NotEmpty(t, doc.Unsent)
	require.Empty(t, doc.Snapshot_id)
	mlopsctl(t, 0, append(check, reference)...)
	require.Equal(t, 2, strings.Count(mlopsctl(t, 0, "sync", "--status"), "drift of wine"))
	var out, talk bytes.Buffer
	require.Equal(t, 8, cli.Main(t.Context(), append(check, reference, "--require-sent"), strings.NewReader(""), &out, &talk), talk.String())
	require.Contains(t, out.String(), `"drifted":false`, "the verdict is told all the same")
	mlopsctl(t, 0, "sync", "--discard", strings.TrimSuffix(doc.Waiting[strings.LastIndex(doc.Waiting, "/")+1:], ".snapshot"))
	require.NoFileExists(t, doc.Waiting)

	nowhere := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(nowhere, "spool"), nil, 0o600)) // no folder can be made
	t.Setenv("MLOPS_HOME", nowhere)
	require.NoError(t, json.Unmarshal([]byte(mlopsctl(t, 10, append(check, moved)...)), &doc))
	require.Contains(t, doc.Unsent, "the snapshot is not kept")
}
