package shares

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// Waits counts how long projects waited for a slot. It is not safe for concurrent
// use.
type Waits struct {
	counts  [len(bounds) + 1]int
	seconds float64
}

var bounds = [...]float64{1, 2, 5, 10, 30, 60, 300, 1800}

// Add counts one wait.
func (w *Waits) Add(d time.Duration) {
	i, _ := slices.BinarySearch(bounds[:], d.Seconds())
	w.counts[i]++
	w.seconds += d.Seconds()
}

// mostLabels is how many projects have a series of their own; the rest, those with
// the smallest shares, are one.
const mostLabels = 50

// WritePrometheus writes what the keeper knew after a look in Prometheus' text form.
func WritePrometheus(w io.Writer, s State, waits Waits, now time.Time) {
	head := func(name, kind, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	one := func(name, kind, help string, v float64) {
		head(name, kind, help)
		fmt.Fprintf(w, "%s %s\n", name, number(v))
	}
	leads := 0.0
	if s.Leads {
		leads = 1
	}
	one("mlops_fair_leads", "gauge", "Whether this agent divides the machine.", leads)
	if s.Lease.Expires.IsZero() {
		return
	}
	one("mlops_fair_max_slots", "gauge", "Slots of work when the machine is cool.", float64(s.Lease.Max))
	one("mlops_fair_budget_slots", "gauge", "Slots of work now.", float64(s.Lease.Budget))
	one("mlops_fair_taken_slots", "gauge", "Slots that running and queued tasks have, in all pools.", float64(s.Taken))
	one("mlops_fair_ready_slots", "gauge", "Slots that ready tasks wait for.", float64(s.Ready))
	one("mlops_fair_pool_writes_total", "counter", "Requests that changed pools, since the agent began.", float64(s.Writes))
	one("mlops_fair_look_seconds", "gauge", "How long the last look took.", s.Took.Seconds())
	one("mlops_fair_lease_age_seconds", "gauge", "Time since the lease was renewed.", now.Sub(s.Lease.Expires.Add(-fairfile.LeaseTime)).Seconds())
	one("mlops_fair_power_watts", "gauge", "Power that the machine draws; estimated if nothing measures it.", s.Lease.Energy.Watts)
	one("mlops_fair_energy_joules", "gauge", "Energy used this day.", s.Lease.Energy.Joules)
	head("mlops_fair_heat", "gauge", "The level of heat that counts; measured=\"false\" if no source tells one.")
	for _, level := range fair.Levels {
		on := 0
		if string(level) == s.Lease.Heat {
			on = 1
		}
		fmt.Fprintf(w, "mlops_fair_heat{level=%q,measured=\"%t\"} %d\n", level, s.Lease.Measured, on)
	}
	projects(w, head, s.Lease.Pools)
	head("mlops_fair_wait_seconds", "histogram", "How long projects waited for a slot.")
	sum := 0
	for i, b := range bounds {
		sum += waits.counts[i]
		fmt.Fprintf(w, "mlops_fair_wait_seconds_bucket{le=%q} %d\n", number(b), sum)
	}
	sum += waits.counts[len(bounds)]
	fmt.Fprintf(w, "mlops_fair_wait_seconds_bucket{le=\"+Inf\"} %d\nmlops_fair_wait_seconds_sum %s\nmlops_fair_wait_seconds_count %d\n", sum, number(waits.seconds), sum)
}

func projects(w io.Writer, head func(name, kind, help string), pools map[string]fairfile.Pool) {
	names := slices.SortedFunc(maps.Keys(pools), func(a, b string) int {
		return cmp.Or(cmp.Compare(pools[b].Due, pools[a].Due), cmp.Compare(a, b))
	})
	others := fairfile.Pool{}
	for _, name := range names[min(len(names), mostLabels):] {
		others.Slots += pools[name].Slots
		others.Due += pools[name].Due
	}
	for _, m := range []struct {
		name, help string
		of         func(fairfile.Pool) float64
	}{
		{"mlops_fair_project_slots", "Slots of the project's pool.", func(p fairfile.Pool) float64 { return float64(p.Slots) }},
		{"mlops_fair_project_due_slots", "The project's share of the budget.", func(p fairfile.Pool) float64 { return p.Due }},
	} {
		head(m.name, "gauge", m.help)
		for _, name := range names[:min(len(names), mostLabels)] {
			fmt.Fprintf(w, "%s{project=%s} %s\n", m.name, strconv.Quote(strings.TrimPrefix(name, "mlops.")), number(m.of(pools[name])))
		}
		if len(names) > mostLabels {
			fmt.Fprintf(w, "%s{project=\"(others)\"} %s\n", m.name, number(m.of(others)))
		}
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
