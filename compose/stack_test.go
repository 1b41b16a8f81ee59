package compose

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

func TestASecondStartKeepsEveryProcess(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)}, fake{Name: "app", After: []string{"store"}, Port: freePort(t)})
	within(t, s)
	first := start(t, s)
	require.Equal(t, StateHealthy, first.State)
	require.Positive(t, of(first, "app").PSSBytes, "what start returns says how much memory the stack takes")
	second := start(t, s)
	for _, n := range []string{"store", "app"} {
		require.Equal(t, of(first, n).PID, of(second, n).PID, n)
		require.Positive(t, of(second, n).PID)
	}
	p, err := s.Plan(t.Context(), StartOptions{})
	require.NoError(t, err)
	require.False(t, p.Changes(), "a plan for what runs already: %v", p)
	stack, err := stackfile.Read(s.home)
	require.NoError(t, err)
	require.Len(t, stack.Endpoints, 2)
	st, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Positive(t, of(st, "app").PSSBytes)
}

func TestStopLeavesNothing(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)}, fake{Name: "ray", Mode: "family", After: []string{"store"}, Port: freePort(t)})
	st := start(t, s)
	b, err := os.ReadFile(filepath.Join(s.home, "ray.child"))
	require.NoError(t, err)
	child, err := strconv.Atoi(string(b))
	require.NoError(t, err)
	i, err := proc.Inspect(child)
	require.NoError(t, err, "the child in a session of its own runs")

	require.NoError(t, s.Stop(t.Context(), StopOptions{}))
	for _, v := range st.Services {
		_, err := proc.Inspect(v.PID)
		require.ErrorIs(t, err, proc.ErrNone, v.Name)
		require.Empty(t, proc.Listeners(v.Ports["http"]), "a process listens on the port of %s", v.Name)
	}
	require.False(t, proc.Alive(i.ID), "the child that left the session still runs")
	require.False(t, proc.Alive(proc.ID{PID: st.Supervisor.PID, Start: 0}))
	eventually(t, "the supervisor is gone", func() bool { _, err := proc.Inspect(st.Supervisor.PID); return err != nil })
	require.True(t, gone(lockPath(s.home)), "the lock is left")
	require.True(t, gone(stackfile.Path(s.home)), "the stack file is left")
	p, err := socketPath(s.home)
	require.True(t, err != nil || gone(p), "the socket is left")
	require.NoError(t, s.Stop(t.Context(), StopOptions{}), "stopping what is stopped is no error")
	after, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateStopped, after.State)
}

func TestAKilledServerComesBackOnItsPort(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)}, fake{Name: "app", After: []string{"store"}, Port: freePort(t)})
	within(t, s)
	before := start(t, s)
	kill(t, of(before, "store").PID)
	var now Status
	eventually(t, "the server is back", func() bool {
		var err error
		now, err = s.Status(t.Context())
		require.NoError(t, err)
		v := of(now, "store")
		return v.State == StateReady && v.PID != of(before, "store").PID
	})
	require.Equal(t, of(before, "store").Ports, of(now, "store").Ports)
	require.Equal(t, 1, of(now, "store").Restarts)
	require.Equal(t, of(before, "app").PID, of(now, "app").PID, "a dependency's death restarted what depends on it")
}

