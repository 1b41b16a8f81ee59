package compose

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPortsStayWhatTheyWereWhileTheyAreFree(t *testing.T) {
	hold := func(n int) func() {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(n))
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		return func() { require.NoError(t, l.Close()) }
	}
	first := fake{Name: "first", Port: freePort(t)}
	other := fake{Name: "other", Port: freePort(t)}
	extra := fake{Name: "extra", Port: freePort(t), Optional: true}
	s := stackOf(t, first, other, extra)
	port := func(st Status, name string) int { return of(st, name).Ports["http"] }
	stop := func() { t.Helper(); require.NoError(t, s.Stop(t.Context(), StopOptions{})) }

	st := start(t, s)
	require.Equal(t, other.Port, port(st, "other"))
	require.NoError(t, s.Stop(t.Context(), StopOptions{Services: []string{"other"}}))
	release := hold(other.Port)
	start(t, s, "first") // the other does not run, so that its port does not matter
	release()
	require.Equal(t, other.Port, port(start(t, s), "other"), "it moved because another was started while a stranger had its port")
	stop()

	releaseOther, releaseFirst := hold(other.Port), hold(first.Port)
	st = start(t, s)
	moved, movedFirst := port(st, "other"), port(st, "first")
	require.NotEqual(t, other.Port, moved)
	require.NotEqual(t, first.Port, movedFirst)
	stop()
	releaseOther()
	releaseFirst()
	for range 2 {
		st = start(t, s)
		require.Equal(t, moved, port(st, "other"), "it moved back although its port is free")
		require.Equal(t, movedFirst, port(st, "first"))
		stop()
	}
	release = hold(moved)
	start(t, s, "first")
	stop()
	release()
	require.Equal(t, moved, port(start(t, s), "other"))

	release = hold(extra.Port) // an optional one has not run at all
	stop()
	st = start(t, s)
	require.Zero(t, of(st, "extra").PID)
	release()
	st = start(t, s, "extra")
	require.Equal(t, extra.Port, port(st, "extra"), "a service that never ran was given another port than its first")
}

func TestPublishedPortsStayWhatTheyWere(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	engineOf(t)
	d, err := dockerStack(t).containers()
	require.NoError(t, err)
	n := freePort(t)
	d.record.Ports["mlflow/http"] = n
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(n))
	require.NoError(t, err)
	evidently, err := resolve(d.services(false), []string{"evidently"}, true)
	require.NoError(t, err)
	reserved := reserved{}
	defer reserved.giveBack()
	require.NoError(t, d.choosePorts(Status{}, evidently, reserved))
	require.Equal(t, n, d.record.Ports["mlflow/http"], "it does not run, so that its port does not matter")
	require.NoError(t, l.Close())
	require.NoError(t, d.choosePorts(Status{}, d.services(false), reserved))
	require.Equal(t, n, d.record.Ports["mlflow/http"])
}
