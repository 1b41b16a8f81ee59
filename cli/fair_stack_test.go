package cli_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// crowd is projects that want more of the machine than it has: the first floods
// it, the others come with a little work each.
type crowd struct {
	*client.Client
	s    *stackSuite
	dir  string
	mark string // that the names of this crowd's projects begin with
	n    int    // projects
}

const (
	crowdSlots = 4 // of the machine
	crowdFlood = 150
)

func newCrowd(t *testing.T, s *stackSuite, n int) *crowd {
	c, err := client.Open(t.Context(), client.WithHome(s.home), client.In(t.TempDir()))
	require.NoError(t, err)
	f := &crowd{c, s, c.Config.DAGs, fmt.Sprintf("fair%04x", rand.Uint32()&0xffff), n}
	s.ctl(t, 0, "fair", "slots", fmt.Sprint(crowdSlots))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		var pools []string
		for i := range n {
			_ = airflow.RemoveDAG(f.dir, f.dag(i), "")
			pools = append(pools, f.pool(i))
		}
		for r, err := range f.Airflow.Runs.All(ctx, f.dag(0), airflow.DAGRunQuery{}) {
			if err == nil && !r.State.Done() {
				_, _ = f.Airflow.Runs.SetState(ctx, r.DAGID, r.ID, airflow.StateFailed)
			}
		}
		_, _ = f.Airflow.Pools.DeleteAll(ctx, pools)
		require.NoError(t, fairfile.WriteSlots(s.home, 0))
		require.NoError(t, f.Close())
	})
	for i := range n {
		p, err := f.Project(f.name(i))
		require.NoError(t, err)
		pool := p.Workspace().AirflowPool
		require.Equal(t, f.pool(i), pool)
		require.NoError(t, f.Airflow.Pools.Create(t.Context(), airflow.Pool{Name: pool, Slots: 4, Description: "project " + p.Name}))
		d := airflow.DAGSpec{ID: f.dag(i), Pool: pool, Tasks: []airflow.TaskSpec{{ID: "t0", Bash: "sleep 1"}}}
		for j := 1; i == 0 && j < crowdFlood; j++ {
			d.Tasks = append(d.Tasks, airflow.TaskSpec{ID: fmt.Sprintf("t%d", j), Bash: "sleep 1"})
		}
		_, err = airflow.WriteDAG(f.dir, d)
		require.NoError(t, err)
	}
	until(t, 2*time.Minute, "Airflow has the DAGs of all projects", func() bool {
		for i := range n {
			if dag, err := f.Airflow.DAGs.Get(t.Context(), f.dag(i)); err != nil || dag.Paused {
				return false
			}
		}
		return true
	})
	return f
}

func (f *crowd) name(i int) string { return fmt.Sprintf("%s-%02d", f.mark, i) }
func (f *crowd) pool(i int) string { return "mlops." + f.name(i) }
func (f *crowd) dag(i int) string  { return f.name(i) + ".work" }

// trigger starts a run with a date: runs without one are in no order of time.
func (f *crowd) trigger(t *testing.T, i int) (runID string) {
	t.Helper()
	run, err := f.Airflow.Trigger(t.Context(), f.dag(i), airflow.TriggerOptions{LogicalDate: time.Now().UTC().Truncate(time.Millisecond)})
	require.NoError(t, err)
	return run.ID
}

// taken is how many slots the tasks of the crowd have, and the smallest number
// that one of its pools has.
func (f *crowd) taken(t *testing.T) (sum, least int) {
	t.Helper()
	least = crowdSlots
	for p, err := range f.Airflow.Pools.All(t.Context()) {
		require.NoError(t, err)
		if strings.HasPrefix(p.Name, "mlops."+f.mark) {
			sum += p.Running + p.Queued
			least = min(least, p.Slots)
		}
	}
	return sum, least
}

// sample looks at the pools five times a second for a while, and calls each with
// what it sees.
func (f *crowd) sample(t *testing.T, d time.Duration, each func(at time.Duration, taken int)) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < d {
		taken, _ := f.taken(t)
		each(time.Since(began), taken)
		<-tick.C
	}
}

