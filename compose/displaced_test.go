package compose

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// squatter is a stranger who takes a service's port between its choice and its
// use, at the given runs of the service's preparation.
func squatter(t *testing.T, v *service, runs ...int32) {
	t.Helper()
	var run atomic.Int32
	name, number := v.name, v.ports[0].name
	v.prepare = func(_ context.Context, s *site) error {
		n := run.Add(1)
		for _, r := range runs {
			if r == n {
				l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(s.port(name, number)))
				if err != nil {
					return err
				}
				t.Cleanup(func() { l.Close() })
			}
		}
		return nil
	}
}

func TestAPortTakenWhileTheServerStartsIsChosenAgain(t *testing.T) {
	f := fake{Name: "app", Port: freePort(t)}
	s := stackOf(t, f)
	v := f.recipe()
	squatter(t, &v, 1, 2)
	s.catalog = func(bool) []service { return []service{v} }
	within(t, s)
	st := start(t, s) // the first try of a start is not repeated for other reasons
	require.Equal(t, StateHealthy, st.State)
	require.NotEqual(t, f.Port, of(st, "app").Ports["http"])
	require.Regexp(t, `port \d+ is held by .*; using \d+`, of(st, "app").Message)
}

func TestPortsAreNotChosenAgainForEver(t *testing.T) {
	f := fake{Name: "app", Port: freePort(t)}
	s := stackOf(t, f)
	v := f.recipe()
	squatter(t, &v, 1, 2, 3, 4)
	s.catalog = func(bool) []service { return []service{v} }
	within(t, s)
	_, err := s.Start(t.Context(), StartOptions{})
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorContains(t, err, "is held by")
}

func TestWhatReliesOnAMovedPortIsStartedAgain(t *testing.T) {
	store, app := fake{Name: "store", Port: freePort(t)}, fake{Name: "app", After: []string{"store"}, Port: freePort(t)}
	s := stackOf(t, store, app)
	v := store.recipe()
	squatter(t, &v, 2)
	s.catalog = func(bool) []service { return []service{v, app.recipe()} }
	within(t, s)
	before := start(t, s)
	kill(t, of(before, "store").PID)
	var now Status
	eventually(t, "both are back", func() bool {
		var err error
		now, err = s.Status(t.Context())
		require.NoError(t, err)
		return now.State == StateHealthy && of(now, "store").PID != of(before, "store").PID && of(now, "app").PID != of(before, "app").PID
	})
	require.NotEqual(t, of(before, "store").Ports, of(now, "store").Ports)
	require.Equal(t, of(before, "app").Ports, of(now, "app").Ports)
	rec, err := readState(s.home)
	require.NoError(t, err)
	require.Equal(t, of(now, "store").Ports["http"], rec.Services["app"].Relied["store/http"])
}

func TestAStrangerOnAPortThatIsOpenedLateMovesTheService(t *testing.T) {
	f := fake{Name: "app", Port: freePort(t)}
	s := stackOf(t, f)
	v := f.recipe()
	v.ports = append(v.ports, port{name: "models", first: freePort(t), late: true})
	s.catalog = func(bool) []service { return []service{v} }
	within(t, s)
	before := start(t, s)
	models := of(before, "app").Ports["models"]
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(models))
	require.NoError(t, err)
	defer l.Close()
	eventually(t, "the service has another port", func() bool {
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		return of(st, "app").State == StateReady && of(st, "app").Ports["models"] != models
	})
}

func TestStacksOfOneUserDoNotChooseTheSameNumber(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // where no other stack reserves
	number := freePort(t)
	late := func(f fake) *Stack {
		s := stackOf(t, f)
		v := f.recipe()
		v.ports = append(v.ports, port{name: "models", first: number, late: true})
		s.catalog = func(bool) []service { return []service{v} }
		within(t, s)
		return s
	}
	one := late(fake{Name: "app", Port: freePort(t)})
	require.Equal(t, number, of(start(t, one), "app").Ports["models"])
	two := late(fake{Name: "app", Port: freePort(t)})
	st := start(t, two)
	require.NotEqual(t, number, of(st, "app").Ports["models"], "both wait for their first application on one number")
	require.Contains(t, of(st, "app").Message, "is held by the stack of "+one.home)

	require.NoError(t, one.Stop(t.Context(), StopOptions{}))
	eventually(t, "the number is given back", func() bool { return len(holders(number)) == 0 })
}

func TestReservationsNeedAFolderOfOurs(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	f, err := reserve(20000, "/h")
	require.NoError(t, err)
	require.Equal(t, []proc.Owner{{Command: "the stack of /h"}}, holders(20000))
	require.NoError(t, f.Close()) // as if its supervisor was killed
	require.Empty(t, holders(20000))
	dir, err := reservations()
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err = reserve(20000, "/h")
	require.ErrorContains(t, err, "is not a private folder of ours")
	require.Empty(t, holders(20000))
	require.Equal(t, tmp, filepath.Dir(dir))
}
