package mlflow

import (
	"context"
	"iter"
	"time"
)

// TraceView is what [TracesService.Metrics] counts.
type TraceView string

// The views of traces.
const (
	TraceViewTraces      TraceView = "TRACES"
	TraceViewSpans       TraceView = "SPANS"
	TraceViewAssessments TraceView = "ASSESSMENTS"
)

// TraceMetricQuery selects and sums up a metric of traces, spans or assessments.
type TraceMetricQuery struct {
	Experiments  []string
	Over         TraceView
	Metric       string        // "trace_count", "latency", "input_tokens", "span_count", "assessment_value"
	Aggregations []Aggregation // "COUNT" for counts, "AVG" and percentiles for "latency"; which go with which, the server says
	Dimensions   []string      // group by these: "trace_name", "trace_status"
	Filters      []string      // "trace.status = 'ERROR'"; all must hold
	Every        time.Duration // group by time too, in whole seconds; then From and To are required
	From, To     time.Time
}

// Aggregation is how values are summed up.
type Aggregation struct {
	Type       string  // "COUNT", "SUM", "AVG", "MIN", "MAX", "PERCENTILE"
	Percentile float64 // 0 to 100, for "PERCENTILE" alone
}

// TraceMetric is one group of a metric, summed up.
type TraceMetric struct {
	Metric     string             `json:"metric_name"`
	Dimensions map[string]string  `json:"dimensions"` // with Every also "time_bucket"
	Values     map[string]float64 `json:"values"`     // by aggregation: "COUNT", "P99.0"
}

// Metrics lists a metric by groups.
//
// MLflow REST: POST /api/3.0/mlflow/traces/metrics
func (s TracesService) Metrics(ctx context.Context, q TraceMetricQuery) iter.Seq2[TraceMetric, error] {
	type aggregation struct {
		Type       string   `json:"aggregation_type"`
		Percentile *float64 `json:"percentile_value,omitempty"` // 0 is a percentile too
	}
	body := struct {
		Experiments  []string      `json:"experiment_ids"`
		View         TraceView     `json:"view_type"`
		Metric       string        `json:"metric_name"`
		Aggregations []aggregation `json:"aggregations"`
		Dimensions   []string      `json:"dimensions,omitempty"`
		Filters      []string      `json:"filters,omitempty"`
		Every        int64         `json:"time_interval_seconds,omitempty"`
		From         int64         `json:"start_time_ms,omitempty"`
		To           int64         `json:"end_time_ms,omitempty"`
		PageToken    string        `json:"page_token,omitempty"`
	}{Experiments: q.Experiments, View: q.Over, Metric: q.Metric, Dimensions: q.Dimensions, Filters: q.Filters, Every: int64(q.Every / time.Second)}
	for _, a := range q.Aggregations {
		w := aggregation{Type: a.Type}
		if a.Type == "PERCENTILE" {
			w.Percentile = new(a.Percentile)
		}
		body.Aggregations = append(body.Aggregations, w)
	}
	if !q.From.IsZero() {
		body.From = q.From.UnixMilli()
	}
	if !q.To.IsZero() {
		body.To = q.To.UnixMilli()
	}
	return pages(func(token string) ([]TraceMetric, string, error) {
		body := body
		body.PageToken = token
		out, err := send3[struct {
			Points []TraceMetric `json:"data_points"`
			Next   string        `json:"next_page_token"`
		}](ctx, s.c, "Traces.Metrics", "POST", "traces/metrics", body)
		return out.Points, out.Next, err
	})
}
