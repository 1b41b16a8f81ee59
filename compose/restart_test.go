package compose

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestRestartTouchesOnlyWhatIsNamed(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)}, fake{Name: "app", After: []string{"store"}, Port: freePort(t)})
	before, err := s.Restart(t.Context(), StartOptions{})
	require.NoError(t, err)
	require.Equal(t, StateHealthy, before.State, "what is stopped is started")

	after, err := s.Restart(t.Context(), StartOptions{Services: []string{"app"}})
	require.NoError(t, err)
	require.Equal(t, of(before, "store").PID, of(after, "store").PID)
	require.NotEqual(t, of(before, "app").PID, of(after, "app").PID)
	require.Equal(t, before.Supervisor.PID, after.Supervisor.PID)

	require.NoError(t, s.Stop(t.Context(), StopOptions{Services: []string{"app"}}))
	after, err = s.Restart(t.Context(), StartOptions{})
	require.NoError(t, err)
	require.NotEqual(t, of(before, "store").PID, of(after, "store").PID)
	require.Equal(t, StateStopped, of(after, "app").State, "none named means what runs, not everything")

	_, err = s.Restart(t.Context(), StartOptions{Services: []string{"nope"}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func TestRestartKeepsTheModeOfTheStack(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	within(t, s)
	_, err := s.Start(t.Context(), StartOptions{Light: true})
	require.NoError(t, err)
	st, err := s.Restart(t.Context(), StartOptions{})
	require.NoError(t, err)
	require.True(t, st.Light)
	p, err := s.Plan(t.Context(), StartOptions{})
	require.ErrorIs(t, err, mlops.ErrConflict, "%v", p)
	_, err = s.Plan(t.Context(), StartOptions{Services: []string{"nope"}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}
