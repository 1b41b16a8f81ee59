package client

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/mlflow"
)

// LogData records on a run which versions of tracked data it used: each path as
// a dataset input with DVC's hash for its digest, and as a tag mlops.data.<path>.
// A path may be an output of a stage or lie inside of a tracked directory. The
// data itself is not read.
//
// The error matches [mlops.ErrNotFound] if a path is not tracked.
func (p *Project) LogData(ctx context.Context, run *mlflow.Run, paths ...string) error {
	inputs := make([]mlflow.DatasetInput, len(paths))
	tags := map[string]string{}
	for i, path := range paths {
		v, err := p.Data.Version(ctx, path)
		if err != nil {
			return err
		}
		if inputs[i], err = dataInput(path, v); err != nil {
			return err
		}
		tags["mlops.data."+path] = v.Hash
	}
	if err := run.SetTags(ctx, tags); err != nil {
		return err
	}
	return run.LogInputs(ctx, inputs...)
}

// dataInput is a version of data as MLflow keeps datasets: the digest is the
// hash, whose longest form ("….dir") is just what MLflow takes.
func dataInput(path string, v dvc.Version) (mlflow.DatasetInput, error) {
	source, err := json.Marshal(struct {
		Path   string `json:"path"`
		Hash   string `json:"md5"`
		Bytes  int64  `json:"size,omitempty"`
		Remote string `json:"remote,omitempty"`
		URL    string `json:"url,omitempty"`
		Commit string `json:"commit,omitempty"`
	}{path, v.Hash, max(0, v.SizeBytes), v.Remote, v.RemoteURL, v.GitRevision})
	return mlflow.DatasetInput{Name: path, Digest: v.Hash, SourceType: "dvc", Source: string(source)}, err
}

// OwnVersions returns those of versions whose runs are the project's. A version
// without a run, or whose run is gone, belongs to no project.
func (p *Project) OwnVersions(ctx context.Context, versions []mlflow.ModelVersion) ([]mlflow.ModelVersion, error) {
	id, err := p.find(ctx)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{"": false} // by run
	var out []mlflow.ModelVersion
	for _, v := range versions {
		ours, known := own[v.RunID]
		if !known {
			r, err := p.MLflow.RunInfo(ctx, v.RunID)
			if err != nil && !errors.Is(err, mlops.ErrNotFound) {
				return nil, err
			}
			ours = err == nil && r.ExperimentID == id
			own[v.RunID] = ours
		}
		if ours {
			out = append(out, v)
		}
	}
	return out, nil
}
