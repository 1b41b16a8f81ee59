package client

import (
	"context"
	"errors"
	"iter"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
)

// Drift compares current data with reference data, both CSV or Parquet files,
// as Evidently does, and keeps the result as a snapshot of the project in the
// Evidently service. Relative paths start at the project's folder.
//
// The first call starts a Python worker, which Close ends; it takes seconds.
func (p *Project) Drift(ctx context.Context, reference, current string, o evidently.DriftOptions) (evidently.DriftReport, error) {
	r, err := p.driftRunner()
	if err != nil {
		return evidently.DriftReport{}, err
	}
	project, err := p.ensureDrift(ctx)
	if err != nil {
		return evidently.DriftReport{}, err
	}
	if o.Metadata == nil {
		o.Metadata = map[string]string{}
	}
	o.Metadata[tagProject] = p.join("/")
	report, err := r.Drift(ctx, absIn(p.Dir, reference), absIn(p.Dir, current), o)
	if err != nil {
		return report, err
	}
	report.SnapshotID, err = p.Evidently.AddSnapshot(ctx, project.ID, report.Snapshot)
	return report, err
}

// ensureDrift finds or makes the project in the Evidently service.
func (p *Project) ensureDrift(ctx context.Context) (evidently.Project, error) {
	return p.drift.get(func() (evidently.Project, error) { return p.Evidently.EnsureProject(ctx, p.join("/")) })
}

func (p *Project) driftRunner() (*evidently.Runner, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runner != nil {
		return p.runner, nil
	}
	if p.Config.EvidentlyPython == "" {
		return nil, invalid("drift is computed by a Python that has evidently: run mlopsctl setup, or set MLOPS_EVIDENTLY_PYTHON")
	}
	r, err := evidently.NewRunner(evidently.RunnerOptions{Python: p.Config.EvidentlyPython})
	if err != nil {
		return nil, err
	}
	p.runner = r
	return r, nil
}

// Snapshots lists the project's results in the Evidently service, and makes
// nothing there. The error matches [mlops.ErrNotFound] if there is no such
// project, neither there nor on MLflow.
func (p *Project) Snapshots(ctx context.Context) iter.Seq2[evidently.Snapshot, error] {
	return func(yield func(evidently.Snapshot, error) bool) {
		project, err := p.Evidently.ProjectByName(ctx, p.join("/"))
		if errors.Is(err, mlops.ErrNotFound) {
			if _, err = p.find(ctx); err == nil {
				return // nothing has been checked for drift yet
			}
		}
		if err != nil {
			yield(evidently.Snapshot{}, err)
			return
		}
		p.Evidently.Snapshots(ctx, project.ID)(yield)
	}
}
