package client

import (
	"context"
	"iter"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/mlflow"
)

// StartRun starts a run of the project, with or without a server: see
// [mlflow.Client.StartRun]. It records the git commit, branch and whether the
// work tree differs from it, and samples the machine (processor, memory, disk,
// network) under MLflow's own "system/…" names every 10 s; o.Sampler replaces
// that, and a negative o.SampleEvery leaves it out.
func (p *Project) StartRun(ctx context.Context, o mlflow.RunOptions) (*mlflow.Run, error) {
	return p.MLflow.StartRun(ctx, p.experimentWanted(), p.runOptions(ctx, o))
}

// ResumeRun goes on with a run, named by the server's ID or by its UID. It
// samples the machine only if o has a Sampler.
func (p *Project) ResumeRun(ctx context.Context, run string, o mlflow.RunOptions) (*mlflow.Run, error) {
	return p.MLflow.ResumeRun(ctx, run, o)
}

// HostSampler reads this machine under MLflow's names for system metrics; it
// is what StartRun uses.
func HostSampler() mlflow.Sampler { return applesilicon.NewSampler() }

func (p *Project) runOptions(ctx context.Context, o mlflow.RunOptions) mlflow.RunOptions {
	tags := gitTags(ctx, p.Dir)
	tags[tagProject] = p.Name
	maps.Copy(tags, o.Tags) // what the caller says wins
	o.Tags = tags
	if o.Sampler == nil && o.SampleEvery >= 0 {
		o.Sampler = HostSampler()
	}
	return o
}

// gitTags describe the work tree that dir is in, under the names that MLflow's
// Python client uses where it has one. Without git or a repository there are none.
func gitTags(ctx context.Context, dir string) map[string]string {
	tags := map[string]string{}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	git := func(args ...string) (string, bool) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	if sha, ok := git("rev-parse", "HEAD"); ok {
		tags["mlflow.source.git.commit"] = sha
	} else {
		return tags
	}
	if branch, ok := git("symbolic-ref", "--short", "-q", "HEAD"); ok {
		tags["mlflow.source.git.branch"] = branch
	}
	if remote, ok := git("remote", "get-url", "origin"); ok {
		tags["mlflow.source.git.repoURL"] = publicURL(remote)
	}
	if changes, ok := git("status", "--porcelain", "--untracked-files=no"); ok {
		tags["mlflow.source.git.dirty"] = map[bool]string{true: "true", false: "false"}[changes != ""]
	}
	return tags
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
