package mlflow

import (
	"context"
	"errors"
	"net/url"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Rename gives a registered model another name; its versions go with it.
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/rename
func (s ModelsService) Rename(ctx context.Context, name, newName string) (Model, error) {
	return onceNamed(ctx, s.c, func() (Model, error) {
		return model(sendOnce[modelReply](ctx, s.c, "Models.Rename", "POST", "registered-models/rename", map[string]string{"name": name, "new_name": newName}))
	}, func() (Model, bool, error) {
		if _, err := s.Get(ctx, name); !isNotFound(err) {
			return Model{}, false, err // it has its old name still
		}
		return found(s.Get(ctx, newName))
	})
}

// Describe sets the description of a registered model.
//
// MLflow REST: PATCH /api/2.0/mlflow/registered-models/update
func (s ModelsService) Describe(ctx context.Context, name, description string) (Model, error) {
	return model(send[modelReply](ctx, s.c, "Models.Describe", "PATCH", "registered-models/update", map[string]string{"name": name, "description": description}))
}

// SetTag sets one tag of a registered model.
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/set-tag
func (s ModelsService) SetTag(ctx context.Context, name, key, value string) error {
	_, err := send[transport.None](ctx, s.c, "Models.SetTag", "POST", "registered-models/set-tag", map[string]string{"name": name, "key": key, "value": value})
	return err
}

// DeleteTag removes one tag of a registered model; there being none is no
// error.
//
// MLflow REST: DELETE /api/2.0/mlflow/registered-models/delete-tag
func (s ModelsService) DeleteTag(ctx context.Context, name, key string) error {
	_, err := send[transport.None](ctx, s.c, "Models.DeleteTag", "DELETE", "registered-models/delete-tag", map[string]string{"name": name, "key": key})
	return err
}

// DescribeVersion sets the description of a version.
//
// MLflow REST: PATCH /api/2.0/mlflow/model-versions/update
func (s ModelsService) DescribeVersion(ctx context.Context, name, v, description string) (ModelVersion, error) {
	return version(send[versionReply](ctx, s.c, "Models.DescribeVersion", "PATCH", "model-versions/update",
		map[string]string{"name": name, "version": v, "description": description}))
}

// DeleteVersionTag removes one tag of a version; there being none is no
// error.
//
// MLflow REST: DELETE /api/2.0/mlflow/model-versions/delete-tag
func (s ModelsService) DeleteVersionTag(ctx context.Context, name, v, key string) error {
	_, err := send[transport.None](ctx, s.c, "Models.DeleteVersionTag", "DELETE", "model-versions/delete-tag",
		map[string]string{"name": name, "version": v, "key": key})
	return err
}

// VersionURI returns where the files of a version lie, with sources that
// are other versions or logged models followed to their end.
//
// MLflow REST: GET /api/2.0/mlflow/model-versions/get-download-uri
func (s ModelsService) VersionURI(ctx context.Context, name, v string) (string, error) {
	out, err := get[struct {
		URI string `json:"artifact_uri"`
	}](ctx, s.c, "Models.VersionURI", "model-versions/get-download-uri", url.Values{"name": {name}, "version": {v}})
	return out.URI, err
}

// CopyVersion makes a version of toName from a version of another
// registered model, with its run, tags and description, as promoting from
// "dev.wine" to "prod.wine" does. toName is registered if need be. The files are
// not copied: the new version points at the old one.
//
// MLflow REST: POST /api/2.0/mlflow/model-versions/create
func (s ModelsService) CopyVersion(ctx context.Context, name, v, toName string) (ModelVersion, error) {
	from, err := s.Version(ctx, name, v)
	if err != nil {
		return ModelVersion{}, err
	}
	if _, err := s.Create(ctx, toName, ModelOptions{}); err != nil && !errors.Is(err, mlops.ErrAlreadyExists) {
		return ModelVersion{}, err
	}
	tags := map[string]string{}
	for k, t := range from.Tags {
		if k != versionTag {
			tags[k] = t
		}
	}
	return s.CreateVersion(ctx, toName, "models:/"+name+"/"+v, ModelVersionOptions{RunID: from.RunID, Tags: tags, Description: from.Description})
}

// LatestVersions returns the newest version of a registered model in each stage,
// or in the stages named. MLflow advises against stages since 2.9: an alias says
// which version is meant, see [ModelsService.VersionByAlias].
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/get-latest-versions
func (s ModelsService) LatestVersions(ctx context.Context, name string, stages ...Stage) ([]ModelVersion, error) {
	body := struct {
		Name   string  `json:"name"`
		Stages []Stage `json:"stages,omitempty"`
	}{name, stages}
	out, err := send[struct {
		Versions []ModelVersion `json:"model_versions"`
	}](ctx, s.c, "Models.LatestVersions", "POST", "registered-models/get-latest-versions", body)
	return out.Versions, err
}

// TransitionStage moves a version to a stage; archive moves those that are there to
// StageArchived. MLflow advises
// against stages since 2.9: use [ModelsService.SetAlias].
//
// MLflow REST: POST /api/2.0/mlflow/model-versions/transition-stage
func (s ModelsService) TransitionStage(ctx context.Context, name, v string, stage Stage, archive bool) (ModelVersion, error) {
	body := struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Stage   Stage  `json:"stage"`
		Archive bool   `json:"archive_existing_versions"`
	}{name, v, stage, archive}
	return version(send[versionReply](ctx, s.c, "Models.TransitionStage", "POST", "model-versions/transition-stage", body))
}
