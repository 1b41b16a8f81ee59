package mlflow

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// RunStatus is the life cycle of a run: a run that has begun is RunRunning until it
// is ended.
type RunStatus string

// The statuses of a run.
const (
	RunRunning   RunStatus = "RUNNING"
	RunScheduled RunStatus = "SCHEDULED"
	RunFinished  RunStatus = "FINISHED"
	RunFailed    RunStatus = "FAILED"
	RunKilled    RunStatus = "KILLED"
)

// RunInfo is a run as the server has it.
type RunInfo struct {
	ID           string
	UID          string // the client-made ID; empty if another client made the run
	Name         string
	ExperimentID string
	Status       RunStatus
	User         string
	Start        time.Time
	End          time.Time // zero while the run is open
	ArtifactURI  string
	Deleted      bool
	Metrics      []Metric // the latest point of each key
	Params       map[string]string
	Tags         Tags
	Inputs       []DatasetInput
	Models       []string // IDs of the logged models that came out of the run
}

// uidTag is where a run's client-made ID is kept.
const uidTag = "mlops.run_uid"

// UnmarshalJSON reads MLflow's form of a run.
func (r *RunInfo) UnmarshalJSON(b []byte) error {
	var w struct {
		Info struct {
			ID         string    `json:"run_id"`
			OldID      string    `json:"run_uuid"`
			Name       string    `json:"run_name"`
			Experiment string    `json:"experiment_id"`
			Status     RunStatus `json:"status"`
			User       string    `json:"user_id"`
			Start      wireInt   `json:"start_time"`
			End        wireInt   `json:"end_time"`
			Artifacts  string    `json:"artifact_uri"`
			Lifecycle  string    `json:"lifecycle_stage"`
		} `json:"info"`
		Data struct {
			Metrics []Metric `json:"metrics"`
			Params  Tags     `json:"params"`
			Tags    Tags     `json:"tags"`
		} `json:"data"`
		Inputs struct {
			Datasets []DatasetInput `json:"dataset_inputs"`
		} `json:"inputs"`
		Outputs struct {
			Models []struct {
				ID string `json:"model_id"`
			} `json:"model_outputs"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	i := w.Info
	*r = RunInfo{ID: i.ID, UID: w.Data.Tags[uidTag], Name: i.Name, ExperimentID: i.Experiment, Status: i.Status, User: i.User,
		Start: millis(i.Start), End: millis(i.End), ArtifactURI: i.Artifacts, Deleted: i.Lifecycle == "deleted",
		Metrics: w.Data.Metrics, Params: w.Data.Params, Tags: w.Data.Tags, Inputs: w.Inputs.Datasets}
	if r.ID == "" {
		r.ID = i.OldID
	}
	if r.Name == "" {
		r.Name = w.Data.Tags["mlflow.runName"]
	}
	for _, m := range w.Outputs.Models {
		r.Models = append(r.Models, m.ID)
	}
	return nil
}

// Metric returns the latest point of a metric.
func (r RunInfo) Metric(key string) (Metric, bool) {
	i := slices.IndexFunc(r.Metrics, func(m Metric) bool { return m.Key == key })
	if i < 0 {
		return Metric{}, false
	}
	return r.Metrics[i], true
}

// RunInfo returns a run by the server's ID or by its UID.
//
// MLflow REST: GET /api/2.0/mlflow/runs/get
func (c *Client) RunInfo(ctx context.Context, id string) (RunInfo, error) {
	out, err := get[struct{ Run RunInfo }](ctx, c, "RunInfo", "runs/get", url.Values{"run_id": {id}})
	if !isNotFound(err) || !isUID(id) {
		return out.Run, err
	}
	var experiments []string
	for e, lerr := range c.Experiments(ctx, ExperimentQuery{View: ViewAll}) {
		if lerr != nil {
			return RunInfo{}, lerr
		}
		experiments = append(experiments, e.ID)
	}
	for part := range slices.Chunk(experiments, 500) {
		if r, ok, ferr := c.runByUID(ctx, part, id); ok || ferr != nil {
			return r, ferr
		}
	}
	return RunInfo{}, err
}

// isUID reports whether s has the form of a client-made ID, so that nothing else
// enters a search filter.
func isUID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// runByUID finds the run with a client-made ID; one that is deleted only if
// there is no other.
func (c *Client) runByUID(ctx context.Context, experiments []string, uid string) (RunInfo, bool, error) {
	var deleted RunInfo
	for r, err := range c.runsByUID(ctx, experiments, uid, ViewAll) {
		if err != nil || !r.Deleted {
			return r, err == nil, err
		}
		if deleted.ID == "" {
			deleted = r
		}
	}
	return deleted, deleted.ID != "", nil
}

// runsByUID lists the runs with a client-made ID. Of several, which a create
// that crossed its own repetition may leave, the first is the run.
func (c *Client) runsByUID(ctx context.Context, experiments []string, uid string, view View) iter.Seq2[RunInfo, error] {
	return c.Runs(ctx, RunQuery{Experiments: experiments, Filter: "tags.`" + uidTag + "` = '" + uid + "'",
		OrderBy: []string{"attributes.start_time ASC", "attributes.run_id ASC"}, View: view})
}

// RunQuery selects runs of experiments.
type RunQuery struct {
	Experiments []string // IDs; none selects nothing
	Filter      string   // "metrics.loss < 0.1 AND params.lr = '0.01'"; MLflow knows no OR
	OrderBy     []string // "metrics.loss ASC"; default: newest first
	View        View
}

// Runs lists the runs that q selects, with their latest metrics, params and tags.
//
// MLflow REST: POST /api/2.0/mlflow/runs/search
func (c *Client) Runs(ctx context.Context, q RunQuery) iter.Seq2[RunInfo, error] {
	return pages(func(token string) ([]RunInfo, string, error) {
		out, err := send[struct {
			Runs []RunInfo `json:"runs"`
			Next string    `json:"next_page_token"`
		}](ctx, c, "Runs", "POST", "runs/search", search{
			Experiments: q.Experiments, Filter: q.Filter, OrderBy: q.OrderBy, RunViewType: q.View.wire(), MaxResults: 1000, PageToken: token})
		return out.Runs, out.Next, err
	})
}

// MetricHistory lists every point of one metric of a run, by the server's ID
// of the run. A run or a metric that is not there has no points.
//
// MLflow REST: GET /api/2.0/mlflow/metrics/get-history
func (c *Client) MetricHistory(ctx context.Context, runID, key string) iter.Seq2[Metric, error] {
	return pages(func(token string) ([]Metric, string, error) {
		q := url.Values{"run_id": {runID}, "metric_key": {key}, "max_results": {"10000"}}
		if token != "" {
			q.Set("page_token", token)
		}
		out, err := get[struct {
			Metrics []Metric `json:"metrics"`
			Next    string   `json:"next_page_token"`
		}](ctx, c, "MetricHistory", "metrics/get-history", q)
		return out.Metrics, out.Next, err
	})
}

// DeleteRun marks a run as deleted.
//
// MLflow REST: POST /api/2.0/mlflow/runs/delete
func (c *Client) DeleteRun(ctx context.Context, id string) error {
	_, err := send[transport.None](ctx, c, "DeleteRun", "POST", "runs/delete", map[string]string{"run_id": id})
	return err
}

// RestoreRun takes back a DeleteRun.
//
// MLflow REST: POST /api/2.0/mlflow/runs/restore
func (c *Client) RestoreRun(ctx context.Context, id string) error {
	_, err := send[transport.None](ctx, c, "RestoreRun", "POST", "runs/restore", map[string]string{"run_id": id})
	return err
}

// RunUpdate is what may change about a run. Zero fields stay as they are.
type RunUpdate struct {
	Name   string
	Status RunStatus
	End    time.Time
}

// UpdateRun changes a run's name, status or end. An unknown status is refused
// here, because MLflow would ignore it and answer 200.
//
// MLflow REST: POST /api/2.0/mlflow/runs/update
func (c *Client) UpdateRun(ctx context.Context, id string, u RunUpdate) error {
	switch u.Status {
	case "", RunRunning, RunScheduled, RunFinished, RunFailed, RunKilled:
	default:
		return invalid("UpdateRun", "MLflow knows no run status %q", u.Status)
	}
	body := struct {
		ID     string    `json:"run_id"`
		Name   string    `json:"run_name,omitempty"`
		Status RunStatus `json:"status,omitempty"`
		End    int64     `json:"end_time,omitempty"`
	}{ID: id, Name: u.Name, Status: u.Status}
	if !u.End.IsZero() {
		body.End = u.End.UnixMilli()
	}
	_, err := send[transport.None](ctx, c, "UpdateRun", "POST", "runs/update", body)
	return err
}

// DatasetInput is a data set that went into a run.
type DatasetInput struct {
	Name       string
	Digest     string // at most 36 characters
	SourceType string // "dvc", "local", "http"
	Source     string // where it is, usually JSON
	Schema     string // JSON; may be empty
	Profile    string // JSON; may be empty
	Context    string // "training", "eval"; may be empty
	Tags       Tags   // others than that of Context; may be nil
}

type wireInput struct {
	Tags    Tags        `json:"tags,omitempty"`
	Dataset wireDataset `json:"dataset"`
}

type wireDataset struct {
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	SourceType string `json:"source_type"`
	Source     string `json:"source"`
	Schema     string `json:"schema,omitempty"`
	Profile    string `json:"profile,omitempty"`
}

const contextTag = "mlflow.data.context"

// MarshalJSON writes MLflow's form of a dataset input.
func (d DatasetInput) MarshalJSON() ([]byte, error) {
	w := wireInput{Dataset: wireDataset{d.Name, d.Digest, d.SourceType, d.Source, d.Schema, d.Profile}}
	if w.Tags = maps.Clone(d.Tags); d.Context != "" {
		if w.Tags == nil {
			w.Tags = Tags{}
		}
		w.Tags[contextTag] = d.Context
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads MLflow's form of a dataset input.
func (d *DatasetInput) UnmarshalJSON(b []byte) error {
	var w wireInput
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	s := w.Dataset
	*d = DatasetInput{Name: s.Name, Digest: s.Digest, SourceType: s.SourceType, Source: s.Source, Schema: s.Schema, Profile: s.Profile}
	d.setTags(w.Tags)
	return nil
}

// setTags takes the tags of an input, of which Context is one.
func (d *DatasetInput) setTags(tags Tags) {
	d.Context = tags[contextTag]
	delete(tags, contextTag)
	if len(tags) > 0 {
		d.Tags = tags
	}
}

// gone is the error for something that an answer did not hold.
func gone(op, format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrNotFound, Service: "mlflow", Op: op, Message: fmt.Sprintf(format, args...)}
}
