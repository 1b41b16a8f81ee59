package mlflow

import (
	"context"
	"encoding/json"
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
	Status       string // "LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"
	Created      time.Time
	Params       map[string]string
	Tags         Tags
}

const (
	modelReady  = "LOGGED_MODEL_READY"
	modelFailed = "LOGGED_MODEL_UPLOAD_FAILED"
)

// UnmarshalJSON reads MLflow's form of a logged model.
func (m *LoggedModel) UnmarshalJSON(b []byte) error {
	var w struct {
		Info struct {
			ID         string  `json:"model_id"`
			Name       string  `json:"name"`
			Experiment string  `json:"experiment_id"`
			Run        string  `json:"source_run_id"`
			URI        string  `json:"artifact_uri"`
			Status     string  `json:"status"`
			Created    wireInt `json:"creation_timestamp_ms"`
			Tags       Tags    `json:"tags"`
		} `json:"info"`
		Data struct {
			Params Tags `json:"params"`
		} `json:"data"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	i := w.Info
	*m = LoggedModel{i.ID, i.Name, i.Experiment, i.Run, i.URI, i.Status, millis(i.Created), w.Data.Params, i.Tags}
	return nil
}

type loggedReply struct {
	Model LoggedModel `json:"model"`
}

// LoggedModel returns a logged model by its ID.
//
// MLflow REST: GET /api/2.0/mlflow/logged-models/{model_id}
func (c *Client) LoggedModel(ctx context.Context, id string) (LoggedModel, error) {
	out, err := get[loggedReply](ctx, c, "LoggedModel", "logged-models/"+url.PathEscape(id), nil)
	return out.Model, err
}

// modelTag is where a logged model's client-made ID is kept.
const modelTag = "mlops.model_uid"

// createLogged makes a pending logged model, once.
//
// MLflow REST: POST /api/2.0/mlflow/logged-models
func (c *Client) createLogged(ctx context.Context, experiment, run, name string, params, tags map[string]string) (LoggedModel, error) {
	uid := c.newUID()
	all := Tags{modelTag: uid}
	for k, v := range tags {
		all[k] = v
	}
	body := map[string]any{"experiment_id": experiment, "name": name, "source_run_id": run, "tags": all}
	if len(params) > 0 {
		body["params"] = Tags(params)
	}
	return once(ctx, c, func() (LoggedModel, error) {
		out, err := sendOnce[loggedReply](ctx, c, "LogModel", "POST", "logged-models", body)
		return out.Model, err
	}, func() (LoggedModel, bool, error) {
		out, err := send[struct {
			Models []LoggedModel `json:"models"`
		}](ctx, c, "LogModel", "POST", "logged-models/search", map[string]any{
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
func (c *Client) finalize(ctx context.Context, id, status string) error {
	_, err := send[transport.None](ctx, c, "LogModel", "PATCH", "logged-models/"+url.PathEscape(id), map[string]string{"model_id": id, "status": status})
	return err
}
