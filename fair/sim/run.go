package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/mlops-integration/mlops/fair"
)

// Config is what Run simulates. The zero value is a thousand projects with a
// million tasks on 64 slots.
type Config struct {
	Seed     uint64
	Projects int           // 0 is 1,000
	Tasks    int           // 0 is 1,000,000
	Budget   int           // slots of a cool machine; 0 is 64
	Each     func(*Record) // is told every event, if not nil
}

// Result is what came of it.
type Result struct {
	Seed      uint64        `json:"seed"`
	Projects  int           `json:"projects"`
	Tasks     int           `json:"tasks"`     // that ended
	Runs      int           `json:"runs"`      // that these came in
	Decisions int           `json:"decisions"` // that divided the budget
	Events    int           `json:"events"`    // after each of which all was checked
	Long      time.Duration `json:"long"`      // simulated
	Busy      float64       `json:"busy"`      // part of the budget that tasks held
	Lead      float64       `json:"lead"`      // the furthest that a project was ahead of one that waited, of what is allowed
	Wait      float64       `json:"wait"`      // the longest wait for a turn, of what is allowed
	Budgets   int           `json:"budgets"`   // changes of the budget by heat
	Lost      int           `json:"lost"`      // updates that were lost
	Deaths    int           `json:"deaths"`    // of the agent, whose state came back from its file
	Quotas    int           `json:"quotas"`    // days on which a project had spent its quota
	Faults    []string      `json:"faults"`    // what was violated, at most ten; empty, if all held
}

// task is a piece of work.
type task struct{ takes time.Duration }

// project is one of the simulated projects. All its tasks are of one width.
type project struct {
	name    string
	quota   fair.Quota
	weight  float64
	width   int
	ready   []task
	running int           // slots
	pool    int           // slots in force
	place   int           // among the active; -1 is none
	account *fair.Account // of the last decision

	booked  time.Time        // up to which the ledger has it
	days    map[string]int64 // slot-nanoseconds by day, counted by task
	longest float64          // seconds, of its tasks so far
	peak    int              // most slots that it held
	lead    float64          // how far it was ahead when it began to wait
	since   float64          // the machine's slot-seconds when it began to wait; -1 is not
	spent   bool             // its quota, this day
}

// world is a machine with its projects.
type world struct {
	Config
	Result
	rnd      *rand.Rand
	begin    time.Time
	at       time.Duration // since the beginning
	now      time.Time
	projects []project
	active   []int // projects with demand
	events   agenda
	running  int // slots
	left     int // tasks that have not ended

	turns   fair.Turns
	heat    fair.Heat
	ledger  fair.Ledger
	budget  int
	level   fair.Level
	day     int
	dead    time.Time // until then the agent is
	retry   bool      // a look is on the agenda
	settled bool      // the last look's pools are in force

	capacity float64    // slot-seconds that the budget was
	weights  float64    // of all projects
	quantum  float64    // the largest of any, in virtual time
	slack    float64    // slot-seconds by which projects may be ahead, together
	held     []*project // those of shares
	shares   []fair.Share
	ps       []fair.Project
	ds       []fair.Demand
}

// Run simulates and checks after each event that no more runs than the budget,
// that no slot is idle beside a task that could start, that no project is further
// ahead of one that waits than by the tasks that it had at once and a quantum, that
// quotas are exact, and that each wait ends. The same seed gives the same result.
func Run(c Config) Result {
	w := newWorld(c)
	for w.left > 0 && len(w.Faults) == 0 {
		if len(w.events.heap) == 0 {
			w.fault("%d tasks are left, and nothing will happen", w.left)
			break
		}
		w.pass(w.events.next())
	}
	w.Long = w.now.Sub(w.begin)
	w.Busy /= max(w.capacity, 1)
	w.checkDays()
	return w.Result
}

func newWorld(c Config) *world {
	if c.Projects <= 0 {
		c.Projects = 1000
	}
	if c.Tasks <= 0 {
		c.Tasks = 1_000_000
	}
	if c.Budget <= 0 {
		c.Budget = 64
	}
	w := &world{Config: c, rnd: rand.New(rand.NewPCG(c.Seed, 16)), begin: time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC),
		budget: c.Budget, level: fair.LevelNominal, left: c.Tasks, heat: fair.Heat{Max: c.Budget}}
	w.Result = Result{Seed: c.Seed, Projects: c.Projects, Faults: []string{}}
	w.now = w.begin
	w.projects = make([]project, c.Projects)
	for i := range w.projects {
		w.projects[i] = w.newProject(i)
		w.projects[i].weight = w.projects[i].weigh()
		w.weights += w.projects[i].weight
		w.quantum = max(w.quantum, 2*quantum*float64(w.projects[i].width)/w.projects[i].weight)
	}
	w.plan()
	w.events.add(event{kind: tickEvent})
	return w
}

