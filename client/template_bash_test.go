package client_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

// double says what it was called with, on both outputs, and runs what run exec is
// to run.
const double = `#!/bin/bash
case "$1 $2" in
"run exec") shift 5; echo "note of run exec" >&2; "$@"; code=$?; echo "3 records wait" >&2; exit $code ;;
"model compare") echo "$COMPARED"; echo "late note" >&2; exit ${COMPARE_CODE:-0} ;;
*) echo "$@" >&2; [ "$2" != alias ] || exit ${ALIAS_CODE:-0} ;;
esac
`

// ranAs runs the command of a task as Airflow does, both outputs in one, and returns
// its last line, which is the value of the task, and all of them.
func ranAs(t *testing.T, task airflow.TaskSpec, env ...string) (value, all string, code int) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mlopsctl"), []byte(double), 0o755))
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), bash, "-c", task.Bash+"\n")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "MLOPS_DAG_ID=d")
	for k, v := range task.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Env = append(cmd.Env, env...)
	if err := cmd.Run(); cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[len(lines)-1], out.String(), cmd.ProcessState.ExitCode()
}

func taskOf(t *testing.T, d airflow.DAGSpec, id string) airflow.TaskSpec {
	t.Helper()
	for _, task := range d.Tasks {
		if task.ID == id {
			return task
		}
	}
	t.Fatalf("no task %s", id)
	return airflow.TaskSpec{}
}

func TestTheValueOfATaskIsNoNoteOfMlopsctl(t *testing.T) {
	train := client.TrainOptions{Command: "echo epoch 1; echo a warning >&2; echo 4", Model: "m"}
	value, all, code := ranAs(t, taskOf(t, client.Train(train), "train"))
	require.Zero(t, code, all)
	require.Equal(t, "4", value, all)
	require.Contains(t, all, "epoch 1\n", "the log of the training")
	train.Command = "echo 4; exit 99"
	_, all, code = ranAs(t, taskOf(t, client.Train(train), "train"))
	require.Equal(t, 99, code, all)

	d, err := client.RetrainOnDrift(client.RetrainOptions{TrainOptions: train, Metric: "loss"})
	require.NoError(t, err)
	for _, verdict := range []string{"false", "true 3"} {
		value, all, code = ranAs(t, taskOf(t, d, "compare"), "VERSION=4", "COMPARED="+verdict)
		require.Zero(t, code, all)
		require.Equal(t, verdict, value, all)
	}
	_, all, code = ranAs(t, taskOf(t, d, "compare"), "VERSION=4", "COMPARED=true 3", "COMPARE_CODE=3")
	require.Equal(t, 3, code, all)
}

func TestAVersionIsServedAndPromotedOnlyWhileTheChampionIsTheOneSeen(t *testing.T) {
	d, err := client.RetrainOnDrift(client.RetrainOptions{TrainOptions: client.TrainOptions{Model: "m"}, Metric: "loss", Deploy: true})
	require.NoError(t, err)
	_, all, code := ranAs(t, taskOf(t, d, "promote"), "VERSION=4", "BETTER=true 3")
	require.Zero(t, code, all)
	require.Equal(t, "model alias --newer --if-at 3 -- m champion 4\n", all)
	_, all, code = ranAs(t, taskOf(t, d, "deploy"), "VERSION=4", "BETTER=true none")
	require.Zero(t, code, all)
	require.Equal(t, "model alias --newer --if-at none --dry-run -- m champion 4\ndeploy -- m 4\n", all)
	for _, id := range []string{"deploy", "promote"} {
		_, all, code = ranAs(t, taskOf(t, d, id), "VERSION=4", "BETTER=true 3", "ALIAS_CODE=5")
		require.Equal(t, 5, code, all)
		require.NotContains(t, all, "deploy -- m")
		_, all, code = ranAs(t, taskOf(t, d, id), "VERSION=4", "BETTER=")
		require.NotZero(t, code, all)
		require.NotContains(t, all, "champion 4")
	}

	d, err = client.RetrainOnDrift(client.RetrainOptions{TrainOptions: client.TrainOptions{Model: "m"}})
	require.NoError(t, err)
	_, all, code = ranAs(t, taskOf(t, d, "promote"), "VERSION=4")
	require.Zero(t, code, all)
	require.Equal(t, "model alias --newer -- m champion 4\n", all, "nothing was compared")
}
