package client

import (
	"context"
	"iter"
	"maps"
	"path/filepath"

	"github.com/mlops-integration/mlops/mlflow"
)

// StartRun starts a run of the project, with or without a server: see
// [mlflow.Client.StartRun]. It records the git commit and branch, how the work
// tree differs from it (the artifact git.diff, without binary files and what
// looks like a secret), the program's build and the host, and samples the machine (processor, memory, disk,
// network) under MLflow's own "system/…" names every 10 s; o.Sampler replaces
// that, and a negative o.SampleEvery or MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false
// leaves it out. If MLFLOW_RUN_ID names a run, the first StartRun resumes it.
func (p *Project) StartRun(ctx context.Context, o mlflow.RunOptions) (*mlflow.Run, error) {
	o, diff, machine := p.runOptions(ctx, o)
	run, err := p.MLflow.StartRun(ctx, p.experimentWanted(), o)
	machine.attach(run, err)
	if err != nil || diff == nil {
		return run, err
	}
	if err := run.LogText(ctx, string(diff), diffArtifact); err != nil { // it describes the run; the run can do without
		p.log.Warn("work tree's difference not kept", "service", "mlflow", "run_uid", run.UID, "error", err)
	}
	return run, nil
}

// ResumeRun resumes a run, named by the server's ID or by its UID. It
// samples the machine only if o has a Sampler.
func (c *Client) ResumeRun(ctx context.Context, run string, o mlflow.RunOptions) (*mlflow.Run, error) {
	return c.MLflow.ResumeRun(ctx, run, o)
}

// diffArtifact is the artifact that tells how the work tree differs from its commit.
const diffArtifact = "git.diff"

func (p *Project) runOptions(ctx context.Context, o mlflow.RunOptions) (mlflow.RunOptions, []byte, *beside) {
	tags, diff := provenance(ctx, p.Dir)
	tags[tagProject] = p.Name
	maps.Copy(tags, o.Tags) // what the caller says wins
	o.Tags = tags
	if o.Sampler != nil || o.SampleEvery < 0 || p.MLflow.Target().NoSampling {
		return o, diff, nil
	}
	o, machine := p.watch(ctx, o)
	return o, diff, machine
}

// absIn is path, seen from dir.
func absIn(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// Runs lists the project's runs, the newest first. Filter is MLflow's search
// expression; empty means all. Nothing is made on the server: the error matches
// [mlops.ErrNotFound] if the project is not there.
func (p *Project) Runs(ctx context.Context, filter string) iter.Seq2[mlflow.RunInfo, error] {
	return func(yield func(mlflow.RunInfo, error) bool) {
		id, err := p.find(ctx)
		if err != nil {
			yield(mlflow.RunInfo{}, err)
			return
		}
		p.MLflow.Runs(ctx, mlflow.RunQuery{Experiments: []string{id}, Filter: filter, OrderBy: []string{"attributes.start_time DESC"}})(yield)
	}
}
