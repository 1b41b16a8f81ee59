package compose

import (
	"context"
	"io"
	"maps"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// restoreShares gives the pools of projects their base if the agent that set
// their slots is dead: if its lease has expired, or whenever there still is one
// after the agent was stopped. An agent that ends in order leaves none.
func (sup *supervisor) restoreShares(ctx context.Context, stopped bool) {
	l, err := fairfile.ReadLease(sup.stack.home)
	if err == nil && (l.Expires.IsZero() || !stopped && (!l.Expired(time.Now()) || l.Expires.Equal(sup.restored))) {
		return
	}
	sup.mu.Lock()
	api := sup.units["airflow-api-server"]
	ready := api != nil && api.phase == StateReady
	st := sup.stack.siteOf(maps.Clone(sup.ports), sup.light, io.Discard)
	sup.mu.Unlock()
	if err == nil && !ready {
		return
	}
	var names []string
	if err == nil {
		names, err = restorePools(ctx, st)
	}
	if err == nil {
		sup.restored = l.Expires
	}
	switch {
	case err != nil:
		sup.log.Error("the agent is dead, and the pools of projects keep its slots", "error", err)
	case len(names) > 0:
		sup.log.Info("the agent is dead: the pools of projects have their base again", "pools", names)
	}
}

func restorePools(ctx context.Context, s *site) ([]string, error) {
	password, _, err := s.secret("airflow")
	if err != nil {
		return nil, err
	}
	c, err := airflow.New(airflow.Options{URL: s.url("airflow-api-server", "http"), Auth: mlops.Auth{Username: "admin", Password: password}})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.Pools.Restore(ctx, func(airflow.Share) bool { return true })
}
