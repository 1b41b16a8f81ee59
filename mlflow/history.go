package mlflow

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"slices"
	"strconv"

	"github.com/mlops-integration/mlops/internal/transport"
)

// RunMetric is a point of a metric, and the run it belongs to.
type RunMetric struct {
	RunID string
	Metric
}

// UnmarshalJSON reads MLflow's form of a run's metric.
func (m *RunMetric) UnmarshalJSON(b []byte) error {
	var w struct {
		RunID string `json:"run_id"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	m.RunID = w.RunID
	return m.Metric.UnmarshalJSON(b)
}

// The most that the server's bulk calls answer and take.
const (
	maxBulkPoints = 25000
	maxBulkRuns   = 100
)

// MetricHistories lists every point of one metric of several runs, by the
// server's IDs, 100 runs a request. MLflow cuts such an answer at 25,000 points
// without saying so; runs for which that may have happened are read one by one.
//
// MLflow REST: GET /ajax-api/2.0/mlflow/metrics/get-history-bulk
func (c *Client) MetricHistories(ctx context.Context, runIDs []string, key string) iter.Seq2[RunMetric, error] {
	return histories(ctx, c, runIDs, key, maxBulkPoints)
}

func histories(ctx context.Context, c *Client, runIDs []string, key string, most int) iter.Seq2[RunMetric, error] {
	return func(yield func(RunMetric, error) bool) {
		for part := range slices.Chunk(runIDs, maxBulkRuns) {
			out, err := transport.Do[struct {
				Metrics []RunMetric `json:"metrics"`
			}](ctx, c.tracking(), transport.Call{Op: "MetricHistories", Method: "GET", Path: "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
				Query: url.Values{"run_id": part, "metric_key": {key}, "max_results": {strconv.Itoa(most)}}, Idempotent: true})
			if err != nil {
				yield(RunMetric{}, err)
				return
			}
			if len(out.Metrics) >= most {
				if !historiesOneByOne(ctx, c, part, key, yield) {
					return
				}
				continue
			}
			for _, m := range out.Metrics {
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}

func historiesOneByOne(ctx context.Context, c *Client, runIDs []string, key string, yield func(RunMetric, error) bool) bool {
	for _, id := range runIDs {
		for m, err := range c.MetricHistory(ctx, id, key) {
			if !yield(RunMetric{id, m}, err) || err != nil {
				return false
			}
		}
	}
	return true
}

// SampleOptions choose what [Client.SampledHistories] answers. The zero value
// is the whole history, at most 2,500 points of each run.
type SampleOptions struct {
	FirstStep, LastStep int64 // both, or neither; they lie within 32 bits
	MaxPoints           int   // of each run; 0: 2500, which is the most
}

// SampledHistories lists points of one metric of several runs as a chart wants
// them: evenly thinned out, with the first and the last of each run. At most
// 100 runs are asked for at once.
//
// MLflow REST: GET /api/2.0/mlflow/metrics/get-history-bulk-interval
func (c *Client) SampledHistories(ctx context.Context, runIDs []string, key string, opt SampleOptions) iter.Seq2[RunMetric, error] {
	return func(yield func(RunMetric, error) bool) {
		for part := range slices.Chunk(runIDs, maxBulkRuns) {
			q := url.Values{"run_ids": part, "metric_key": {key}}
			if opt.FirstStep != 0 || opt.LastStep != 0 {
				q.Set("start_step", strconv.FormatInt(opt.FirstStep, 10))
				q.Set("end_step", strconv.FormatInt(opt.LastStep, 10))
			}
			if opt.MaxPoints > 0 {
				q.Set("max_results", strconv.Itoa(opt.MaxPoints))
			}
			out, err := get[struct {
				Metrics []RunMetric `json:"metrics"`
			}](ctx, c, "SampledHistories", "metrics/get-history-bulk-interval", q)
			if err != nil {
				yield(RunMetric{}, err)
				return
			}
			for _, m := range out.Metrics {
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}
