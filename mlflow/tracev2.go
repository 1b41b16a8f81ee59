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

// The calls of this file are those of MLflow 2.14 and later, which 3.x still
// answers. A program that speaks to 3.x alone needs none of them.

// traceV2 is a trace's info as MLflow 2 writes it.
type traceV2 struct {
	ID         string     `json:"request_id"`
	Experiment string     `json:"experiment_id"`
	Time       wireInt    `json:"timestamp_ms"`
	Duration   wireInt    `json:"execution_time_ms"`
	State      TraceState `json:"status"`
	Metadata   Tags       `json:"request_metadata"`
	Tags       Tags       `json:"tags"`
}

func (w traceV2) info() TraceInfo {
	return TraceInfo{ID: w.ID, ExperimentID: w.Experiment, State: w.State, Time: millis(w.Time),
		Duration: time.Duration(w.Duration) * time.Millisecond, Metadata: w.Metadata, Tags: w.Tags}
}

type traceV2Reply struct {
	Info traceV2 `json:"trace_info"`
}

// traceTag is where the client-made ID of a trace is kept whose ID the server chose.
const traceTag = "mlops.trace_uid"

// StartV2 begins a trace; the server chooses its ID. Of t it takes
// ExperimentID, Time, Metadata and Tags. An answer that got lost does not lead to
// a second trace: each carries a client-made ID as a tag.
//
// MLflow REST: POST /api/2.0/mlflow/traces
func (s TracesService) StartV2(ctx context.Context, t TraceInfo) (TraceInfo, error) {
	if t.Time.IsZero() {
		t.Time = time.Now()
	}
	uid := newUID()
	tags := Tags{traceTag: uid}
	maps.Copy(tags, t.Tags)
	return once(ctx, s.c, func() (TraceInfo, error) {
		out, err := sendOnce[traceV2Reply](ctx, s.c, "Traces.StartV2", "POST", "traces", map[string]any{
			"experiment_id": t.ExperimentID, "timestamp_ms": t.Time.UnixMilli(), "request_metadata": Tags(t.Metadata), "tags": tags})
		return out.Info.info(), err
	}, func() (TraceInfo, bool, error) {
		q := TraceQuery{Experiments: []string{t.ExperimentID}, Filter: "tags.`" + traceTag + "` = '" + uid + "'"}
		return firstOf(s.AllV2(ctx, q), func(i TraceInfo) bool { return i.Tags[traceTag] == uid })
	})
}

// EndV2 ends a trace at t.Time plus t.Duration, with t.State, and adds
// t.Metadata and t.Tags.
//
// MLflow REST: PATCH /api/2.0/mlflow/traces/{request_id}
func (s TracesService) EndV2(ctx context.Context, t TraceInfo) (TraceInfo, error) {
	out, err := send[traceV2Reply](ctx, s.c, "Traces.EndV2", "PATCH", "traces/"+url.PathEscape(t.ID), map[string]any{
		"request_id": t.ID, "timestamp_ms": t.Time.Add(t.Duration).UnixMilli(), "status": t.State, "request_metadata": Tags(t.Metadata), "tags": Tags(t.Tags)})
	return out.Info.info(), err
}

// InfoV2 returns a trace without its spans.
//
// MLflow REST: GET /api/2.0/mlflow/traces/{request_id}/info
func (s TracesService) InfoV2(ctx context.Context, id string) (TraceInfo, error) {
	out, err := get[traceV2Reply](ctx, s.c, "Traces.InfoV2", "traces/"+url.PathEscape(id)+"/info", nil)
	return out.Info.info(), err
}

// AllV2 lists the traces that q selects, without their spans.
//
// MLflow REST: GET /api/2.0/mlflow/traces
func (s TracesService) AllV2(ctx context.Context, q TraceQuery) iter.Seq2[TraceInfo, error] {
	return pages(func(token string) ([]TraceInfo, string, error) {
		v := url.Values{"experiment_ids": q.Experiments, "max_results": {"500"}}
		if q.Filter != "" {
			v.Set("filter", q.Filter)
		}
		if len(q.OrderBy) > 0 {
			v["order_by"] = q.OrderBy
		}
		out, err := get[struct {
			Traces []traceV2 `json:"traces"`
			Next   string    `json:"next_page_token"`
		}](ctx, s.c, "Traces.AllV2", "traces", page(v, token))
		infos := make([]TraceInfo, 0, len(out.Traces))
		for _, w := range out.Traces {
			infos = append(infos, w.info())
		}
		return infos, out.Next, err
	})
}

// Data returns the spans of a trace as the server's web pages load them,
// also of a trace whose spans lie among the artifacts, as those of MLflow 2 do.
//
// MLflow REST: GET /ajax-api/2.0/mlflow/get-trace-artifact
func (s TracesService) Data(ctx context.Context, id string) (json.RawMessage, error) {
	return transport.Do[json.RawMessage](ctx, s.c.tracking(), transport.Call{Op: "Traces.Data", Method: "GET", Path: "/ajax-api/2.0/mlflow/get-trace-artifact",
		Query: url.Values{"request_id": {id}}, Idempotent: true})
}
