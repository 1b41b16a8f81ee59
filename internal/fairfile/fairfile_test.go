package fairfile

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

func TestALeaseIsHeldUntilItExpires(t *testing.T) {
	home := t.TempDir()
	none, err := ReadLease(home)
	require.NoError(t, err)
	now := time.Now().UTC()
	require.False(t, none.Held(now))
	require.False(t, none.Expired(now), "an agent that ended in order left nothing to restore")

	want := Lease{Server: "http://127.0.0.1:8080", Epoch: 3, Budget: 2, Pools: map[string]Pool{"mlops.a": {Slots: 0, Base: 4}}, Expires: now.Add(LeaseTime)}
	require.NoError(t, WriteLease(home, want))
	got, err := ReadLease(home)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.True(t, got.Held(now.Add(LeaseTime-1)))
	require.True(t, got.Expired(now.Add(LeaseTime)))
	require.NoError(t, RemoveLease(home))
	require.NoError(t, RemoveLease(home))
	require.NoFileExists(t, filepath.Join(home, "fair", "lease.json"))
}

func TestAFileOfAnotherUserDecidesNothing(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, WriteHeat(home, HeatOrder{State: "critical", Until: time.Now().Add(time.Hour)}))
	require.NoError(t, os.Chmod(filepath.Join(home, "fair", "heat.json"), 0o666))
	_, err := ReadHeat(home)
	require.ErrorIs(t, err, mlops.ErrForbidden)
}

func TestSlotsAreTheCoresUnlessTheyAreSet(t *testing.T) {
	home := t.TempDir()
	n, err := Slots(home)
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, 2)
	require.LessOrEqual(t, n, 8)
	require.NoError(t, WriteSlots(home, 24))
	got, err := Slots(home)
	require.NoError(t, err)
	require.Equal(t, 24, got)
	require.NoError(t, WriteSlots(home, 0))
	got, err = Slots(home)
	require.NoError(t, err)
	require.Equal(t, n, got)
	require.NoError(t, os.WriteFile(filepath.Join(home, "fair", "slots.json"), []byte("{"), 0o600))
	_, err = Slots(home)
	require.ErrorContains(t, err, "slots.json is damaged")
}

func TestOneAgentLeads(t *testing.T) {
	home := t.TempDir()
	first, err := Lead(home)
	require.NoError(t, err)
	_, err = Lead(home)
	require.ErrorIs(t, err, lockfile.ErrHeld)
	require.NoError(t, first.Close())
	second, err := Lead(home)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}
