package fair

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// Quota is what a project may use; the zero value limits nothing.
type Quota struct {
	Weight     float64  `json:"weight,omitempty"`      // 0 is 1
	Priority   Priority `json:"priority,omitempty"`    // empty is normal
	MaxSlots   int      `json:"max_slots,omitempty"`   // at once
	SlotHours  float64  `json:"slot_hours,omitempty"`  // a day
	QueuedRuns int      `json:"queued_runs,omitempty"` // runs that have not begun
	WattHours  float64  `json:"watt_hours,omitempty"`  // a day
}

// Spent is what a project has used of a day.
type Spent struct {
	SlotTime time.Duration `json:"slot_time"` // slots × time, to the nanosecond
	Joules   float64       `json:"joules,omitempty"`
}

// Project returns the project as [Turns.Divide] takes it: on hold if what was spent
// reaches the quota.
func (q Quota) Project(name string, spent Spent) Project {
	p := Project{Name: name, Weight: q.Weight, MaxSlots: q.MaxSlots, Priority: q.Priority}
	if q.Exhausted(spent) != "" {
		p.Hold = CauseQuota
	}
	return p
}

// Exhausted says which of the quota's limits a day is spent, "" if none.
func (q Quota) Exhausted(spent Spent) string {
	if q.SlotHours > 0 && spent.SlotTime >= hours(q.SlotHours) {
		return fmt.Sprintf("%g slot-hours a day are spent", q.SlotHours)
	}
	if q.WattHours > 0 && spent.Joules >= q.WattHours*3600 {
		return fmt.Sprintf("%g watt-hours a day are spent", q.WattHours)
	}
	return ""
}

// hours is a number of hours as a duration, the longest one if it is longer.
func hours(h float64) time.Duration {
	const most = 1<<63 - 1
	if ns := h * float64(time.Hour); ns < most {
		return time.Duration(ns)
	}
	return most
}

// AtMost returns the quota, as far as other asks for less.
func (q Quota) AtMost(other Quota) Quota {
	return Quota{
		Weight:     lessWeight(q.Weight, other.Weight),
		Priority:   lessPriority(q.Priority, other.Priority),
		MaxSlots:   less(q.MaxSlots, other.MaxSlots),
		SlotHours:  less(q.SlotHours, other.SlotHours),
		QueuedRuns: less(q.QueuedRuns, other.QueuedRuns),
		WattHours:  less(q.WattHours, other.WattHours),
	}
}

// less is the lower of two limits, of which 0 is none.
func less[T int | float64](a, b T) T {
	if a <= 0 || b > 0 && b < a {
		return max(b, 0)
	}
	return a
}

func lessWeight(granted, asked float64) float64 {
	if asked > 0 && asked < (&Project{Weight: granted}).weight() {
		return asked
	}
	return granted
}

func lessPriority(granted, asked Priority) Priority {
	rank := func(p Priority) int {
		for i, known := range Priorities {
			if p == known {
				return i
			}
		}
		return 1
	}
	if asked != "" && rank(asked) < rank(granted) {
		return asked
	}
	return granted
}

// Ledger is what all projects have spent of one day. The zero value is empty; it
// is kept as JSON.
type Ledger struct {
	Day   string           `json:"day"` // 2006-01-02, in the location of the times that it was given
	Spent map[string]Spent `json:"spent"`
}

// Use books that a project held slots from one time to another, and the joules
// that it drew. A new day begins with nothing spent, and takes the part of the time
// that lies in it. After the clock was set back, time is booked on the latest day, so
// that nothing which was spent is forgotten.
func (l *Ledger) Use(project string, slots int, from, to time.Time, joules float64) {
	from, to = from.Round(0), to.Round(0) // by the wall clock alone: the other one stands still while a machine sleeps
	day := to.Format(time.DateOnly)
	if day > l.Day {
		l.Day, l.Spent = day, nil
	}
	if l.Spent == nil {
		l.Spent = map[string]Spent{}
	}
	if !to.After(from) {
		return
	}
	y, m, d := to.Date()
	part := 1.0
	if midnight := time.Date(y, m, d, 0, 0, 0, 0, to.Location()); day == l.Day && from.Before(midnight) {
		part = float64(to.Sub(midnight)) / float64(to.Sub(from))
		from = midnight
	}
	s := l.Spent[project]
	s.SlotTime += time.Duration(slots) * to.Sub(from)
	s.Joules += joules * part
	l.Spent[project] = s
}

// ParseQuota reads a quota as [Quota.String] writes it: "weight=2 priority=high
// slots=4 slot-hours=8 queued-runs=20 watt-hours=50", in any order, each at most
// once, between spaces or commas; empty is no limit. The error matches
// [mlops.ErrInvalid].
func ParseQuota(text string) (Quota, error) {
	var q Quota
	seen := map[string]bool{}
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		name, value, _ := strings.Cut(part, "=")
		if seen[name] {
			return Quota{}, invalid("%s is there twice", name)
		}
		seen[name] = true
		var err error
		switch name {
		case "weight":
			q.Weight, err = amount(value)
		case "priority":
			if q.Priority = Priority(value); !slices.Contains(Priorities, q.Priority) {
				return Quota{}, invalid("priority=%s: want low, normal, high or urgent", value)
			}
		case "slots":
			q.MaxSlots, err = count(value)
		case "slot-hours":
			q.SlotHours, err = amount(value)
		case "queued-runs":
			q.QueuedRuns, err = count(value)
		case "watt-hours":
			q.WattHours, err = amount(value)
		default:
			return Quota{}, invalid("%q: want weight=, priority=, slots=, slot-hours=, queued-runs= or watt-hours=", part)
		}
		if err != nil {
			return Quota{}, invalid("%s: want a number above 0", part)
		}
	}
	return q, nil
}

// String is the quota as [ParseQuota] reads it: what it limits, and no more.
func (q Quota) String() string {
	var out []string
	add := func(name string, value any, is bool) {
		if is {
			out = append(out, fmt.Sprintf("%s=%v", name, value))
		}
	}
	add("weight", q.Weight, q.Weight > 0)
	add("priority", q.Priority, q.Priority != "")
	add("slots", q.MaxSlots, q.MaxSlots > 0)
	add("slot-hours", q.SlotHours, q.SlotHours > 0)
	add("queued-runs", q.QueuedRuns, q.QueuedRuns > 0)
	add("watt-hours", q.WattHours, q.WattHours > 0)
	return strings.Join(out, " ")
}

// amount reads a number above 0 that is at most a billion.
func amount(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err == nil && !(v > 0 && v <= 1e9) {
		err = strconv.ErrRange
	}
	return v, err
}

func count(text string) (int, error) {
	v, err := strconv.ParseInt(text, 10, 32)
	if err == nil && v <= 0 {
		err = strconv.ErrRange
	}
	return int(v), err
}

func invalid(format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Op: "quota", Message: fmt.Sprintf(format, args...)}
}
