package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/mlflow"
)

// TestQuotasAreForAdministratorsToSet sets quotas as the stack's administrator, and
// fails to as another user, who reads them and may ask for less.
func TestQuotasAreForAdministratorsToSet(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: quotas need users of a running MLflow (make test)")
	}
	ctx := t.Context()
	admin, err := client.Open(ctx, client.In(t.TempDir()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	require.NoError(t, admin.PrepareQuotas(ctx))
	name := fmt.Sprintf("suite-%08x", rand.Uint32())
	require.NoError(t, admin.SetQuota(ctx, name, fair.Quota{Weight: 2, MaxSlots: 3, Priority: fair.PriorityHigh}))
	t.Cleanup(func() { require.NoError(t, admin.SetQuota(context.WithoutCancel(ctx), name, fair.Quota{})) })

	password := mlops.Secret("suite-password-1")
	_, err = admin.MLflow.Users.Create(ctx, name, password)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.MLflow.Users.Delete(context.WithoutCancel(ctx), name)) })
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mlops.yaml"), []byte("quota: slots=1 weight=9 priority=urgent\n"), 0o644))
	user, err := client.FromProject(ctx, name, client.In(dir), client.WithConfig(client.Config{MLflowURI: admin.Config.MLflowURI, MLflowAuth: mlops.Auth{Username: name, Password: password}}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, user.Close()) })

	err = user.SetQuota(ctx, name, fair.Quota{MaxSlots: 99})
	require.ErrorIs(t, err, mlops.ErrForbidden)
	err = user.SetQuota(ctx, name, fair.Quota{})
	require.ErrorIs(t, err, mlops.ErrForbidden)
	_, _ = user.Register(ctx) // what is not there of the other servers does not matter
	all, err := user.Quotas(ctx)
	require.NoError(t, err)
	at := slices.IndexFunc(all, func(q client.Quota) bool { return q.Project == name })
	require.GreaterOrEqual(t, at, 0)
	require.Equal(t, client.Quota{
		Project: name,
		Granted: fair.Quota{Weight: 2, MaxSlots: 3, Priority: fair.PriorityHigh},
		Asked:   fair.Quota{MaxSlots: 1, Weight: 9, Priority: fair.PriorityUrgent},
		Holds:   fair.Quota{Weight: 2, MaxSlots: 1, Priority: fair.PriorityHigh},
	}, all[at], "more than was granted is not to be had by asking")

	// Another experiment of the user's asks in the name of a pool that is not its.
	victim := fmt.Sprintf("suite-%08x", rand.Uint32())
	id, err := user.MLflow.CreateExperiment(ctx, victim+"-foe", mlflow.ExperimentOptions{Tags: map[string]string{"mlops.airflow_pool": "mlops." + victim, "mlops.quota": "slot-hours=0.001"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.MLflow.DeleteExperiment(context.WithoutCancel(ctx), id) })
	all, err = user.Quotas(ctx)
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(all, func(q client.Quota) bool { return q.Project == victim }), "%+v", all)

	require.ErrorIs(t, admin.SetQuota(ctx, "Bad_Name", fair.Quota{}), mlops.ErrInvalid)
	require.NoError(t, admin.SetQuota(ctx, name, fair.Quota{}))
	all, err = user.Quotas(ctx)
	require.NoError(t, err)
	at = slices.IndexFunc(all, func(q client.Quota) bool { return q.Project == name })
	require.Equal(t, fair.Quota{Weight: 0, MaxSlots: 1}, all[at].Holds)
}
