package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Model is a name in the model registry.
type Model struct {
	Name        string
	Description string
	Created     time.Time
	Updated     time.Time
	Tags        Tags
	Aliases     map[string]string // alias to version
	Latest      []ModelVersion
}

// UnmarshalJSON reads MLflow's form of a registered model.
func (m *Model) UnmarshalJSON(b []byte) error {
	var w struct {
		Name        string         `json:"name"`
		Description string         `json:"description"`
		Created     wireInt        `json:"creation_timestamp"`
		Updated     wireInt        `json:"last_updated_timestamp"`
		Tags        Tags           `json:"tags"`
		Latest      []ModelVersion `json:"latest_versions"`
		Aliases     []struct{ Alias, Version string }
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*m = Model{Name: w.Name, Description: w.Description, Created: millis(w.Created), Updated: millis(w.Updated), Tags: w.Tags, Latest: w.Latest}
	for _, a := range w.Aliases {
		if m.Aliases == nil {
			m.Aliases = map[string]string{}
		}
		m.Aliases[a.Alias] = a.Version
	}
	return nil
}

// VersionStatus says whether a version can be used.
type VersionStatus string

// The statuses of a model version.
const (
	VersionPending VersionStatus = "PENDING_REGISTRATION"
	VersionFailed  VersionStatus = "FAILED_REGISTRATION"
	VersionReady   VersionStatus = "READY"
)

// Stage is a label of a model version. MLflow advises against stages since 2.9: an
// alias says which version is meant.
type Stage string

// The stages.
const (
	StageNone       Stage = "None"
	StageStaging    Stage = "Staging"
	StageProduction Stage = "Production"
	StageArchived   Stage = "Archived"
)

// ModelVersion is one version of a registered model.
type ModelVersion struct {
	Name        string
	Version     string
	Description string
	Source      string // where the files are: "models:/m-…", "mlflow-artifacts:/…"
	RunID       string
	ModelID     string // of the logged model
	Status      VersionStatus
	Created     time.Time
	Updated     time.Time
	Tags        Tags
	Aliases     []string
	User        string
	Stage       Stage
	StatusText  string // why Status is not READY
}

// UnmarshalJSON reads MLflow's form of a model version.
func (v *ModelVersion) UnmarshalJSON(b []byte) error {
	var w struct {
		Name        string        `json:"name"`
		Version     string        `json:"version"`
		Description string        `json:"description"`
		Source      string        `json:"source"`
		RunID       string        `json:"run_id"`
		ModelID     string        `json:"model_id"`
		Status      VersionStatus `json:"status"`
		Created     wireInt       `json:"creation_timestamp"`
		Updated     wireInt       `json:"last_updated_timestamp"`
		Tags        Tags          `json:"tags"`
		Aliases     []string      `json:"aliases"`
		User        string        `json:"user_id"`
		Stage       Stage         `json:"current_stage"`
		StatusText  string        `json:"status_message"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*v = ModelVersion{w.Name, w.Version, w.Description, w.Source, w.RunID, w.ModelID, w.Status, millis(w.Created), millis(w.Updated), w.Tags, w.Aliases, w.User, w.Stage, w.StatusText}
	if id, ok := strings.CutPrefix(v.Source, "models:/m-"); ok && v.ModelID == "" {
		v.ModelID = "m-" + id // the server keeps it in the source alone
	}
	return nil
}

// ModelOptions are what a new registered model may have besides its name.
type ModelOptions struct {
	Description string
	Tags        map[string]string
}

// Create registers a name. The error matches [mlops.ErrAlreadyExists] if
// it is taken.
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/create
func (s ModelsService) Create(ctx context.Context, name string, opt ModelOptions) (Model, error) {
	body := struct {
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
		Tags        Tags   `json:"tags,omitempty"`
	}{name, opt.Description, withUID(s.c, opt.Tags)}
	return once(ctx, s.c, func() (Model, error) {
		return model(sendOnce[modelReply](ctx, s.c, "Models.Create", "POST", "registered-models/create", body))
	}, func() (Model, bool, error) {
		m, err := s.Get(ctx, name)
		if err == nil && m.Tags[createTag] != body.Tags[createTag] {
			return Model{}, false, nil // another's, as the server says when it is asked again
		}
		return found(m, err)
	})
}

type modelReply struct {
	Model Model `json:"registered_model"`
}

func model(r modelReply, err error) (Model, error) { return r.Model, err }

type versionReply struct {
	Version ModelVersion `json:"model_version"`
}

func version(r versionReply, err error) (ModelVersion, error) { return r.Version, err }

// Get returns a registered model.
//
// MLflow REST: GET /api/2.0/mlflow/registered-models/get
func (s ModelsService) Get(ctx context.Context, name string) (Model, error) {
	return model(get[modelReply](ctx, s.c, "Models.Get", "registered-models/get", url.Values{"name": {name}}))
}

// ModelQuery selects registered models or versions. The zero value selects all.
type ModelQuery struct {
	Filter  string // "name = 'wine'", "tags.stage = 'test'"
	OrderBy []string
}

func (q ModelQuery) values(token string) url.Values {
	v := url.Values{"max_results": {"200"}}
	if q.Filter != "" {
		v.Set("filter", q.Filter)
	}
	if len(q.OrderBy) > 0 {
		v["order_by"] = q.OrderBy
	}
	if token != "" {
		v.Set("page_token", token)
	}
	return v
}

// All lists the registered models that q selects.
//
// MLflow REST: GET /api/2.0/mlflow/registered-models/search
func (s ModelsService) All(ctx context.Context, q ModelQuery) iter.Seq2[Model, error] {
	return pages(func(token string) ([]Model, string, error) {
		out, err := get[struct {
			Models []Model `json:"registered_models"`
			Next   string  `json:"next_page_token"`
		}](ctx, s.c, "Models.All", "registered-models/search", q.values(token))
		return out.Models, out.Next, err
	})
}

// Delete deletes a registered model and its versions, for good.
//
// MLflow REST: DELETE /api/2.0/mlflow/registered-models/delete
func (s ModelsService) Delete(ctx context.Context, name string) error {
	return remove(ctx, s.c, func() error {
		_, err := sendOnce[transport.None](ctx, s.c, "Models.Delete", "DELETE", "registered-models/delete", map[string]string{"name": name})
		return err
	})
}

// ModelVersionOptions are what a new version may have besides its source.
type ModelVersionOptions struct {
	RunID       string
	ModelID     string // of the logged model that Source is
	Tags        map[string]string
	Description string
}

// versionTag is where a version's client-made ID is kept.
const versionTag = "mlops.version_uid"

// CreateVersion makes the next version of a registered model from the
// files at source: "models:/m-…" of a logged model, or an artifact URI.
// MLflow does not check that they are there. An answer that got lost does not
// lead to a second version: each version carries a client-made ID.
//
// MLflow REST: POST /api/2.0/mlflow/model-versions/create
func (s ModelsService) CreateVersion(ctx context.Context, name, source string, opt ModelVersionOptions) (ModelVersion, error) {
	uid := uidOf(s.c)
	tags := Tags{}
	maps.Copy(tags, opt.Tags)
	tags[versionTag] = uid // not that of a version whose tags were copied
	body := struct {
		Name        string `json:"name"`
		Source      string `json:"source"`
		RunID       string `json:"run_id,omitempty"`
		ModelID     string `json:"model_id,omitempty"`
		Tags        Tags   `json:"tags"`
		Description string `json:"description,omitempty"`
	}{name, source, opt.RunID, opt.ModelID, tags, opt.Description}
	return once(ctx, s.c, func() (ModelVersion, error) {
		return version(sendOnce[versionReply](ctx, s.c, "Models.CreateVersion", "POST", "model-versions/create", body))
	}, func() (ModelVersion, bool, error) {
		filter := "tags.`" + versionTag + "` = '" + uid + "'"
		if tags[promptTag] != "" { // the server leaves out prompts that are not asked for
			filter += " AND tags.`" + promptTag + "` = '" + tags[promptTag] + "'"
		}
		return firstOf(s.Versions(ctx, ModelQuery{Filter: filter}), func(ModelVersion) bool { return true })
	})
}

// Version returns a version of a registered model.
//
// MLflow REST: GET /api/2.0/mlflow/model-versions/get
func (s ModelsService) Version(ctx context.Context, name, v string) (ModelVersion, error) {
	return version(get[versionReply](ctx, s.c, "Models.Version", "model-versions/get", url.Values{"name": {name}, "version": {v}}))
}

// Versions lists the versions that q selects.
//
// MLflow REST: GET /api/2.0/mlflow/model-versions/search
func (s ModelsService) Versions(ctx context.Context, q ModelQuery) iter.Seq2[ModelVersion, error] {
	return pages(func(token string) ([]ModelVersion, string, error) {
		out, err := get[struct {
			Versions []ModelVersion `json:"model_versions"`
			Next     string         `json:"next_page_token"`
		}](ctx, s.c, "Models.Versions", "model-versions/search", q.values(token))
		return out.Versions, out.Next, err
	})
}

// DeleteVersion deletes a version, for good. Its files stay.
//
// MLflow REST: DELETE /api/2.0/mlflow/model-versions/delete
func (s ModelsService) DeleteVersion(ctx context.Context, name, v string) error {
	return remove(ctx, s.c, func() error {
		_, err := sendOnce[transport.None](ctx, s.c, "Models.DeleteVersion", "DELETE", "model-versions/delete", map[string]string{"name": name, "version": v})
		return err
	})
}

// SetVersionTag sets one tag of a version.
//
// MLflow REST: POST /api/2.0/mlflow/model-versions/set-tag
func (s ModelsService) SetVersionTag(ctx context.Context, name, v, key, value string) error {
	_, err := send[transport.None](ctx, s.c, "Models.SetVersionTag", "POST", "model-versions/set-tag",
		map[string]string{"name": name, "version": v, "key": key, "value": value})
	return err
}

// SetAlias points alias at a version. MLflow reserves "latest" and names like "v1".
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/alias
func (s ModelsService) SetAlias(ctx context.Context, name, alias, v string) error {
	_, err := send[transport.None](ctx, s.c, "Models.SetAlias", "POST", "registered-models/alias",
		map[string]string{"name": name, "alias": alias, "version": v})
	return err
}

// DeleteAlias removes an alias; there being none is no error.
//
// MLflow REST: DELETE /api/2.0/mlflow/registered-models/alias
func (s ModelsService) DeleteAlias(ctx context.Context, name, alias string) error {
	_, err := send[transport.None](ctx, s.c, "Models.DeleteAlias", "DELETE", "registered-models/alias",
		map[string]string{"name": name, "alias": alias})
	return err
}

// VersionByAlias returns the model version that alias points at.
//
// The error matches [mlops.ErrNotFound] if there is no such model or alias.
//
// MLflow REST: GET /api/2.0/mlflow/registered-models/alias
func (s ModelsService) VersionByAlias(ctx context.Context, name, alias string) (ModelVersion, error) {
	v, err := version(get[versionReply](ctx, s.c, "Models.VersionByAlias", "registered-models/alias", url.Values{"name": {name}, "alias": {alias}}))
	// A missing alias is answered like a bad argument.
	if e, ok := errors.AsType[*mlops.Error](err); ok && e.Code == "INVALID_PARAMETER_VALUE" && strings.HasSuffix(e.Message, "not found.") {
		e.Kind = mlops.ErrNotFound
	}
	return v, err
}
