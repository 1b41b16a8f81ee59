package mlflow

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"net/url"
	"time"

	"github.com/mlops-integration/mlops/internal/transport"
)

// LoggedModel is a model that came out of a run, registered or not.
type LoggedModel struct {
	ID           string // "m-…"
	Name         string
	ExperimentID string
	RunID        string
	ArtifactURI  string
	Status       LoggedModelStatus
	Created      time.Time
	Params       map[string]string
	Tags         Tags

	Type          string // what the model is for, "Agent"; may be empty
	StatusMessage string
	Updated       time.Time
	Metrics       []Metric       // points that were logged with this model's ID
	Versions      []ModelVersion // name and version of each registration
}

// LoggedModelStatus says whether the files of a logged model are there.
type LoggedModelStatus string

// The statuses of a logged model.
const (
	LoggedModelPending LoggedModelStatus = "LOGGED_MODEL_PENDING"
	LoggedModelReady   LoggedModelStatus = "LOGGED_MODEL_READY"
	LoggedModelFailed  LoggedModelStatus = "LOGGED_MODEL_UPLOAD_FAILED"
)

// UnmarshalJSON reads MLflow's form of a logged model.
func (m *LoggedModel) UnmarshalJSON(b []byte) error {
	var w struct {
		Info struct {
			ID         string            `json:"model_id"`
			Name       string            `json:"name"`
			Experiment string            `json:"experiment_id"`
			Run        string            `json:"source_run_id"`
			URI        string            `json:"artifact_uri"`
			Status     LoggedModelStatus `json:"status"`
			Created    wireInt           `json:"creation_timestamp_ms"`
			Tags       Tags              `json:"tags"`
			Type       string            `json:"model_type"`
			Message    string            `json:"status_message"`
			Updated    wireInt           `json:"last_updated_timestamp_ms"`

			Registrations []struct{ Name, Version string } `json:"registrations"`
		} `json:"info"`
		Data struct {
			Params  Tags     `json:"params"`
			Metrics []Metric `json:"metrics"`
		} `json:"data"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	i := w.Info
	*m = LoggedModel{ID: i.ID, Name: i.Name, ExperimentID: i.Experiment, RunID: i.Run, ArtifactURI: i.URI, Status: i.Status,
		Created: millis(i.Created), Params: w.Data.Params, Tags: i.Tags, Type: i.Type, StatusMessage: i.Message, Updated: millis(i.Updated), Metrics: w.Data.Metrics}
	for _, r := range i.Registrations {
		m.Versions = append(m.Versions, ModelVersion{Name: r.Name, Version: r.Version})
	}
	return nil
}

type loggedReply struct {
	Model LoggedModel `json:"model"`
}

// Get returns a logged model by its ID.
//
// MLflow REST: GET /api/2.0/mlflow/logged-models/{model_id}
func (s LoggedModelsService) Get(ctx context.Context, id string) (LoggedModel, error) {
	out, err := get[loggedReply](ctx, s.c, "LoggedModels.Get", "logged-models/"+url.PathEscape(id), nil)
	return out.Model, err
}

// modelTag is where a logged model's client-made ID is kept.
const modelTag = "mlops.model_uid"

// createPending makes a pending logged model, once.
//
// MLflow REST: POST /api/2.0/mlflow/logged-models
func (s LoggedModelsService) createPending(ctx context.Context, experiment, run, name string, params, tags map[string]string) (LoggedModel, error) {
	return s.create(ctx, "LogModel", experiment, LoggedModelOptions{Name: name, RunID: run, Params: params, Tags: tags})
}

// LoggedModelOptions are what a new logged model may have.
type LoggedModelOptions struct {
	Name   string // empty: the server chooses
	Type   string // "Agent"
	RunID  string // the run it comes from, by the server's ID
	Params map[string]string
	Tags   map[string]string
}

// Create makes a pending logged model, whose files are then put below
// its ArtifactURI, and which [LoggedModelsService.Finalize] ends. [Run.LogModel]
// does all of this. An answer that got lost does not lead to a second model.
//
// MLflow REST: POST /api/2.0/mlflow/logged-models
func (s LoggedModelsService) Create(ctx context.Context, experiment string, opt LoggedModelOptions) (LoggedModel, error) {
	return s.create(ctx, "LoggedModels.Create", experiment, opt)
}

func (s LoggedModelsService) create(ctx context.Context, op, experiment string, opt LoggedModelOptions) (LoggedModel, error) {
	uid := uidOf(s.c)
	all := Tags{}
	maps.Copy(all, opt.Tags)
	all[modelTag] = uid // not that of a model whose tags were copied
	body := struct {
		Experiment string `json:"experiment_id"`
		Name       string `json:"name,omitempty"`
		Type       string `json:"model_type,omitempty"`
		Run        string `json:"source_run_id,omitempty"`
		Params     Tags   `json:"params,omitempty"`
		Tags       Tags   `json:"tags"`
	}{experiment, opt.Name, opt.Type, opt.RunID, opt.Params, all}
	return once(ctx, s.c, func() (LoggedModel, error) {
		out, err := sendOnce[loggedReply](ctx, s.c, op, "POST", "logged-models", body)
		return out.Model, err
	}, func() (LoggedModel, bool, error) {
		out, err := send[struct {
			Models []LoggedModel `json:"models"`
		}](ctx, s.c, op, "POST", "logged-models/search", map[string]any{
			"experiment_ids": []string{experiment}, "filter": "tags.`" + modelTag + "` = '" + uid + "'", "max_results": 1})
		if err != nil || len(out.Models) == 0 {
			return LoggedModel{}, false, err
		}
		return out.Models[0], true, nil
	})
}

// finalize says whether all files of a logged model arrived.
//
// MLflow REST: PATCH /api/2.0/mlflow/logged-models/{model_id}
func (s LoggedModelsService) finalize(ctx context.Context, id string, status LoggedModelStatus) error {
	_, err := send[transport.None](ctx, s.c, "LogModel", "PATCH", "logged-models/"+url.PathEscape(id), map[string]string{"model_id": id, "status": string(status)})
	return err
}

// Finalize says whether all files of a logged model arrived, with
// LoggedModelReady or LoggedModelFailed. MLflow hands out a pending model all the same.
//
// MLflow REST: PATCH /api/2.0/mlflow/logged-models/{model_id}
func (s LoggedModelsService) Finalize(ctx context.Context, id string, status LoggedModelStatus) (LoggedModel, error) {
	out, err := send[loggedReply](ctx, s.c, "LoggedModels.Finalize", "PATCH", "logged-models/"+url.PathEscape(id), map[string]string{"model_id": id, "status": string(status)})
	return out.Model, err
}

// LoggedModelQuery selects logged models of experiments.
type LoggedModelQuery struct {
	Experiments []string          // IDs; none selects nothing
	Filter      string            // "name = 'wine' AND params.depth = '3' AND metrics.acc > 0.9"
	Datasets    []DatasetSummary  // metrics in Filter are those on these data sets: Name, and Digest unless empty
	OrderBy     []LoggedModelSort // default: newest first
}

// LoggedModelSort is one key by which logged models are ordered.
type LoggedModelSort struct {
	Field         string `json:"field_name"` // "creation_timestamp", "metrics.acc"
	Ascending     bool   `json:"ascending"`
	DatasetName   string `json:"dataset_name,omitempty"` // the metric's data set
	DatasetDigest string `json:"dataset_digest,omitempty"`
}

// All lists the logged models that q selects.
//
// MLflow REST: POST /api/2.0/mlflow/logged-models/search
func (s LoggedModelsService) All(ctx context.Context, q LoggedModelQuery) iter.Seq2[LoggedModel, error] {
	type dataset struct {
		Name   string `json:"dataset_name"`
		Digest string `json:"dataset_digest,omitempty"`
	}
	body := struct {
		Experiments []string          `json:"experiment_ids"`
		Filter      string            `json:"filter,omitempty"`
		Datasets    []dataset         `json:"datasets,omitempty"`
		OrderBy     []LoggedModelSort `json:"order_by,omitempty"`
		MaxResults  int               `json:"max_results"`
		PageToken   string            `json:"page_token,omitempty"`
	}{Experiments: q.Experiments, Filter: q.Filter, OrderBy: q.OrderBy, MaxResults: 50}
	for _, d := range q.Datasets {
		body.Datasets = append(body.Datasets, dataset{d.Name, d.Digest})
	}
	return pages(func(token string) ([]LoggedModel, string, error) {
		body := body
		body.PageToken = token
		out, err := send[struct {
			Models []LoggedModel `json:"models"`
			Next   string        `json:"next_page_token"`
		}](ctx, s.c, "LoggedModels.All", "POST", "logged-models/search", body)
		return out.Models, out.Next, err
	})
}

// LogParams adds parameters to a logged model. The server refuses to
// change one.
//
// MLflow REST: POST /api/2.0/mlflow/logged-models/{model_id}/params
func (s LoggedModelsService) LogParams(ctx context.Context, id string, params map[string]any) error {
	list := Tags{}
	for k, v := range params {
		list[k] = PyString(v)
		if err := checkValue("LoggedModels.LogParams", "param", k, list[k], maxParamValue); err != nil {
			return err
		}
	}
	_, err := once(ctx, s.c, func() (transport.None, error) {
		return sendOnce[transport.None](ctx, s.c, "LoggedModels.LogParams", "POST", "logged-models/"+url.PathEscape(id)+"/params", map[string]any{"model_id": id, "params": list})
	}, func() (transport.None, bool, error) {
		m, err := s.Get(ctx, id)
		for k, v := range list {
			if there, ok := m.Params[k]; !ok || there != v {
				return transport.None{}, false, err
			}
		}
		return transport.None{}, err == nil, err
	})
	return err
}

// SetTags sets tags of a logged model.
//
// MLflow REST: PATCH /api/2.0/mlflow/logged-models/{model_id}/tags
func (s LoggedModelsService) SetTags(ctx context.Context, id string, tags map[string]string) error {
	_, err := send[transport.None](ctx, s.c, "LoggedModels.SetTags", "PATCH", "logged-models/"+url.PathEscape(id)+"/tags", map[string]any{"tags": Tags(tags)})
	return err
}

// DeleteTag removes one tag of a logged model. The error matches
// [mlops.ErrNotFound] if it has no such tag.
//
// MLflow REST: DELETE /api/2.0/mlflow/logged-models/{model_id}/tags/{tag_key}
func (s LoggedModelsService) DeleteTag(ctx context.Context, id, key string) error {
	return remove(ctx, s.c, func() error {
		_, err := sendOnce[transport.None](ctx, s.c, "LoggedModels.DeleteTag", "DELETE", "logged-models/"+url.PathEscape(id)+"/tags/"+url.PathEscape(key), nil)
		return err
	})
}

// Delete deletes a logged model; doing so twice is no error. Its files
// stay.
//
// MLflow REST: DELETE /api/2.0/mlflow/logged-models/{model_id}
func (s LoggedModelsService) Delete(ctx context.Context, id string) error {
	return remove(ctx, s.c, func() error {
		_, err := sendOnce[transport.None](ctx, s.c, "LoggedModels.Delete", "DELETE", "logged-models/"+url.PathEscape(id), nil)
		return err
	})
}

// Artifacts lists what lies in the folder at dir of a logged model,
// without its subfolders, as [Client.Artifacts] does, but for every kind of
// store: the server looks itself.
//
// MLflow REST: GET /api/2.0/mlflow/logged-models/{model_id}/artifacts/directories
func (s LoggedModelsService) Artifacts(ctx context.Context, id, dir string) iter.Seq2[FileInfo, error] {
	return pages(func(token string) ([]FileInfo, string, error) {
		q := url.Values{}
		if dir != "" {
			q.Set("artifact_directory_path", dir)
		}
		out, err := get[struct {
			Files []struct {
				Path  string  `json:"path"`
				IsDir bool    `json:"is_dir"`
				Size  wireInt `json:"file_size"`
			} `json:"files"`
			Next string `json:"next_page_token"`
		}](ctx, s.c, "LoggedModels.Artifacts", "logged-models/"+url.PathEscape(id)+"/artifacts/directories", page(q, token))
		files := make([]FileInfo, 0, len(out.Files))
		for _, f := range out.Files {
			files = append(files, FileInfo{f.Path, f.IsDir, int64(f.Size)})
		}
		return files, out.Next, err
	})
}
