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
func (a *Account) charge(dt time.Duration, weight float64, d Demand) {
	begun := max(0, d.Running-a.Holds)
	gone := min(a.Ready-d.Ready-begun, d.Slots-a.Holds)
	used := float64(a.Holds+max(0, gone)) * dt.Seconds()
	if open := min(d.Slots-d.Running, d.Ready); open > 0 && begun == 0 && gone <= 0 {
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

// claim is one project in one decision.
type claim struct {
	project *Project
	demand  Demand
	account *Account
	index   int     // in the result
	key     float64 // the virtual time at which its next slot is due
	step    float64 // by which a slot moves the key
	want    int     // slots that it could use and may have
	most    int     // slots that it gets while others want some
	bound   int     // slots that it holds whatever is decided
	got     int     // slots of the budget that are due to it
	slots   int     // of these, what it can be given now
	before  int     // slots' worth of tasks that start before its next; -1 is not known yet
	wide    int     // slots of a ready task that needs more than the project may hold now
	passed  bool    // its next task needs more than is left
	line    int     // slots that the line has given it so far
}

// unit is how many slots the claim's next task needs.
func (c *claim) unit() int {
	if c.got == 0 {
		return max(1, min(c.demand.Next, c.want))
	}
	return 1
}

// queue is a heap of claims, the one whose turn it is first. It is container/heap
// without its calls through an interface, which took most of a decision.
type queue []*claim

func (q queue) less(i, j int) bool {
	if q[i].key != q[j].key {
		return q[i].key < q[j].key
	}
	return q[i].project.Name < q[j].project.Name
}

// order makes a heap of the claims as they come.
func (q queue) order() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
}

// sink moves the claim at i down to its place.
func (q queue) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(q); child++ {
			if q.less(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		q[i], q[least] = q[least], q[i]
		i = least
	}
}

// drop removes the first claim.
func (q *queue) drop() {
	last := len(*q) - 1
	(*q)[0] = (*q)[last]
	*q = (*q)[:last]
	q.sink(0)
}

// Divide gives the budget to the projects, for what the look at now found, and
// returns a share for each project in their order. The pools together, with what
// runs on in pools that were made smaller, are never above the budget, unless what
// runs is. No slot is left idle for which there is a task, but those that are
// being collected for a task of several slots.
func (t *Turns) Divide(now time.Time, budget int, projects []Project, demand []Demand, rules Rules) []Share {
	budget = max(budget, 0)
	claims := t.claims(now, budget, projects, demand, rules)
	due := dues(claims, budget)
	for i := range claims {
		claims[i].most = int(math.Ceil(due[i])) + 1
	}
	line := deal(claims, budget, rules)
	spare := settle(claims, line, budget, rules)
	lookAhead(claims, spare, budget)
	t.advance(claims)

	rules.Max = max(rules.Max, budget)
	out := make([]Share, len(projects))
	for i := range claims {
		c := &claims[i]
		out[i] = Share{Project: c.project.Name, Slots: c.slots, Due: due[i]}
		if c.wide > 0 || c.demand.Ready > 0 && c.slots <= c.demand.Running {
			out[i].Cause = c.cause(claims, budget, rules)
			if out[i].Cause == CauseTurn {
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
	of := make(map[string]int, len(demand))
	waiting := 0 // projects with demand
	for i, d := range demand {
		of[d.Project] = i
		if d.Running+d.Ready > 0 {
			waiting++
		}
	}
	claims := make([]claim, len(projects))
	known := make(map[string]bool, len(projects))
	for i := range projects {
		p := &projects[i]
		known[p.Name] = true
		c := &claims[i]
		*c = claim{project: p, account: t.account(p.Name), index: i, before: -1, demand: Demand{Project: p.Name}}
		if j, ok := of[p.Name]; ok {
			c.demand = demand[j]
		}
		d, a, w := &c.demand, c.account, p.weight()
		d.Running, d.Ready = max(d.Running, 0), max(d.Ready, 0)
		a.charge(dt, w, *d)
		limit := p.limit(budget)
		if d.Next > limit { // this one cannot start at present, narrower ones may
			d.Ready, d.Next, c.wide = max(0, d.Ready-d.Next), 0, d.Next
		}
		waits := d.Ready > 0 && p.Hold == "" && (p.MaxSlots <= 0 || d.Running < p.MaxSlots)
		if waits && !a.Waits {
			a.Virtual = max(a.Virtual, t.Virtual)
		}
		a.Waits = waits
		c.want = min(d.Running+d.Ready, limit)
		if gone := now.Sub(a.Seen); d.Running+d.Ready > 0 {
			if gone > dt {
				a.Chain = gone < rules.Linger && gone > 0
			}
			a.Seen = now
		} else if a.Chain && gone >= 0 && gone < rules.Linger && waiting < budget {
			c.want = min(1, limit)
		}
		c.bound = d.Running + min(d.Ready, max(0, d.Slots-d.Running))
		c.step = rules.quantum() / w
		c.key = a.Virtual
	}
	for name, a := range t.Accounts {
		if !known[name] || a.Holds == 0 && !a.Waits && a.Virtual <= t.Virtual && now.Sub(a.Seen) > time.Hour {
			delete(t.Accounts, name)
		}
	}
	return claims
}

// grant is a step of the order: that many slots are the claim's next.
type grant struct {
	to    *claim
	slots int
}

// deal hands out the budget in the order of turns and returns the order. Urgent
// claims go first within their part; then all go by their keys, and none of them
// gets far more than its due at once, whatever it missed: it could fill those slots
// with long tasks.
func deal(claims []claim, budget int, rules Rules) []grant {
	var urgent, rest queue
	for i := range claims {
		if c := &claims[i]; c.want > 0 {
			if c.project.Priority == PriorityUrgent {
				urgent = append(urgent, c)
			} else {
				rest = append(rest, c)
			}
		}
	}
	urgent.order()
	rest.order()
	first := rules.urgent(budget)
	if len(rest) > 0 { // urgent work leaves room for the widest task whose turn it is
		first = min(first, budget-rest[0].unit())
	}
	line := make([]grant, 0, budget)
	left := budget
	for len(urgent) > 0 && urgent[0].unit() <= first {
		n := urgent[0].take(&urgent, &line)
		first -= n
		left -= n
	}
	if len(urgent) > 0 {
		rest = append(rest, urgent...)
		rest.order()
	}
	var sated queue
	for left > 0 && len(rest)+len(sated) > 0 {
		if len(rest) == 0 {
			rest, sated = sated, nil
			rest.order()
			for _, c := range rest {
				c.most = budget
			}
		}
		switch c := rest[0]; {
		case c.unit() > left:
			rest.drop()
			c.passed = true
		case c.got > 0 && c.got >= c.most:
			rest.drop()
			sated = append(sated, c)
		default:
			left -= c.take(&rest, &line)
		}
	}
	rest = append(rest, sated...)
	rest.order()
	foresee(claims, rest, line, budget)
	return line
}

// take gives the first claim of the queue its next slots.
func (c *claim) take(q *queue, line *[]grant) int {
	n := c.unit()
	c.got += n
	c.key += float64(n) * c.step
	*line = append(*line, grant{c, n})
	if c.got < c.want {
		q.sink(0)
	} else {
		q.drop()
	}
	return n
}

// foresee counts for each claim how many slots' worth of tasks start before its
// next one: what the line and then the queue have before it.
func foresee(claims []claim, rest queue, line []grant, budget int) {
	ahead := 0
	for _, g := range line {
		if g.to.line += g.slots; g.to.line <= g.to.bound {
			continue // it runs, or starts before this decision
		}
		if g.to.before < 0 {
			g.to.before = ahead
		}
		ahead += g.slots
	}
	for i := range claims {
		if c := &claims[i]; c.passed {
			c.before = ahead
		}
	}
	unknown := 0
	for _, c := range rest {
		if c.before < 0 {
			unknown++
		}
	}
	for tries := 4*len(rest) + budget; unknown > 0 && tries > 0; tries-- {
		c := rest[0]
		if c.before < 0 {
			c.before = ahead
			unknown--
		}
		ahead++
		c.key += c.step
		rest.sink(0)
	}
	for _, c := range rest {
		if c.before < 0 {
			c.before = ahead
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

// dues are the weighted max-min shares of the budget, in slots: each project has
// what it wants or as much for its weight as any other.
func dues(claims []claim, budget int) []float64 {
	order := make([]*claim, 0, len(claims))
	weights := 0.0
	for i := range claims {
		if c := &claims[i]; c.want > 0 {
			order = append(order, c)
			weights += c.project.weight()
		}
	}
	slices.SortFunc(order, func(a, b *claim) int {
		x, y := float64(a.want)*b.project.weight(), float64(b.want)*a.project.weight()
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return a.index - b.index
	})
	out := make([]float64, len(claims))
	left := float64(budget)
	for _, c := range order {
		w := c.project.weight()
		out[c.index] = min(float64(c.want), left*w/weights)
		left -= out[c.index]
		weights -= w
	}
	return out
}
