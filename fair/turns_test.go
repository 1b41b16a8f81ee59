package fair

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// slots are the pools' sizes of the shares.
func slots(shares []Share) (out []int) {
	for _, s := range shares {
		out = append(out, s.Slots)
	}
	return out
}

func TestOneLookDividesByWeightAndDemand(t *testing.T) {
	for _, tt := range []struct {
		name     string
		budget   int
		rules    Rules
		projects []Project
		demand   []Demand
		want     []int
	}{
		{"a flooder alone has all", 4, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Ready: 200}}, []int{4, 0}},
		{"without demand each keeps a slot to start with", 4, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}, {Name: "c"}}, []Demand{{Project: "a", Running: 1, Slots: 1}}, []int{2, 1, 1}},
		{"two have half each", 4, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Ready: 9}, {Project: "b", Ready: 9}}, []int{2, 2}},
		{"what one does not want the other has", 4, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Ready: 9}, {Project: "b", Ready: 1}}, []int{3, 1}},
		{"by weight", 7, Rules{},
			[]Project{{Name: "a", Weight: 4}, {Name: "b", Weight: 2}, {Name: "c"}},
			[]Demand{{Project: "a", Ready: 9}, {Project: "b", Ready: 9}, {Project: "c", Ready: 9}}, []int{4, 2, 1}},
		{"what runs is not taken, but not filled again", 4, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Slots: 4, Running: 4, Ready: 9}, {Project: "b", Ready: 9}}, []int{2, 0}},
		{"with overlap it is promised", 4, Rules{Overlap: true},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Slots: 4, Running: 4, Ready: 9}, {Project: "b", Ready: 9}}, []int{2, 2}},
		{"what starts before the decision is in force counts as running", 2, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Slots: 2, Ready: 9}, {Project: "b", Ready: 9}}, []int{1, 0}},
		{"most slots at once", 4, Rules{},
			[]Project{{Name: "a", MaxSlots: 1}, {Name: "b"}}, []Demand{{Project: "a", Ready: 9}, {Project: "b", Ready: 9}}, []int{1, 3}},
		{"on hold", 4, Rules{},
			[]Project{{Name: "a", Hold: CauseQuota}, {Name: "b"}}, []Demand{{Project: "a", Ready: 9, Running: 1}, {Project: "b", Ready: 9}}, []int{0, 3}},
		{"a task of three slots", 4, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Ready: 3, Next: 3}, {Project: "b", Ready: 9}}, []int{3, 1}},
		{"slots are kept for it while others end", 4, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Ready: 3, Next: 3}, {Project: "b", Slots: 4, Running: 3, Ready: 9}}, []int{0, 1}},
		{"urgent goes first in half", 4, Rules{},
			[]Project{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "u", Priority: PriorityUrgent}},
			[]Demand{{Project: "a", Ready: 9}, {Project: "b", Ready: 9}, {Project: "c", Ready: 9}, {Project: "u", Ready: 9}}, []int{1, 1, 0, 2}},
		{"nothing at critical", 0, Rules{Max: 4},
			[]Project{{Name: "a"}, {Name: "b"}}, []Demand{{Project: "a", Ready: 9, Running: 2}}, []int{0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var turns Turns
			require.Equal(t, tt.want, slots(turns.Divide(start, tt.budget, tt.projects, tt.demand, tt.rules)))
		})
	}
}

