package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/internal/cassette"
)

func TestLiveProjectsOfOneDAGIDLeaveEachOtherAlone(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: needs the running Airflow (make test)")
	}
	ctx := t.Context()
	space := fmt.Sprintf("space-%08x", rand.Uint32())
	open := func(namespace, name string) *client.Project {
		t.Setenv("MLOPS_NAMESPACE", namespace)
		p, err := client.FromProject(ctx, name, client.In(t.TempDir()))
		require.NoError(t, err)
		t.Cleanup(func() {
			_ = p.Airflow.Pools.Delete(context.WithoutCancel(ctx), p.Workspace().AirflowPool)
			require.NoError(t, p.Close())
		})
		return p
	}
	first, second := open(space, "b"), open("", space)
	require.Equal(t, first.DAGID("train"), second.DAGID("b.train"), "the two IDs that are one")
	spec := func(id, say string) airflow.DAGSpec {
		return airflow.DAGSpec{ID: id, Description: say, Paused: true, Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true"}}}
	}

	dag, err := first.DeclareDAG(ctx, spec("train", "of the first"))
	require.NoError(t, err)
	require.True(t, dag.OfProject(space+"/b"))
	_, err = second.DeclareDAG(ctx, spec("b.train", "of the second"))
	require.ErrorIs(t, err, mlops.ErrAlreadyExists)
	require.ErrorContains(t, err, "belongs to project "+space+"/b")
	require.ErrorIs(t, second.RemoveDAG(ctx, "b.train"), mlops.ErrAlreadyExists)
	_, err = second.Trigger(ctx, "b.train", airflow.TriggerOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.ErrorContains(t, err, "belongs to project "+space+"/b")
	own, err := first.OwnDAG(ctx, "train")
	require.NoError(t, err)
	require.Equal(t, dag.ID, own.ID)
	_, err = second.DeclareDAG(ctx, spec("own", "of the second"))
	require.NoError(t, err)
	_, err = first.DeclareDAG(ctx, airflow.DAGSpec{ID: "wide", Tasks: []airflow.TaskSpec{{ID: "one", Bash: "true", PoolSlots: 1000}}})
	require.ErrorIs(t, err, mlops.ErrInvalid, "no project can have so many slots")

	ids := func(p *client.Project) (out []string) {
		for d, err := range p.DAGs(ctx) {
			require.NoError(t, err)
			out = append(out, d.ID)
		}
		return out
	}
	require.Equal(t, []string{space + ".b.train"}, ids(first))
	require.Equal(t, []string{space + ".own"}, ids(second), "the list shows another project's DAG")

	// A file that breaks later: its first line tells whose it is.
	file := filepath.Join(first.Config.DAGs, space+".b.train.py")
	src, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, append(src, "raise SystemError\n"...), 0o644))
	errorsOf := func(p *client.Project) (out []string) {
		for e, err := range p.DAGErrors(ctx) {
			if err != nil {
				return out // no such project on MLflow, which is not asked here
			}
			out = append(out, e.File)
		}
		return out
	}
	require.Eventually(t, func() bool { return len(errorsOf(first)) == 1 }, time.Minute, time.Second)
	require.Empty(t, errorsOf(second))
	_, err = first.DeclareDAG(ctx, spec("train", "mended"))
	require.NoError(t, err)

	// A pool that was deleted is made again by the next trigger.
	require.NoError(t, second.Airflow.Pools.Delete(ctx, second.Workspace().AirflowPool))
	_, err = second.Trigger(ctx, "own", airflow.TriggerOptions{})
	require.NoError(t, err)
	_, err = second.Airflow.Pools.Get(ctx, second.Workspace().AirflowPool)
	require.NoError(t, err)

	require.NoError(t, first.RemoveDAG(ctx, "train"))
	require.NoError(t, second.RemoveDAG(ctx, "own"))
	_, err = first.Airflow.DAGs.Get(ctx, space+".b.train")
	require.ErrorIs(t, err, mlops.ErrNotFound)
}
