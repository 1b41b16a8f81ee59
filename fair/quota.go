package fair

import (
	"fmt"
	"time"
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
// that lies in it. A clock that was set back takes nothing back: its time is booked
// on the day that was reached.
func (l *Ledger) Use(project string, slots int, from, to time.Time, joules float64) {
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
