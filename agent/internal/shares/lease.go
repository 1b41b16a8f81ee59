package shares

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// ErrFollows is the error of a look while another agent leads.
var ErrFollows = errors.New("another agent divides the pools of this server")

// takeLead makes this agent the one of its home, if no other is.
func (k *Keeper) takeLead() error {
	if k.lead != nil {
		return nil
	}
	f, err := fairfile.Lead(k.Home)
	if errors.Is(err, lockfile.ErrHeld) {
		return ErrFollows
	}
	if err != nil {
		return err
	}
	l, err := fairfile.ReadLease(k.Home)
	if err != nil && errors.Is(err, mlops.ErrForbidden) {
		return errors.Join(err, f.Close())
	}
	k.lead, k.epoch = f, l.Epoch+1 // a damaged lease says nothing, and is written again
	if !k.Own {
		k.epoch = 1 + rand.IntN(999_999_998) // agents of other machines do not see the file
	}
	return nil
}

// rival looks whether the agent of another machine has a lease of a server that
// is not this home's own.
func (k *Keeper) rival(seen survey, now time.Time) error {
	if k.Own {
		return nil
	}
	for _, p := range seen.managed {
		if s, ok := p.Share(); ok && s.Epoch != k.epoch && now.Before(s.Until) {
			return fmt.Errorf("%w: pool %s is good until %s", ErrFollows, p.Name, s.Until.Format(time.TimeOnly))
		}
	}
	return nil
}

// ensureLease writes a lease before the first pool is changed, so that an agent
// which dies in between leaves one that expires.
func (k *Keeper) ensureLease(seen survey, most int, now time.Time) error {
	if k.written.Held(now) && now.Sub(k.renewed) < fairfile.Renew {
		return nil
	}
	return k.put(k.lease(seen, nil, most), now)
}

// note keeps what the look found: in the state, and in the lease when that would
// say something else or is due.
func (k *Keeper) note(seen survey, shares []fair.Share, most int, now time.Time) error {
	k.wait(seen, now)
	l := k.lease(seen, shares, most)
	k.state.Ready, k.state.Taken = 0, seen.others
	for _, p := range seen.managed {
		k.state.Ready += p.Scheduled
		k.state.Taken += taken(p)
	}
	l.Expires = k.written.Expires
	k.state.Lease = l
	if same(l, k.written) && now.Sub(k.renewed) < fairfile.Renew {
		return nil
	}
	return k.put(l, now)
}

// same reports whether two leases tell people the same.
func same(a, b fairfile.Lease) bool {
	for _, l := range []*fairfile.Lease{&a, &b} {
		pools := make(map[string]fairfile.Pool, len(l.Pools))
		for name, p := range l.Pools {
			p.Before, p.Due = 0, 0 // they change at every look
			pools[name] = p
		}
		l.Pools, l.Expires = pools, time.Time{}
		l.Energy.Watts, l.Energy.Joules = 0, 0
	}
	return reflect.DeepEqual(a, b)
}

func (k *Keeper) put(l fairfile.Lease, now time.Time) error {
	l.Expires = now.Add(fairfile.LeaseTime).UTC()
	if k.Own {
		if err := fairfile.WriteLease(k.Home, l); err != nil {
			return err
		}
	}
	k.written, k.renewed, k.state.Lease = l, now, l
	return nil
}

// Renew writes the shares of a server that is not ours once more, so that they
// are good for another while: its agents share no file.
func (k *Keeper) Renew(ctx context.Context) error {
	if k.Own || k.lead == nil {
		return nil
	}
	seen, err := k.survey(ctx)
	if err != nil {
		return err
	}
	now := k.now()
	var due []airflow.Pool
	for _, p := range seen.managed {
		if s, ok := p.Share(); ok && s.Epoch == k.epoch && s.Until.Sub(now) < fairfile.LeaseTime-time.Minute {
			due = append(due, k.with(p, p.Slots, s.Of, now))
		}
	}
	if len(due) == 0 {
		return nil
	}
	return k.write(ctx, due)
}

func (k *Keeper) lease(seen survey, shares []fair.Share, most int) fairfile.Lease {
	l := fairfile.Lease{Server: k.Server, Epoch: k.epoch, Max: most, Budget: k.budget.Slots, Heat: string(k.budget.Level), Measured: k.budget.Measured, Reason: k.reading.Reason, Limited: k.budget.Reason, Energy: k.energy(), Pools: map[string]fairfile.Pool{}}
	for name, p := range seen.managed {
		l.Pools[name] = fairfile.Pool{Slots: p.Slots, Base: min(base, most), Since: k.waiting[name], QueuedRuns: k.quotas.of.last[name].QueuedRuns}
	}
	for _, s := range shares {
		p, there := l.Pools[s.Project]
		if !there {
			continue // it was deleted meanwhile
		}
		p.Due, p.Cause, p.Before = s.Due, string(s.Cause), s.Before
		l.Pools[s.Project] = p
	}
	for name, p := range seen.edited {
		l.Pools[name] = fairfile.Pool{Slots: p.Slots, Base: p.Slots, Edited: true, QueuedRuns: k.quotas.of.last[name].QueuedRuns}
	}
	return l
}

// wait notes since when projects have ready tasks and no slot for them.
func (k *Keeper) wait(seen survey, now time.Time) {
	if k.waiting == nil {
		k.waiting = map[string]time.Time{}
	}
	for name, p := range seen.managed {
		since, waits := k.waiting[name]
		switch short := p.Scheduled > 0 && p.Slots <= taken(p); {
		case short && !waits:
			k.waiting[name] = now.UTC()
		case !short && waits:
			delete(k.waiting, name)
			if k.Waited != nil {
				k.Waited(now.Sub(since))
			}
		}
	}
	for name := range k.waiting {
		if _, there := seen.managed[name]; !there {
			delete(k.waiting, name)
		}
	}
}

// Close gives the pools their base, removes the lease and ends to lead. What a
// server that is away keeps is restored when the lease has expired.
func (k *Keeper) Close(ctx context.Context) error {
	if k.lead == nil {
		return nil
	}
	var err error
	if !k.renewed.IsZero() {
		_, err = k.Airflow.Pools.Restore(ctx, func(s airflow.Share) bool { return k.Own || s.Epoch == k.epoch })
		if err == nil && k.Own {
			err = fairfile.RemoveLease(k.Home)
		}
	}
	if k.Queue != nil {
		k.Queue.Close(ctx)
	}
	err = errors.Join(err, k.saveSpent(), k.lead.Close())
	k.lead, k.state.Leads = nil, false
	return err
}
