package fair

import "time"

// Priority is the class of a project. Classes change a project's weight, so that
// none starves another; urgent also goes first, within a part of the budget.
type Priority string

const (
	PriorityLow    Priority = "low"    // a quarter of its weight
	PriorityNormal Priority = "normal" // its weight; also the empty class
	PriorityHigh   Priority = "high"   // four times its weight
	PriorityUrgent Priority = "urgent" // as high, and first within half of the budget
)

// Priorities are the classes, the lowest first.
var Priorities = []Priority{PriorityLow, PriorityNormal, PriorityHigh, PriorityUrgent}

func (p Priority) factor() float64 {
	switch p {
	case PriorityLow:
		return 0.25
	case PriorityHigh, PriorityUrgent:
		return 4
	}
	return 1
}

// Cause is why a project's task waits.
type Cause string

const (
	CauseTurn   Cause = "turn"   // others come first
	CauseQuota  Cause = "quota"  // its project holds or has spent what it may
	CauseHeat   Cause = "heat"   // the machine is hot, or saves its battery
	CauseEnergy Cause = "energy" // the day's energy is spent
	CauseMemory Cause = "memory" // it needs more than is left beside what is reserved
)

// Project is what a project may have.
type Project struct {
	Name     string   `json:"name"`
	Weight   float64  `json:"weight,omitempty"`    // its part beside others; 0 is 1
	MaxSlots int      `json:"max_slots,omitempty"` // most slots at once; 0 is no limit
	Priority Priority `json:"priority,omitempty"`
	Hold     Cause    `json:"hold,omitempty"` // if not empty, nothing of it starts, for this cause
}

// weight is the weight that counts: above 0, the class included.
func (p *Project) weight() float64 {
	w := p.Weight
	if !(w > 0) {
		w = 1
	}
	return w * p.Priority.factor()
}

// least is how many slots the narrowest ready task needs.
func (d *Demand) least() int { return max(1, d.Least) }

// open is how many slots of its pool ready tasks could take at once.
func (d *Demand) open() int {
	n := min(d.Slots-d.Running, d.Ready)
	return max(0, n-n%d.least())
}

// limit is the most slots that the project may hold.
func (p *Project) limit(budget int) int {
	if p.Hold != "" {
		return 0
	}
	if p.MaxSlots > 0 {
		return min(p.MaxSlots, budget)
	}
	return budget
}

// Demand is what a look found of one project, all in slots. A project without a
// Demand has none.
type Demand struct {
	Project string `json:"project"`
	Slots   int    `json:"slots,omitempty"`   // its pool, as it was in force at the look
	Running int    `json:"running,omitempty"` // held by tasks that run or are queued to a worker: these cannot be taken back
	Ready   int    `json:"ready,omitempty"`   // needed by tasks that could start at once
	Next    int    `json:"next,omitempty"`    // needed by the widest ready task; 0 is 1
	Least   int    `json:"least,omitempty"`   // needed by the narrowest ready task; 0 is 1
}

// Share is what one project gets until the next look.
type Share struct {
	Project string  `json:"project"`
	Slots   int     `json:"slots"` // of its pool
	Due     float64 `json:"due"`   // its weighted max-min share of the budget, which it has on average
	// Of a project with a ready task for which no slot is open now: why, how many
	// slots' worth of tasks start before it, and in how long it may start, 0 if
	// unknown.
	Cause    Cause         `json:"cause,omitempty"`
	Before   int           `json:"before,omitempty"`
	Expected time.Duration `json:"expected,omitempty"`
}

// Look is a decision with all that it was made from: a line of a trace, which can
// be decided again.
type Look struct {
	At       time.Time `json:"at"`
	Budget   int       `json:"budget"`
	Projects []Project `json:"projects"`
	Demand   []Demand  `json:"demand"`
	Rules    Rules     `json:"rules"`
	Slots    []int     `json:"slots"` // the decision, in the order of the projects
}

// Rules are what holds for all projects; the zero value is useful.
type Rules struct {
	// Max is the budget of a cool machine; it tells a wait for heat from one for a
	// turn. 0 is the budget.
	Max int `json:"max,omitempty"`
	// Reason is the cause to give where the budget is below Max; empty is heat.
	Reason Cause `json:"reason,omitempty"`
	// Overlap allows to give a slot to a project while the task of another one
	// that holds it still runs. It saves a look at each change of hands, and is
	// right only where something else, such as the executor's parallelism, keeps
	// what runs within the budget.
	Overlap bool `json:"overlap,omitempty"`
	// Linger is for how long a project without demand keeps its turn after its
	// last task was seen, if it came back within that time before: the next task
	// of a chain finds an open slot. This is so only where the budget has a slot
	// for each project with demand.
	Linger time.Duration `json:"linger,omitempty"`
	// Brief leaves out how many are before a project and when it may start.
	Brief bool `json:"brief,omitempty"`
	// Quantum is the time for which a task typically holds its slot; 0 is 2 s.
	Quantum time.Duration `json:"quantum,omitempty"`
	// UrgentShare is the part of the budget within which urgent projects go
	// first; 0 is a half.
	UrgentShare float64 `json:"urgent_share,omitempty"`
}

func (r Rules) quantum() float64 {
	if r.Quantum <= 0 {
		return 2
	}
	return r.Quantum.Seconds()
}

func (r Rules) urgent(budget int) int {
	share := r.UrgentShare
	if !(share > 0) || share > 1 {
		share = 0.5
	}
	return int(float64(budget) * share)
}
