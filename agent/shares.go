package agent

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/mlops-integration/mlops/agent/internal/heat"
	"github.com/mlops-integration/mlops/agent/internal/shares"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// How often the pools are looked at: often while tasks wait, less while some run,
// and rarely at rest.
const (
	lookBusy = 300 * time.Millisecond
	lookCalm = 500 * time.Millisecond
	lookRest = time.Second
	lookSlow = 2 * time.Second  // between two, if each takes the server long
	lookMost = 20 * time.Second // how long one may take
)

// divide shares the machine among projects until ctx ends: of the home's own
// Airflow, and of another one if [Options.Share] says so.
func (a *Agent) divide(ctx context.Context) {
	var k *shares.Keeper
	var c *client.Client
	said := ""
	say := func(err error) { // once
		msg := ""
		if err != nil {
			msg = err.Error()
		}
		if msg != said && msg != "" {
			a.o.Logger.Warn("while the machine is divided", "error", msg)
		}
		said = msg
	}
	defer func() {
		if k != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			say(k.Close(last))
		}
		if c != nil {
			_ = c.Close()
		}
	}()
	for wait := time.Duration(0); ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if c == nil {
			opened, err := client.Open(ctx, a.o.options()...)
			if err != nil || !opened.OwnAirflow() && !a.o.Share {
				if err == nil {
					_ = opened.Close() // there is nothing to divide
				}
				say(err)
				wait = a.o.Every
				continue
			}
			c, k = opened, a.keeper(opened, k)
		}
		look, cancel := context.WithTimeout(ctx, lookMost)
		state, err := k.Look(look)
		if err == nil {
			err = k.Renew(look)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		a.shares = state
		a.mu.Unlock()
		say(errors.Join(err, state.Queue, state.Quotas))
		wait = interval(state)
		if err != nil {
			wait = a.o.Every
		}
		if err != nil && !errors.Is(err, shares.ErrFollows) && moved(ctx, c, a.o.options()) {
			_ = c.Close()
			c = nil
		}
	}
}

// interval is the time to the next look: longer, if a look is hard for the server.
func interval(s shares.State) time.Duration {
	every := lookRest
	switch {
	case s.Ready > 0:
		every = lookBusy
	case s.Taken > 0:
		every = lookCalm
	}
	return max(every, min(4*s.Took, lookSlow))
}

// moved reports whether the configuration leads to another server now, or with
// other credentials: one that is only away keeps its client, and its login.
func moved(ctx context.Context, c *client.Client, options []client.Option) bool {
	now, err := client.Open(ctx, options...)
	if err != nil {
		return false
	}
	defer now.Close()
	return now.Config.AirflowURL != c.Config.AirflowURL || now.Config.AirflowAuth != c.Config.AirflowAuth || now.OwnAirflow() != c.OwnAirflow()
}

// keeper is one for the Airflow of c; one for the same server keeps its turns.
func (a *Agent) keeper(c *client.Client, before *shares.Keeper) *shares.Keeper {
	if before != nil && before.Own == c.OwnAirflow() {
		before.Airflow, before.Server, before.Queue = c.Airflow, c.Config.AirflowURL, queue(c)
		before.Quotas = poolQuotas(c)
		return before
	}
	sources := heat.Judge{heat.Linux{}, &heat.Meter{}}
	if a.machine != nil {
		sources = append(sources, heat.Apple{Machine: a.machine})
	}
	if c.Config.HeatFile != "" {
		sources = append(sources, heat.File{Path: c.Config.HeatFile})
	}
	if c.Config.HeatCommand != "" {
		sources = append(sources, heat.Command{Path: c.Config.HeatCommand})
	}
	return &shares.Keeper{
		Home: c.Home(), Server: c.Config.AirflowURL, Own: c.OwnAirflow(), Airflow: c.Airflow, Queue: queue(c),
		Judge: sources, Waited: a.waited,
		Quotas: poolQuotas(c),
	}
}

// poolQuotas reads what the pools of projects may use.
func poolQuotas(c *client.Client) func(context.Context) (map[string]fair.Quota, error) {
	return func(ctx context.Context) (map[string]fair.Quota, error) {
		all, err := c.Quotas(ctx)
		out := make(map[string]fair.Quota, len(all))
		for _, q := range all {
			out["mlops."+q.Project] = q.Holds
		}
		return out, err
	}
}

// queue reads the database of the home's own Airflow; nil where there is none that
// this agent may read.
func queue(c *client.Client) *shares.Queue {
	if !c.OwnAirflow() {
		return nil
	}
	stack, err := stackfile.Read(c.Home())
	if err != nil {
		return nil
	}
	e, ok := stack.Endpoints[stackfile.AirflowReader]
	if !ok {
		return nil
	}
	password, err := e.Secret()
	at, err2 := url.Parse(e.URL)
	if err != nil || err2 != nil {
		return nil
	}
	at.User = url.UserPassword(e.Username, string(password))
	return &shares.Queue{Address: at.String()}
}

// waited counts how long a project waited for a slot.
func (a *Agent) waited(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits.Add(d)
}
