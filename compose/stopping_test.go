package compose

import (
	"encoding/json"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// A supervisor that ends takes no request any more, while its socket and its
// lock are still there.
func TestStopWaitsForASupervisorThatIsJustEnding(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	require.NoError(t, makeHome(s.home))
	require.NoError(t, (state{Version: stateVersion, Boot: proc.BootID(), Services: map[string]*record{}}).write(s.home))
	l, err := takeLock(s.home)
	require.NoError(t, err)
	socket, err := listen(s.home)
	require.NoError(t, err)
	hungUp := make(chan struct{}, 100)
	go func() {
		for {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			c.Close()
			hungUp <- struct{}{}
		}
	}()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(t.Context(), StopOptions{}) }()
	for range 8 {
		<-hungUp
	}
	unlisten(s.home, socket)
	l.release()
	require.NoError(t, <-stopped)
	_, err = net.Dial("unix", filepath.Join(s.home, "run", "supervisor.sock"))
	require.Error(t, err)
}

// A supervisor that opens its socket again drops the connections that the old
// one had not accepted.
func TestAStackWhoseSupervisorHangsUpOnceIsNotLost(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	require.NoError(t, makeHome(s.home))
	l, err := takeLock(s.home)
	require.NoError(t, err)
	socket, err := listen(s.home)
	require.NoError(t, err)
	go func() {
		for n := 0; ; n++ {
			c, err := socket.Accept()
			if err != nil {
				return
			}
			if n > 0 { // as a supervisor does: it reads what it is asked
				_ = json.NewDecoder(c).Decode(new(json.RawMessage))
				_ = json.NewEncoder(c).Encode(answer{Done: true, Status: Status{State: StateHealthy}})
			}
			c.Close()
		}
	}()
	st, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateHealthy, st.State)
	unlisten(s.home, socket)
	l.release()
}