// starts are the times at which tasks of each project began, in order.
func (f *crowd) starts(t *testing.T) [][]time.Time {
	t.Helper()
	out := make([][]time.Time, f.n)
	for i := range f.n {
		for task, err := range f.Airflow.Tasks.Search(t.Context(), airflow.TaskSearch{DAGs: []string{f.dag(i)}}) {
			require.NoError(t, err)
			if !task.Start.IsZero() {
				out[i] = append(out[i], task.Start)
			}
		}
		slices.SortFunc(out[i], time.Time.Compare)
	}
	return out
}

// since is how many tasks began after a time.
func (f *crowd) since(t *testing.T, at time.Time) (n int) {
	for _, list := range f.starts(t) {
		for _, start := range list {
			if start.After(at) {
				n++
			}
		}
	}
	return n
}

// jain is Jain's index of what each got, over its part of a max-min division of
// the same sum: 1 is fair, 1/n is all for one.
func jain(got, wanted []int) float64 {
	left, open := 0, 0
	for _, n := range got {
		left += n
	}
	due := make([]float64, len(got))
	order := make([]int, len(got))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return wanted[a] - wanted[b] })
	rest := float64(left)
	open = len(got)
	for _, i := range order {
		due[i] = min(float64(wanted[i]), rest/float64(open))
		rest -= due[i]
		open--
	}
	var sum, squares float64
	for i := range got {
		x := float64(got[i]) / due[i]
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(got)) * squares)
}

func TestJainsIndexKnowsWhatWasDue(t *testing.T) {
	require.InDelta(t, 1, jain([]int{60, 3, 3}, []int{200, 3, 3}), 1e-9, "the others had all that they wanted")
	require.InDelta(t, 1, jain([]int{2, 2, 2}, []int{200, 3, 3}), 1e-9)
	require.InDelta(t, 1.0/3, jain([]int{60, 0, 0}, []int{200, 3, 3}), 1e-9)
}

// share is a round of a minute: one project floods the machine, thirteen come
// with three tasks each.
func (s *stackSuite) share(t *testing.T) {
	const round = time.Minute
	f := newCrowd(t, s, 14)
	f.trigger(t, 0)
	until(t, time.Minute, "the flood has all slots", func() bool { n, _ := f.taken(t); return n == crowdSlots })
	came := time.Now()
	triggered := make(chan error, 1)
	ctx := t.Context()
	go func() {
		for wave := range 3 {
			for i := 1; i < f.n; i++ {
				date := came.Add(time.Duration(wave*f.n+i) * time.Millisecond).UTC()
				if _, err := f.Airflow.Trigger(ctx, f.dag(i), airflow.TriggerOptions{LogicalDate: date}); err != nil {
					triggered <- err
					return
				}
			}
		}
		triggered <- nil
	}()
	over, samples, sum := 0, 0, 0
	for lasts := round; lasts > 0; { // on a slow machine until there was enough to divide
		f.sample(t, lasts, func(_ time.Duration, taken int) {
			samples++
			sum += taken
			if taken > crowdSlots {
				over++
				t.Logf("%d slots are taken, of %d", taken, crowdSlots)
			}
		})
		lasts = 0
		if f.since(t, came) < 3*f.n && time.Since(came) < 4*round {
			lasts = 10 * time.Second
		}
	}
	ended := time.Now()
	require.NoError(t, <-triggered)
	got, wanted := make([]int, f.n), make([]int, f.n)
	var first []time.Duration
	for i, list := range f.starts(t) {
		wanted[i] = 3
		if i == 0 {
			wanted[i] = crowdFlood
		}
		for _, at := range list {
			if at.After(came) && at.Before(ended) {
				if got[i]++; got[i] == 1 && i > 0 {
					first = append(first, at.Sub(came).Round(100*time.Millisecond))
				}
			}
		}
	}
	slices.Sort(first)
	index := jain(got, wanted)
	t.Logf("Jain %.2f, %d of %d samples over the budget, %.2f slots taken on average; starts %v; the first of each %v", index, over, samples, float64(sum)/float64(samples), got, first)
	require.Zero(t, over, "samples over the budget")
	require.Len(t, first, f.n-1, "a project has not had its turn: %v", got)
	require.GreaterOrEqual(t, index, 0.85)
}