func TestAWaitHasItsCause(t *testing.T) {
	for _, tt := range []struct {
		name    string
		budget  int
		project Project
		demand  Demand
		cause   Cause
		before  int
	}{
		{"no wait", 4, Project{Name: "a"}, Demand{Ready: 1}, "", 0},
		{"the day is spent", 4, Project{Name: "a", Hold: CauseQuota}, Demand{Ready: 1}, CauseQuota, 0},
		{"all that it may hold", 4, Project{Name: "a", MaxSlots: 1}, Demand{Running: 1, Ready: 1}, CauseQuota, 0},
		{"too much for its quota", 4, Project{Name: "a", MaxSlots: 1}, Demand{Ready: 2, Next: 2}, CauseQuota, 0},
		{"too much for the machine", 4, Project{Name: "a"}, Demand{Ready: 5, Next: 5}, CauseMemory, 0},
		{"too much while it is hot", 2, Project{Name: "a"}, Demand{Ready: 3, Next: 3}, CauseHeat, 0},
		{"critical", 0, Project{Name: "a"}, Demand{Ready: 1}, CauseHeat, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var turns Turns
			tt.demand.Project = "a"
			got := turns.Divide(start, tt.budget, []Project{tt.project}, []Demand{tt.demand}, Rules{Max: 4})[0]
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, tt.before, got.Before)
		})
	}
	t.Run("turns", func(t *testing.T) {
		var turns Turns
		var projects []Project
		var demand []Demand
		for _, name := range []string{"a", "b", "c", "d"} {
			projects = append(projects, Project{Name: name})
			demand = append(demand, Demand{Project: name, Ready: 5})
		}
		got := turns.Divide(start, 2, projects, demand, Rules{Quantum: time.Second})
		for i, want := range []Share{
			{Project: "a", Slots: 1, Due: 0.5},
			{Project: "b", Slots: 1, Due: 0.5},
			{Project: "c", Due: 0.5, Cause: CauseTurn, Before: 2, Expected: 1500 * time.Millisecond},
			{Project: "d", Due: 0.5, Cause: CauseTurn, Before: 3, Expected: 2 * time.Second},
		} {
			require.Equal(t, want, got[i])
		}
	})
}

// pools plays looks one second apart with tasks that take so many looks, and
// returns the slot-seconds that each project had.
func pools(turns *Turns, budget, looks int, projects []Project, takes []int, rules Rules) []int {
	running := make([][]int, len(projects))
	shares := make([]Share, len(projects))
	had := make([]int, len(projects))
	begun := make([]int, len(projects))
	for look := range looks {
		demand := make([]Demand, len(projects))
		for i, p := range projects {
			demand[i] = Demand{Project: p.Name, Slots: shares[i].Slots, Running: len(running[i]), Ready: 10000 - begun[i]}
		}
		shares = turns.Divide(start.Add(time.Duration(look)*time.Second), budget, projects, demand, rules)
		for i := range projects {
			for len(running[i]) < shares[i].Slots {
				running[i] = append(running[i], takes[i])
				begun[i]++
			}
			had[i] += len(running[i])
			left := running[i][:0]
			for _, n := range running[i] {
				if n > 1 {
					left = append(left, n-1)
				}
			}
			running[i] = left
		}
	}
	return had
}

func TestSharesOverTimeFollowTheWeights(t *testing.T) {
	var turns Turns
	had := pools(&turns, 4, 700, []Project{{Name: "a", Weight: 4}, {Name: "b", Weight: 2}, {Name: "c"}}, []int{1, 1, 1}, Rules{Overlap: true})
	require.InDelta(t, 1600, had[0], 16)
	require.InDelta(t, 800, had[1], 16)
	require.InDelta(t, 400, had[2], 16)
}

func TestLongTasksGetNoMoreThanShortOnes(t *testing.T) {
	for _, budget := range []int{1, 3, 4} {
		var turns Turns
		had := pools(&turns, budget, 2000, []Project{{Name: "long"}, {Name: "short"}}, []int{20, 1}, Rules{Overlap: true})
		require.InEpsilon(t, float64(had[0]), float64(had[1]), 0.06, "budget %d: %v", budget, had)
	}
}

func TestIdleTimeEarnsNothing(t *testing.T) {
	var turns Turns
	projects := []Project{{Name: "early"}, {Name: "late"}}
	one := func(look, running int, late Demand) []int {
		late.Project = "late"
		return slots(turns.Divide(start.Add(time.Duration(look)*time.Second), 2, projects,
			[]Demand{{Project: "early", Slots: running, Running: running, Ready: 50}, late}, Rules{}))
	}
	for look := range 100 {
		one(look, 2, Demand{})
	}
	early, late := 0, 0
	shares := one(100, 0, Demand{Ready: 50})
	for look := 101; look < 121; look++ {
		early, late = early+shares[0], late+shares[1]
		shares = one(look, shares[0], Demand{Slots: shares[1], Running: shares[1], Ready: 50})
	}
	require.InDelta(t, early, late, 3, "the late one has no claim for the time before it came")
}

