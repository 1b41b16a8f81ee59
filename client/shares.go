package client

import (
	"context"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// Home is the home of the local stack that this client reads.
func (c *Client) Home() string { return c.settings.home }

// OwnAirflow reports whether the configured Airflow is that of the stack which
// runs in this home, and not a server elsewhere.
func (c *Client) OwnAirflow() bool {
	return c.own("airflow.url", stackfile.Airflow, c.Config.AirflowURL)
}

// OwnMLflow reports whether the configured MLflow is that of the stack which runs
// in this home.
func (c *Client) OwnMLflow() bool {
	return c.own("mlflow.uri", stackfile.MLflow, c.Config.MLflowURI)
}

// own reports whether an address is that of the stack which runs in this home. A
// shell that took "mlopsctl status --env" has it in a variable.
func (c *Client) own(key, service, address string) bool {
	if c.Config.Source(key) == fromStack {
		return true
	}
	stack, err := stackfile.Read(c.Home())
	if err != nil {
		return false
	}
	e, ok := stack.Endpoints[service]
	return ok && sameOrigin(e.URL, address)
}

// RestoreShares gives the pools of projects their own number of slots back if the
// agent that divided the machine is dead: its lease has expired. It returns the
// pools that it changed. While an agent lives, or none has ever been, it reads one
// file and makes no request.
func (c *Client) RestoreShares(ctx context.Context) ([]string, error) {
	if !c.OwnAirflow() {
		return nil, nil // Trigger looks at the project's own pool
	}
	lease, err := fairfile.ReadLease(c.Home())
	if err != nil || !lease.Expired(time.Now()) {
		return nil, nil //nolint:nilerr // doctor and the agent say what is wrong with the file; no trigger fails for it
	}
	return c.Airflow.Pools.Restore(ctx, func(airflow.Share) bool { return true })
}

// tooHot is the error of work for the stack's own Ray while the machine's heat is
// critical, by the agent of its home.
func (c *Client) tooHot() error {
	if !c.own("ray.address", stackfile.Ray, c.Config.RayAddress) {
		return nil
	}
	l, err := fairfile.ReadLease(c.Home())
	if err != nil || !l.Held(time.Now()) || fair.Level(l.Heat) != fair.LevelCritical {
		return nil //nolint:nilerr // without a lease that can be read there is no reading of the heat
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Message: "the machine is too hot for new work (critical: " + l.Reason + "); wait, or say otherwise: mlopsctl heat set serious"}
}

// Share is what one project has of the machine.
type Share struct {
	Project string    `json:"project"`
	Running int       `json:"running"` // slots that its running and queued tasks have
	Waiting int       `json:"waiting"` // slots that its ready tasks wait for
	Slots   int       `json:"slots"`   // of its pool
	Due     float64   `json:"due"`     // its share of the budget, which it has on average
	Since   time.Time `json:"since,omitzero"`
	Cause   string    `json:"cause,omitempty"`  // what it waits for: turn, heat, energy, memory, quota
	Before  int       `json:"before,omitempty"` // slots' worth of work that starts first
	Edited  bool      `json:"edited,omitempty"` // a person set the slots, until [Project.ReleasePool]
}

// Energy is what the machine has used of this day's energy.
type Energy struct {
	Watts     float64 `json:"watts"`              // drawn now
	WattHours float64 `json:"watt_hours"`         // of this day
	Limit     float64 `json:"limit_wh,omitempty"` // watt-hours a day; 0: none
	Estimated bool    `json:"estimated"`          // by the slots at work: nothing measures the power
}

// Shares is how the machine is divided among projects.
type Shares struct {
	Leads    bool      `json:"leads"` // an agent of this home divides the machine
	Expired  bool      `json:"expired,omitempty"`
	Max      int       `json:"max"`    // slots when the machine is cool
	Budget   int       `json:"budget"` // slots now
	Taken    int       `json:"taken"`  // slots that tasks have, in pools of users, too
	Heat     string    `json:"heat"`
	Measured bool      `json:"measured"` // a source told the heat
	Reason   string    `json:"reason,omitempty"`
	Expires  time.Time `json:"expires,omitzero"` // the agent's lease
	Energy   *Energy   `json:"energy,omitempty"` // nil without an agent
	Projects []Share   `json:"projects"`
}

// Shares returns how the machine is divided now, by the server's pools and by the
// lease of this home's agent. Without an agent there is neither budget nor heat.
func (c *Client) Shares(ctx context.Context) (Shares, error) {
	out := Shares{Projects: []Share{}}
	lease, err := fairfile.ReadLease(c.Home())
	if err != nil {
		return out, err
	}
	if out.Max, err = fairfile.Slots(c.Home()); err != nil {
		return out, err
	}
	now := time.Now()
	if lease.Server == c.Config.AirflowURL && !lease.Expires.IsZero() {
		out.Leads, out.Expired, out.Expires = lease.Held(now), lease.Expired(now), lease.Expires
	}
	if out.Leads {
		out.Max, out.Budget, out.Heat, out.Measured, out.Reason = lease.Max, lease.Budget, lease.Heat, lease.Measured, lease.Reason
		e := lease.Energy
		out.Energy = &Energy{Watts: e.Watts, WattHours: e.Joules / 3600, Limit: e.Limit / 3600, Estimated: e.Estimated}
	} else {
		lease.Pools = nil // of an agent that is gone
	}
	for p, err := range c.Airflow.Pools.All(ctx) {
		if err != nil {
			return out, err
		}
		out.Taken += p.Running + p.Queued
		if !p.OfProject() {
			continue
		}
		l := lease.Pools[p.Name]
		s := Share{Project: strings.TrimPrefix(p.Name, "mlops."), Running: p.Running + p.Queued, Waiting: p.Scheduled, Slots: p.Slots, Due: l.Due, Edited: p.Edited()}
		if p.Scheduled > 0 {
			s.Since, s.Cause, s.Before = l.Since, l.Cause, l.Before
		}
		out.Projects = append(out.Projects, s)
	}
	return out, nil
}

// ReleasePool lets the agent set the slots of the project's pool again after a
// person did. The error matches [mlops.ErrNotFound] if there is no such pool.
func (p *Project) ReleasePool(ctx context.Context) error {
	pool, err := p.Airflow.Pools.Get(ctx, p.Workspace().AirflowPool)
	if err != nil {
		return err
	}
	s, ok := pool.Share()
	if !ok {
		s = airflow.Share{Of: max(pool.Slots, poolSlots), Base: poolSlots}
	}
	s.Slots = pool.Slots
	if !pool.OfProject() {
		pool.Description = "project " + p.Name
	}
	_, err = p.Airflow.Pools.Update(ctx, []airflow.Pool{pool.Shared(s)})
	return err
}
