package shares

import (
	"context"
	"errors"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// quotas are what pools may use, and what they have used of the day. Both are
// kept: a server that does not answer takes no limit away, and neither does the
// end of an agent.
type quotas struct {
	of     asked[map[string]fair.Quota]
	ledger fair.Ledger
	booked time.Time      // up to which the ledger has what ran
	saved  time.Time      // when it was written
	held   map[string]int // slots that were held at that time
}

// quotaEvery is how often the quotas are asked for, and the ledger is written.
const quotaEvery = time.Minute

// book brings the ledger up to now, by what pools held at the look before. Time
// for which no agent looked is not counted beyond the length of a lease.
func (k *Keeper) book(seen survey, now time.Time) error {
	q := &k.quotas
	if q.held == nil {
		s, err := fairfile.ReadSpent(k.Home) // a damaged file counts as nothing spent, and is written again
		if errors.Is(err, mlops.ErrForbidden) {
			return err
		}
		q.ledger = fair.Ledger{Day: s.Day, Spent: map[string]fair.Spent{}}
		for pool, d := range s.Pools {
			q.ledger.Spent[pool] = fair.Spent{SlotTime: d}
		}
		q.booked, q.saved = now, now
	}
	if from := q.booked; now.Sub(from) <= fairfile.LeaseTime {
		for pool, slots := range q.held {
			q.ledger.Use(pool, slots, from, now, 0)
		}
	}
	q.booked, q.held = now, map[string]int{}
	for name, p := range seen.managed {
		q.held[name] = taken(p)
	}
	if since := now.Sub(q.saved); since >= 0 && since < quotaEvery {
		return nil
	}
	q.saved = now
	return k.saveSpent()
}

func (k *Keeper) saveSpent() error {
	if k.quotas.held == nil {
		return nil // nothing was read yet
	}
	s := fairfile.Spent{Day: k.quotas.ledger.Day, Pools: map[string]time.Duration{}}
	for pool, spent := range k.quotas.ledger.Spent {
		s.Pools[pool] = spent.SlotTime
	}
	return fairfile.WriteSpent(k.Home, s)
}

// ask reads the quotas once a minute.
func (k *Keeper) ask(ctx context.Context, now time.Time) {
	if k.Quotas != nil {
		k.quotas.of.get(ctx, now, quotaEvery, k.Quotas)
	}
}

// project is what a pool may have now.
func (k *Keeper) project(pool string, now time.Time) fair.Project {
	k.quotas.ledger.Use(pool, 0, now.Add(-1), now, 0) // the day turns, whether or not anything runs
	return k.quotas.of.last[pool].Project(pool, k.quotas.ledger.Spent[pool])
}
