package fair

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestWhatIsSpentIsExact(t *testing.T) {
	var l Ledger
	at := start
	for i := range 10_000 {
		next := at.Add(time.Duration(i%7)*time.Millisecond + 1)
		l.Use("a", 3, at, next, 0.5)
		at = next
	}
	require.Equal(t, 3*at.Sub(start), l.Spent["a"].SlotTime)
	require.InDelta(t, 5000, l.Spent["a"].Joules, 1e-6)
}

func TestADayTakesItsPartOfATask(t *testing.T) {
	var l Ledger
	evening := time.Date(2026, 1, 5, 23, 0, 0, 0, time.UTC)
	l.Use("a", 2, evening, evening.Add(30*time.Minute), 10)
	l.Use("a", 2, evening, evening.Add(4*time.Hour), 100)
	require.Equal(t, "2026-01-06", l.Day)
	require.Equal(t, map[string]Spent{"a": {6 * time.Hour, 75}}, l.Spent)
	l.Use("a", 1, evening, evening.Add(time.Minute), 1)
	require.Equal(t, 6*time.Hour+time.Minute, l.Spent["a"].SlotTime, "the clock was set back")
	l.Use("a", 1, evening.Add(time.Minute), evening, 1)
	require.Equal(t, 6*time.Hour+time.Minute, l.Spent["a"].SlotTime, "and nothing is taken back")
}

func TestAQuotaHoldsOnceItIsSpent(t *testing.T) {
	q := Quota{SlotHours: 1.5, WattHours: 2, MaxSlots: 3, Weight: 2, Priority: PriorityHigh}
	require.Equal(t, Project{Name: "a", Weight: 2, MaxSlots: 3, Priority: PriorityHigh}, q.Project("a", Spent{90*time.Minute - 1, 7199}))
	require.Equal(t, CauseQuota, q.Project("a", Spent{90 * time.Minute, 0}).Hold)
	require.Equal(t, "1.5 slot-hours a day are spent", q.Exhausted(Spent{90 * time.Minute, 0}))
	require.Equal(t, "2 watt-hours a day are spent", q.Exhausted(Spent{0, 7200}))
	require.Empty(t, Quota{}.Exhausted(Spent{math.MaxInt64, math.Inf(1)}))
	require.Empty(t, Quota{SlotHours: math.Inf(1)}.Exhausted(Spent{time.Hour, 0}))
}

func TestAProjectMayOnlyAskForLess(t *testing.T) {
	granted := Quota{Weight: 2, MaxSlots: 4, SlotHours: 10, Priority: PriorityNormal}
	for _, tt := range []struct{ asked, want Quota }{
		{Quota{}, granted},
		{Quota{Weight: 9, MaxSlots: 9, SlotHours: 90, Priority: PriorityUrgent}, granted},
		{Quota{Weight: 1, MaxSlots: 1, SlotHours: 1, QueuedRuns: 5, Priority: PriorityLow},
			Quota{Weight: 1, MaxSlots: 1, SlotHours: 1, QueuedRuns: 5, Priority: PriorityLow}},
		{Quota{MaxSlots: -1, Weight: -3, Priority: "king"}, granted},
	} {
		require.Equal(t, tt.want, granted.AtMost(tt.asked), "%+v", tt.asked)
	}
	require.Equal(t, Quota{Weight: 0.5}, Quota{}.AtMost(Quota{Weight: 0.5, Priority: PriorityHigh}))
}

func TestANeedIsSlots(t *testing.T) {
	mac := Capacity{Slots: 4, Memory: 24 << 30}
	for _, tt := range []struct {
		need Need
		want int
	}{
		{Need{}, 1}, {Need{Memory: 6 << 30}, 1}, {Need{Memory: 6<<30 + 1<<20}, 2}, {Need{Memory: 30 << 30}, 5},
		{Need{GPU: 0.5}, 2}, {Need{GPU: 1}, 4}, {Need{GPU: 0.25, Memory: 12 << 30}, 2},
	} {
		require.Equal(t, tt.want, mac.SlotsFor(tt.need), "%+v", tt.need)
	}
	require.Equal(t, 1, Capacity{Slots: 4}.SlotsFor(Need{Memory: 1 << 50}), "not known, not limited")
	mac.Reserved = 7 << 30
	require.Equal(t, 2, mac.Left())
	mac.Reserved = 99 << 30
	require.Zero(t, mac.Left())
	require.Equal(t, 4, Capacity{Slots: 4, Reserved: 1}.Left())
}

func TestAQuotaIsReadAsItIsWritten(t *testing.T) {
	for _, text := range []string{"", "slots=4", "weight=0.5 priority=low slots=2 slot-hours=1.5 queued-runs=20 watt-hours=50"} {
		q, err := ParseQuota(text)
		require.NoError(t, err)
		require.Equal(t, text, q.String())
	}
	q, err := ParseQuota(" slots=1,  priority=urgent")
	require.NoError(t, err)
	require.Equal(t, Quota{MaxSlots: 1, Priority: PriorityUrgent}, q)
	for _, text := range []string{"slots", "slots=", "slots=0", "slots=-1", "slots=1.5", "slots=99999999999", "weight=NaN", "weight=Inf",
		"weight=1e300", "slot-hours=-1", "priority=king", "priority=", "slot=1", "slots=1 slots=2"} {
		_, err := ParseQuota(text)
		require.ErrorIs(t, err, mlops.ErrInvalid, text)
	}
}

func TestAMachineThatSleptDidNotWork(t *testing.T) {
	now := time.Now() // with the clock that stands still in sleep: the wall clock alone moves
	woke := time.Date(now.Year(), now.Month(), now.Day()+1, 8, 0, 0, 0, now.Location())
	var l Ledger
	l.Use("p", 1, now, woke, 80)
	whole := woke.Sub(now.Round(0)).Seconds()
	require.InDelta(t, 80*8*3600/whole, l.Spent["p"].Joules, 1, "the part since midnight")
	require.LessOrEqual(t, l.Spent["p"].SlotTime, 8*time.Hour)
}
