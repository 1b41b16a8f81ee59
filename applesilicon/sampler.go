package applesilicon

import (
	"context"
	"strconv"
	"sync"
)

// Metrics returns the readings that MLflow has names for, under these names,
// in its units (1 megabyte is 10⁶ bytes) and rounded as it rounds. What was
// not read is absent. The network's counters are absent, too: MLflow counts
// from the start of a run, which [NewSampler] does.
//
// Source: mlflow/system_metrics/metrics of MLflow 3.17.
func (s Sample) Metrics() map[string]float64 {
	out := map[string]float64{}
	put(out, "system/cpu_utilization_percentage", s.CPUPercent, 1)
	put(out, "system/system_memory_usage_megabytes", s.MemoryUsedBytes, 1e6)
	put(out, "system/system_memory_usage_percentage", s.MemoryUsedPercent, 1)
	put(out, "system/disk_usage_percentage", s.DiskUsedPercent, 1)
	put(out, "system/disk_usage_megabytes", s.DiskUsedBytes, 1e6)
	put(out, "system/disk_available_megabytes", s.DiskAvailableBytes, 1e6)
	return out
}

func put[T uint64 | float64](out map[string]float64, key string, r Reading[T], unit float64) {
	if r.OK {
		out[key] = round(float64(r.Value) / unit)
	}
}

// round is Python's round(v, 1): to the nearest tenth of the exact binary value.
func round(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', 1, 64), 64)
	if err != nil {
		return v
	}
	return r
}

// NewSampler returns a function that gives the metrics of [Sample.Metrics] and
// the network traffic since NewSampler, which MLflow does not round. The
// processor's load is that since the call before. It does not wait, and is safe
// for concurrent use.
func NewSampler() func(context.Context) (map[string]float64, error) {
	var mu sync.Mutex
	var first Sample
	before := processor(context.Background())
	network(context.Background(), &first)
	return func(ctx context.Context) (map[string]float64, error) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		var s Sample
		s, before = take(ctx, before)
		out := s.Metrics()
		traffic(out, "system/network_receive_megabytes", first.NetworkReceivedBytes, s.NetworkReceivedBytes)
		traffic(out, "system/network_transmit_megabytes", first.NetworkSentBytes, s.NetworkSentBytes)
		return out, context.Cause(ctx)
	}
}

// traffic is what went through since first. A counter that ran backwards, of
// an interface that went away, tells nothing.
func traffic(out map[string]float64, key string, first, now Reading[uint64]) {
	if first.OK && now.OK && now.Value >= first.Value {
		out[key] = float64(now.Value)/1e6 - float64(first.Value)/1e6
	}
}
