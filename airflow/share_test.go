package airflow_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/airflow"
)

func TestTheShareOfAPoolStandsInItsDescription(t *testing.T) {
	p := airflow.Pool{Name: "mlops.lora", Slots: 4, Description: "project lora", IncludeDeferred: true}
	_, ok := p.Share()
	require.False(t, ok)
	require.False(t, p.Edited(), "no agent has set it")

	want := airflow.Share{Slots: 1, Of: 8, Base: 4, Epoch: 12}
	q := p.Shared(want)
	require.Equal(t, airflow.Pool{Name: "mlops.lora", Slots: 1, Description: "project lora (mlops: 1 of 8 slots, base 4, epoch 12)"}, q)
	got, ok := q.Share()
	require.True(t, ok)
	require.Equal(t, want, got)

	want.Slots, want.Until = 2, time.Date(2026, 11, 27, 18, 0, 0, 0, time.UTC)
	q = q.Shared(want)
	require.Equal(t, "project lora (mlops: 2 of 8 slots, base 4, epoch 12, until 2026-11-27T18:00:00Z)", q.Description, "the share before it is replaced")
	got, _ = q.Share()
	require.Equal(t, want, got)

	require.False(t, q.Edited())
	q.Slots = 7
	require.True(t, q.Edited(), "the form of Airflow's UI leaves the description as it is")

	for _, description := range []string{"", "project x (mlops: lots of 4 slots, base 4, epoch 1)", "project x (mlops: 99999999999999999999 of 4 slots, base 4, epoch 1)", "(mlops: 1 of 8 slots, base 4, epoch 12) and more"} {
		_, ok := airflow.Pool{Description: description}.Share()
		require.False(t, ok, description)
	}
}

func TestRestoreGivesBackWhatAnAgentTook(t *testing.T) {
	s, c, ctx := open(t)
	epoch := 600613 // of this test alone: a stack's agent has another
	pool := func(name, description string, slots int, share *airflow.Share) airflow.Pool {
		p := airflow.Pool{Name: s.Name(name), Slots: 4, Description: description, IncludeDeferred: true}
		require.NoError(t, c.Pools.Create(ctx, p))
		t.Cleanup(func() {
			if s.Live {
				_ = c.Pools.Delete(context.WithoutCancel(ctx), p.Name)
			}
		})
		if share == nil {
			return p
		}
		p = p.Shared(*share)
		p.Slots = slots
		return p
	}
	share := airflow.Share{Slots: 0, Of: 4, Base: 2, Epoch: epoch}
	held := pool("held", "of a project", 0, &share)
	edited := pool("edited", "of a project", 3, &share)
	alien := pool("alien", "of a user", 4, nil)
	missing := airflow.Pool{Name: s.Name("missing"), Slots: 1}
	_, err := c.Pools.Update(ctx, []airflow.Pool{held, edited, missing})
	require.NoError(t, err)
	_, err = c.Pools.Get(ctx, missing.Name)
	require.Error(t, err, "a pool that was deleted stays so")

	ours := func(s airflow.Share) bool { return s.Epoch == epoch }
	names, err := c.Pools.Restore(ctx, ours)
	require.NoError(t, err)
	require.Equal(t, []string{held.Name}, names)
	slots := func(p airflow.Pool) int {
		got, err := c.Pools.Get(ctx, p.Name)
		require.NoError(t, err)
		return got.Slots
	}
	require.Equal(t, 2, slots(held))
	require.Equal(t, 3, slots(edited), "a person set it")
	require.Equal(t, 4, slots(alien))
	names, err = c.Pools.Restore(ctx, ours)
	require.NoError(t, err)
	require.Empty(t, names, "there is nothing left to restore")
}