func TestAKilledSupervisorIsFollowedByOneThatAdopts(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)}, fake{Name: "app", After: []string{"store"}, Port: freePort(t)})
	before := start(t, s)
	kill(t, before.Supervisor.PID)
	eventually(t, "the supervisor is dead", func() bool { _, err := proc.Inspect(before.Supervisor.PID); return err != nil })
	alone, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateDegraded, alone.State, "services that no supervisor watches")
	require.Equal(t, of(before, "app").PID, of(alone, "app").PID)
	p, err := s.Plan(t.Context(), StartOptions{})
	require.NoError(t, err)
	require.Equal(t, "adopt", p.Steps[0].Action)

	kill(t, of(before, "app").PID)
	after := start(t, s)
	require.NotEqual(t, before.Supervisor.PID, after.Supervisor.PID)
	require.Equal(t, of(before, "store").PID, of(after, "store").PID, "a living server was restarted")
	require.NotEqual(t, of(before, "app").PID, of(after, "app").PID)
	require.Equal(t, of(before, "app").Ports, of(after, "app").Ports)
	require.Equal(t, StateHealthy, after.State)

	kill(t, of(after, "store").PID) // the adopted one is watched as well
	eventually(t, "the adopted server is restarted", func() bool {
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		return of(st, "store").State == StateReady && of(st, "store").PID != of(after, "store").PID
	})
}

func TestStopWithoutASupervisorStopsWhatItLeft(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Mode: "stubborn", Port: freePort(t)}, fake{Name: "app", Mode: "family", After: []string{"store"}, Port: freePort(t)})
	st := start(t, s)
	kill(t, st.Supervisor.PID)
	eventually(t, "the supervisor is dead", func() bool { _, err := proc.Inspect(st.Supervisor.PID); return err != nil })
	require.NoError(t, s.Stop(t.Context(), StopOptions{}))
	for _, v := range st.Services {
		require.Empty(t, proc.Listeners(v.Ports["http"]), v.Name)
	}
	require.True(t, gone(lockPath(s.home)))
	require.True(t, gone(stackfile.Path(s.home)))
}

func TestAStrangerOnThePortIsNamedAndAvoided(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Skip("no such address here: ", err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })}
			go func() { _ = srv.Serve(l) }()
			defer srv.Close()
			taken := l.Addr().(*net.TCPAddr).Port
			s := stackOf(t, fake{Name: "app", Port: taken})
			within(t, s)
			st := start(t, s)
			require.NotEqual(t, taken, of(st, "app").Ports["http"])
			require.Contains(t, of(st, "app").Message, "port "+strconv.Itoa(taken)+" is held by")
			require.Contains(t, of(st, "app").Message, "(pid "+strconv.Itoa(os.Getpid())+")")
			chosen := of(st, "app").Ports["http"]
			srv.Close()
			st, err = s.Restart(t.Context(), StartOptions{})
			require.NoError(t, err)
			require.Equal(t, chosen, of(st, "app").Ports["http"], "the number changed although it is free")
		})
	}
}

func TestAStrangerWhoAnswersRightIsNotTakenForTheServer(t *testing.T) {
	f := fake{Name: "app", Mode: "deaf", Port: freePort(t)}
	s := stackOf(t, f)
	s.timing.stall = 300 * time.Millisecond
	v := f.recipe()
	v.ready = func(context.Context, *site) error { return nil } // fooled
	var srv net.Listener
	v.prepare = func(_ context.Context, st *site) (err error) {
		srv, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(st.port("app", "http")))
		return err
	}
	s.catalog = func(bool) []service { return []service{v} }
	within(t, s)
	_, err := s.Start(t.Context(), StartOptions{WaitTimeout: 20 * time.Second})
	defer srv.Close()
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorContains(t, err, "is held by")
}

