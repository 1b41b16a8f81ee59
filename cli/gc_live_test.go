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

func TestGCRemovesOnlyWhatWasDeletedAndOnlyWithYes(t *testing.T) {
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
	_, err = infra.MLflow.Models.Create(t.Context(), "gc-"+mark, mlflow.ModelOptions{})
	require.NoError(t, err)
	_, err = infra.MLflow.Models.CreateVersion(t.Context(), "gc-"+mark, info.ArtifactURI, mlflow.ModelVersionOptions{RunID: info.ID})
	require.NoError(t, err)
	mlopsctl(t, 0, "run", "delete", gone, registered, others)

	list := func(args ...string) map[string]string {
		found := map[string]string{}
		for _, g := range documents[[]compose.Garbage](t, append([]string{"gc"}, args...)...) {
			found[g.ID] = g.KeptFor
		}
		return found
	}
	want := map[string]string{gone: "", registered: "gc-" + mark + " version 1"}
	require.Empty(t, list("-p", mine), "30 days have not passed")
	require.Empty(t, list("-p", mine, "--yes"), "30 days have not passed")
	for range 2 { // the first removed nothing
		require.Equal(t, want, list("-p", mine, "--older-than", "0s"))
	}
	mlopsctl(t, 2, "gc", "-p", mine, "--older-than", "", "--yes") // an empty variable of the shell

	require.Equal(t, map[string]string{gone: ""}, list("-p", mine, "--older-than", "0s", "--yes"))
	mlopsctl(t, 3, "run", "show", gone)
	require.Contains(t, mlopsctl(t, 0, "artifact", "list", kept), "notes.txt")
	for _, run := range []string{registered, others} {
		mlopsctl(t, 0, "run", "restore", run)
		require.Contains(t, mlopsctl(t, 0, "artifact", "list", run), "notes.txt")
	}

	mlopsctl(t, 0, "experiment", "delete", other)
	require.Contains(t, list("-p", other, "--older-than", "0s", "--yes"), others, "a deleted experiment's runs are deleted")
	mlopsctl(t, 0, "experiment", "restore", other)
}