func TestAnOpenSlotThatIsNeverTakenIsCharged(t *testing.T) {
	var turns Turns
	projects := []Project{{Name: "a-stuck"}, {Name: "b"}}
	stuck, b := 0, 0
	shares := make([]Share, 2)
	for look := range 200 {
		shares = turns.Divide(start.Add(time.Duration(look)*time.Second), 1, projects, []Demand{
			{Project: "a-stuck", Slots: shares[0].Slots, Ready: 9},
			{Project: "b", Slots: shares[1].Slots, Running: 0, Ready: 1000 - b},
		}, Rules{})
		stuck += shares[0].Slots
		b += shares[1].Slots
	}
	require.Greater(t, b, 50, "a project whose tasks cannot start holds only itself")
	require.Greater(t, stuck, 20, "and keeps its turns")
}

func TestStateIsKeptAsJSON(t *testing.T) {
	var turns, again Turns
	projects := []Project{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	pools(&turns, 2, 50, projects, []int{3, 1, 2}, Rules{})
	b, err := json.Marshal(turns)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &again))
	require.Equal(t, pools(&turns, 2, 50, projects, []int{3, 1, 2}, Rules{}), pools(&again, 2, 50, projects, []int{3, 1, 2}, Rules{}))
}

func TestAClockThatJumpsChangesNoOrder(t *testing.T) {
	var turns Turns
	projects := []Project{{Name: "a"}, {Name: "b"}}
	demand := []Demand{{Project: "a", Slots: 1, Running: 1, Ready: 9}, {Project: "b", Slots: 1, Running: 1, Ready: 9}}
	now := start
	for _, jump := range []time.Duration{time.Second, 10 * time.Minute, -time.Hour, 300 * 24 * time.Hour, -1, time.Second} {
		now = now.Add(jump)
		require.Equal(t, []int{1, 1}, slots(turns.Divide(now, 2, projects, demand, Rules{})))
	}
	require.Less(t, turns.Virtual, 60.0)
}

func TestNoLookIsAboveTheBudgetOrLeavesWorkWaiting(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var turns Turns
		n := 1 + rnd.IntN(20)
		projects := make([]Project, n)
		demand := make([]Demand, n)
		for i := range projects {
			projects[i] = Project{Name: fmt.Sprint("p", i), Weight: rnd.Float64() * 4, MaxSlots: rnd.IntN(4),
				Priority: Priorities[rnd.IntN(4)]}
		}
		now := start
		for range 30 {
			budget := rnd.IntN(9)
			for i, p := range projects {
				demand[i].Project = p.Name
				demand[i].Ready = max(0, rnd.IntN(12)-6)
				demand[i].Running = max(0, demand[i].Running-rnd.IntN(3))
			}
			now = now.Add(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			shares := turns.Divide(now, budget, projects, demand, Rules{})
			held, before, waits := 0, 0, false
			for i, s := range shares {
				before += max(demand[i].Running, min(demand[i].Slots, demand[i].Running+demand[i].Ready))
				held += max(s.Slots, demand[i].Running, min(demand[i].Slots, demand[i].Running+demand[i].Ready))
				limit := projects[i].limit(budget)
				waits = waits || demand[i].Ready > 0 && s.Slots < min(limit, demand[i].Running+demand[i].Ready) &&
					demand[i].Slots <= s.Slots
				require.LessOrEqual(t, s.Slots, limit)
			}
			require.LessOrEqual(t, held, max(budget, before), "seed %d", seed)
			if waits {
				require.GreaterOrEqual(t, held, budget, "seed %d: a slot is idle beside a task that waits", seed)
			}
			for i, s := range shares {
				demand[i].Running += max(0, min(demand[i].Ready, s.Slots-demand[i].Running))
				demand[i].Slots = s.Slots
			}
		}
	}
}

func BenchmarkDivide(b *testing.B) {
	for _, n := range []int{14, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 2))
			projects := make([]Project, n)
			demand := make([]Demand, n)
			for i := range projects {
				projects[i] = Project{Name: fmt.Sprint("project-", i), Weight: 1 + rnd.Float64(), Priority: Priorities[rnd.IntN(4)]}
				demand[i] = Demand{Project: projects[i].Name, Ready: 1 + rnd.IntN(200)}
			}
			var turns Turns
			now := start
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Second)
				turns.Divide(now, 8, projects, demand, Rules{})
			}
		})
	}
}
