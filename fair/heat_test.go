package fair

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// budgets gives the steerer a reading for each second and returns what it decided.
func budgets(h *Heat, from time.Time, readings ...Reading) (out []int) {
	for i, r := range readings {
		out = append(out, h.Budget(from.Add(time.Duration(i)*time.Second), r).Slots)
	}
	return out
}

func repeat(r Reading, n int) (out []Reading) {
	for range n {
		out = append(out, r)
	}
	return out
}

func TestEachLevelHasItsBudget(t *testing.T) {
	for _, tt := range []struct {
		max  int
		r    Reading
		want int
	}{
		{4, Reading{}, 4},
		{4, Reading{Level: LevelNominal}, 4},
		{4, Reading{Level: LevelFair}, 3},
		{4, Reading{Level: LevelSerious}, 2},
		{4, Reading{Level: LevelCritical}, 0},
		{1, Reading{Level: LevelFair}, 1},
		{1, Reading{Level: LevelSerious, LowPower: true}, 1},
		{8, Reading{LowPower: true}, 4},
		{8, Reading{Battery: 0.19}, 4},
		{8, Reading{Battery: 0.2}, 8},
		{8, Reading{Level: LevelSerious, LowPower: true}, 2},
		{8, Reading{Level: "warm"}, 8},
	} {
		h := Heat{Max: tt.max}
		require.Equal(t, tt.want, h.Budget(start, tt.r).Slots, "%d, %+v", tt.max, tt.r)
	}
	h := Heat{Max: 4}
	require.Equal(t, Decision{Slots: 4, Level: LevelNominal, Reason: "not measured"}, h.Budget(start, Reading{}))
	require.Equal(t, Decision{Slots: 2, Level: LevelSerious, Measured: true, Cause: CauseHeat, Reason: "serious"},
		h.Budget(start, Reading{Level: LevelSerious}))
}

func TestDownAtOnceAndUpAStepAMinute(t *testing.T) {
	h := Heat{Max: 8}
	got := budgets(&h, start, append([]Reading{{Level: LevelCritical}}, repeat(Reading{Level: LevelNominal}, 200)...)...)
	want := append(append(append(repeatInt(0, 60), repeatInt(4, 60)...), repeatInt(6, 60)...), repeatInt(8, 21)...)
	require.Equal(t, want, got)
}

func repeatInt(v, n int) (out []int) {
	for range n {
		out = append(out, v)
	}
	return out
}

func TestASourceThatFlapsChangesTheBudgetTwiceAMinuteAtMost(t *testing.T) {
	for _, low := range []bool{false, true} {
		h := Heat{Max: 8}
		last, changes := 8, 0
		for i := range 6000 {
			r := Reading{Level: Levels[i%4], LowPower: low && i%3 == 0}
			if got := h.Budget(start.Add(time.Duration(i)*100*time.Millisecond), r).Slots; got != last {
				last, changes = got, changes+1
			}
		}
		require.LessOrEqual(t, changes, 4, "in ten minutes, and down only")
		require.Zero(t, last)
	}
}

func TestAJumpOfTheClockNeitherHeatsNorCools(t *testing.T) {
	h := Heat{Max: 8}
	now := start
	require.Equal(t, 4, h.Budget(now, Reading{Level: LevelSerious}).Slots)
	for _, jump := range []time.Duration{10 * time.Minute, -time.Hour, 48 * time.Hour, -1} {
		now = now.Add(jump)
		require.Equal(t, 4, h.Budget(now, Reading{Level: LevelNominal}).Slots, jump.String())
	}
	require.Equal(t, 8, budgets(&h, now, repeat(Reading{Level: LevelNominal}, 121)...)[120])
}

func TestADaysEnergyIsSpentAndNotMore(t *testing.T) {
	for _, watts := range []float64{2, 5, 30} {
		// a day of an hour: 8 slots of so many watts would need far more
		h := Heat{Max: 8, Joules: 20_000, Day: time.Hour}
		spent, slots, ups := 0.0, 8, 0
		for i := range 3600 {
			spent += float64(slots) * watts
			next := h.Budget(start.Add(time.Duration(i)*time.Second), Reading{Spent: spent, Watts: float64(slots) * watts, Running: slots}).Slots
			if next > slots {
				ups++
			}
			slots = next
		}
		require.InEpsilon(t, 20_000, spent, 0.05)
		require.Zero(t, slots)
		require.Zero(t, ups)
		d := h.Budget(start.Add(time.Hour), Reading{Spent: 20_001})
		require.Equal(t, CauseEnergy, d.Cause)
		require.Equal(t, "100 % of the day's energy is spent", d.Reason)
		require.Equal(t, min(8, int(20_000/(watts*150))), budgets(&h, start.Add(time.Hour+time.Second), repeat(Reading{}, 482)...)[481], "a new day")
	}
}