// hot is a machine that gets hot and cool again, and an agent that is killed
// meanwhile, several times.
func (s *stackSuite) hot(t *testing.T) {
	f := newCrowd(t, s, 3)
	s.ctl(t, 0, "quota", "set", f.name(1), "queued-runs=1")
	s.ctl(t, 0, "quota", "set", f.name(2), "slot-hours=0.0001") // 0.36 s
	f.trigger(t, 0)
	until(t, time.Minute, "the flood has all slots", func() bool { n, _ := f.taken(t); return n == crowdSlots })
	for _, tt := range []struct {
		state  string
		budget int
	}{{"serious", 2}, {"critical", 0}} {
		s.ctl(t, 0, "heat", "set", tt.state, "--for", "1h")
		until(t, 30*time.Second, "the agent knows", func() bool { return s.lease(t).Budget == tt.budget })
		until(t, 30*time.Second, "running tasks ended", func() bool { n, _ := f.taken(t); return n <= tt.budget })
		f.sample(t, 5*time.Second, func(_ time.Duration, taken int) {
			require.LessOrEqual(t, taken, tt.budget, tt.state)
		})
	}
	p, err := f.Project(f.name(1))
	require.NoError(t, err)
	waits := f.trigger(t, 1)
	until(t, time.Minute, "Explain says that it is the heat", func() bool {
		causes, err := p.Explain(t.Context(), "work", waits, "")
		require.NoError(t, err)
		return len(causes) > 0 && causes[0].Code == airflow.CauseHeat
	})
	until(t, 2*time.Minute, "the agent knows the quota", func() bool { return s.lease(t).Pools[f.pool(1)].QueuedRuns == 1 })
	require.NoError(t, f.Airflow.DAGs.Pause(t.Context(), f.dag(1))) // its runs stay queued
	_, err = p.Trigger(t.Context(), "work", airflow.TriggerOptions{})
	require.NoError(t, err)
	_, err = p.Trigger(t.Context(), "work", airflow.TriggerOptions{})
	require.ErrorIs(t, err, mlops.ErrRateLimited)
	require.NoError(t, f.Airflow.DAGs.Unpause(t.Context(), f.dag(1)))
	s.ctl(t, 0, "quota", "set", f.name(1))
	epoch := s.lease(t).Epoch
	for range 3 { // the supervisor waits longer before each restart
		<-time.After(rand.N(500 * time.Millisecond)) // any point of its work
		require.NoError(t, syscall.Kill(s.service(t, "agent").PID, syscall.SIGKILL))
		until(t, time.Minute, "another agent leads", func() bool { l := s.lease(t); return l.Epoch > epoch && l.Held(time.Now()) })
		epoch = s.lease(t).Epoch
		require.Zero(t, s.lease(t).Budget, "a new agent does not forget that the machine is hot")
	}
	running := func() bool { n, _ := f.taken(t); return n > 0 }
	based := func() bool { _, least := f.taken(t); return least == 4 }

	// An agent that hangs is not restarted, and its lease expires.
	hangs := s.service(t, "agent").PID
	require.NoError(t, syscall.Kill(hangs, syscall.SIGSTOP))
	l := s.lease(t)
	l.Expires = time.Now().Add(-time.Second) // two minutes are over
	require.NoError(t, fairfile.WriteLease(s.home, l))
	until(t, time.Minute, "the supervisor gives each project its base", based)
	until(t, time.Minute, "tasks run again", running)
	require.NoError(t, syscall.Kill(hangs, syscall.SIGCONT))
	until(t, time.Minute, "the agent is there again, and the machine still hot", func() bool { return !running() })

	s.ctl(t, 0, "heat", "clear")
	s.ctl(t, 0, "stop", "agent")
	require.True(t, based(), "an agent that ends in order leaves each project its base")
	s.ctl(t, 0, "start", "agent")
	until(t, time.Minute, "an agent leads", func() bool { return s.lease(t).Held(time.Now()) })

	out := s.ctl(t, 0, "dag", "trigger", "work", "-p", f.name(2), "--wait", "--wait-timeout", "2m")
	require.NotEmpty(t, out, "a task of a second is more than the quota, and it ends")
	_, stderr, code := run(t, "mlopsctl", "dag", "trigger", "work", "-p", f.name(2), "--wait", "--wait-timeout", "20s")
	require.Equal(t, 14, code, stderr)
	require.Contains(t, stderr, "the project has what its quota allows")
	s.ctl(t, 0, "quota", "set", f.name(2))
}

func (s *stackSuite) lease(t *testing.T) fairfile.Lease {
	t.Helper()
	l, err := fairfile.ReadLease(s.home)
	require.NoError(t, err)
	return l
}
