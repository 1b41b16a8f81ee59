package sim

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// number is a count that a soak sets, or the one of every day.
func number(t *testing.T, name string, everyDay uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return everyDay
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return n
}

func TestEachSeedHoldsWhatSharesPromise(t *testing.T) {
	first := number(t, "MLOPS_SEED", 0)
	var heat, lost, deaths, spent, tasks int
	for seed := first; seed < first+number(t, "MLOPS_SIM_SEEDS", 64); seed++ {
		r := Run(Config{Seed: seed, Projects: 20, Tasks: 400, Budget: 6})
		require.Empty(t, r.Faults, "seed %d", seed)
		heat, lost, deaths, spent, tasks = heat+r.Budgets, lost+r.Lost, deaths+r.Deaths, spent+r.Quotas, tasks+r.Tasks
	}
	require.NotZero(t, heat)
	require.NotZero(t, lost)
	require.NotZero(t, deaths)
	require.NotZero(t, spent)
	t.Logf("%d tasks, %d changes of the budget, %d lost updates, %d deaths, %d spent quotas", tasks, heat, lost, deaths, spent)
}

func TestASeedIsAlwaysTheSame(t *testing.T) {
	var first, again []Record
	a := Run(Config{Seed: 7, Projects: 10, Tasks: 200, Budget: 4, Each: func(r *Record) { first = append(first, *r) }})
	b := Run(Config{Seed: 7, Projects: 10, Tasks: 200, Budget: 4, Each: func(r *Record) { again = append(again, *r) }})
	require.Equal(t, a, b)
	require.Equal(t, first, again)
	require.Len(t, first, 200+200+a.Runs)
}
