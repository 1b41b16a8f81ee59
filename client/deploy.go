package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

// DeployOptions are how a model is served. The zero value is one replica,
// and waiting until it answers.
type DeployOptions struct {
	Name     string  // of the deployment, whose model may be replaced by another; empty: the model's
	Replicas int     // 0: 1
	NumCPUs  float64 // per replica; 0: a tenth
	NoWait   bool
	Timeout  time.Duration // 0: 10 min
	OnState  func(rayserve.App)
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
func (c *Client) ModelVersion(ctx context.Context, ref string) (mlflow.ModelVersion, error) {
	name, alias, version, err := parseModel(ref)
	switch {
	case err != nil:
		return mlflow.ModelVersion{}, err
	case alias != "":
		return c.MLflow.Models.VersionByAlias(ctx, name, alias)
	}
	return c.MLflow.Models.Version(ctx, name, version)
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

// Deploy serves a registered model, named as [Client.ModelVersion] reads it,
// below the project's serving endpoint. The model is resolved to a version
// first, so that moving an alias later changes nothing that is served until
// the next Deploy. If an upgrade fails, the version before keeps answering.
//
// The deployment is called like the model; no two models share a name. Only
// DeployOptions.Name replaces a deployment of another model: without it the
// error matches [mlops.ErrConflict]. While this machine is too hot for any new
// work, the stack's own Ray is given none: the error matches [mlops.ErrUnavailable].
func (p *Project) Deploy(ctx context.Context, model string, o DeployOptions) (rayserve.App, error) {
	if err := p.opened(); err != nil {
		return rayserve.App{}, err
	}
	mv, err := p.ModelVersion(ctx, model)
	if err == nil {
		err = p.tooHot()
	}
	if err != nil {
		return rayserve.App{}, err
	}
	only := mv.Name
	if o.Name != "" {
		only = ""
	}
	name, err := p.deployed(ctx, cmp.Or(o.Name, mv.Name), only)
	if err != nil {
		return rayserve.App{}, err
	}
	_, alias, _, _ := parseModel(model)
	app := rayserve.AppSpec{
		Name: name, RoutePrefix: p.route() + "/" + strings.TrimPrefix(name, p.appPrefix()),
		ModelURI: "models:/" + mv.Name + "/" + mv.Version, TrackingURI: p.Config.MLflowURI,
		Replicas: o.Replicas, NumCPUs: o.NumCPUs,
		Metadata: map[string]string{metaProject: p.join("/"), metaModel: mv.Name, metaVersion: mv.Version, metaAlias: alias, metaRun: mv.RunID},
	}
	maps.DeleteFunc(app.Metadata, func(_, v string) bool { return v == "" })
	return p.Serve.Deploy(ctx, app, rayserve.DeployOptions{
		NoWait: o.NoWait, Timeout: o.Timeout, OnState: o.OnState,
		Admit: func(now rayserve.App) error { return p.admit(now, only) },
	})
}

// admit refuses to replace what another project or, if only names a model,
// another model serves.
func (p *Project) admit(now rayserve.App, only string) error {
	project, model := now.Metadata[metaProject], now.Metadata[metaModel]
	switch {
	case project != "" && project != p.join("/"):
		return &mlops.Error{Kind: mlops.ErrConflict, Message: fmt.Sprintf("%s belongs to project %s; choose another name for the deployment", now.Name, project)}
	case only != "" && model != "" && model != only:
		return &mlops.Error{Kind: mlops.ErrConflict, Message: fmt.Sprintf("%s serves the model %s; name the deployment to replace it, or choose another name", now.Name, model)}
	}
	return nil
}

// Undeploy stops serving a deployment and waits until it is gone. It is called
// as [Project.Deployments] lists it, or like its model.
func (p *Project) Undeploy(ctx context.Context, name string) error {
	if err := p.opened(); err != nil {
		return err
	}
	app, err := p.deployed(ctx, name, "")
	if err != nil {
		return err
	}
	return p.Serve.Delete(ctx, app, rayserve.DeleteOptions{})
}

// Deployments lists what the project serves, as [rayserve.Client.Applications]
// does.
func (p *Project) Deployments(ctx context.Context) iter.Seq2[rayserve.App, error] {
	return func(yield func(rayserve.App, error) bool) {
		if err := p.opened(); err != nil {
			yield(rayserve.App{}, err)
			return
		}
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

// Predict scores rows with a deployment of the project, called as for
// [Project.Undeploy].
func (p *Project) Predict(ctx context.Context, name string, in rayserve.Input) (rayserve.Prediction, error) {
	if err := p.opened(); err != nil {
		return rayserve.Prediction{}, err
	}
	if name == "" {
		return rayserve.Prediction{}, errWhichDeployment
	}
	app := p.app(name)
	out, err := p.Serve.Invoke(ctx, app, in)
	if !errors.Is(err, mlops.ErrNotFound) {
		return out, err
	}
	other, lookErr := p.deployed(ctx, name, "")
	if lookErr != nil || other == app {
		return out, err
	}
	return p.Serve.Invoke(ctx, other, in)
}

var errWhichDeployment = invalid("which deployment? Name it")

// opened refuses a project that FromProject did not open.
func (p *Project) opened() error {
	if p == nil || p.Client.opened() != nil {
		return invalid("this project was not opened by client.FromProject")
	}
	return nil
}
