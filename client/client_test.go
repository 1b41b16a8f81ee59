package client

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestOpenNeedsNoProject(t *testing.T) {
	home, dir := alone(t)
	c, err := Open(t.Context(), WithHome(home), In(dir), nil)
	require.NoError(t, err)
	require.Equal(t, dir, c.Dir)
	_, err = c.Project("")
	require.ErrorIs(t, err, ErrNoProject)
	_, err = c.Project("No Name")
	require.ErrorIs(t, err, mlops.ErrInvalid)

	t.Setenv("MLOPS_PROJECT", "demo")
	c, err = Open(t.Context(), WithHome(home), In(dir))
	require.NoError(t, err)
	p, err := c.Project("")
	require.NoError(t, err)
	require.Equal(t, "demo", p.Name)
	other, err := c.Project("other")
	require.NoError(t, err)
	require.Same(t, p.MLflow, other.MLflow, "projects of one client share it")
	require.NotEqual(t, p.Workspace(), other.Workspace())

	t.Setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
	_, err = Open(t.Context(), WithHome(home), In(dir))
	require.ErrorContains(t, err, "mlflow.uri")
}

// A run's journal is let go of by what opened its client.
func TestCloseOfAProjectLeavesTheClientsRunsAlone(t *testing.T) {
	home, dir := alone(t)
	t.Setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
	t.Setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
	held := func(c *Client) bool {
		all, err := mlops.Collect(c.Backlogs())
		require.NoError(t, err)
		require.Len(t, all, 1)
		return all[0].Held
	}
	c, err := Open(t.Context(), WithHome(home), In(dir))
	require.NoError(t, err)
	p, err := c.Project("demo")
	require.NoError(t, err)
	run, err := p.StartRun(t.Context(), mlflow.RunOptions{SampleEvery: -1})
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.True(t, held(c))
	require.NoError(t, run.LogMetric(t.Context(), 1, "loss", 1))
	require.Error(t, c.Close(), "it says what waits")
	require.False(t, held(c))
}

func TestAClientThatOpenDidNotOpenGivesErrors(t *testing.T) {
	for _, c := range []*Client{nil, {}} {
		_, err := c.Project("demo")
		require.ErrorContains(t, err, "client.Open")
		_, err = c.Sync(t.Context(), mlflow.SyncOptions{})
		require.ErrorContains(t, err, "client.Open")
		_, err = c.SyncSnapshots(t.Context(), SnapshotSyncOptions{})
		require.ErrorContains(t, err, "client.Open")
		_, err = c.Import(t.Context(), "mlruns", mlflow.ImportOptions{})
		require.ErrorContains(t, err, "client.Open")
		_, err = mlops.Collect(c.Projects(t.Context()))
		require.ErrorContains(t, err, "client.Open")
		_, err = mlops.Collect(c.Backlogs())
		require.ErrorContains(t, err, "client.Open")
		_, err = mlops.Collect(c.WaitingSnapshots())
		require.ErrorContains(t, err, "client.Open")
		require.ErrorContains(t, c.Close(), "client.Open")
	}
}
