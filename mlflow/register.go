package mlflow

import (
	"context"
	"errors"
	"net/url"
	"path"

	"github.com/mlops-integration/mlops"
)

// RegisterOptions are what a version made by [ModelsService.Register] may have.
type RegisterOptions struct {
	Tags        map[string]string
	Description string
	Aliases     []string // set on the new version
}

// Register makes the next version of a registered model from files that
// are on the server already. name is registered if need be. of is a run by ID
// or UID, or a URI as for [Client.Artifacts]: runs:/<run>/<folder> is what a
// run logged there, or else its logged model of that name; a run alone means
// its only logged model. A version of another model becomes the source of this
// one, as [ModelsService.CopyVersion] does it.
//
// The error matches [mlops.ErrNotFound] if no MLmodel file is there.
//
// MLflow REST: POST /api/2.0/mlflow/model-versions/create
func (s ModelsService) Register(ctx context.Context, name, of string, opt RegisterOptions) (ModelVersion, error) {
	if err := s.c.usable("Models.Register"); err != nil {
		return ModelVersion{}, err
	}
	v, err := s.source(ctx, of)
	if err != nil {
		return ModelVersion{}, err
	}
	there, err := s.isModel(ctx, v.Source)
	if err != nil {
		return ModelVersion{}, err
	}
	if !there {
		return ModelVersion{}, gone("Models.Register", "there is no MLmodel file at %s", v.Source)
	}
	if _, err := s.Create(ctx, name, ModelOptions{}); err != nil && !errors.Is(err, mlops.ErrAlreadyExists) {
		return ModelVersion{}, err
	}
	made, err := s.CreateVersion(ctx, name, v.Source, ModelVersionOptions{RunID: v.RunID, ModelID: v.ModelID, Tags: opt.Tags, Description: opt.Description})
	if err != nil {
		return made, err
	}
	for _, a := range opt.Aliases {
		if err := s.SetAlias(ctx, name, a, made.Version); err != nil {
			return made, err
		}
		made.Aliases = append(made.Aliases, a)
	}
	return made, nil
}

// source finds what a version that is made from of has as source, run and
// logged model.
func (s ModelsService) source(ctx context.Context, of string) (ModelVersion, error) {
	host := ""
	if u, err := url.Parse(s.c.URL()); err == nil {
		host = u.Host
	}
	var stores []string
	for scheme := range s.c.art.opt.Stores {
		stores = append(stores, scheme)
	}
	p, err := parsePlace(of, host, stores...)
	if err != nil {
		return ModelVersion{}, err
	}
	if p.path != "" && (p.scheme == "model" || p.scheme == "version" || p.scheme == "alias") {
		return ModelVersion{}, invalid("Models.Register", "%q is part of a model", of)
	}
	switch p.scheme {
	case "run":
		return s.sourceInRun(ctx, p)
	case "model":
		m, err := s.c.LoggedModels.Get(ctx, p.id)
		return sourceOf(m), err
	case "version":
		v, err := s.Version(ctx, p.id, p.version)
		return ModelVersion{Source: "models:/" + v.Name + "/" + v.Version, RunID: v.RunID}, err
	case "alias":
		v, err := s.VersionByAlias(ctx, p.id, p.version)
		return ModelVersion{Source: "models:/" + v.Name + "/" + v.Version, RunID: v.RunID}, err
	}
	return ModelVersion{Source: of}, nil
}

func sourceOf(m LoggedModel) ModelVersion {
	return ModelVersion{Source: "models:/" + m.ID, RunID: m.RunID, ModelID: m.ID}
}

// sourceInRun looks among the run's artifacts, then among its logged models.
func (s ModelsService) sourceInRun(ctx context.Context, p place) (ModelVersion, error) {
	r, err := s.c.RunInfo(ctx, p.id)
	if err != nil {
		return ModelVersion{}, err
	}
	in := ModelVersion{Source: join(r.ArtifactURI, p.path), RunID: r.ID}
	there, err := s.isModel(ctx, in.Source)
	if there || err != nil {
		return in, err
	}
	var found []LoggedModel
	for _, id := range r.Models {
		m, err := s.c.LoggedModels.Get(ctx, id)
		if err != nil {
			return in, err
		}
		if p.path == "" || p.path == m.Name {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 1:
		return sourceOf(found[0]), nil
	case len(found) > 1:
		return in, invalid("Models.Register", "run %s logged %d models that this may mean: name one by models:/%s", r.ID, len(found), found[0].ID)
	}
	return in, nil
}

// isModel reports whether a folder is that of a model.
func (s ModelsService) isModel(ctx context.Context, of string) (bool, error) {
	for f, err := range s.c.Artifacts(ctx, of, "") {
		if err != nil {
			return false, err
		}
		if path.Base(f.Path) == modelFile && !f.IsDir {
			return true, nil
		}
	}
	return false, nil
}
