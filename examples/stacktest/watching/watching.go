// Package watching is a second package whose test has servers of its own, at
// the same time.
package watching

import (
	"context"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

// Count tells how many runs the project has that ended well.
func Count(ctx context.Context, p *client.Project) (int, error) {
	n := 0
	for run, err := range p.Runs(ctx, "") {
		if err != nil {
			return 0, err
		}
		if run.Status == mlflow.RunFinished {
			n++
		}
	}
	return n, nil
}
