package airflow_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
)

func TestPoolsKeepWhatIsNotSet(t *testing.T) {
	s, c, ctx := open(t)
	name := s.Name("mlops.pool/ü 1")
	p := airflow.Pool{Name: name, Slots: 4, Description: "lease=1", IncludeDeferred: true}
	require.NoError(t, c.Pools.Create(ctx, p))
	t.Cleanup(func() {
		if s.Live {
			_ = c.Pools.Delete(t.Context(), name)
		}
	})
	require.ErrorIs(t, c.Pools.Create(ctx, p), mlops.ErrAlreadyExists)

	require.NoError(t, c.Pools.SetSlots(ctx, name, 1))
	got, err := c.Pools.Get(ctx, name)
	require.NoError(t, err)
	require.Equal(t, airflow.Pool{Name: name, Slots: 1, Description: "lease=1", IncludeDeferred: true, Open: 1}, got)

	require.NoError(t, c.Pools.Ensure(ctx, airflow.Pool{Name: name, Slots: 9}))
	got, err = c.Pools.Get(ctx, name)
	require.NoError(t, err)
	require.Equal(t, 1, got.Slots, "Ensure undid what a user set")

	other := s.Name("mlops.other")
	require.NoError(t, c.Pools.Ensure(ctx, airflow.Pool{Name: other, Slots: 2}))
	_, err = c.Pools.SetAll(ctx, []airflow.Pool{{Name: name, Slots: 0, Description: "lease=2", IncludeDeferred: true}, {Name: other, Slots: 3}})
	require.NoError(t, err)
	slots := map[string]int{}
	for p, err := range c.Pools.All(ctx) {
		require.NoError(t, err)
		slots[p.Name] = p.Slots
	}
	require.Equal(t, 0, slots[name])
	require.Equal(t, 3, slots[other])

	def, err := c.Pools.Get(ctx, "default_pool")
	require.NoError(t, err)
	require.NoError(t, c.Pools.SetSlots(ctx, "default_pool", def.Slots), "the default pool takes only some changes")

	require.NoError(t, c.Pools.Delete(ctx, other))
	require.ErrorIs(t, c.Pools.Delete(ctx, other), mlops.ErrNotFound)
	require.ErrorIs(t, c.Pools.SetSlots(ctx, other, 1), mlops.ErrNotFound)
	_, err = c.Pools.Get(ctx, other)
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.ErrorIs(t, c.Pools.SetSlots(ctx, name, -1), mlops.ErrInvalid)
	require.ErrorIs(t, c.Pools.Create(ctx, airflow.Pool{Slots: 1}), mlops.ErrInvalid)
}
