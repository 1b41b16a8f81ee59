package fair

import (
	"math"
	"slices"
	"time"
)

// Turns is the order of projects over time: the state between two decisions. The
// zero value is a beginning. It is small and may be kept as JSON. It is not safe
// for concurrent use.
type Turns struct {
	Virtual  float64             `json:"virtual"` // where a project begins that comes now
	At       time.Time           `json:"at"`      // the last decision
	Accounts map[string]*Account `json:"accounts"`

	// what a decision needs, kept for the next
	claimed      []claim
	urgent, rest queue
	line         []grant
}

// Account is what is kept of one project.
type Account struct {
	Virtual float64       `json:"virtual"` // slot-seconds held, over the weight
	Holds   int           `json:"holds"`   // slots held at the last look
	Ready   int           `json:"ready"`   // slots that ready tasks needed then
	Waits   bool          `json:"waits"`   // it could have used another slot then
	Unused  time.Duration `json:"unused"`  // for how long slots have been open to ready tasks
	Seen    time.Time     `json:"seen"`    // its last task, running or ready
	Chain   bool          `json:"chain"`   // it came back soon after it had none
}

const (
	longestLook = 10 * time.Second // what a pause or a jump of the clock counts for
	patience    = 3 * time.Second  // after which an open slot that its project leaves unused is charged
)

// elapsed moves the state to now and returns the time since the last decision. A
// clock that jumps counts for nothing, or for the longest look.
func (t *Turns) elapsed(now time.Time) time.Duration {
	if t.Accounts == nil {
		t.Accounts = map[string]*Account{}
	}
	dt := now.Sub(t.At)
	if t.At.IsZero() {
		dt = 0
	}
	t.At = now
	return min(max(dt, 0), longestLook)
}

func (t *Turns) account(project string) *Account {
	a := t.Accounts[project]
	if a == nil {
		a = &Account{Virtual: t.Virtual}
		t.Accounts[project] = a
	}
	return a
}

// charge books what the project held since the last look: what ran then, and what
// has come and gone since, within its pool. A slot that was open to its ready tasks
// for longer than the patience counts, too: tasks that cannot start, because of a
// limit of their DAG, would hold it for ever.
func (a *Account) charge(dt time.Duration, weight float64, d *Demand) {
	begun := max(0, d.Running-a.Holds)
	gone := min(a.Ready-d.Ready-begun, d.Slots-a.Holds)
	used := float64(a.Holds+max(0, gone)) * dt.Seconds()
	if open := d.open(); open > 0 && begun == 0 && gone <= 0 {
		before := a.Unused
		if a.Unused += dt; before > patience {
			used += float64(open) * dt.Seconds()
		} else if a.Unused > patience {
			used += float64(open) * a.Unused.Seconds()
		}
	} else {
		a.Unused = 0
	}
	a.Virtual += used / weight
	a.Holds, a.Ready = d.Running, d.Ready
}

// Divide gives the budget to the projects, for what the look at now found, and
// returns a share for each project in their order. The pools together, with what
// runs on in pools that were made smaller, are never above the budget, unless what
// runs is. No slot is left idle for which there is a task, but those that are
// being collected for a task of several slots.
func (t *Turns) Divide(now time.Time, budget int, projects []Project, demand []Demand, rules Rules) []Share {
	budget = max(budget, 0)
	claims := t.claims(now, budget, projects, demand, rules)
	fill(claims, budget)
	for i := range claims {
		claims[i].most = int(math.Ceil(claims[i].due)) + 1
	}
	line := t.deal(claims, budget, rules)
	spare := settle(claims, line, budget, rules)
	lookAhead(claims, spare, budget)
	t.advance(claims)

	rules.Max = max(rules.Max, budget)
	out := make([]Share, len(projects))
	for i := range claims {
		c := &claims[i]
		out[i] = Share{Project: c.project.Name, Slots: c.slots, Due: c.due}
		if c.wide > 0 || c.demand.Ready > 0 && c.slots <= c.demand.Running {
			out[i].Cause = c.cause(claims, budget, rules)
			if out[i].Cause == CauseTurn && !rules.Brief {
				out[i].Before = max(c.before, 0)
				out[i].Expected = time.Duration(float64(rules.Quantum) * float64(out[i].Before+1) / float64(budget))
			}
		}
	}
	return out
}