func TestAStrangersPIDIsNeverSignalled(t *testing.T) {
	for _, tt := range []struct {
		name string
		bend func(*state, proc.ID)
	}{
		{"pid with another start time", func(s *state, p proc.ID) {
			s.Services["app"] = &record{Main: proc.ID{PID: p.PID, Start: p.Start + 1}, Seen: []proc.ID{{PID: p.PID, Start: p.Start + 1}}}
		}},
		{"right numbers of another boot", func(s *state, p proc.ID) {
			s.Boot = "another"
			s.Services["app"] = &record{Main: p, Seen: []proc.ID{p}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stackOf(t, fake{Name: "app", Port: freePort(t)})
			stranger := bystander(t)
			write := func() {
				require.NoError(t, makeHome(s.home))
				st := state{Version: stateVersion, Boot: proc.BootID(), Services: map[string]*record{}}
				tt.bend(&st, stranger)
				require.NoError(t, st.write(s.home))
			}
			write()
			require.NoError(t, s.Stop(t.Context(), StopOptions{}))
			require.True(t, proc.Alive(stranger), "stop ended a stranger")
			write()
			st := start(t, s)
			require.NotEqual(t, stranger.PID, of(st, "app").PID)
			require.NoError(t, s.Stop(t.Context(), StopOptions{}))
			require.True(t, proc.Alive(stranger), "start and stop ended a stranger")
		})
	}
}

func TestAServerThatDiesAgainAndAgainIsGivenUp(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Mode: "brief", Port: freePort(t)})
	within(t, s)
	start(t, s)
	var v ServiceStatus
	eventually(t, "the supervisor gives up", func() bool {
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		v = of(st, "app")
		return v.State == StateFailed
	})
	require.Contains(t, v.Message, "gave up after 3 restarts in a row")
	require.Equal(t, 3, v.Restarts)
	require.Zero(t, v.PID)
	require.Empty(t, proc.Listeners(v.Ports["http"]))
}

func TestAServerThatStopsAnsweringIsUnhealthy(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Mode: "mute", Port: freePort(t)})
	within(t, s)
	start(t, s)
	eventually(t, "it is seen", func() bool {
		st, err := s.Status(t.Context())
		require.NoError(t, err)
		return st.State == StateDegraded && of(st, "app").State == StateUnhealthy
	})
}

func TestAFailedStartTakesDownOnlyWhatItStarted(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)},
		fake{Name: "other", Port: freePort(t)},
		fake{Name: "app", Mode: "exit", After: []string{"other"}, Port: freePort(t)})
	within(t, s)
	before := start(t, s, "store")
	_, err := s.Start(t.Context(), StartOptions{Services: []string{"app", "store"}})
	e, ok := errors.AsType[*StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "app", e.Service)
	require.Contains(t, e.Reason, "exit status 3")
	require.Contains(t, err.Error(), "the last words of app")
	st, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, of(before, "store").PID, of(st, "store").PID)
	require.Equal(t, StateStopped, of(st, "other").State, "what this start created is left")
	require.Equal(t, StateStopped, of(st, "app").State)
	require.Equal(t, StateHealthy, st.State)

	_, err = s.Start(t.Context(), StartOptions{Services: []string{"app"}, KeepOnFailure: true})
	again, ok := errors.AsType[*StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, e.Log, again.Log, "the lines of an earlier start are shown, too")
	st, err = s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateReady, of(st, "other").State, "kept, as asked")
	require.Equal(t, StateFailed, of(st, "app").State)
	require.Equal(t, StateDegraded, st.State)
}

func TestWaitingEndsAtTheTimeout(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Mode: "deaf", Port: freePort(t)})
	within(t, s)
	_, err := s.Start(t.Context(), StartOptions{WaitTimeout: 200 * time.Millisecond})
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorContains(t, err, "is not ready after 200ms")
}

func TestAnInterruptedStartIsUndone(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)}, fake{Name: "app", Mode: "deaf", After: []string{"store"}, Port: freePort(t)})
	ctx, cancel := context.WithCancel(t.Context())
	var app int
	s.progress = func(e Event) {
		if e.Service == "app" && e.State == StateStarting {
			st, err := readState(s.home)
			require.NoError(t, err)
			app = st.Services["app"].Main.PID
			cancel()
		}
	}
	_, err := s.Start(ctx, StartOptions{})
	require.ErrorIs(t, err, context.Canceled)
	s.progress = nil
	require.Positive(t, app)
	_, err = proc.Inspect(app)
	require.ErrorIs(t, err, proc.ErrNone, "the server of the interrupted start still runs")
	require.True(t, gone(lockPath(s.home)), "the supervisor of the interrupted start still runs")
}

