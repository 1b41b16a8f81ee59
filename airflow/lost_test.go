package airflow_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// TestLiveALostAnswerDoesNothingTwice loses the answer to each operation that
// creates or removes, after Airflow has done it.
func TestLiveALostAnswerDoesNothingTwice(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs the real Airflow behind a proxy: only with MLOPS_LIVE=1")
	}
	s := cassette.Open(t, "airflow")
	l := cassette.OpenLossy(t, s.URL)
	c, err := airflow.New(airflow.Options{URL: l.URL, Auth: s.Auth})
	require.NoError(t, err)
	direct, err := airflow.New(airflow.Options{URL: s.URL, Auth: s.Auth})
	require.NoError(t, err)
	ctx := t.Context()
	_, err = mlops.Collect(c.Pools.All(ctx)) // logged in
	require.NoError(t, err)
	lose := func(method string) {
		done := false
		l.Lose(func(r *http.Request) bool {
			hit := !done && r.Method == method && !strings.HasPrefix(r.URL.Path, "/auth")
			done = done || hit
			return hit
		})
	}

	pool := airflow.Pool{Name: s.Name("lost"), Slots: 3, Description: "of a test"}
	lose("POST")
	require.NoError(t, c.Pools.Create(ctx, pool))
	require.Equal(t, 1, l.Lost())
	l.Lose(nil)
	require.ErrorIs(t, c.Pools.Create(ctx, pool), mlops.ErrAlreadyExists, "without a lost answer it is another's")
	got, err := direct.Pools.Get(ctx, pool.Name)
	require.NoError(t, err)
	require.Equal(t, 3, got.Slots)

	ensured := airflow.Pool{Name: s.Name("ensured"), Slots: 2}
	lose("POST")
	require.NoError(t, c.Pools.Ensure(ctx, ensured))
	require.Equal(t, 1, l.Lost())

	lose("POST")
	require.ErrorIs(t, c.Pools.Create(ctx, pool), mlops.ErrAlreadyExists, "the older one is not what this call made, though it is equal")
	require.Equal(t, 1, l.Lost())

	other := pool
	other.Slots = 9
	lose("POST")
	require.ErrorIs(t, c.Pools.Create(ctx, other), mlops.ErrAlreadyExists, "what exists is not what was asked for")
	require.Equal(t, 1, l.Lost())

	for _, change := range []func() error{
		func() error { return c.Pools.SetSlots(ctx, pool.Name, 5) },
		func() error {
			_, err := c.Pools.SetAll(ctx, []airflow.Pool{{Name: pool.Name, Slots: 5, Description: "of a test"}, {Name: ensured.Name, Slots: 5}})
			return err
		},
	} {
		lose("PATCH")
		require.NoError(t, change())
		require.Equal(t, 1, l.Lost())
		got, err = direct.Pools.Get(ctx, pool.Name)
		require.NoError(t, err)
		require.Equal(t, 5, got.Slots)
	}

	for _, name := range []string{pool.Name, ensured.Name} {
		lose("DELETE")
		require.NoError(t, c.Pools.Delete(ctx, name))
		require.Equal(t, 1, l.Lost())
		_, err = direct.Pools.Get(ctx, name)
		require.ErrorIs(t, err, mlops.ErrNotFound)
	}
	l.Lose(nil)
	require.ErrorIs(t, c.Pools.Delete(ctx, pool.Name), mlops.ErrNotFound)
}

func TestLiveALostAnswerStartsOneRun(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs the real Airflow behind a proxy: only with MLOPS_LIVE=1")
	}
	s, direct, ctx := open(t)
	l := cassette.OpenLossy(t, s.URL)
	c, err := airflow.New(airflow.Options{URL: l.URL, Auth: s.Auth})
	require.NoError(t, err)
	d := airflow.DAGSpec{ID: s.Name("lost"), Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
	dir := dags(t, s)
	deploy(t, ctx, direct, dir, d)

	_, err = mlops.Collect(c.Pools.All(ctx)) // logged in
	require.NoError(t, err)
	l.LoseFirst("POST")
	run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{Conf: map[string]any{"a": "b"}})
	require.NoError(t, err)
	require.Equal(t, 1, l.Lost())
	_, err = direct.Wait(ctx, d.ID, run.ID, airflow.WaitOptions{})
	require.NoError(t, err)
	all, err := mlops.Collect(direct.Runs.All(ctx, d.ID, airflow.DAGRunQuery{}))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, run.ID, all[0].ID)

	require.NoError(t, airflow.RemoveDAG(dir, d.ID, ""))
	l.LoseFirst("DELETE")
	require.NoError(t, c.DAGs.Delete(ctx, d.ID))
	require.Equal(t, 1, l.Lost())
}
