package mlflow

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/mlops-integration/mlops/internal/transport"
)

// The calls of this file write one thing to a run and wait for the server,
// whatever state the run is in. A program that logs as it goes uses [Run].

// LogRunMetric writes one point to a run, by the server's ID. Sending it twice
// leaves one point. A zero Time is now.
//
// MLflow REST: POST /api/2.0/mlflow/runs/log-metric
func (c *Client) LogRunMetric(ctx context.Context, runID string, m Metric) error {
	if err := checkKey("LogRunMetric", "metric", m.Key); err != nil {
		return err
	}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	_, err := send[transport.None](ctx, c, "LogRunMetric", "POST", "runs/log-metric", struct {
		RunID string `json:"run_id"`
		wireMetric
	}{runID, wireMetric{Key: m.Key, Value: number(m.Value), Time: wireInt(m.Time.UnixMilli()), Step: wireInt(m.Step), ModelID: m.ModelID}})
	return err
}

// LogRunParam writes one parameter to a run, spelled as Python spells value.
// The error matches [mlops.ErrInvalid] if the run has it with another value.
//
// MLflow REST: POST /api/2.0/mlflow/runs/log-parameter
func (c *Client) LogRunParam(ctx context.Context, runID, key string, value any) error {
	text := PyString(value)
	if err := checkValue("LogRunParam", "param", key, text, maxParamValue); err != nil {
		return err
	}
	_, err := send[transport.None](ctx, c, "LogRunParam", "POST", "runs/log-parameter", map[string]string{"run_id": runID, "key": key, "value": text})
	return err
}

// SetRunTag sets one tag of a run.
//
// MLflow REST: POST /api/2.0/mlflow/runs/set-tag
func (c *Client) SetRunTag(ctx context.Context, runID, key, value string) error {
	if err := checkValue("SetRunTag", "tag", key, value, maxTagValue); err != nil {
		return err
	}
	_, err := send[transport.None](ctx, c, "SetRunTag", "POST", "runs/set-tag", map[string]string{"run_id": runID, "key": key, "value": value})
	return err
}

// DeleteRunTag removes one tag of a run. The error matches [mlops.ErrNotFound]
// if the run has no such tag.
//
// MLflow REST: POST /api/2.0/mlflow/runs/delete-tag
func (c *Client) DeleteRunTag(ctx context.Context, runID, key string) error {
	return remove(ctx, c, func() error {
		_, err := sendOnce[transport.None](ctx, c, "DeleteRunTag", "POST", "runs/delete-tag", map[string]string{"run_id": runID, "key": key})
		return err
	})
}

// RecordRunModel notes on a run that a model lies among its artifacts, as
// clients of MLflow 2 did when they logged one. mlmodel is the MLmodel file as
// JSON; its "artifact_path" says where. From MLflow 3 on a model is logged as
// by [Run.LogModel].
//
// MLflow REST: POST /api/2.0/mlflow/runs/log-model
func (c *Client) RecordRunModel(ctx context.Context, runID string, mlmodel json.RawMessage) error {
	_, err := once(ctx, c, func() (transport.None, error) {
		return sendOnce[transport.None](ctx, c, "RecordRunModel", "POST", "runs/log-model", map[string]string{"run_id": runID, "model_json": string(mlmodel)})
	}, func() (transport.None, bool, error) {
		r, err := c.RunInfo(ctx, runID)
		var noted []map[string]any
		_ = json.Unmarshal([]byte(r.Tags[historyTag]), &noted)
		var mine map[string]any
		_ = json.Unmarshal(mlmodel, &mine)
		there := slices.ContainsFunc(noted, func(m map[string]any) bool {
			return m["artifact_path"] == mine["artifact_path"] && m["utc_time_created"] == mine["utc_time_created"] && m["model_uuid"] == mine["model_uuid"]
		})
		return transport.None{}, there, err
	})
	return err
}

// historyTag is where MLflow keeps the models that were noted on a run.
const historyTag = "mlflow.log-model.history"
