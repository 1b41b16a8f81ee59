// Package shares divides the machine among projects: it sets the slots of their
// pools in Airflow, by REST alone, so that together they never have more than the
// budget, and each has its share of what is wanted.
package shares

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/agent/internal/heat"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// Keeper sets the slots of one Airflow's pools. Its methods are for one
// goroutine.
type Keeper struct {
	Home    string
	Server  string // the Airflow's address
	Own     bool   // it is the home's own: the lease is a file, and flock says who leads
	Airflow *airflow.Client
	Queue   *Queue // the same server's database; nil: pools are read by REST
	Judge   Judge
	Clock   func() time.Time    // nil: time.Now
	Waited  func(time.Duration) // is told how long a project waited for a slot; may be nil

	// Quotas returns what pools may use, by name; nil: none has a quota.
	Quotas func(context.Context) (map[string]fair.Quota, error)

	quotas  quotas
	lead    *os.File // the lock, while this agent leads
	epoch   int
	turns   fair.Turns
	heat    fair.Heat
	judged  asked[heat.Reading]
	reading heat.Reading // that counts
	budget  fair.Decision
	written fairfile.Lease
	renewed time.Time // when the lease was written last
	waiting map[string]time.Time
	widths  widths
	state   State
}

// Judge says how hot the machine is.
type Judge interface {
	Read(context.Context) heat.Reading
}

// State is what the keeper knows after a look.
type State struct {
	Leads  bool
	Lease  fairfile.Lease
	Took   time.Duration // the look, requests and all
	Writes int           // requests that changed pools, since the keeper began
	Queue  error         // why the database was not read, and REST was
	Quotas error         // why the quotas are those of before, or not known
	Ready  int           // slots that ready tasks wait for
	Taken  int           // slots that tasks have, of all pools
}

// How often the sources of heat are asked, and for how long their answer is
// believed if they then do not answer.
const (
	judgeEvery  = 5 * time.Second
	judgeStales = time.Minute
)

// Look reads the pools, divides the budget, and writes what is to change: first
// what gets less, then what gets more of that. The error matches [ErrFollows]
// while another agent leads.
func (k *Keeper) Look(ctx context.Context) (State, error) {
	began := k.now()
	if err := k.takeLead(); err != nil {
		k.state.Leads = false
		return k.state, err
	}
	seen, err := k.survey(ctx)
	if err == nil {
		err = k.rival(seen, began)
	}
	if err != nil {
		k.state.Leads = false
		return k.state, err
	}
	most, err := k.decide(ctx, seen, began)
	if err != nil {
		return k.state, err
	}
	seen, shares, err := k.divide(ctx, seen, most, began)
	if err != nil {
		return k.state, err
	}
	k.state.Leads, k.state.Took = true, k.now().Sub(began)
	return k.state, k.note(seen, shares, most, began)
}

// decide sets the budget, by heat and by what is left of the day's energy, and
// returns what it would be on a cool machine.
func (k *Keeper) decide(ctx context.Context, seen survey, now time.Time) (int, error) {
	most, err := fairfile.Slots(k.Home)
	if err != nil {
		return 0, err
	}
	wattHours, err := fairfile.WattHours(k.Home)
	if err != nil {
		return 0, err
	}
	if err := k.book(seen, now); err != nil {
		return 0, err
	}
	k.heat.Max, k.heat.Joules, k.reading = most, wattHours*3600, k.judge(ctx, now)
	r := reading(k.reading)
	r.Watts, r.Running = k.watts()
	r.Spent = k.energy().Joules
	k.budget = k.heat.Budget(now, r)
	return most, nil
}

// judge returns how hot the machine is.
func (k *Keeper) judge(ctx context.Context, now time.Time) heat.Reading {
	sources := k.Judge
	r := k.judged.get(ctx, now, judgeEvery, func(ctx context.Context) (heat.Reading, error) {
		return sources.Read(ctx), nil
	})
	if now.Sub(k.judged.told) > judgeStales {
		r = heat.Reading{Reason: "not measured: the sources of heat do not answer"}
	}
	return heat.Ordered(k.Home, now, r)
}

// reading is what was read of the machine, in the words of those who decide.
func reading(r heat.Reading) fair.Reading {
	level := fair.Level(r.State.String())
	if !level.Valid() {
		level = "" // not measured
	}
	return fair.Reading{Level: level, LowPower: r.Short, Source: r.Reason}
}

func (k *Keeper) now() time.Time {
	if k.Clock == nil {
		return time.Now()
	}
	return k.Clock()
}

// base is how many slots a project's pool is made with, and has without an agent.
const base = 4

// survey is what a look found.
type survey struct {
	managed map[string]airflow.Pool // projects' pools that the agent sets
	edited  map[string]airflow.Pool // projects' pools that a person set
	others  int                     // slots that are taken in pools which the agent does not set
	widest  map[string]int          // of pools with ready tasks of several slots: the most that one takes
}

