package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/mlops-integration/mlops/fair"
)

// Job is one task for [Pools].
type Job struct {
	Project int           // an index
	At      time.Duration // when it is ready, unless it comes after another
	Takes   time.Duration
	Slots   int           // 0 is 1
	After   int           // the number, from 1, of the job whose end makes it ready; 0 is none
	Cancel  time.Duration // when it is cancelled, if it has not begun; 0 is never

	Ready, Begun, Ended time.Duration // what came of it; Ended 0: it was not done
}

func (j *Job) slots() int { return max(1, j.Slots) }

// Mechanism is who decides what starts.
type Mechanism int

const (
	Shared  Mechanism = iota // pools that an agent sets
	OnePool                  // one pool of the budget, first come first served
	Static                   // one slot for each project
)

// Pools simulates Airflow's scheduler on pools that an agent sets at its looks.
// Times are those that were measured on a quiet machine, if they are 0.
type Pools struct {
	Mechanism Mechanism
	Budget    int
	Projects  []fair.Project
	Rules     fair.Rules
	Jobs      []Job // first come first served, as they stand here

	// Cap is the executor's parallelism, within which the pools may promise a slot
	// while another's task still runs, in one request; 0 is none.
	Cap int

	Look   time.Duration // from the end of a look to the next; 0 is 1 s
	Read   time.Duration // how long a GET of the pools takes; 0 is 40 ms
	Write  time.Duration // how long a PATCH takes; 0 is 40 ms
	Launch time.Duration // from queued to running; 0 is 150 ms
	Pass   time.Duration // the scheduler's loop while it works; 0 is 200 ms
	Idle   time.Duration // its sleep when nothing was to do; 0 is 1 s

	Each func(fair.Look) // is told every decision, if not nil

	// What came of it.
	Over    int     // samples at 5 Hz at which more ran than the budget
	Samples int     //
	Busy    float64 // slot-seconds that tasks held

	now     time.Duration
	pool    []int // slots in force
	running [][]*Job
	coming  []*Job // not ready yet
	waiting []*Job // ready, in order
	turns   fair.Turns
	done    int
	seen    int // of done, by the scheduler
}

const tick = 20 * time.Millisecond

// Run simulates for so long.
func (p *Pools) Run(long time.Duration) {
	p.Look, p.Read, p.Write = cmp.Or(p.Look, time.Second), cmp.Or(p.Read, 40*time.Millisecond), cmp.Or(p.Write, 40*time.Millisecond)
	p.Launch, p.Pass, p.Idle = cmp.Or(p.Launch, 150*time.Millisecond), cmp.Or(p.Pass, 200*time.Millisecond), cmp.Or(p.Idle, time.Second)
	p.running = make([][]*Job, len(p.Projects))
	p.pool = make([]int, len(p.Projects))
	for i := range p.pool {
		p.pool[i] = 1
	}
	for i := range p.Jobs {
		p.coming = append(p.coming, &p.Jobs[i])
	}
	var looks agent
	var pass time.Duration
	for p.now = 0; p.now < long; p.now += tick {
		p.end()
		if p.now >= pass {
			if p.schedule() {
				pass = p.now + p.Pass
			} else {
				pass = p.now + p.Idle
			}
		}
		if p.Mechanism == Shared {
			looks.step(p)
		}
		if p.now%(200*time.Millisecond) == 0 {
			p.Samples++
			if p.held() > p.Budget {
				p.Over++
			}
		}
		p.Busy += float64(p.held()) * tick.Seconds()
	}
}

// held is how many slots tasks hold.
func (p *Pools) held() (n int) {
	for i := range p.running {
		n += taken(p.running[i])
	}
	return n
}

func taken(jobs []*Job) (n int) {
	for _, j := range jobs {
		n += j.slots()
	}
	return n
}

// end frees the slots of what has ended.
func (p *Pools) end() {
	for i, jobs := range p.running {
		p.running[i] = slices.DeleteFunc(jobs, func(j *Job) bool {
			if j.Begun+p.Launch+j.Takes > p.now {
				return false
			}
			j.Ended = p.now
			p.done++
			return true
		})
	}
}

// schedule is one pass of the scheduler: it finds what is ready and queues what
// its pool has room for. It reports whether it did anything.
func (p *Pools) schedule() bool {
	worked := p.done > p.seen
	p.seen = p.done
	p.coming = slices.DeleteFunc(p.coming, func(j *Job) bool {
		if j.At > p.now || j.After > 0 && p.Jobs[j.After-1].Ended == 0 {
			return false
		}
		j.Ready = max(p.now, tick)
		p.waiting = append(p.waiting, j)
		worked = true
		return true
	})
	p.waiting = slices.DeleteFunc(p.waiting, func(j *Job) bool {
		if j.Cancel > 0 && p.now >= j.Cancel {
			return true
		}
		used, slots := taken(p.running[j.Project]), p.pool[j.Project]
		if p.Mechanism == OnePool {
			used, slots = p.held(), p.Budget
		}
		if used+j.slots() > slots || p.Cap > 0 && p.held()+j.slots() > p.Cap {
			return false
		}
		j.Begun = max(p.now, tick)
		p.running[j.Project] = append(p.running[j.Project], j)
		worked = true
		return true
	})
	return worked
}

// agent is who sets the pools: a look is two surveys, each with a request that changes
// pools: first what gets less, then what gets more of what is free.
type agent struct {
	phase  int
	at     time.Duration // of the next phase
	shares []fair.Share
	set    []int // slots that the request on its way sets
}

func (a *agent) step(p *Pools) {
	if p.now < a.at {
		return
	}
	switch a.phase {
	case 0: // the survey is taken; the decision follows
		demand := make([]fair.Demand, len(p.Projects))
		for i, pr := range p.Projects {
			demand[i] = fair.Demand{Project: pr.Name, Slots: p.pool[i], Running: taken(p.running[i])}
		}
		for _, j := range p.waiting {
			d := &demand[j.Project]
			d.Ready += j.slots()
			d.Next = max(d.Next, j.slots())
		}
		look := fair.Look{At: time.Unix(0, int64(p.now)).UTC(), Budget: p.Budget, Projects: p.Projects, Demand: demand, Rules: p.Rules}
		a.shares = p.turns.Divide(look.At, look.Budget, look.Projects, look.Demand, look.Rules)
		if p.Each != nil {
			for _, s := range a.shares {
				look.Slots = append(look.Slots, s.Slots)
			}
			p.Each(look)
		}
		a.set = slices.Clone(p.pool)
		for i, s := range a.shares {
			a.set[i] = min(s.Slots, p.pool[i])
			if p.Cap > 0 {
				a.set[i] = s.Slots
			}
		}
		a.at += p.Read + p.Write
	case 1: // less is in force; a survey for more
		less := !slices.Equal(p.pool, a.set)
		copy(p.pool, a.set)
		left := p.Budget
		for i := range p.pool {
			left -= max(p.pool[i], taken(p.running[i]))
		}
		for i, s := range a.shares {
			held := max(0, taken(p.running[i])-p.pool[i])
			if n := min(s.Slots-p.pool[i], max(left, 0)+held); n > 0 {
				left -= max(n-held, 0)
				a.set[i] += n
			}
		}
		a.at += p.Write
		if less {
			a.at += p.Read
		}
	case 2: // more is in force
		copy(p.pool, a.set)
		a.at += p.Look
	}
	a.phase = (a.phase + 1) % 3
}
