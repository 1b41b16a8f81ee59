package client

import (
	"context"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops/mlflow"
)

// Comparison sets runs side by side.
type Comparison struct {
	Runs    []mlflow.RunInfo
	Params  []ParamRow  // by key
	Metrics []MetricRow // by key
}

// ParamRow is one parameter of all runs.
type ParamRow struct {
	Key    string
	Values []*string // of the runs in their order; nil: the run has none
	Equal  bool      // all runs have it, and the same
}

// MetricRow is the latest point of one metric of all runs.
type MetricRow struct {
	Key    string
	Values []*float64 // of the runs in their order; nil: the run has none
	Equal  bool
	Lower  bool  // less is better
	Best   []int // indexes of the best runs; none if all are equal, or but one run has it
}

// CompareOptions say which direction is good; a metric that they do not name
// is judged by its name: see [LowerIsBetter].
type CompareOptions struct {
	Max []string // metrics of which more is better
	Min []string // metrics of which less is better
}

// RunsByID finds runs by ID or UID, in this order.
func (c *Client) RunsByID(ctx context.Context, ids ...string) iter.Seq2[mlflow.RunInfo, error] {
	return func(yield func(mlflow.RunInfo, error) bool) {
		for _, id := range ids {
			r, err := c.MLflow.RunInfo(ctx, id)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Compare sets runs side by side. System metrics are left out.
func Compare(runs []mlflow.RunInfo, o CompareOptions) Comparison {
	c := Comparison{Runs: runs}
	params, metrics := map[string]bool{}, map[string]bool{}
	for _, r := range runs {
		for k := range r.Params {
			params[k] = true
		}
		for _, m := range r.Metrics {
			metrics[m.Key] = metrics[m.Key] || !strings.HasPrefix(m.Key, "system/")
		}
	}
	for _, k := range sorted(params) {
		row := ParamRow{Key: k, Equal: true}
		for _, r := range runs {
			var v *string
			if s, ok := r.Params[k]; ok {
				v = &s
			}
			row.Values = append(row.Values, v)
			row.Equal = row.Equal && v != nil && row.Values[0] != nil && *v == *row.Values[0]
		}
		c.Params = append(c.Params, row)
	}
	for _, k := range sorted(metrics) {
		c.Metrics = append(c.Metrics, metricRow(k, runs, o))
	}
	return c
}

func metricRow(key string, runs []mlflow.RunInfo, o CompareOptions) MetricRow {
	row := MetricRow{Key: key, Equal: true, Lower: LowerIsBetter(key)}
	switch {
	case slices.Contains(o.Min, key):
		row.Lower = true
	case slices.Contains(o.Max, key):
		row.Lower = false
	}
	var first *float64
	for i, r := range runs {
		var v *float64
		if m, ok := r.Metric(key); ok {
			v = &m.Value
		}
		if i == 0 {
			first = v
		}
		row.Values = append(row.Values, v)
		row.Equal = row.Equal && v != nil && first != nil && (*v == *first || math.IsNaN(*v) && math.IsNaN(*first))
	}
	if row.Equal {
		return row
	}
	n := 0
	for i, v := range row.Values {
		if v == nil || math.IsNaN(*v) {
			continue
		}
		n++
		switch best := row.Best; {
		case len(best) == 0 || better(*v, *row.Values[best[0]], row.Lower):
			row.Best = []int{i}
		case *v == *row.Values[best[0]]:
			row.Best = append(best, i)
		}
	}
	if n < 2 || len(row.Best) == n {
		row.Best = nil
	}
	return row
}

func better(a, b float64, lower bool) bool {
	if lower {
		return a < b
	}
	return a > b
}

func sorted(set map[string]bool) []string {
	var out []string
	for k, in := range set {
		if in {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// lowWords are the words in names of metrics of which less is better.
var lowWords = []string{"loss", "error", "err", "rmse", "mse", "mae", "mape", "smape", "mase", "rmsle", "entropy", "ece", "wer", "cer", "perplexity", "ppl", "nll", "bpc",
	"latency", "duration", "time", "seconds", "ms", "fid", "fpr", "fnr", "divergence", "brier", "deviance", "regret"}

// LowerIsBetter tells by a metric's name whether less of it is better: one of
// its words is loss, error, rmse, mae, latency and so on. Of others more is.
func LowerIsBetter(metric string) bool {
	words := strings.FieldsFunc(strings.ToLower(metric), func(r rune) bool { return strings.ContainsRune("_-./: @", r) })
	return slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains(lowWords, w) || strings.HasSuffix(w, "loss") || strings.HasSuffix(w, "error")
	})
}
