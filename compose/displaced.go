package compose

import (
	"fmt"
	"slices"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// displaced is why a service has to start again with other ports: a stranger was
// faster, or a service that it relies on has moved. It is not a fault of its own.
type displaced string

func (d displaced) Error() string { return string(d) }

// mostMoves is how often in a row a service is started again with other ports.
const mostMoves = 3

// taken says who listens on one of the ports instead of u; empty if none is seen
// to. Where we may not look, the recipe's word counts.
func (u *unit) taken(ports []port) string {
	for _, p := range ports {
		u.sup.mu.Lock()
		n := u.sup.ports[u.name+"/"+p.name]
		u.sup.mu.Unlock()
		who := proc.Listeners(n)
		if len(who) == 0 || who[0].PID == 0 {
			continue
		}
		u.sup.look()
		u.sup.mu.Lock()
		ours := slices.ContainsFunc(who, func(o proc.Owner) bool {
			return o.PID == u.rec.Main.PID || slices.ContainsFunc(u.rec.Seen, func(p proc.ID) bool { return p.PID == o.PID })
		})
		u.sup.mu.Unlock()
		if !ours {
			return heldText(n, who)
		}
	}
	return ""
}

// outdated returns an error if a port that u was started with is another now.
func (u *unit) outdated() error {
	u.sup.mu.Lock()
	defer u.sup.mu.Unlock()
	for key, then := range u.rec.Relied {
		if now := u.sup.ports[key]; now != 0 && now != then {
			return displaced(fmt.Sprintf("%s moved from port %d to %d", key, then, now))
		}
	}
	return nil
}

// startingDeath is the death of a process that was not ready yet. A stranger on
// its port is the likely cause.
func (u *unit) startingDeath() error {
	err := u.death()
	if who := u.taken(u.ports); who != "" {
		return displaced(who)
	}
	return err
}
