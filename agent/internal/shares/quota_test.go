package shares

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/fair"
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
