package airflow_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/cassette"
)

// callBack calls a callback as the processor of DAG files does, in which others
// wait for it.
const callBack = `
import sys
sys.path.insert(0, sys.argv[1])
import mlops_dag
context = {"dag_run": {"dag_id": "d", "run_id": "r:1"}}
mlops_dag.caller({"bash": sys.argv[2]}, "failure", mlops_dag.of_run, sys.argv[3])(context)
`

func TestACallbackOfARunHoldsNothingUp(t *testing.T) {
	py, err := exec.LookPath("python3")
	if err != nil {
		if cassette.Live() {
			t.Fatal("no python3")
		}
		t.Skip("no python3 runs the callback")
	}
	src, err := filepath.Abs(".")
	require.NoError(t, err)
	dir := t.TempDir()
	gate, done, logs := filepath.Join(dir, "gate"), filepath.Join(dir, "done"), filepath.Join(dir, "logs")
	// It ends when the gate opens, which is after its caller has ended.
	bash := `while [ ! -e "` + gate + `" ]; do sleep 0.05; done; echo "$MLOPS_EVENT of $MLOPS_DAG_ID $MLOPS_RUN_ID"; read -r line; touch "` + done + `"`
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // it would wait for the gate
	defer cancel()
	out, err := exec.CommandContext(ctx, py, "-B", "-c", callBack, src, bash, logs).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoFileExists(t, done, "the caller waited for its callback")
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	require.Eventually(t, func() bool { _, err := os.Stat(done); return err == nil }, time.Minute, 20*time.Millisecond)
	said, err := os.ReadFile(filepath.Join(logs, "dag_id=d", "run_id=r:1", "callback-failure.log"))
	require.NoError(t, err)
	require.Equal(t, "failure of d r:1\n", string(said))
}
