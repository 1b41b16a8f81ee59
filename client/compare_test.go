package client_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func TestTheBestOfEachMetricIsFound(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		name  string
		key   string
		of    client.CompareOptions
		in    []any // a value per run; nil: it has none
		equal bool
		best  []int
	}{
		{"more is better", "accuracy", client.CompareOptions{}, []any{0.5, 0.9, 0.7}, false, []int{1}},
		{"less is better", "val_loss", client.CompareOptions{}, []any{0.5, 0.9, 0.3}, false, []int{2}},
		{"less is better of what is said", "score", client.CompareOptions{Min: []string{"score"}}, []any{0.5, 0.9}, false, []int{0}},
		{"more is better of what is said", "loss", client.CompareOptions{Max: []string{"loss"}}, []any{0.5, 0.9}, false, []int{1}},
		{"two are best", "f1", client.CompareOptions{}, []any{1.0, 0.5, 1.0}, false, []int{0, 2}},
		{"all are equal", "f1", client.CompareOptions{}, []any{1.0, 1.0}, true, nil},
		{"all are NaN", "f1", client.CompareOptions{}, []any{nan, nan}, true, nil},
		{"NaN is never best", "loss", client.CompareOptions{}, []any{nan, 3.0, 2.0}, false, []int{2}},
		{"but one has a number", "loss", client.CompareOptions{}, []any{nan, 3.0}, false, nil},
		{"but one has it", "f1", client.CompareOptions{}, []any{nil, 3.0, nil}, false, nil},
		{"those that have it are equal", "f1", client.CompareOptions{}, []any{3.0, 3.0, nil}, false, nil},
		{"infinity", "f1", client.CompareOptions{}, []any{inf, 3.0}, false, []int{0}},
		{"one run", "f1", client.CompareOptions{}, []any{3.0}, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var runs []mlflow.RunInfo
			for _, v := range tt.in {
				r := mlflow.RunInfo{Metrics: []mlflow.Metric{{Key: "system/cpu", Value: 1}}}
				if v != nil {
					r.Metrics = append(r.Metrics, mlflow.Metric{Key: tt.key, Value: v.(float64)})
				}
				runs = append(runs, r)
			}
			c := client.Compare(runs, tt.of)
			require.Len(t, c.Metrics, 1, "system metrics are left out")
			row := c.Metrics[0]
			require.Equal(t, tt.key, row.Key)
			require.Equal(t, tt.equal, row.Equal)
			require.Equal(t, tt.best, row.Best)
			for i, v := range tt.in {
				require.Equal(t, v == nil, row.Values[i] == nil)
			}
		})
	}
}

func TestParamsAreEqualOnlyIfAllRunsHaveThem(t *testing.T) {
	c := client.Compare([]mlflow.RunInfo{
		{Params: map[string]string{"b": "1", "a": "x", "late": "1"}},
		{Params: map[string]string{"b": "1", "a": "y", "early": ""}},
	}, client.CompareOptions{})
	got := ""
	for _, p := range c.Params {
		got += fmt.Sprintf("%s %v;", p.Key, p.Equal)
		for _, v := range p.Values {
			if v == nil {
				got += " -"
			} else {
				got += fmt.Sprintf(" %q", *v)
			}
		}
		got += "\n"
	}
	require.Equal(t, `a false; "x" "y"
b true; "1" "1"
early false; - ""
late false; "1" -
`, got)
	require.Empty(t, client.Compare(nil, client.CompareOptions{}).Metrics)
}

func TestNamesOfMetricsTellWhatIsBetter(t *testing.T) {
	for metric, lower := range map[string]bool{
		"loss": true, "val_loss": true, "eval/loss": true, "hinge.loss": true, "logloss": true, "mean squared error": true, "RMSE": true, "test-mae": true,
		"latency_ms": true, "time@p99": true, "step:wer": true, "log_perplexity": true, "training_error": true, "suberror": true, "cross_entropy": true, "smape": true, "ece": true, "mase": true,
		"accuracy": false, "f1": false, "auc": false, "r2": false, "glossary": false, "lossless": false, "times": false, "": false, "mser": false,
	} {
		require.Equal(t, lower, client.LowerIsBetter(metric), metric)
	}
}

func TestImportTellsWhatIsWrongBeforeItAsksAServer(t *testing.T) {
	t.Setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
	t.Setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
	home := client.WithHome(t.TempDir())
	c, err := client.Open(t.Context(), home)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Import(t.Context(), filepath.Join(t.TempDir(), "mlruns"), mlflow.ImportOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = c.Import(t.Context(), t.TempDir(), mlflow.ImportOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.Import(t.Context(), "../testdata/mlflow/mlruns", mlflow.ImportOptions{})
	require.ErrorIs(t, err, mlops.ErrUnavailable)
}

func ExampleCompare() {
	runs := []mlflow.RunInfo{
		{Name: "rank-8", Params: map[string]string{"rank": "8"}, Metrics: []mlflow.Metric{{Key: "val_loss", Value: 0.42}}},
		{Name: "rank-16", Params: map[string]string{"rank": "16"}, Metrics: []mlflow.Metric{{Key: "val_loss", Value: 0.31}}},
	} // Project.Runs and Project.RunsByID find them
	c := client.Compare(runs, client.CompareOptions{})
	for _, m := range c.Metrics {
		for _, i := range m.Best {
			fmt.Println(m.Key, runs[i].Name, *m.Values[i])
		}
	}
	// Output: val_loss rank-16 0.31
}
