package mlflow

import (
	"context"
	"errors"
	"net/url"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// RenameModel gives a registered model another name; its versions go with it.
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/rename
func (c *Client) RenameModel(ctx context.Context, name, newName string) (RegisteredModel, error) {
	return once(ctx, c, func() (RegisteredModel, error) {
		return model(sendOnce[modelReply](ctx, c, "RenameModel", "POST", "registered-models/rename", map[string]string{"name": name, "new_name": newName}))
	}, func() (RegisteredModel, bool, error) {
		if _, err := c.Model(ctx, name); !isNotFound(err) {
			return RegisteredModel{}, false, err // it has its old name still
		}
		return found(c.Model(ctx, newName))
	})
}

// DescribeModel sets the description of a registered model.
//
// MLflow REST: PATCH /api/2.0/mlflow/registered-models/update
func (c *Client) DescribeModel(ctx context.Context, name, description string) (RegisteredModel, error) {
	return model(send[modelReply](ctx, c, "DescribeModel", "PATCH", "registered-models/update", map[string]string{"name": name, "description": description}))
}

// SetModelTag sets one tag of a registered model.
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/set-tag
func (c *Client) SetModelTag(ctx context.Context, name, key, value string) error {
	_, err := send[transport.None](ctx, c, "SetModelTag", "POST", "registered-models/set-tag", map[string]string{"name": name, "key": key, "value": value})
	return err
}

// DeleteModelTag removes one tag of a registered model; there being none is no
// error.
//
// MLflow REST: DELETE /api/2.0/mlflow/registered-models/delete-tag
func (c *Client) DeleteModelTag(ctx context.Context, name, key string) error {
	_, err := send[transport.None](ctx, c, "DeleteModelTag", "DELETE", "registered-models/delete-tag", map[string]string{"name": name, "key": key})
	return err
}

// DescribeModelVersion sets the description of a version.
//
// MLflow REST: PATCH /api/2.0/mlflow/model-versions/update
func (c *Client) DescribeModelVersion(ctx context.Context, name, v, description string) (ModelVersion, error) {
	return version(send[versionReply](ctx, c, "DescribeModelVersion", "PATCH", "model-versions/update",
		map[string]string{"name": name, "version": v, "description": description}))
}

// DeleteModelVersionTag removes one tag of a version; there being none is no
// error.
//
// MLflow REST: DELETE /api/2.0/mlflow/model-versions/delete-tag
func (c *Client) DeleteModelVersionTag(ctx context.Context, name, v, key string) error {
	_, err := send[transport.None](ctx, c, "DeleteModelVersionTag", "DELETE", "model-versions/delete-tag",
		map[string]string{"name": name, "version": v, "key": key})
	return err
}

// ModelVersionURI returns where the files of a version lie, with sources that
// are other versions or logged models followed to their end.
//
// MLflow REST: GET /api/2.0/mlflow/model-versions/get-download-uri
func (c *Client) ModelVersionURI(ctx context.Context, name, v string) (string, error) {
	out, err := get[struct {
		URI string `json:"artifact_uri"`
	}](ctx, c, "ModelVersionURI", "model-versions/get-download-uri", url.Values{"name": {name}, "version": {v}})
	return out.URI, err
}

// CopyModelVersion makes a version of toName from a version of another
// registered model, with its run, tags and description, as promoting from
// "dev.wine" to "prod.wine" does. toName is registered if need be. The files are
// not copied: the new version points at the old one.
//
// MLflow REST: POST /api/2.0/mlflow/model-versions/create
func (c *Client) CopyModelVersion(ctx context.Context, name, v, toName string) (ModelVersion, error) {
	from, err := c.ModelVersion(ctx, name, v)
	if err != nil {
		return ModelVersion{}, err
	}
	if _, err := c.CreateModel(ctx, toName, ModelOptions{}); err != nil && !errors.Is(err, mlops.ErrAlreadyExists) {
		return ModelVersion{}, err
	}
	tags := map[string]string{}
	for k, t := range from.Tags {
		if k != versionTag {
			tags[k] = t
		}
	}
	return c.CreateModelVersion(ctx, toName, "models:/"+name+"/"+v, ModelVersionOptions{RunID: from.RunID, Tags: tags, Description: from.Description})
}

// LatestVersions returns the newest version of a registered model in each stage,
// or in the stages named. MLflow advises against stages since 2.9: an alias says
// which version is meant, see [Client.ModelByAlias].
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/get-latest-versions
func (c *Client) LatestVersions(ctx context.Context, name string, stages ...string) ([]ModelVersion, error) {
	body := struct {
		Name   string   `json:"name"`
		Stages []string `json:"stages,omitempty"`
	}{name, stages}
	out, err := send[struct {
		Versions []ModelVersion `json:"model_versions"`
	}](ctx, c, "LatestVersions", "POST", "registered-models/get-latest-versions", body)
	return out.Versions, err
}

// TransitionStage moves a version to "Staging", "Production", "Archived" or
// "None"; archive moves those that are there to "Archived". MLflow advises
// against stages since 2.9: use [Client.SetAlias].
//
// MLflow REST: POST /api/2.0/mlflow/model-versions/transition-stage
func (c *Client) TransitionStage(ctx context.Context, name, v, stage string, archive bool) (ModelVersion, error) {
	body := struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Stage   string `json:"stage"`
		Archive bool   `json:"archive_existing_versions"`
	}{name, v, stage, archive}
	return version(send[versionReply](ctx, c, "TransitionStage", "POST", "model-versions/transition-stage", body))
}
