package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Experiment groups runs.
type Experiment struct {
	ID               string
	Name             string
	ArtifactLocation string
	Deleted          bool
	Created          time.Time
	Updated          time.Time
	Tags             Tags
}

// UnmarshalJSON reads MLflow's form of an experiment.
func (e *Experiment) UnmarshalJSON(b []byte) error {
	var w struct {
		ID        string  `json:"experiment_id"`
		Name      string  `json:"name"`
		Location  string  `json:"artifact_location"`
		Lifecycle string  `json:"lifecycle_stage"`
		Created   wireInt `json:"creation_time"`
		Updated   wireInt `json:"last_update_time"`
		Tags      Tags    `json:"tags"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*e = Experiment{ID: w.ID, Name: w.Name, ArtifactLocation: w.Location, Deleted: w.Lifecycle == "deleted",
		Created: millis(w.Created), Updated: millis(w.Updated), Tags: w.Tags}
	return nil
}

// ExperimentOptions are what a new experiment may have besides its name.
type ExperimentOptions struct {
	ArtifactLocation string // empty: the server chooses
	Tags             map[string]string
}

// CreateExperiment makes an experiment and returns its ID. The error matches
// [mlops.ErrAlreadyExists] if the name is taken, also by a deleted experiment.
//
// MLflow REST: POST /api/2.0/mlflow/experiments/create
func (c *Client) CreateExperiment(ctx context.Context, name string, opt ExperimentOptions) (string, error) {
	const op = "CreateExperiment"
	if err := checkKey(op, "experiment", name); err != nil {
		return "", err
	}
	body := struct {
		Name     string `json:"name"`
		Location string `json:"artifact_location,omitempty"`
		Tags     Tags   `json:"tags,omitempty"`
	}{name, opt.ArtifactLocation, withUID(c, opt.Tags)}
	return once(ctx, c, func() (string, error) {
		out, err := sendOnce[struct {
			ID string `json:"experiment_id"`
		}](ctx, c, op, "POST", "experiments/create", body)
		return out.ID, err
	}, func() (string, bool, error) {
		e, err := c.ExperimentByName(ctx, name)
		if err == nil && e.Tags[createTag] != body.Tags[createTag] {
			return "", false, nil // another's, as the server says when it is asked again
		}
		return found(e.ID, err)
	})
}

// createTag is where the client-made ID of an experiment or a registered model is
// kept: by it one is known as made by the call whose answer was lost.
const createTag = "mlops.create_uid"

// withUID returns tags and a client-made ID.
func withUID(c *Client, tags map[string]string) Tags {
	all := Tags{}
	maps.Copy(all, tags)
	all[createTag] = uidOf(c)
	return all
}

// Experiment returns an experiment by its ID.
//
// MLflow REST: GET /api/2.0/mlflow/experiments/get
func (c *Client) Experiment(ctx context.Context, id string) (Experiment, error) {
	out, err := get[struct{ Experiment Experiment }](ctx, c, "Experiment", "experiments/get", url.Values{"experiment_id": {id}})
	return out.Experiment, err
}

// ExperimentByName returns an experiment by its name, deleted ones included.
//
// MLflow REST: GET /api/2.0/mlflow/experiments/get-by-name
func (c *Client) ExperimentByName(ctx context.Context, name string) (Experiment, error) {
	out, err := get[struct{ Experiment Experiment }](ctx, c, "ExperimentByName", "experiments/get-by-name", url.Values{"experiment_name": {name}})
	return out.Experiment, err
}

// SetExperimentTag sets one tag of an experiment.
//
// MLflow REST: POST /api/2.0/mlflow/experiments/set-experiment-tag
func (c *Client) SetExperimentTag(ctx context.Context, id, key, value string) error {
	if err := checkKey("SetExperimentTag", "tag", key); err != nil {
		return err
	}
	_, err := send[transport.None](ctx, c, "SetExperimentTag", "POST", "experiments/set-experiment-tag",
		map[string]string{"experiment_id": id, "key": key, "value": value})
	return err
}

// DeleteExperiment marks an experiment and its runs as deleted.
//
// MLflow REST: POST /api/2.0/mlflow/experiments/delete
func (c *Client) DeleteExperiment(ctx context.Context, id string) error {
	return remove(ctx, c, func() error {
		_, err := sendOnce[transport.None](ctx, c, "DeleteExperiment", "POST", "experiments/delete", map[string]string{"experiment_id": id})
		return err
	})
}

// RestoreExperiment takes back a DeleteExperiment.
//
// MLflow REST: POST /api/2.0/mlflow/experiments/restore
func (c *Client) RestoreExperiment(ctx context.Context, id string) error {
	_, err := send[transport.None](ctx, c, "RestoreExperiment", "POST", "experiments/restore", map[string]string{"experiment_id": id})
	return err
}

// ExperimentQuery selects experiments. The zero value selects all active ones.
type ExperimentQuery struct {
	Filter  string   // "name LIKE 'team-%'", "tags.`mlops.project` = 'x'"
	OrderBy []string // "name", "creation_time DESC"
	View    View
}

// Experiments lists the experiments that q selects.
//
// MLflow REST: POST /api/2.0/mlflow/experiments/search
func (c *Client) Experiments(ctx context.Context, q ExperimentQuery) iter.Seq2[Experiment, error] {
	return pages(func(token string) ([]Experiment, string, error) {
		out, err := send[struct {
			Experiments []Experiment `json:"experiments"`
			Next        string       `json:"next_page_token"`
		}](ctx, c, "Experiments", "POST", "experiments/search", search{
			Filter: q.Filter, OrderBy: q.OrderBy, ViewType: q.View.wire(), MaxResults: 1000, PageToken: token})
		return out.Experiments, out.Next, err
	})
}

// search is the body of MLflow's search calls.
type search struct {
	Experiments []string `json:"experiment_ids,omitempty"`
	Filter      string   `json:"filter,omitempty"`
	OrderBy     []string `json:"order_by,omitempty"`
	ViewType    View     `json:"view_type,omitempty"`
	RunViewType View     `json:"run_view_type,omitempty"`
	MaxResults  int      `json:"max_results"` // required: 0 is refused
	PageToken   string   `json:"page_token,omitempty"`
}

// found turns a look-up into the answer that once asks for.
func found[T any](v T, err error) (T, bool, error) {
	if isNotFound(err) {
		return v, false, nil
	}
	return v, err == nil, err
}

func isNotFound(err error) bool { return errors.Is(err, mlops.ErrNotFound) }

// RenameExperiment gives an experiment another name. The error matches
// [mlops.ErrAlreadyExists] if it is taken.
//
// MLflow REST: POST /api/2.0/mlflow/experiments/update
func (c *Client) RenameExperiment(ctx context.Context, id, name string) error {
	if err := checkKey("RenameExperiment", "experiment", name); err != nil {
		return err
	}
	_, err := send[transport.None](ctx, c, "RenameExperiment", "POST", "experiments/update", map[string]string{"experiment_id": id, "new_name": name})
	// A name that is taken is answered with what the database said.
	if e, ok := errors.AsType[*mlops.Error](err); ok && e.Code == "BAD_REQUEST" && strings.Contains(strings.ToLower(e.Message), "unique") {
		return &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: e.Service, Op: e.Op, Status: e.Status, Code: e.Code, Message: "an experiment has the name " + name}
	}
	return err
}

// DeleteExperimentTag removes one tag of an experiment.
//
// MLflow REST: POST /api/2.0/mlflow/experiments/delete-experiment-tag
func (c *Client) DeleteExperimentTag(ctx context.Context, id, key string) error {
	return remove(ctx, c, func() error {
		_, err := sendOnce[transport.None](ctx, c, "DeleteExperimentTag", "POST", "experiments/delete-experiment-tag", map[string]string{"experiment_id": id, "key": key})
		return err
	})
}

// DatasetSummary is a data set that went into runs of an experiment.
type DatasetSummary struct {
	ExperimentID string `json:"experiment_id"`
	Name         string `json:"name"`
	Digest       string `json:"digest"`
	Context      string `json:"context"` // "training", "eval"; may be empty
}

// Datasets lists the data sets that went into runs of experiments, by their IDs,
// 20 experiments a request. The server tells at most 1,000 of each request.
//
// MLflow REST: POST /ajax-api/2.0/mlflow/experiments/search-datasets
func (c *Client) Datasets(ctx context.Context, experiments ...string) iter.Seq2[DatasetSummary, error] {
	return func(yield func(DatasetSummary, error) bool) {
		for part := range slices.Chunk(experiments, 20) {
			out, err := transport.Do[struct {
				Datasets []DatasetSummary `json:"dataset_summaries"`
			}](ctx, c.tracking(), transport.Call{Op: "Datasets", Method: "POST", Path: "/ajax-api/2.0/mlflow/experiments/search-datasets",
				Body: map[string]any{"experiment_ids": part}, Idempotent: true})
			if err != nil {
				yield(DatasetSummary{}, err)
				return
			}
			for _, d := range out.Datasets {
				if !yield(d, nil) {
					return
				}
			}
		}
	}
}