func (k *Keeper) survey(ctx context.Context) (survey, error) {
	s := survey{managed: map[string]airflow.Pool{}, edited: map[string]airflow.Pool{}}
	pools, err := k.pools(ctx, &s)
	for _, p := range pools {
		_, shared := p.Share()
		switch {
		case p.OfProject() && !p.Edited() && (shared || p.Slots == base):
			s.managed[p.Name] = p
		case p.OfProject():
			s.edited[p.Name] = p
			s.others += taken(p)
		default:
			s.others += taken(p)
		}
	}
	return s, err
}

// pools reads the pools: in the database, or if that cannot be, by REST.
func (k *Keeper) pools(ctx context.Context, s *survey) ([]airflow.Pool, error) {
	if k.Queue != nil {
		pools, widest, err := k.Queue.Pools(ctx)
		if k.state.Queue = err; err == nil {
			s.widest = widest
			return pools, nil
		}
	}
	pools, err := mlops.Collect(k.Airflow.Pools.All(ctx))
	if err == nil {
		s.widest, err = k.widths.find(ctx, k.Airflow, pools)
	}
	return pools, err
}

// taken is how many of a pool's slots are at work.
func taken(p airflow.Pool) int {
	if p.IncludeDeferred {
		return p.Running + p.Queued + p.Deferred
	}
	return p.Running + p.Queued
}

// free is what projects may have: at least one slot of a machine that works at
// all, whatever its users run in pools of their own.
func (s survey) free(budget int) int { return max(budget-s.others, min(budget, 1)) }

// divide gives each pool what it is to have, and returns what the server then
// has. A slot that one pool loses is given to another only when the server's own
// figures say that it is free: a task may have taken it since the look.
func (k *Keeper) divide(ctx context.Context, seen survey, most int, now time.Time) (survey, []fair.Share, error) {
	k.ask(ctx, now)
	var projects []fair.Project
	var demands []fair.Demand
	for _, name := range slices.Sorted(maps.Keys(seen.managed)) {
		p := seen.managed[name]
		projects = append(projects, k.project(name, now))
		demands = append(demands, fair.Demand{Project: name, Slots: p.Slots, Running: taken(p), Ready: p.Scheduled, Next: seen.widest[name]})
	}
	budget := k.budget.Slots
	shares := k.turns.Divide(now, seen.free(budget), projects, demands, fair.Rules{Max: most, Reason: k.budget.Cause, Linger: linger})
	if err := k.ensureLease(seen, most, now); err != nil {
		return seen, nil, err
	}
	var less []airflow.Pool
	for _, s := range shares {
		if p := seen.managed[s.Project]; s.Slots < p.Slots || !marked(p, most) {
			less = append(less, k.with(p, min(s.Slots, p.Slots), most, now))
		}
	}
	if len(less) > 0 {
		if err := k.write(ctx, less); err != nil {
			return seen, nil, err
		}
		var err error
		if seen, err = k.survey(ctx); err != nil {
			return seen, nil, err
		}
	}
	if more := k.more(seen, shares, most, budget, now); len(more) > 0 {
		if err := k.write(ctx, more); err != nil {
			return seen, nil, err
		}
		for _, p := range more {
			seen.managed[p.Name] = p
		}
	}
	return seen, shares, nil
}

// linger is for how long a project keeps its turn between two tasks of a chain:
// Airflow's scheduler needs a second or two to find the next one ready.
const linger = 4 * time.Second

// more are the pools that get slots, out of what no other pool has or holds.
func (k *Keeper) more(seen survey, shares []fair.Share, most, budget int, now time.Time) (out []airflow.Pool) {
	left := seen.free(budget)
	for _, p := range seen.managed {
		left -= max(p.Slots, taken(p))
	}
	for _, s := range shares {
		p, there := seen.managed[s.Project]
		held := max(0, taken(p)-p.Slots) // what it holds beyond its slots costs nothing
		if n := min(s.Slots-p.Slots, max(left, 0)+held); there && n > 0 {
			left -= max(n-held, 0)
			out = append(out, k.with(p, p.Slots+n, most, now))
		}
	}
	return out
}

// with is a pool with so many slots by this agent.
func (k *Keeper) with(p airflow.Pool, n, most int, now time.Time) airflow.Pool {
	s := airflow.Share{Slots: n, Of: most, Base: min(base, most), Epoch: k.epoch}
	if !k.Own {
		s.Until = now.Add(fairfile.LeaseTime).Truncate(time.Second)
	}
	return p.Shared(s)
}

// marked reports whether the pool says that an agent sets it, of so many slots.
// Which agent that was is no reason to write: rows change when slots do.
func marked(p airflow.Pool, most int) bool {
	s, ok := p.Share()
	return ok && s.Of == most
}

func (k *Keeper) write(ctx context.Context, pools []airflow.Pool) error {
	k.state.Writes++
	_, err := k.Airflow.Pools.Update(ctx, pools)
	return err
}
