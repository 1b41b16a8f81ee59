package client

import (
	"context"
	"iter"
	"maps"
	"path/filepath"

	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/mlflow"
)

// StartRun starts a run of the project. It records the git commit, branch and
// whether the work tree differs from it, and samples the machine (processor,
// memory, disk, network) under MLflow's own "system/…" names every 10 s;
// o.Sampler replaces that, and a negative o.SampleEvery leaves it out.
func (p *Project) StartRun(ctx context.Context, o mlflow.RunOptions) (*mlflow.Run, error) {
	id, err := p.ensureExperiment(ctx)
	if err != nil {
		return nil, err
	}
	o, err = p.runOptions(ctx, o)
	if err != nil {
		return nil, err
	}
	return p.MLflow.StartRun(ctx, id, o)
}

// ResumeRun goes on with a run, named by the server's ID or by its UID. It
// samples the machine only if o has a Sampler.
func (p *Project) ResumeRun(ctx context.Context, run string, o mlflow.RunOptions) (*mlflow.Run, error) {
	return p.MLflow.ResumeRun(ctx, run, o)
}

// HostSampler reads this machine under MLflow's names for system metrics; it
// is what StartRun uses.
func HostSampler() mlflow.Sampler { return applesilicon.NewSampler() }

func (p *Project) runOptions(ctx context.Context, o mlflow.RunOptions) (mlflow.RunOptions, error) {
	tags, _ := provenance(ctx, p.Dir)
	tags[tagProject] = p.Name
	maps.Copy(tags, o.Tags) // what the caller says wins
	o.Tags = tags
	if o.Sampler == nil && o.SampleEvery >= 0 {
		o.Sampler = HostSampler()
	}
	return o, nil
}

// absIn is path, seen from dir.
func absIn(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Runs lists the project's runs, the newest first. Filter is MLflow's search
// expression; empty means all.
func (p *Project) Runs(ctx context.Context, filter string) iter.Seq2[mlflow.RunInfo, error] {
	return func(yield func(mlflow.RunInfo, error) bool) {
		id, err := p.ensureExperiment(ctx)
		if err != nil {
			yield(mlflow.RunInfo{}, err)
			return
		}
		p.MLflow.Runs(ctx, mlflow.RunQuery{Experiments: []string{id}, Filter: filter, OrderBy: []string{"attributes.start_time DESC"}})(yield)
	}
}
