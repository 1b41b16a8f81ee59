package shares

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/agent/internal/heat"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// pool is one pool as Airflow has it: what runs, what is ready.
type pool struct {
	Name     string `json:"name"`
	Slots    int    `json:"slots"`
	About    string `json:"description"`
	Deferred bool   `json:"include_deferred"`
	Running  int    `json:"running_slots"`
	Ready    int    `json:"scheduled_slots"`
}

// server is a fake of the pools endpoint, for faults that cannot be provoked on a
// real server: a task that starts between two requests, an agent that dies between
// two. The pools of a real server are tested live.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	pools  []*pool
	writes [][]string // names, of each request that changed pools
	before func(write int) bool
}

func newServer(t *testing.T, pools ...*pool) *server {
	s := &server{pools: pools}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(map[string]any{"pools": s.pools, "total_entries": len(s.pools)})
			return
		}
		if r.Method == http.MethodPost {
			_ = json.NewEncoder(w).Encode(map[string]any{"task_instances": []any{}, "total_entries": 0})
			return
		}
		var body struct {
			Actions []struct {
				Entities []pool `json:"entities"`
			} `json:"actions"`
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		var names []string
		for _, e := range body.Actions[0].Entities {
			names = append(names, e.Name)
		}
		if s.before != nil && !s.before(len(s.writes)) {
			panic(http.ErrAbortHandler)
		}
		s.writes = append(s.writes, names)
		for _, e := range body.Actions[0].Entities {
			for _, p := range s.pools {
				if p.Name == e.Name {
					p.Slots, p.About, p.Deferred = e.Slots, e.About, e.Deferred
				}
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"update": map[string]any{"success": names, "errors": []any{}}})
	}))
	t.Cleanup(s.Close)
	return s
}

// total is what all pools may have at work: their slots, or what runs beyond them.
func (s *server) total() (n int) {
	for _, p := range s.pools {
		n += max(p.Slots, p.Running)
	}
	return n
}

// start lets ready tasks start, as far as slots go.
func (p *pool) start() {
	n := max(0, min(p.Ready, p.Slots-p.Running))
	p.Running += n
	p.Ready -= n
}

func project(name string, running, ready int) *pool {
	return &pool{Name: "mlops." + name, Slots: 4, About: "project " + name, Deferred: true, Running: running, Ready: ready}
}

type judge func() heat.Reading

func (j judge) Read(context.Context) heat.Reading { return j() }

func nominal() heat.Reading {
	return heat.Reading{State: applesilicon.ThermalNominal, Reason: "a test"}
}

// keeper is one with a clock that moves a second at each look.
func keeper(t *testing.T, s *server, home string) *Keeper {
	t.Helper()
	c, err := airflow.New(airflow.Options{URL: s.URL, Auth: mlops.Auth{Token: "x"}})
	require.NoError(t, err)
	now := time.Now()
	k := &Keeper{Home: home, Server: s.URL, Own: true, Airflow: c, Judge: judge(nominal), Clock: func() time.Time { now = now.Add(500 * time.Millisecond); return now }}
	t.Cleanup(func() {
		if k.lead != nil {
			k.lead.Close()
		}
	})
	return k
}

func home(t *testing.T, slots int) string {
	home := t.TempDir()
	require.NoError(t, fairfile.WriteSlots(home, slots))
	return home
}

func TestTheBudgetHoldsWhileTasksStartBetweenRequests(t *testing.T) {
	flood := project("flood", 0, 100)
	s := newServer(t, flood, project("a", 0, 0), project("b", 0, 0), project("c", 0, 0))
	k := keeper(t, s, home(t, 3))
	s.before = func(int) bool {
		for _, p := range s.pools { // the scheduler is quicker than we are
			p.start()
		}
		return true
	}
	began := map[string]bool{}
	for look := range 60 {
		for _, p := range s.pools {
			p.start()
			if p.Running > 0 && look > 1 {
				began[p.Name] = true
			}
			if look%3 == 0 {
				p.Running = 0 // their tasks end
			}
			if look == 5 && p != flood {
				p.Ready = 3
			}
		}
		_, err := k.Look(t.Context())
		require.NoError(t, err)
		if look > 3 { // what ran when the agent came is not ended
			require.LessOrEqual(t, s.total(), 3, "look %d", look)
		}
	}
	require.Len(t, began, 4, "each had its turn: %v", began)
	for _, p := range s.pools[1:] {
		require.Zero(t, p.Ready, p.Name)
	}
}