// claims charges what was held since the last decision and makes each project's
// claim.
func (t *Turns) claims(now time.Time, budget int, projects []Project, demand []Demand, rules Rules) []claim {
	dt := t.elapsed(now)
	find := demandOf(projects, demand)
	waiting := 0 // projects with demand
	for i := range demand {
		if demand[i].Running+demand[i].Ready > 0 {
			waiting++
		}
	}
	if cap(t.claimed) < len(projects) {
		t.claimed = make([]claim, 2*len(projects))
	}
	claims := t.claimed[:len(projects)]
	for i := range projects {
		p := &projects[i]
		c := &claims[i]
		*c = claim{project: p, account: t.account(p.Name), before: -1, demand: Demand{Project: p.Name}}
		if d := find(i); d != nil {
			c.demand = *d
		}
		d, a, w := &c.demand, c.account, p.weight()
		c.weight = w
		d.Running, d.Ready = max(d.Running, 0), max(d.Ready, 0)
		a.charge(dt, w, d)
		limit := p.limit(budget)
		if p.Hold == "" && d.Next > max(limit, 1) { // this one cannot start at present, narrower ones may
			d.Ready, d.Next, c.wide = max(0, d.Ready-d.Next), 0, d.Next
			if d.least() > max(limit, 1) {
				d.Ready = 0
			}
		}
		waits := d.Ready > 0 && p.Hold == "" && (p.MaxSlots <= 0 || d.Running+d.least() <= p.MaxSlots)
		if waits && !a.Waits {
			a.Virtual = max(a.Virtual, t.Virtual)
		}
		a.Waits = waits
		if c.want = d.Running + d.Ready; c.want > limit {
			c.want = limit - limit%d.least()
		}
		if gone := now.Sub(a.Seen); d.Running+d.Ready > 0 {
			if gone > dt {
				a.Chain = gone < rules.Linger && gone > 0
			}
			a.Seen = now
		} else if a.Chain && gone >= 0 && gone < rules.Linger && waiting < budget {
			c.want = min(1, limit)
		}
		c.bound = d.Running + d.open()
		c.step = rules.quantum() / w
		c.key = a.Virtual
	}
	if len(t.Accounts) > 2*len(projects)+16 {
		t.forget(now)
	}
	return claims
}

// demandOf returns what finds the demand of a project by its place: mostly, both
// have the same order.
func demandOf(projects []Project, demand []Demand) func(int) *Demand {
	aligned := len(projects) == len(demand)
	for i := 0; aligned && i < len(projects); i++ {
		aligned = projects[i].Name == demand[i].Project
	}
	if aligned {
		return func(i int) *Demand { return &demand[i] }
	}
	of := make(map[string]*Demand, len(demand))
	for i := range demand {
		of[demand[i].Project] = &demand[i]
	}
	return func(i int) *Demand { return of[projects[i].Name] }
}

// forget drops the accounts that differ in nothing from that of a new project.
func (t *Turns) forget(now time.Time) {
	for name, a := range t.Accounts {
		if a.Holds == 0 && a.Ready == 0 && a.Virtual <= t.Virtual && !a.Chain || now.Sub(a.Seen) > 24*time.Hour {
			delete(t.Accounts, name)
		}
	}
}

// settle turns what is due into pools that can be set now, and returns what is
// left of the budget. What a project holds beyond its due is not taken from it
// but not filled again; until that has ended, those later in the line wait.
func settle(claims []claim, line []grant, budget int, rules Rules) int {
	held, due := 0, 0
	for i := range claims {
		c := &claims[i]
		c.slots = min(c.got, c.bound)
		held += c.bound
		due += c.got
	}
	for i := range claims {
		claims[i].line = 0
	}
	for _, g := range line {
		c := g.to
		had := c.line
		c.line += g.slots
		more := c.line - max(c.bound, had)
		if more <= 0 {
			continue
		}
		if rules.Overlap || held+more <= budget {
			c.slots = c.line
		}
		held += more // else these slots are kept for it
	}
	if rules.Overlap {
		return min(budget-held, budget-due)
	}
	return budget - held
}

// lookAhead gives what is left to projects that could start more than they now
// have: one slot to each without demand, those first that had some last, then to
// all in turn. What comes before the next look then waits for none.
func lookAhead(claims []claim, spare, budget int) {
	if spare <= 0 {
		return
	}
	idle := make([]*claim, 0, len(claims))
	for i := range claims {
		if c := &claims[i]; c.slots >= c.want && c.slots >= c.bound && c.slots < c.project.limit(budget) {
			idle = append(idle, c)
		}
	}
	slices.SortStableFunc(idle, func(a, b *claim) int {
		if (a.want == 0) != (b.want == 0) {
			if a.want == 0 {
				return -1
			}
			return 1
		}
		return b.account.Seen.Compare(a.account.Seen)
	})
	for spare > 0 && len(idle) > 0 {
		var more []*claim
		for _, c := range idle[:min(spare, len(idle))] {
			c.slots++
			spare--
			if c.slots < c.project.limit(budget) {
				more = append(more, c)
			}
		}
		idle = more
	}
}

// advance moves the virtual time to that of the project which is furthest behind
// among those that wait; where none waits, what was used delayed no one, and it
// moves to that of the project which used most.
func (t *Turns) advance(claims []claim) {
	least, most := math.Inf(1), t.Virtual
	for i := range claims {
		switch a := claims[i].account; {
		case a.Waits:
			least = min(least, a.Virtual)
		case a.Holds > 0:
			most = max(most, a.Virtual)
		}
	}
	if math.IsInf(least, 1) {
		least = most
	}
	t.Virtual = max(t.Virtual, least)
}

// cause is why a claim that has a ready task gets no open slot.
func (c *claim) cause(claims []claim, budget int, rules Rules) Cause {
	hot := rules.Reason
	if hot == "" {
		hot = CauseHeat
	}
	switch limit := c.project.MaxSlots; {
	case c.project.Hold != "":
		return c.project.Hold
	case limit > 0 && c.demand.Running >= limit:
		return CauseQuota
	case budget == 0:
		return hot
	case limit > 0 && c.wide > limit:
		return CauseQuota
	case c.wide > rules.Max:
		return CauseMemory
	case c.wide > budget:
		return hot
	}
	total := 0
	for i := range claims {
		total += claims[i].demand.Running + claims[i].demand.Ready
		if total > rules.Max {
			return CauseTurn
		}
	}
	if budget < rules.Max && total > budget {
		return hot
	}
	return CauseTurn
}
