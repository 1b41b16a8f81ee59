package training_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose/stacktest"
	"github.com/mlops-integration/mlops/examples/stacktest/training"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestTrainingIsOnRecordAndItsDataInS3(t *testing.T) {
	s := stacktest.Start(t, stacktest.MLflow, stacktest.S3)
	s.Setenv()
	dir := t.TempDir()
	require.NoError(t, exec.Command("git", "init", "-q", dir).Run())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "train.csv"), []byte("x,y\n1,2\n"), 0o644))
	p, err := client.FromProject(t.Context(), s.Project, client.In(dir))
	require.NoError(t, err)
	id, sent, err := training.Train(t.Context(), p, "train.csv")
	require.NoError(t, err)
	require.Equal(t, 1, sent.Objects, "to %s", p.Workspace().DVCRemotePath)
	run, err := p.MLflow.RunInfo(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, mlflow.RunFinished, run.Status)
}