func TestAtRestNothingIsWritten(t *testing.T) {
	s := newServer(t, project("a", 0, 0), project("b", 0, 0))
	k := keeper(t, s, home(t, 2))
	for range 3 {
		_, err := k.Look(t.Context())
		require.NoError(t, err)
	}
	wrote := len(s.writes)
	for range 50 {
		_, err := k.Look(t.Context())
		require.NoError(t, err)
	}
	require.Len(t, s.writes, wrote)
	require.Equal(t, 2, s.total(), "each has a slot at hand")
}

func TestAtCriticalNothingStartsAndAPersonMayStillEdit(t *testing.T) {
	s := newServer(t, project("a", 1, 5), project("b", 0, 5), &pool{Name: "gpu", Slots: 2, About: "of a user"}, &pool{Name: "mlops.mine", Slots: 3, About: "of a user"})
	k := keeper(t, s, home(t, 4))
	hot := heat.Reading{State: applesilicon.ThermalCritical, Reason: "a test"}
	k.Judge = judge(func() heat.Reading { return hot })
	state, err := k.Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, 0, state.Lease.Budget)
	require.Equal(t, []int{0, 0, 2, 3}, s.slots(), "pools of users are theirs")
	require.Equal(t, "heat", state.Lease.Pools["mlops.b"].Cause)

	s.pools[1].Slots = 2 // by a person, in Airflow's form
	_, err = k.Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{0, 2, 2, 3}, s.slots())
	l, err := fairfile.ReadLease(k.Home)
	require.NoError(t, err)
	require.True(t, l.Pools["mlops.b"].Edited)

	require.NoError(t, k.Close(t.Context()))
	require.Equal(t, []int{4, 2, 2, 3}, s.slots(), "the agent ended: others have their base")
	l, err = fairfile.ReadLease(k.Home)
	require.NoError(t, err)
	require.True(t, l.Expires.IsZero())
}

func (s *server) slots() (out []int) {
	for _, p := range s.pools {
		out = append(out, p.Slots)
	}
	return out
}

func TestAnAgentThatDiesAnywhereLeavesNothingAtZeroForEver(t *testing.T) {
	for dies := range 12 { // before or after its nth write
		s := newServer(t, project("a", 0, 9), project("b", 0, 9), project("c", 0, 9))
		k := keeper(t, s, home(t, 2))
		reading := nominal()
		k.Judge = judge(func() heat.Reading { return reading })
		ctx, cancel := context.WithCancel(t.Context())
		s.before = func(n int) bool {
			if n >= dies/2 {
				cancel() // it never hears of it again
			}
			return n < dies/2 || dies%2 == 1 && n == dies/2
		}
		for look := 0; look < 20 && ctx.Err() == nil; look++ {
			if look == 3 {
				reading.State = applesilicon.ThermalCritical
				k.judged.began = time.Time{}
			}
			_, _ = k.Look(ctx)
		}
		cancel()
		require.NoError(t, k.lead.Close()) // as the system does
		k.lead, s.before = nil, nil
		l, err := fairfile.ReadLease(k.Home)
		require.NoError(t, err)
		require.True(t, l.Expired(l.Expires), "there is a lease, by which others see that it is dead")
		_, err = k.Airflow.Pools.Restore(t.Context(), func(airflow.Share) bool { return true })
		require.NoError(t, err)
		for _, p := range s.pools {
			require.Positive(t, p.Slots, "dies %d: %s", dies, p.Name)
			require.False(t, airflow.Pool{Slots: p.Slots, Description: p.About}.Edited(), "it looks as if a person had set it: no agent would touch it again")
		}
		next := keeper(t, s, k.Home)
		state, err := next.Look(t.Context())
		require.NoError(t, err)
		require.Equal(t, l.Epoch+1, state.Lease.Epoch)
	}
}

func TestOfTwoAgentsOneWrites(t *testing.T) {
	s := newServer(t, project("a", 0, 9))
	h := home(t, 2)
	first, second := keeper(t, s, h), keeper(t, s, h)
	_, err := first.Look(t.Context())
	require.NoError(t, err)
	state, err := second.Look(t.Context())
	require.ErrorIs(t, err, ErrFollows)
	require.False(t, state.Leads)
	require.NoError(t, first.Close(t.Context()))
	_, err = second.Look(t.Context())
	require.NoError(t, err)
}

