package shares

import (
	"context"
	"errors"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// quotas are what pools may use, and what they have used of the day, which is also
// kept in the home. A server that does not answer takes no limit away.
type quotas struct {
	of     asked[map[string]fair.Quota]
	ledger fair.Ledger
	booked time.Time      // up to which the ledger has what ran
	saved  time.Time      // when it was written
	held   map[string]int // slots that were held at that time
	others int            // slots that were held in pools of users
}

// How often the quotas are asked for, and the ledger is written.
const (
	quotaEvery = time.Minute
	quotaSoon  = 2 * time.Second // while none was ever told
)

// book brings the ledger up to now, by what pools held at the look before. Time
// for which no agent looked is not counted beyond the length of a lease.
func (k *Keeper) book(seen survey, now time.Time) error {
	q, now := &k.quotas, now.Round(0) // the wall clock: a machine that slept did not work
	if q.held == nil {
		s, err := fairfile.ReadSpent(k.Home) // a damaged file counts as nothing spent, and is written again
		if errors.Is(err, mlops.ErrForbidden) {
			return err
		}
		q.ledger = fair.Ledger{Day: s.Day, Spent: map[string]fair.Spent{}}
		for pool, d := range s.Pools {
			q.ledger.Spent[pool] = fair.Spent{SlotTime: d, Joules: s.Joules[pool]}
		}
		q.ledger.Spent[machine] = fair.Spent{Joules: s.Machine}
		q.booked, q.saved = now, now
	}
	q.ledger.Use(machine, 0, now, now, 0) // the day turns, whether or not an agent looked at midnight
	if from := q.booked; now.Sub(from) <= fairfile.LeaseTime {
		watts, slots := k.watts()
		joules := watts * now.Sub(from).Seconds()
		q.ledger.Use(machine, 0, from, now, joules)
		for pool, n := range q.held {
			q.ledger.Use(pool, n, from, now, joules*float64(n)/float64(max(slots, 1)))
		}
	}
	q.booked, q.held, q.others = now, map[string]int{}, seen.others
	for name, p := range seen.managed {
		q.held[name] = taken(p)
	}
	for name, p := range seen.edited { // its project's work, too
		q.held[name] = taken(p)
		q.others -= taken(p)
	}
	if since := now.Sub(q.saved); since >= 0 && since < quotaEvery {
		return nil
	}
	q.saved = now
	return k.saveSpent()
}

// machine is the name by which the ledger has what the machine draws; no pool of a
// project has it.
const machine = "machine"

// wattsOfSlot is what a slot at work is taken to draw where nothing measures it: a
// core of a desktop processor at work, about.
const wattsOfSlot = 10

// watts is what the machine has drawn since the last look, and the slots at work:
// measured, or estimated by these.
func (k *Keeper) watts() (watts float64, slots int) {
	slots = k.quotas.others
	for _, n := range k.quotas.held {
		slots += n
	}
	if k.reading.Watts > 0 {
		return k.reading.Watts, slots
	}
	return float64(slots) * wattsOfSlot, slots
}

// energy is what the machine has used of this day's energy.
func (k *Keeper) energy() fairfile.Energy {
	watts, _ := k.watts()
	return fairfile.Energy{Watts: watts, Joules: k.quotas.ledger.Spent[machine].Joules, Limit: k.heat.Joules, Estimated: k.reading.Watts == 0}
}

func (k *Keeper) saveSpent() error {
	if k.quotas.held == nil {
		return nil // nothing was read yet
	}
	s := fairfile.Spent{Day: k.quotas.ledger.Day, Pools: map[string]time.Duration{}, Joules: map[string]float64{}}
	for pool, spent := range k.quotas.ledger.Spent {
		if pool == machine {
			s.Machine = spent.Joules
			continue
		}
		s.Pools[pool], s.Joules[pool] = spent.SlotTime, spent.Joules
	}
	return fairfile.WriteSpent(k.Home, s)
}

// ask reads the quotas once a minute.
func (k *Keeper) ask(ctx context.Context, now time.Time) {
	every := quotaEvery
	if k.quotas.of.told.IsZero() {
		every = quotaSoon
	}
	if k.Quotas != nil {
		k.quotas.of.get(ctx, now, every, k.Quotas)
		k.state.Quotas = k.quotas.of.fault
	}
}

// project is what a pool may have now.
func (k *Keeper) project(pool string, now time.Time) fair.Project {
	k.quotas.ledger.Use(pool, 0, now.Add(-1), now, 0) // the day turns, whether or not anything runs
	return k.quotas.of.last[pool].Project(pool, k.quotas.ledger.Spent[pool])
}
