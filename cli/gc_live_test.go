package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestGCRemovesOnlyWhatWasDeleted(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: needs the stack's MLflow and its database (make test)")
	}
	mark := fmt.Sprint(time.Now().UnixNano())
	mine, other := "gc-mine-"+mark, "gc-other-"+mark
	text := file(t, "notes.txt", "some notes")
	begin := func(project string) string {
		run := strings.TrimSpace(mlopsctl(t, 0, "run", "start", "-p", project, "--require-sent"))
		mlopsctl(t, 0, "artifact", "log", "--run", run, text)
		mlopsctl(t, 0, "run", "end", "--run", run, "--require-sent")
		return run
	}
	gone, kept, registered, others := begin(mine), begin(mine), begin(mine), begin(other)
	infra, err := client.Open(t.Context())
	require.NoError(t, err)
	defer infra.Close()
	info, err := infra.MLflow.RunInfo(t.Context(), registered)
	require.NoError(t, err)
	version(t, infra.MLflow, "gc-"+mark, info)
	mlopsctl(t, 0, "run", "delete", gone, registered, others)

	list := func(args ...string) map[string]string {
		found := map[string]string{}
		for _, g := range documents[[]compose.Garbage](t, append([]string{"gc"}, args...)...) {
			found[g.ID] = g.KeptFor
		}
		return found
	}
	want := map[string]string{gone: "", registered: "gc-" + mark + " version 1"}
	require.Equal(t, want, list("-p", mine, "--dry-run"))
	require.Empty(t, list("-p", mine, "--older-than", "1h", "--dry-run"))
	mlopsctl(t, 2, "gc", "-p", mine) // not a terminal, and no --yes
	require.Equal(t, want, list("-p", mine, "--dry-run"), "nothing was done")

	require.Equal(t, map[string]string{gone: ""}, list("-p", mine, "--yes"))
	mlopsctl(t, 3, "run", "show", gone)
	require.Contains(t, mlopsctl(t, 0, "artifact", "list", kept), "notes.txt")
	for _, run := range []string{registered, others} {
		mlopsctl(t, 0, "run", "restore", run)
		require.Contains(t, mlopsctl(t, 0, "artifact", "list", run), "notes.txt")
	}

	mlopsctl(t, 0, "experiment", "delete", mine)
	mlopsctl(t, 0, "experiment", "delete", other)
	require.Len(t, list("-p", other, "--yes"), 2, "the experiment and its run")
	mlopsctl(t, 3, "run", "show", others)
	mlopsctl(t, 3, "experiment", "restore", other)
	require.NotContains(t, list("-p", mine, "--yes"), registered, "nor goes the experiment that a version's files are in")
	mlopsctl(t, 0, "experiment", "restore", mine)
	require.Contains(t, mlopsctl(t, 0, "artifact", "list", registered), "notes.txt")
	mlopsctl(t, 0, "model", "delete", "gc-"+mark, "--all")
	mlopsctl(t, 0, "experiment", "delete", mine)
	mlopsctl(t, 0, "gc", "-p", mine, "--yes")
	mlopsctl(t, 3, "gc", "-p", mine, "--yes")
}

// version registers the artifacts of a run as they are, as older clients do.
func version(t *testing.T, m *mlflow.Client, name string, run mlflow.RunInfo) {
	t.Helper()
	_, err := m.Models.Create(t.Context(), name, mlflow.ModelOptions{})
	require.NoError(t, err)
	_, err = m.Models.CreateVersion(t.Context(), name, run.ArtifactURI, mlflow.ModelVersionOptions{RunID: run.ID})
	require.NoError(t, err)
}