func TestAgentsOfTwoMachinesDoNotDivideOneServer(t *testing.T) {
	s := newServer(t, project("a", 0, 9), project("b", 0, 9))
	first, second := keeper(t, s, home(t, 2)), keeper(t, s, home(t, 2))
	first.Own, second.Own = false, false
	_, err := first.Look(t.Context())
	require.NoError(t, err)
	require.Contains(t, s.pools[0].About, ", until ")
	wrote := len(s.writes)
	_, err = second.Look(t.Context())
	require.ErrorIs(t, err, ErrFollows)
	require.Len(t, s.writes, wrote)

	later := first.now().Add(90 * time.Second)
	first.Clock = func() time.Time { return later }
	require.NoError(t, first.Renew(t.Context()))
	require.Len(t, s.writes, wrote+1, "renewed once a minute")
	require.NoError(t, first.Renew(t.Context()))
	require.Len(t, s.writes, wrote+1)

	second.Clock = func() time.Time { return later.Add(fairfile.LeaseTime + time.Second) } // the first is dead
	_, err = second.Look(t.Context())
	require.NoError(t, err)
}

func TestWhatDoesNotAnswerHoldsUpNoDivision(t *testing.T) {
	s := newServer(t, project("a", 0, 9), project("b", 0, 9))
	k := keeper(t, s, home(t, 2))
	silent := make(chan struct{})
	t.Cleanup(func() { close(silent) })
	var hangs atomic.Bool
	k.Judge = judge(func() heat.Reading {
		if hangs.Load() {
			<-silent
		}
		return heat.Reading{State: applesilicon.ThermalSerious, Reason: "a test"}
	})
	k.Quotas = func(ctx context.Context) (map[string]fair.Quota, error) {
		if hangs.Load() {
			<-silent
		}
		return map[string]fair.Quota{"mlops.a": {MaxSlots: 1}}, nil
	}
	_, err := k.Look(t.Context())
	require.NoError(t, err)
	hangs.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // for 130 looks, 65 s of the clock of this test
	defer cancel()
	for look := range 130 {
		state, err := k.Look(ctx)
		require.NoError(t, err, "look %d", look)
		if look == 100 {
			require.Equal(t, 1, state.Lease.Budget, "what was told last holds for a minute")
		}
	}
	l, err := fairfile.ReadLease(k.Home)
	require.NoError(t, err)
	require.False(t, l.Measured, l.Reason)
	require.Equal(t, fair.Quota{MaxSlots: 1}, k.quotas.of.last["mlops.a"], "a server that is silent takes no limit away")
}

func TestAPersonMayLetDeferredTasksTakeSlots(t *testing.T) {
	s := newServer(t, project("a", 0, 9), project("b", 0, 9))
	k := keeper(t, s, home(t, 2))
	hot := nominal()
	k.Judge = judge(func() heat.Reading { return hot })
	_, err := k.Look(t.Context())
	require.NoError(t, err)
	require.False(t, s.pools[0].Deferred)
	s.pools[0].Deferred = true // by a person, in Airflow's form
	hot.State = applesilicon.ThermalCritical
	k.judged.began = time.Time{}
	for range 4 {
		_, err = k.Look(t.Context())
		require.NoError(t, err)
	}
	require.True(t, s.pools[0].Deferred, "that is the person's")
	require.Equal(t, []int{0, 0}, s.slots(), "the slots are still the agent's")
}

func TestMetricsHaveFewLabels(t *testing.T) {
	l := fairfile.Lease{Max: 4, Budget: 3, Heat: "fair", Measured: true, Expires: time.Now().Add(fairfile.LeaseTime), Pools: map[string]fairfile.Pool{}}
	for i := range 200 {
		l.Pools["mlops."+strings.Repeat("x", i+1)] = fairfile.Pool{Slots: 1, Due: 0.01}
	}
	var waits Waits
	waits.Add(1500 * time.Millisecond)
	waits.Add(time.Hour)
	var out strings.Builder
	WritePrometheus(&out, State{Leads: true, Lease: l}, waits, time.Now())
	text := out.String()
	require.Equal(t, mostLabels+1, strings.Count(text, "mlops_fair_project_slots{"))
	require.Contains(t, text, "mlops_fair_project_slots{project=\"(others)\"} 150\n")
	require.Contains(t, text, "mlops_fair_heat{level=\"fair\",measured=\"true\"} 1\n")
	require.Contains(t, text, "mlops_fair_wait_seconds_bucket{le=\"1\"} 0\nmlops_fair_wait_seconds_bucket{le=\"2\"} 1\n")
	require.Contains(t, text, "mlops_fair_wait_seconds_bucket{le=\"+Inf\"} 2\nmlops_fair_wait_seconds_sum 3601.5\n")
	require.True(t, slices.IsSorted(bounds[:]))
}
