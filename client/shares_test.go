package client

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/fairfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// openedOnStack is a client of a home whose stack has an Airflow and a Ray.
func openedOnStack(t *testing.T) *Client {
	t.Helper()
	for _, v := range []string{"MLOPS_AIRFLOW_URL", "MLOPS_RAY_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_ADDRESS"} {
		t.Setenv(v, "")
	}
	home := filepath.Join(t.TempDir(), "home")
	require.NoError(t, stackfile.Write(stackfile.Stack{Runtime: "process", Home: home, Endpoints: map[string]stackfile.Endpoint{
		stackfile.Airflow: {URL: "http://127.0.0.1:9"}, stackfile.Ray: {URL: "http://127.0.0.1:9"},
	}}))
	c, err := Open(t.Context(), WithHome(home), In(t.TempDir()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.True(t, c.OwnAirflow())
	return c
}

func TestNothingIsDeployedOnAMachineThatIsTooHot(t *testing.T) {
	c := openedOnStack(t)
	require.NoError(t, c.tooHot(), "there is no agent")
	l := fairfile.Lease{Heat: "critical", Reason: "set by hand", Expires: time.Now().Add(time.Minute)}
	require.NoError(t, fairfile.WriteLease(c.Home(), l))
	require.ErrorIs(t, c.tooHot(), mlops.ErrUnavailable)
	require.ErrorContains(t, c.tooHot(), "critical: set by hand")
	l.Heat = "serious"
	require.NoError(t, fairfile.WriteLease(c.Home(), l))
	require.NoError(t, c.tooHot())
	l.Heat, l.Expires = "critical", time.Now().Add(-time.Minute)
	require.NoError(t, fairfile.WriteLease(c.Home(), l))
	require.NoError(t, c.tooHot(), "that was the word of an agent that is dead")
	c.Config.sources["ray.address"] = "MLOPS_RAY_ADDRESS"
	c.Config.RayAddress = "http://127.0.0.1:10"
	l.Expires = time.Now().Add(time.Minute)
	require.NoError(t, fairfile.WriteLease(c.Home(), l))
	require.NoError(t, c.tooHot(), "another machine serves")
}

// TestTheStacksServersAreItsOwnInAShellThatNamesThem is "mlopsctl status --env".
func TestTheStacksServersAreItsOwnInAShellThatNamesThem(t *testing.T) {
	c := openedOnStack(t)
	t.Setenv("MLOPS_AIRFLOW_URL", "http://localhost:9")
	named, err := Open(t.Context(), WithHome(c.Home()), In(t.TempDir()))
	require.NoError(t, err)
	defer named.Close()
	require.True(t, named.OwnAirflow())
	t.Setenv("MLOPS_AIRFLOW_URL", "http://127.0.0.1:10")
	other, err := Open(t.Context(), WithHome(c.Home()), In(t.TempDir()))
	require.NoError(t, err)
	defer other.Close()
	require.False(t, other.OwnAirflow())
}

func TestWhileAnAgentLivesNoRequestIsMadeForItsLease(t *testing.T) {
	c := openedOnStack(t) // nothing listens on that port
	names, err := c.RestoreShares(t.Context())
	require.NoError(t, err, "there has never been an agent")
	require.Empty(t, names)
	require.NoError(t, fairfile.WriteLease(c.Home(), fairfile.Lease{Expires: time.Now().Add(time.Minute)}))
	_, err = c.RestoreShares(t.Context())
	require.NoError(t, err)
	require.NoError(t, fairfile.WriteLease(c.Home(), fairfile.Lease{Expires: time.Now().Add(-time.Minute)}))
	ctx := t.Context()
	_, err = c.RestoreShares(ctx)
	require.ErrorIs(t, err, mlops.ErrUnavailable, "an expired lease is looked after")
}
