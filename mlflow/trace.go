package mlflow

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/mlops-integration/mlops/internal/transport"
)

// TraceState is how a trace ended, or that it did not yet.
type TraceState string

// The states of a trace.
const (
	TraceOK         TraceState = "OK"
	TraceError      TraceState = "ERROR"
	TraceInProgress TraceState = "IN_PROGRESS"
)

// TraceInfo is a trace without its spans.
type TraceInfo struct {
	ID              string // "tr-" and the 32 hex digits of the OpenTelemetry trace ID
	ClientRequestID string // the caller's own ID for it
	ExperimentID    string
	State           TraceState
	Time            time.Time
	Duration        time.Duration     // MLflow keeps milliseconds
	Request         string            // beginnings of what went in
	Response        string            // and came out
	Metadata        map[string]string // cannot be changed or removed later
	Tags            map[string]string
	Assessments     []Assessment
}

type wireTrace struct {
	ID              string            `json:"trace_id"`
	ClientRequestID string            `json:"client_request_id,omitempty"`
	Location        traceLocation     `json:"trace_location"`
	Request         string            `json:"request_preview,omitempty"`
	Response        string            `json:"response_preview,omitempty"`
	Time            time.Time         `json:"request_time"`
	Duration        string            `json:"execution_duration,omitempty"` // "1.500s"
	State           TraceState        `json:"state"`
	Metadata        map[string]string `json:"trace_metadata,omitempty"`
	Tags            map[string]string `json:"tags,omitempty"`
	Assessments     []Assessment      `json:"assessments,omitempty"`
}

type traceLocation struct {
	Type       string `json:"type"`
	Experiment struct {
		ID string `json:"experiment_id"`
	} `json:"mlflow_experiment"`
}

func inExperiment(id string) traceLocation {
	l := traceLocation{Type: "MLFLOW_EXPERIMENT"}
	l.Experiment.ID = id
	return l
}

