package client

import (
	"context"
	"errors"

	"github.com/mlops-integration/mlops/mlflow"
)

// Import brings the experiments and runs of a local mlruns folder to the
// MLflow server that options and surroundings lead to, as
// [mlflow.Client.Import] does.
func Import(ctx context.Context, mlruns string, opt mlflow.ImportOptions, options ...Option) ([]mlflow.Imported, error) {
	from, err := mlflow.OpenFileStore(mlruns)
	if err != nil {
		return nil, err
	}
	s, err := apply(options)
	if err != nil {
		return nil, err
	}
	c, _, err := load(s)
	if err != nil {
		return nil, err
	}
	m, err := mlflow.New(c.mlflowOptions(s))
	if err != nil {
		return nil, err
	}
	list, err := m.Import(ctx, from, opt)
	return list, errors.Join(err, m.Close())
}