func TestOneServiceIsStoppedAlone(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)}, fake{Name: "app", After: []string{"store"}, Port: freePort(t)})
	within(t, s)
	before := start(t, s)
	require.NoError(t, s.Stop(t.Context(), StopOptions{Services: []string{"group-app"}}))
	st, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateStopped, of(st, "app").State)
	require.Equal(t, of(before, "store").PID, of(st, "store").PID)
	stack, err := stackfile.Read(s.home)
	require.NoError(t, err)
	require.NotContains(t, stack.Endpoints, "app")
	require.ErrorIs(t, s.Stop(t.Context(), StopOptions{Services: []string{"nope"}}), mlops.ErrInvalid)
}

func TestTheLightAndTheWholeStackDoNotMix(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	within(t, s)
	start(t, s)
	_, err := s.Start(t.Context(), StartOptions{Light: true})
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, "mlopsctl stop")
}

func TestASecondSupervisorIsRefused(t *testing.T) {
	s := stackOf(t, fake{Name: "app", Port: freePort(t)})
	within(t, s)
	require.ErrorIs(t, s.Supervise(t.Context()), mlops.ErrConflict)
}

func TestLogsAreMergedCutAndFollowed(t *testing.T) {
	s := stackOf(t, fake{Name: "store", Port: freePort(t)}, fake{Name: "app", Port: freePort(t)})
	within(t, s)
	start(t, s)
	var b bytes.Buffer
	require.NoError(t, s.Logs(t.Context(), &b, LogOptions{}))
	require.Contains(t, b.String(), "store | store begins")
	require.Contains(t, b.String(), "app   | app begins")

	f, err := openLog(s.logPath("app"))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("one\ntwo\nthree\n")
	require.NoError(t, err)
	b.Reset()
	require.NoError(t, s.Logs(t.Context(), &b, LogOptions{Services: []string{"app"}, Tail: 2}))
	require.Equal(t, "two\nthree\n", b.String())

	ctx, cancel := context.WithCancel(t.Context())
	lines := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- s.Logs(ctx, writerFunc(func(p []byte) (int, error) { lines <- string(p); return len(p), nil }), LogOptions{Services: []string{"app"}, Tail: 1, Follow: true})
	}()
	require.Equal(t, "three\n", <-lines)
	_, err = f.WriteString("four\n")
	require.NoError(t, err)
	require.Equal(t, "four\n", <-lines)
	cancel()
	require.NoError(t, <-done)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestALogThatGrowsIsRotatedUnderItsWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	f, err := openLog(path)
	require.NoError(t, err)
	defer f.Close()
	for round := range 6 {
		_, err = f.WriteString(strings.Repeat(strconv.Itoa(round), 100) + "\n")
		require.NoError(t, err)
		require.NoError(t, rotate(path, 100))
	}
	require.NoError(t, rotate(path, 100))
	_, err = f.WriteString("after\n")
	require.NoError(t, err)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "after\n", string(b), "the writer goes on at the beginning of the cut file")
	for i, want := range []string{"5", "4", "3"} {
		b, err := os.ReadFile(path + "." + strconv.Itoa(i+1))
		require.NoError(t, err)
		require.Equal(t, strings.Repeat(want, 100)+"\n", string(b))
	}
	require.True(t, gone(path+".4"), "more copies than %d", logCopies)
}

func TestSinceBeginsAtTheNotedLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	now := time.Now()
	require.NoError(t, os.WriteFile(path, []byte("old\n"), 0o600))
	markLog(path, now.Add(-time.Hour))
	require.NoError(t, os.WriteFile(path, []byte("old\nnew\n"), 0o600))
	markLog(path, now)
	from, err := logStart(path, LogOptions{Since: 30 * time.Minute})
	require.NoError(t, err)
	require.EqualValues(t, 4, from)
	from, err = logStart(path, LogOptions{Since: 2 * time.Hour})
	require.NoError(t, err)
	require.Zero(t, from)
}
