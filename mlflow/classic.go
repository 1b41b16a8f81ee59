package mlflow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"path"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// logClassic is LogModel for a server without logged models, MLflow 2.x: the
// files lie among the run's artifacts, in a folder that is named after the
// model, and the run's tag mlflow.log-model.history describes them. Params and
// Step of m have no place there.
//
// MLflow REST: PUT mlflow-artifacts, POST /api/2.0/mlflow/runs/log-model,
// POST /api/2.0/mlflow/model-versions/create
func (r *Run) logClassic(ctx context.Context, p *pkg, m Model) (ModelVersion, error) {
	folder := cmp.Or(m.LoggedName, m.Name, "model")
	at, err := r.own(ctx)
	if err != nil {
		return ModelVersion{}, err
	}
	uri := r.root + "/" + folder
	if err := r.upload(ctx, p, LoggedModel{ID: r.c.newUID(), ArtifactURI: "mlflow-artifacts:/" + path.Join(at, folder)}); err != nil {
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
	if _, err := send[transport.None](ctx, r.c, "LogModel", "POST", "runs/log-model", map[string]string{"run_id": r.id, "model_json": string(text)}); err != nil {
		return ModelVersion{}, err
	}
	v := ModelVersion{Source: uri, RunID: r.id}
	if m.Name == "" {
		return v, nil
	}
	if _, err := r.c.CreateModel(ctx, m.Name, ModelOptions{}); err != nil && !errors.Is(err, mlops.ErrAlreadyExists) {
		return v, err
	}
	made, err := r.c.CreateModelVersion(ctx, m.Name, uri, ModelVersionOptions{RunID: r.id, Tags: m.Tags})
	if err != nil {
		return v, err
	}
	for _, a := range m.Aliases {
		if err := r.c.SetAlias(ctx, m.Name, a, made.Version); err != nil {
			return made, err
		}
		made.Aliases = append(made.Aliases, a)
	}
	return made, nil
}
