package client

import (
	"context"
	"iter"
	"maps"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

// DeployOptions are how a model is served. The zero value is one replica,
// and waiting until it answers.
type DeployOptions struct {
	Name     string  // of the deployment; empty: the model's
	Replicas int     // 0: 1
	NumCPUs  float64 // per replica; 0: a tenth
	NoWait   bool
	Timeout  time.Duration // 0: 10 min
	OnState  func(rayserve.Application)
}

// The lineage that a deployment carries in its Serve configuration.
const (
	metaProject = "mlops.project"
	metaModel   = "mlops.model"
	metaVersion = "mlops.model_version"
	metaAlias   = "mlops.model_alias"
	metaRun     = "mlops.run_id"
)

// ModelVersion resolves "name@alias", "name/3", "models:/name@alias" or
// "models:/name/3" to the version it stands for now.
func (p *Project) ModelVersion(ctx context.Context, ref string) (mlflow.ModelVersion, error) {
	name, alias, version, err := parseModel(ref)
	switch {
	case err != nil:
		return mlflow.ModelVersion{}, err
	case alias != "":
		return p.MLflow.ModelByAlias(ctx, name, alias)
	}
	return p.MLflow.ModelVersion(ctx, name, version)
}

func parseModel(ref string) (name, alias, version string, err error) {
	rest := strings.TrimPrefix(ref, "models:/")
	if n, a, ok := strings.Cut(rest, "@"); ok {
		name, alias = n, a
	} else if n, v, ok := strings.Cut(rest, "/"); ok {
		name, version = n, v
	}
	if name == "" || alias+version == "" || strings.ContainsAny(alias+version, "/@:") || strings.ContainsAny(name, "/:") {
		return "", "", "", invalid("model %q: write name@alias or name/version, for example sentiment@champion or sentiment/3", ref)
	}
	return name, alias, version, nil
}

// Deploy serves a registered model, named as [Project.ModelVersion] reads it,
// below the project's serving endpoint. The model is resolved to a version
// first, so that moving an alias later changes nothing that is served until
// the next Deploy. If an upgrade fails, the version before goes on answering.
func (p *Project) Deploy(ctx context.Context, model string, o DeployOptions) (rayserve.Application, error) {
	mv, err := p.ModelVersion(ctx, model)
	if err != nil {
		return rayserve.Application{}, err
	}
	name := o.Name
	if name == "" {
		name = strings.ToLower(mv.Name)
	}
	_, alias, _, _ := parseModel(model)
	app := rayserve.App{
		Name: p.app(name), RoutePrefix: p.route() + "/" + name,
		ModelURI: "models:/" + mv.Name + "/" + mv.Version, TrackingURI: p.Config.MLflowURI,
		Replicas: o.Replicas, NumCPUs: o.NumCPUs,
		Metadata: map[string]string{metaProject: p.join("/"), metaModel: mv.Name, metaVersion: mv.Version, metaAlias: alias, metaRun: mv.RunID},
	}
	if p.Config.apart {
		app.TrackingURI = "" // replicas have it from Ray's own environment
	}
	maps.DeleteFunc(app.Metadata, func(_, v string) bool { return v == "" })
	return p.Serve.Deploy(ctx, app, rayserve.DeployOptions{NoWait: o.NoWait, Timeout: o.Timeout, OnState: o.OnState})
}

// Undeploy stops serving a deployment and waits until it is gone.
func (p *Project) Undeploy(ctx context.Context, name string) error {
	return p.Serve.Delete(ctx, p.app(name), rayserve.DeleteOptions{})
}

// Deployments lists what the project serves.
func (p *Project) Deployments(ctx context.Context) iter.Seq2[rayserve.Application, error] {
	return func(yield func(rayserve.Application, error) bool) {
		for a, err := range p.Serve.Applications(ctx) {
			if err == nil && a.Metadata[metaProject] != p.join("/") {
				continue
			}
			if !yield(a, err) {
				return
			}
		}
	}
}

// Predict scores rows with a deployment of the project.
func (p *Project) Predict(ctx context.Context, name string, in rayserve.Input) (rayserve.Prediction, error) {
	return p.Serve.Invoke(ctx, p.app(name), in)
}

// app is the cluster-wide name of a deployment. "." cannot be part of a
// project's name, so that two projects never meet.
func (p *Project) app(name string) string {
	prefix := p.join(".") + "."
	if strings.HasPrefix(name, prefix) {
		return name
	}
	return prefix + name
}