// newProject draws a project: its quota, and how wide its tasks are.
func (w *world) newProject(i int) project {
	p := project{name: fmt.Sprintf("project-%04d", i), width: 1, place: -1, since: -1, days: map[string]int64{}}
	p.quota.Weight = []float64{0, 1, 2, 4}[w.rnd.IntN(4)]
	p.quota.Priority = []fair.Priority{"", "", "", fair.PriorityNormal, fair.PriorityLow, fair.PriorityHigh, fair.PriorityUrgent}[w.rnd.IntN(7)]
	if w.rnd.IntN(20) == 0 { // by its memory
		machine := fair.Capacity{Slots: w.Config.Budget, Memory: 64 << 30}
		p.width = min(machine.SlotsFor(fair.Need{Memory: w.rnd.Int64N(4 << 30)}), max(1, w.Config.Budget/4))
	}
	if w.rnd.IntN(5) == 0 {
		p.quota.MaxSlots = p.width + w.rnd.IntN(4)
	}
	if w.rnd.IntN(10) == 0 {
		each := meanTask * float64(w.Config.Tasks) / float64(w.Config.Projects) / 3600
		p.quota.SlotHours = (0.2 + w.rnd.Float64()) * each
	}
	return p
}

// plan draws the runs: when they come, of which project, with how many tasks. The
// machine has bursts of more than it can do, and time to catch up.
func (w *world) plan() {
	horizon := float64(w.Config.Tasks) * meanTask / (0.6 * float64(w.Config.Budget))
	for planned := 0; planned < w.Config.Tasks; {
		n := min(1+int(math.Pow(w.rnd.Float64(), -0.9)), 500, w.Config.Tasks-planned)
		planned += n
		w.events.add(event{at: seconds(w.rnd.Float64() * horizon), kind: runEvent, of: w.rnd.IntN(len(w.projects)), n: n})
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Tasks take log-normal times over four decades: 99.7 % take 0.03 s to 300 s.
const (
	medianTask = 3.0
	sigmaTask  = 1.53
	meanTask   = 11.1 // slot-seconds: exp(σ²/2) times the median, and some are wide
)

func (w *world) draw() time.Duration {
	return max(seconds(medianTask*math.Exp(sigmaTask*w.rnd.NormFloat64())), time.Millisecond)
}

// pass lets an event happen, decides, starts what may start, and checks.
func (w *world) pass(e event) {
	w.clock(e.at)
	w.Events++
	switch e.kind {
	case endEvent:
		w.end(e)
	case runEvent:
		w.arrive(e)
	case tickEvent:
		w.tick()
	case lookEvent:
		w.retry = false
	}
	w.look()
	w.check()
}

// clock moves the time on.
func (w *world) clock(to time.Duration) {
	dt := (to - w.at).Seconds()
	w.capacity += float64(w.budget) * dt
	w.Busy += float64(w.running) * dt
	w.at, w.now = to, w.begin.Add(to)
}

// book brings the ledger up to now for one project.
func (w *world) book(p *project) {
	if p.running > 0 && w.now.After(p.booked) {
		w.ledger.Use(p.name, p.running, p.booked, w.now, 0)
	}
	p.booked = w.now
}

// wake puts a project among the active ones.
func (w *world) wake(i int) {
	if p := &w.projects[i]; p.place < 0 {
		p.place = len(w.active)
		w.active = append(w.active, i)
	}
}

func (w *world) arrive(e event) {
	p := &w.projects[e.of]
	if !p.spent {
		w.wake(e.of)
	}
	for range e.n {
		p.ready = append(p.ready, task{takes: w.draw()})
	}
	w.Runs++
	w.tell(p, "ready", e.n*p.width)
}

func (w *world) end(e event) {
	p := &w.projects[e.of]
	w.book(p)
	p.running -= p.width
	w.running -= p.width
	w.left--
	w.Result.Tasks++
	w.tell(p, "end", p.width)
	if p.quota.SlotHours > 0 {
		p.tally(w.now.Add(-e.takes), w.now)
	}
}

// rest takes projects from the active ones that have no demand, or may have none
// before tomorrow.
func (w *world) rest() {
	for k := len(w.active) - 1; k >= 0; k-- {
		p := &w.projects[w.active[k]]
		if p.running > 0 || len(p.ready) > 0 && !p.spent {
			continue
		}
		last := w.active[len(w.active)-1]
		w.active[k] = last
		w.projects[last].place = k
		w.active = w.active[:len(w.active)-1]
		p.place, p.pool, p.since = -1, 0, -1
	}
}

// tick reads the heat, wakes what has a new day, and now and then something goes
// wrong.
func (w *world) tick() {
	if day := w.now.YearDay(); day != w.day {
		w.day = day
		w.ledger.Use(w.projects[0].name, 0, w.now.Add(-1), w.now, 0) // the day turns, though nothing is held
		for i := range w.projects {
			if p := &w.projects[i]; p.spent && len(p.ready) > 0 {
				w.wake(i)
			}
		}
	}
	if w.rnd.IntN(60) == 0 {
		w.level = fair.LevelNominal
		if w.rnd.IntN(3) == 0 {
			w.level = fair.Levels[w.rnd.IntN(len(fair.Levels))]
		}
	}
	d := w.heat.Budget(w.now, fair.Reading{Level: w.level})
	if d.Slots != w.budget {
		w.budget = d.Slots
		w.Budgets++
	}
	if w.rnd.IntN(500) == 0 && w.now.After(w.dead) {
		w.Deaths++
		w.dead = w.now.Add(seconds(w.rnd.Float64() * 180))
		w.revive()
	}
	w.events.add(event{at: w.at + 5*time.Second, kind: tickEvent})
}

// revive gives the agent's next life what the last one had kept.
func (w *world) revive() {
	kept, err := json.Marshal(w.turns)
	if err == nil {
		w.turns = fair.Turns{}
		err = json.Unmarshal(kept, &w.turns)
	}
	if err != nil {
		w.fault("state: %v", err)
	}
	w.again(w.dead.Sub(w.now))
}

// again puts a look on the agenda.
func (w *world) again(in time.Duration) {
	if !w.retry {
		w.retry = true
		w.events.add(event{at: w.at + in, kind: lookEvent})
	}
}

// look divides the budget and starts what its pools have room for; so do pools
// alone while the agent is dead, or when its update is lost.
func (w *world) look() {
	w.settled = false
	if len(w.active) == 0 {
		return
	}
	if !w.now.Before(w.dead) {
		w.divide()
	}
	for _, i := range w.active {
		w.start(i)
	}
	if w.settled {
		w.rest()
	}
}

func (w *world) divide() {
	w.ps, w.ds, w.held = w.ps[:0], w.ds[:0], w.held[:0]
	for _, i := range w.active {
		p := &w.projects[i]
		fp := fair.Project{Name: p.name, Weight: p.quota.Weight, MaxSlots: p.quota.MaxSlots, Priority: p.quota.Priority}
		if p.quota.SlotHours > 0 {
			w.book(p)
			fp = p.quota.Project(p.name, w.ledger.Spent[p.name])
			if spent := fp.Hold != ""; spent != p.spent {
				if p.spent = spent; spent {
					w.Quotas++
				}
			}
		}
		w.held = append(w.held, p)
		w.ps = append(w.ps, fp)
		w.ds = append(w.ds, fair.Demand{Project: p.name, Slots: min(p.pool, p.running), Running: p.running, Ready: len(p.ready) * p.width, Next: p.width, Least: p.width})
	}
	w.shares = w.turns.Divide(w.now, w.budget, w.ps, w.ds, fair.Rules{Max: w.Config.Budget, Brief: true})
	w.Decisions++
	if w.rnd.IntN(2000) == 0 { // the request that would set the pools is lost
		w.Lost++
		w.again(time.Second)
		return
	}
	for k, i := range w.active {
		p := &w.projects[i]
		p.pool, p.account = w.shares[k].Slots, w.turns.Accounts[p.name]
	}
	w.settled = true
}

// start begins what a project's pool has room for.
func (w *world) start(i int) {
	p := &w.projects[i]
	if len(p.ready) == 0 || p.running+p.width > p.pool {
		return
	}
	for len(p.ready) > 0 && p.running+p.width <= p.pool {
		t := p.ready[0]
		p.ready = p.ready[1:]
		w.book(p)
		p.running += p.width
		w.running += p.width
		w.begun(p, t)
		w.tell(p, "start", p.width)
		w.events.add(event{at: w.at + t.takes, kind: endEvent, of: i, takes: t.takes})
	}
	if a := w.turns.Accounts[p.name]; a != nil { // what has started just now is known
		a.Holds, a.Ready = p.running, len(p.ready)*p.width
	}
}
