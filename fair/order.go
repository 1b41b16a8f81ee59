package fair

// claim is one project in one decision.
type claim struct {
	project *Project
	demand  Demand
	account *Account
	weight  float64 // with its class
	due     float64 // its weighted max-min share
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
	n := c.demand.least()
	if c.got == 0 {
		n = max(n, c.demand.Next)
	}
	return max(1, min(n, c.want-c.got))
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

// grant is a step of the order: that many slots are the claim's next.
type grant struct {
	to    *claim
	slots int
}

// deal hands out the budget in the order of turns and returns the order. Urgent
// claims go first within their part; then all go by their keys, and none of them
// gets far more than its due at once, whatever it missed: it could fill those slots
// with long tasks.
func (t *Turns) deal(claims []claim, budget int, rules Rules) []grant {
	urgent, rest := t.urgent[:0], t.rest[:0]
	for i := range claims {
		if c := &claims[i]; c.want > 0 {
			if c.project.Priority == PriorityUrgent {
				urgent = append(urgent, c)
			} else {
				rest = append(rest, c)
			}
		}
	}
	t.urgent, t.rest = urgent, rest
	urgent.order()
	rest.order()
	first := rules.urgent(budget)
	if len(rest) > 0 { // urgent work leaves room for the widest task whose turn it is
		first = min(first, budget-rest[0].unit())
	}
	line := t.line[:0]
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
	t.line = line
	if !rules.Brief {
		foresee(claims, rest, line, budget)
	}
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

// fill computes the weighted max-min shares of the budget, in slots: each project
// has what it wants, or as much for its weight as any other that has less.
func fill(claims []claim, budget int) {
	left, weights := float64(budget), 0.0
	for i := range claims {
		c := &claims[i]
		c.due = -1
		if c.want > 0 {
			weights += c.weight
		} else {
			c.due = 0
		}
	}
	for again := true; again && weights > 0; {
		again = false
		level := max(left, 0) / weights
		for i := range claims {
			if c := &claims[i]; c.due < 0 && float64(c.want) <= level*c.weight {
				c.due = float64(c.want)
				left -= c.due
				weights -= c.weight
				again = true
			}
		}
	}
	for i := range claims {
		if c := &claims[i]; c.due < 0 {
			c.due = max(left, 0) * c.weight / weights
		}
	}
}
