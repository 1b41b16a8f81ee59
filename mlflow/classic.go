package mlflow

import (
	"cmp"
	"context"
	"encoding/json"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops/internal/transport"
)

// logClassic is LogModel for a server without logged models, MLflow 2.x: the
// files lie among the run's artifacts, in a folder that is named after the
// model, and the run's tag mlflow.log-model.history describes them. Params and
// Step of m have no place there.
//
// MLflow REST: PUT mlflow-artifacts, POST /api/2.0/mlflow/runs/log-model,
// POST /api/2.0/mlflow/model-versions/create
func (r *Run) logClassic(ctx context.Context, at whereabouts, p *pkg, m ModelSpec) (ModelVersion, error) {
	folder := cmp.Or(m.LoggedName, m.Name, "model")
	uri := at.root + "/" + folder
	if err := r.upload(ctx, at, p, LoggedModel{ID: r.c.uid(), ArtifactURI: uri}); err != nil {
		return ModelVersion{}, err
	}
	var doc map[string]any
	if err := yaml.Unmarshal(p.made[modelFile], &doc); err != nil {
		return ModelVersion{}, err
	}
	doc["artifact_path"] = folder // the server wants it within the run
	text, err := json.Marshal(doc)
	if err != nil {
		return ModelVersion{}, err
	}
	if _, err := send[transport.None](ctx, r.c, "LogModel", "POST", "runs/log-model", map[string]string{"run_id": at.id, "model_json": string(text)}); err != nil {
		return ModelVersion{}, err
	}
	return r.c.Models.register(ctx, m, ModelVersion{Source: uri, RunID: at.id})
}
