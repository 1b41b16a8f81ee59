package mlflow

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkLogMetric times the call with the journal on disk and a server that
// refuses. Besides the mean it tells the middle and the 99th percentile.
func BenchmarkLogMetric(b *testing.B) {
	c, err := New(Options{URL: "http://127.0.0.1:1", Journal: Journal{Dir: b.TempDir()}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r, err := c.StartRun(b.Context(), Experiment{ID: "0"}, RunOptions{})
	if err != nil {
		b.Fatal(err)
	}
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		at := time.Now()
		if err := r.LogMetric(b.Context(), int64(i), "loss", 0.5); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(at))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
}

// BenchmarkEncodeBatch writes a full request of metrics.
func BenchmarkEncodeBatch(b *testing.B) {
	rs := make([]record, maxMetrics)
	for i := range rs {
		rs[i] = record{kind: metricRecord, key: "loss/" + strconv.Itoa(i%5), value: 1 / float64(i+1), millis: 1_800_000_000_000 + int64(i), step: int64(i)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if n := batchSize(rs); n != len(rs) {
			b.Fatal(n)
		}
		if _, err := encodeBatch("0123456789abcdef0123456789abcdef", rs); err != nil {
			b.Fatal(err)
		}
	}
}

func TestABatchReadsAsEncodingJSONWouldWriteIt(t *testing.T) {
	values := []float64{0, math.Copysign(0, -1), 1, -1.5, 0.1, 1e-6, 9.99e-7, 1e-7, -1e-9, 1e-10, 1e-100, 123456789, 1e20, 1e21, -1e21, 1e300,
		math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, math.Nextafter(1, 2)}
	var rs []record
	type metric struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
		Time  int64  `json:"timestamp"`
		Step  int64  `json:"step"`
		Model string `json:"model_id,omitempty"`
	}
	want := struct {
		RunID   string     `json:"run_id"`
		Metrics []metric   `json:"metrics,omitempty"`
		Params  []keyValue `json:"params,omitempty"`
		Tags    []keyValue `json:"tags,omitempty"`
	}{RunID: "r"}
	add := func(r record, value any) {
		rs = append(rs, r)
		want.Metrics = append(want.Metrics, metric{r.key, value, r.millis, r.step, r.model})
	}
	for i, v := range values {
		add(record{kind: metricRecord, key: "m", value: v, millis: int64(i), step: math.MinInt64}, v)
	}
	add(record{kind: metricRecord, key: "m", value: math.NaN(), step: math.MaxInt64}, "NaN")
	add(record{kind: metricRecord, key: "m", value: math.Inf(1)}, "Infinity")
	add(record{kind: metricRecord, key: "m", value: math.Inf(-1)}, "-Infinity")
	for _, key := range []string{"größe", `a"b`, `a\b`, "a<b>&c", "a\x00\x1f\x7f\n", "\u2028", "a/b:c d"} {
		add(record{kind: metricRecord, key: key, model: key}, 0.0)
		rs = append(rs, record{kind: paramRecord, key: key, text: key}, record{kind: tagRecord, key: key, text: key})
		want.Params, want.Tags = append(want.Params, keyValue{key, key}), append(want.Tags, keyValue{key, key})
	}
	for _, n := range []int{len(rs), 1, 0} { // all, metrics alone, nothing
		if n < len(rs) {
			rs, want.Metrics, want.Params, want.Tags = rs[:n], want.Metrics[:n], nil, nil
		}
		b, err := json.Marshal(want)
		require.NoError(t, err)
		got, err := encodeBatch("r", rs)
		require.NoError(t, err)
		require.Equal(t, string(b), string(got))
		size := 64
		for i := range rs {
			size += rs[i].size()
		}
		require.LessOrEqual(t, len(got), size, "a request may be larger than reckoned")
	}
}
