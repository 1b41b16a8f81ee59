package watching_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose/stacktest"
	"github.com/mlops-integration/mlops/examples/stacktest/watching"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestRunsThatEndedWellAreCounted(t *testing.T) {
	s := stacktest.Start(t, stacktest.MLflow)
	s.Setenv()
	p, err := client.FromProject(t.Context(), s.Project)
	require.NoError(t, err)
	for range 3 {
		run, err := p.StartRun(t.Context(), mlflow.RunOptions{New: true})
		require.NoError(t, err)
		require.NoError(t, run.End(t.Context(), nil))
	}
	n, err := watching.Count(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, 3, n)
}
