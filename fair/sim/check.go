package sim

import (
	"fmt"
	"math"
	"time"

	"github.com/mlops-integration/mlops/fair"
)

// quantum is that of the rules, in seconds.
const quantum = 2.0

// deathSeconds is what a pause of the agent counts for in the order.
const deathSeconds = 10.0

func (w *world) fault(format string, args ...any) {
	if len(w.Faults) < 10 {
		w.Faults = append(w.Faults, fmt.Sprintf("%v: ", w.at)+fmt.Sprintf(format, args...))
	}
}

// begun checks a task that starts.
func (w *world) begun(p *project, t task) {
	if w.settled && w.running > w.budget {
		w.fault("%s starts, and %d slots of %d run", p.name, w.running, w.budget)
	}
	if p.quota.MaxSlots > 0 && p.running > p.quota.MaxSlots {
		w.fault("%s has %d slots of %d", p.name, p.running, p.quota.MaxSlots)
	}
	if w.settled && p.spent {
		w.fault("%s starts, though its day is spent", p.name)
	}
	before := float64(p.peak) * p.longest
	p.longest, p.peak = max(p.longest, t.takes.Seconds()), max(p.peak, p.running)
	w.slack += float64(p.peak)*p.longest - before
	if p.since >= 0 {
		// others catch up with what it was ahead, and each has what it had at once;
		// urgent ones have half of the rest
		allowed := 2 * (w.slack + 2*quantum*float64(len(w.projects)) + w.weights*(p.lead+quantum/p.weight))
		if waited := w.capacity - p.since; waited > 0 {
			w.Wait = max(w.Wait, waited/allowed)
			if waited > allowed {
				w.fault("%s waited for %.0f slot-seconds, %.0f are allowed", p.name, waited, allowed)
			}
		}
	}
	p.since = -1
}

// check holds the state after an event against what must be so.
func (w *world) check() {
	if !w.settled {
		return
	}
	idle, widest := w.budget-w.running, 0
	for _, i := range w.active {
		p := &w.projects[i]
		waits := w.waits(p)
		if waits {
			widest = max(widest, p.width)
			if p.since < 0 {
				p.since, p.lead = w.capacity, max(0, p.account.Virtual-w.turns.Virtual)
			}
		} else {
			p.since = -1
		}
	}
	// slots are kept for one wide task at a time
	if widest > 0 && idle >= widest {
		w.fault("%d slots are idle, and tasks of at most %d wait", idle, widest)
	}
	w.checkLead()
}

// waits reports whether a project has a task that only waits for its turn.
func (w *world) waits(p *project) bool {
	return len(p.ready) > 0 && !p.spent && p.width <= w.budget &&
		(p.quota.MaxSlots == 0 || p.running+p.width <= p.quota.MaxSlots)
}

// checkLead holds how far each project that waits is ahead of the next slot of
// the last one. As start-time fair queueing bounds it, that is what it had at once,
// and the largest quantum of another: this one may have been the last when it
// started, and be gone. Urgent projects go ahead by intent.
func (w *world) checkLead() {
	last := math.Inf(1)
	for k, s := range w.shares {
		p, a := w.held[k], w.held[k].account
		if a != nil && a.Waits && float64(p.running) < math.Ceil(s.Due)+1 {
			last = min(last, a.Virtual+quantum*float64(p.running)/p.weight)
		}
	}
	for _, p := range w.held {
		a := p.account
		if a == nil || !a.Waits || p.quota.Priority == fair.PriorityUrgent {
			continue
		}
		longest := p.longest
		if w.Deaths > 0 { // pools alone decided, which is charged as one long look
			longest = max(longest, deathSeconds)
		}
		allowed := (float64(p.peak)*longest+quantum*float64(p.width))/p.weight + w.quantum
		lead := a.Virtual - last
		w.Lead = max(w.Lead, lead/allowed)
		if lead > allowed {
			w.fault("%s is ahead by %.1f, %.1f are allowed", p.name, lead, allowed)
		}
	}
}

// weigh is the weight of a project, its class included.
func (p *project) weigh() float64 {
	w := max(p.quota.Weight, 1)
	switch p.quota.Priority {
	case "low":
		return w / 4
	case "high", "urgent":
		return w * 4
	}
	return w
}

// tally counts a task by the days in which it ran, to the nanosecond.
func (p *project) tally(from, to time.Time) {
	for from.Before(to) {
		y, m, d := from.Date()
		next := time.Date(y, m, d+1, 0, 0, 0, 0, from.Location())
		if next.After(to) {
			next = to
		}
		p.days[from.Format(time.DateOnly)] += int64(next.Sub(from)) * int64(p.width)
		from = next
	}
}

// checkDays holds the ledger's last day against what the tasks of it took.
func (w *world) checkDays() {
	for i := range w.projects {
		p := &w.projects[i]
		if p.quota.SlotHours == 0 || w.left > 0 {
			continue
		}
		if got, want := int64(w.ledger.Spent[p.name].SlotTime), p.days[w.ledger.Day]; got != want {
			w.fault("%s has spent %d ns of slots on %s, %d are booked", p.name, want, w.ledger.Day, got)
		}
	}
}
