package heat

import (
	"context"
	"path/filepath"
	"strings"
	"time"
)

// Meter is the energy that a Linux kernel counts of the processor packages (RAPL).
// Most kernels let root alone read it; elsewhere it says nothing. It is for one
// goroutine.
//
// Source: Documentation/power/powercap/powercap.rst
type Meter struct {
	Root  string           // of the file system; empty: "/"
	Clock func() time.Time // nil: time.Now

	at     time.Time
	counts map[string]int // microjoules, by package
}

// mostWatts is more than a processor package draws.
const mostWatts = 2000

// Read returns the power since the last time.
func (m *Meter) Read(context.Context) Reading {
	clock := m.Clock
	if clock == nil {
		clock = time.Now
	}
	now := clock()
	counts, joules, known := map[string]int{}, 0.0, true
	dirs, _ := filepath.Glob(Linux{Root: m.Root}.at("sys/class/powercap/intel-rapl:*"))
	for _, dir := range dirs {
		if !strings.HasPrefix(text(filepath.Join(dir, "name")), "package-") {
			continue // a part of a package
		}
		count, ok := number(filepath.Join(dir, "energy_uj"))
		if !ok {
			return Reading{Reason: "the kernel's energy counters cannot be read"}
		}
		before, there := m.counts[dir]
		known = known && there
		if counts[dir] = count; count < before { // it began from 0 again
			most, _ := number(filepath.Join(dir, "max_energy_range_uj"))
			before -= most
		}
		joules += float64(count-before) / 1e6
	}
	passed := now.Sub(m.at).Seconds()
	m.counts, m.at = counts, now
	if len(counts) == 0 || !known || passed <= 0 {
		return Reading{Reason: "no power was measured yet"}
	}
	if joules/passed > mostWatts*float64(len(counts)) {
		return Reading{Reason: "the kernel's energy counters were reset"}
	}
	return Reading{Watts: joules / passed, Reason: "the kernel's energy counters"}
}