// MarshalJSON writes MLflow's form of a trace's info.
func (t TraceInfo) MarshalJSON() ([]byte, error) {
	w := wireTrace{ID: t.ID, ClientRequestID: t.ClientRequestID, Location: inExperiment(t.ExperimentID), Request: t.Request, Response: t.Response,
		Time: t.Time.UTC(), State: t.State, Metadata: t.Metadata, Tags: t.Tags, Assessments: t.Assessments}
	if t.Duration != 0 || t.State != TraceInProgress {
		w.Duration = strconv.FormatFloat(t.Duration.Seconds(), 'f', 9, 64) + "s"
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads MLflow's form of a trace's info.
func (t *TraceInfo) UnmarshalJSON(b []byte) error {
	var w wireTrace
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*t = TraceInfo{ID: w.ID, ClientRequestID: w.ClientRequestID, ExperimentID: w.Location.Experiment.ID, State: w.State, Time: w.Time.UTC(),
		Request: w.Request, Response: w.Response, Metadata: w.Metadata, Tags: w.Tags, Assessments: w.Assessments}
	if w.Duration != "" {
		d, err := time.ParseDuration(w.Duration)
		if err != nil {
			return fmt.Errorf("duration of trace %s: %w", w.ID, err)
		}
		t.Duration = d
	}
	return nil
}

// Trace is a trace with its spans.
type Trace struct {
	Info  TraceInfo `json:"trace_info"`
	Spans []Span    `json:"spans"`
}

// Start writes the info of a trace, begun or complete: MLflow has no other
// call to end one. Called again with the same ID it replaces state, time,
// duration and previews and adds to tags and metadata, so that a program may
// write a trace with [TraceInProgress] and once more at its end.
//
// Without an ID one is made. Without a Time it is now. Spans go by
// [TracesService.LogSpans]; the server makes the info of a trace that only has spans
// from its root span.
//
// MLflow REST: POST /api/3.0/mlflow/traces
func (s TracesService) Start(ctx context.Context, t TraceInfo) (TraceInfo, error) {
	if t.ID == "" {
		t.ID = "tr-" + s.c.uid()
	}
	if t.Time.IsZero() {
		t.Time = time.Now()
	}
	if t.State == "" {
		t.State = TraceInProgress
	}
	out, err := send3[traceReply](ctx, s.c, "Traces.Start", "POST", "traces", map[string]any{"trace": map[string]any{"trace_info": t}})
	return out.Trace.Info, err
}

type traceReply struct {
	Trace Trace `json:"trace"`
}

// Info returns a trace without its spans.
//
// MLflow REST: GET /api/3.0/mlflow/traces/{trace_id}
func (s TracesService) Info(ctx context.Context, id string) (TraceInfo, error) {
	out, err := get3[traceReply](ctx, s.c, "Traces.Info", "traces/"+url.PathEscape(id), nil)
	return out.Trace.Info, err
}

// TraceOptions choose what [TracesService.Get] accepts.
type TraceOptions struct {
	Partial bool // also a trace of which not all spans have arrived
}

// Get returns a trace with its spans.
//
// MLflow REST: GET /api/3.0/mlflow/traces/get
func (s TracesService) Get(ctx context.Context, id string, opt TraceOptions) (Trace, error) {
	out, err := get3[traceReply](ctx, s.c, "Traces.Get", "traces/get", url.Values{"trace_id": {id}, "allow_partial": {strconv.FormatBool(opt.Partial)}})
	return out.Trace, err
}

// traceBatch is how many traces are asked for at once.
const traceBatch = 50

// ByID lists traces with their spans. Traces that are not there are left
// out. One whose spans are not in the server's database, or that has none, is an
// error: ask for it by [TracesService.Data] or [TracesService.Info].
//
// MLflow REST: GET /api/3.0/mlflow/traces/batchGet
func (s TracesService) ByID(ctx context.Context, ids ...string) iter.Seq2[Trace, error] {
	return chunks(ids, func(part []string) ([]Trace, error) {
		out, err := get3[struct {
			Traces []Trace `json:"traces"`
		}](ctx, s.c, "Traces.ByID", "traces/batchGet", url.Values{"trace_ids": part})
		return out.Traces, err
	})
}

// InfosByID lists traces without their spans. Traces that are not there
// are left out.
//
// MLflow REST: POST /api/3.0/mlflow/traces/batchGetInfos
func (s TracesService) InfosByID(ctx context.Context, ids ...string) iter.Seq2[TraceInfo, error] {
	return chunks(ids, func(part []string) ([]TraceInfo, error) {
		out, err := send3[struct {
			Infos []TraceInfo `json:"trace_infos"`
		}](ctx, s.c, "Traces.InfosByID", "POST", "traces/batchGetInfos", map[string]any{"trace_ids": part})
		return out.Infos, err
	})
}

// chunks lists what fetch answers for one part of ids after the other.
func chunks[T any](ids []string, fetch func([]string) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		for part := range slices.Chunk(ids, traceBatch) {
			list, err := fetch(part)
			if err != nil {
				yield(zero, err)
				return
			}
			for _, v := range list {
				if !yield(v, nil) {
					return
				}
			}
		}
	}
}

// TraceQuery selects traces of experiments.
type TraceQuery struct {
	Experiments []string // IDs; none selects nothing
	Filter      string   // "trace.status = 'ERROR' AND tag.env = 'prod'"
	OrderBy     []string // "timestamp_ms DESC", which is the default
}

// All lists the traces that q selects, without their spans.
//
// MLflow REST: POST /api/3.0/mlflow/traces/search
func (s TracesService) All(ctx context.Context, q TraceQuery) iter.Seq2[TraceInfo, error] {
	body := struct {
		Locations  []traceLocation `json:"locations"`
		Filter     string          `json:"filter,omitempty"`
		OrderBy    []string        `json:"order_by,omitempty"`
		MaxResults int             `json:"max_results"` // 500 is the most
		PageToken  string          `json:"page_token,omitempty"`
	}{Filter: q.Filter, OrderBy: q.OrderBy, MaxResults: 500}
	for _, e := range q.Experiments {
		body.Locations = append(body.Locations, inExperiment(e))
	}
	return pages(func(token string) ([]TraceInfo, string, error) {
		body := body
		body.PageToken = token
		out, err := send3[struct {
			Traces []TraceInfo `json:"traces"`
			Next   string      `json:"next_page_token"`
		}](ctx, s.c, "Traces.All", "POST", "traces/search", body)
		return out.Traces, out.Next, err
	})
}

// Delete deletes traces of an experiment by their IDs, for good, and
// returns how many there were.
//
// MLflow REST: POST /api/3.0/mlflow/traces/delete-traces
func (s TracesService) Delete(ctx context.Context, experiment string, ids ...string) (int, error) {
	return s.delete(ctx, map[string]any{"experiment_id": experiment, "request_ids": ids})
}

// DeleteBefore deletes the traces of an experiment that began at or before
// a time, the oldest first and most of them at once, for good, and returns how
// many these were. Ask again until it returns 0.
//
// MLflow REST: POST /api/3.0/mlflow/traces/delete-traces
func (s TracesService) DeleteBefore(ctx context.Context, experiment string, before time.Time, most int) (int, error) {
	return s.delete(ctx, map[string]any{"experiment_id": experiment, "max_timestamp_millis": before.UnixMilli(), "max_traces": most})
}

func (s TracesService) delete(ctx context.Context, body map[string]any) (int, error) {
	out, err := send3[struct {
		Deleted int `json:"traces_deleted"`
	}](ctx, s.c, "Traces.Delete", "POST", "traces/delete-traces", body)
	return out.Deleted, err
}

// SetTag sets one tag of a trace.
//
// MLflow REST: PATCH /api/3.0/mlflow/traces/{trace_id}/tags
func (s TracesService) SetTag(ctx context.Context, id, key, value string) error {
	if err := checkValue("Traces.SetTag", "tag", key, value, maxTagValue); err != nil {
		return err
	}
	_, err := send3[transport.None](ctx, s.c, "Traces.SetTag", "PATCH", "traces/"+url.PathEscape(id)+"/tags", map[string]string{"key": key, "value": value})
	return err
}

// DeleteTag removes one tag of a trace. The error matches
// [mlops.ErrNotFound] if the trace has no such tag.
//
// MLflow REST: DELETE /api/3.0/mlflow/traces/{trace_id}/tags
func (s TracesService) DeleteTag(ctx context.Context, id, key string) error {
	return remove3(ctx, s.c, "Traces.DeleteTag", "traces/"+url.PathEscape(id)+"/tags", map[string]string{"key": key})
}

// LinkRun shows traces with a run. The server takes 100 at once.
//
// MLflow REST: POST /api/2.0/mlflow/traces/link-to-run
func (s TracesService) LinkRun(ctx context.Context, runID string, traceIDs ...string) error {
	for part := range slices.Chunk(traceIDs, 100) {
		if _, err := send[transport.None](ctx, s.c, "Traces.LinkRun", "POST", "traces/link-to-run", map[string]any{"run_id": runID, "trace_ids": part}); err != nil {
			return err
		}
	}
	return nil
}

// PromptRef names a version of a prompt.
type PromptRef struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// LinkPrompts notes which prompts went into a trace; the filter "prompt =
// 'greeting/3'" then finds it.
//
// MLflow REST: POST /api/2.0/mlflow/traces/link-prompts
func (s TracesService) LinkPrompts(ctx context.Context, traceID string, prompts ...PromptRef) error {
	_, err := send[transport.None](ctx, s.c, "Traces.LinkPrompts", "POST", "traces/link-prompts", map[string]any{"trace_id": traceID, "prompt_versions": prompts})
	return err
}

// TraceCorrelation is how two conditions on traces go together.
type TraceCorrelation struct {
	NPMI         float64 // from -1, never together, over 0 to 1, always together; NaN when one of them never holds
	NPMISmoothed float64 // the same, steadier for small counts
	First        int     // traces that fulfil the first condition
	Second       int
	Both         int
	Total        int
}

// UnmarshalJSON reads MLflow's form of a correlation.
func (r *TraceCorrelation) UnmarshalJSON(b []byte) error {
	var w struct {
		NPMI     number `json:"npmi"`
		Smoothed number `json:"npmi_smoothed"`
		First    int    `json:"filter1_count"`
		Second   int    `json:"filter2_count"`
		Both     int    `json:"joint_count"`
		Total    int    `json:"total_count"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*r = TraceCorrelation{float64(w.NPMI), float64(w.Smoothed), w.First, w.Second, w.Both, w.Total}
	return nil
}

// Correlation counts how two filters go together among the traces that q
// selects. Its OrderBy has no say.
//
// MLflow REST: POST /api/3.0/mlflow/traces/calculate-filter-correlation
func (s TracesService) Correlation(ctx context.Context, q TraceQuery, first, second string) (TraceCorrelation, error) {
	body := map[string]any{"experiment_ids": q.Experiments, "filter_string1": first, "filter_string2": second}
	if q.Filter != "" {
		body["base_filter"] = q.Filter
	}
	return send3[TraceCorrelation](ctx, s.c, "Traces.Correlation", "POST", "traces/calculate-filter-correlation", body)
}
