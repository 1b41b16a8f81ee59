package spool

import (
	"slices"
	"testing"
	"time"
)

func BenchmarkAppend(b *testing.B) {
	b.ReportAllocs()
	j := Create(b.TempDir(), "bench", nil, Options{})
	record := make([]byte, 60)
	took := make([]time.Duration, 0, 1<<20)
	for b.Loop() {
		start := time.Now()
		if err := j.Append(record); err != nil {
			b.Fatal(err)
		}
		if len(took) < cap(took) {
			took = append(took, time.Since(start))
		}
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkNext(b *testing.B) {
	b.ReportAllocs()
	j := Create(b.TempDir(), "bench", nil, Options{})
	record := make([]byte, 60)
	for b.Loop() {
		b.StopTimer()
		if err := j.Append(record); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, ok := j.Next(); !ok {
			b.Fatal("nothing to read")
		}
	}
}
