package shares

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/agent/internal/heat"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

func TestAPoolGetsNoMoreThanItsQuota(t *testing.T) {
	s := newServer(t, project("a", 0, 50), project("b", 0, 50))
	k := keeper(t, s, home(t, 4))
	now := time.Date(2026, 1, 5, 10, 0, 0, 0, time.Local)
	k.Clock = func() time.Time { now = now.Add(500 * time.Millisecond); return now }
	quota := map[string]fair.Quota{"mlops.a": {MaxSlots: 1}, "mlops.b": {SlotHours: 0.01}} // 36 s of a slot
	var down error
	k.Quotas = func(context.Context) (map[string]fair.Quota, error) { return quota, down }
	look := func(k *Keeper) State {
		state, err := k.Look(t.Context())
		require.NoError(t, err)
		for _, p := range s.pools {
			p.start()
		}
		return state
	}
	for range 5 {
		look(k)
		require.LessOrEqual(t, s.pools[0].Running, 1)
	}
	require.Equal(t, 3, s.pools[1].Running)
	quota, down = nil, errors.New("away")
	for range 200 {
		look(k)
		require.LessOrEqual(t, s.pools[0].Slots, 1, "a server that does not answer takes no limit away")
	}
	state := look(k)
	require.Equal(t, 0, s.pools[1].Slots, "the day is spent")
	require.Equal(t, "quota", state.Lease.Pools["mlops.b"].Cause)
	spent := k.quotas.ledger.Spent["mlops.b"].SlotTime
	require.Greater(t, spent, 36*time.Second)

	require.NoError(t, k.Close(t.Context()))
	again := keeper(t, s, k.Home)
	again.Clock, again.Quotas = k.Clock, func(context.Context) (map[string]fair.Quota, error) {
		return map[string]fair.Quota{"mlops.b": {SlotHours: 0.01}}, nil
	}
	s.pools[1].Running = 0
	look(again)
	require.Equal(t, spent, again.quotas.ledger.Spent["mlops.b"].SlotTime, "the next agent knows it")
	require.Equal(t, 0, s.pools[1].Slots)
	now = now.Add(24 * time.Hour)
	s.pools[0].Running, s.pools[0].Ready = 0, 0
	look(again)
	look(again)
	require.Positive(t, s.pools[1].Slots, "a new day")

	require.NoError(t, again.Close(t.Context()))
	require.NoError(t, os.WriteFile(filepath.Join(k.Home, "fair", "spent.json"), []byte("{"), 0o600))
	look(keeper(t, s, k.Home))
}

func TestTheDaysEnergyTightensTheBudget(t *testing.T) {
	s := newServer(t, project("a", 3, 50), project("b", 0, 50), &pool{Name: "gpu", Slots: 2, About: "of a user", Running: 1})
	k := keeper(t, s, home(t, 4))
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.Local)
	step := time.Second
	k.Clock = func() time.Time { now = now.Add(step); return now }
	look := func(k *Keeper) State {
		state, err := k.Look(t.Context())
		require.NoError(t, err)
		return state
	}
	require.NoError(t, fairfile.WriteWattHours(k.Home, 1)) // 3600 J
	look(k)
	state := look(k)
	require.True(t, state.Lease.Energy.Estimated)
	require.Equal(t, 40.0, state.Lease.Energy.Watts, "4 slots at work, that of the user's pool, too")
	took := now
	for range 30 {
		look(k)
	}
	require.InDelta(t, 40*now.Sub(took).Seconds(), k.energy().Joules-state.Lease.Energy.Joules, 41)
	require.InDelta(t, k.energy().Joules*3/4, k.quotas.ledger.Spent["mlops.a"].Joules, 1e-6)
	require.Less(t, k.budget.Slots, 4, "3600 J do not last for an hour of 4 slots")

	measured := nominal()
	measured.Watts = 500
	k.Judge = judge(func() heat.Reading { return measured })
	for range 30 {
		state = look(k)
	}
	require.False(t, state.Lease.Energy.Estimated)
	require.Equal(t, 500.0, state.Lease.Energy.Watts)
	require.Equal(t, 0, state.Lease.Budget, "the day is spent")
	require.Equal(t, "energy", state.Lease.Pools["mlops.b"].Cause)

	spent := k.energy().Joules
	require.NoError(t, k.Close(t.Context()))
	again := keeper(t, s, k.Home)
	again.Clock = k.Clock
	require.Equal(t, 0, look(again).Lease.Budget, "the next agent knows it")
	require.Equal(t, spent, again.energy().Joules)
	now = now.Add(24 * time.Hour)
	s.pools[0].Running = 0
	for range 70 { // one step up a minute
		state = look(again)
	}
	require.Positive(t, state.Lease.Budget, "a new day")
}
