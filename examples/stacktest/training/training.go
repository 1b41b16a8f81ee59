// Package training is code under test: it logs a run and
// keeps its data where the project's data is. Its test has real servers:
//
//	cd examples/stacktest && go test ./...
package training

import (
	"context"
	"math"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/mlflow"
)

// Train fits a model to a file of the project's folder, uploads the file, and
// returns the ID of the run and what was uploaded.
func Train(ctx context.Context, p *client.Project, file string) (id string, sent dvc.Transfer, err error) {
	run, err := p.StartRun(ctx, mlflow.RunOptions{Name: "baseline"})
	if err != nil {
		return "", sent, err
	}
	defer func() { err = run.End(ctx, err) }()
	if err := p.Data.Init(ctx); err != nil {
		return "", sent, err
	}
	if _, err := p.Data.Add(ctx, file); err != nil {
		return "", sent, err
	}
	if sent, err = p.Data.Push(ctx, dvc.PushOptions{}); err != nil {
		return "", sent, err
	}
	for step := range int64(10) {
		if err := run.LogMetric(ctx, step, "loss", math.Exp(-float64(step))); err != nil {
			return "", sent, err
		}
	}
	id, err = run.ID(ctx)
	return id, sent, err
}
