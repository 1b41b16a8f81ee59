package drift

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// window is n columns of so many rows, the first of them moved.
func window(r *rand.Rand, columns, rows int, moved float64) []Column {
	out := make([]Column, columns)
	for i := range out {
		v := make([]float64, rows)
		for k := range v {
			v[k] = r.NormFloat64()
			if i == 0 {
				v[k] += moved
			}
		}
		out[i] = Numbers(fmt.Sprintf("n%d", i), v)
	}
	return out
}

// TestChanceDoesNotFireTheDefaultRule watches equal columns, and then columns of
// which one moves by half a standard deviation. MLOPS_SOAK has all 100 windows
// of 200 columns, and 20 of the others.
func TestChanceDoesNotFireTheDefaultRule(t *testing.T) {
	windows, shifts := 4, 2
	if os.Getenv("MLOPS_SOAK") != "" {
		windows, shifts = 100, 20
	}
	r := rand.New(rand.NewPCG(18, 0))
	rule := DefaultRule()
	rule.Important = []string{"n0", "n7"}
	ref, fired, theirs := window(r, 200, 900, 0), 0, 0
	for range windows {
		cur := window(r, 200, 900, 0)
		rep, err := Compare(ref, cur, rule)
		require.NoError(t, err)
		require.Len(t, rep.Columns, 200)
		if rep.Drifted {
			fired++
		}
		for _, c := range rep.Columns {
			if c.Value <= c.Threshold { // as Evidently judges
				theirs++
			}
		}
		require.Empty(t, rep.Findings)
	}
	require.Zero(t, fired, "windows of equal data")
	require.Positive(t, theirs, "Evidently's own rule flags columns of equal data")
	for range shifts {
		rep, err := Compare(ref, window(r, 200, 900, 0.5), rule)
		require.NoError(t, err)
		require.True(t, rep.Drifted, "the first window of a shift")
		require.Equal(t, []string{"n0"}, rep.Important)
		require.Less(t, rep.Share, rule.Share, "of the columns too few: it is the important one that counts")
	}
	t.Logf("%d windows of 200 equal columns: fired %d, Evidently's rule flagged %d columns; %d windows with a shift: fired all", windows, fired, theirs, shifts)
}

func TestAdjustedPValuesAreThoseOfBenjaminiAndHochberg(t *testing.T) {
	// scipy.stats.false_discovery_control([0.01, 0.04, 0.03, 0.005, 0.9])
	want := []float64{0.025, 0.05, 0.05, 0.025, 0.9}
	var results []Result
	for _, p := range []float64{0.01, 0.04, 0.03, 0.005, 0.9} {
		results = append(results, Result{Method: KS, Kind: KindPValue, Value: p, Threshold: 0.05, Drifted: p <= 0.05})
	}
	results = append(results, Result{Method: PSI, Kind: KindDistance, Value: 0.2, Threshold: 0.1, Drifted: true})
	Adjust(results)
	for i, p := range want {
		require.InDelta(t, p, *results[i].Adjusted, 1e-15)
		require.Equal(t, p <= 0.05, results[i].Drifted)
	}
	require.True(t, results[5].Drifted)
	require.Nil(t, results[5].Adjusted)
	other := []Result{{Method: "of a program's own", Kind: KindPValue, Value: 0.01, Drifted: true}, {Method: KS, Kind: KindPValue, Threshold: 0.05}}
	Adjust(other)
	require.Equal(t, Result{Method: "of a program's own", Kind: KindPValue, Value: 0.01, Drifted: true}, other[0])
	require.Zero(t, *other[1].Adjusted, "and not nil")
}

func TestARuleDecidesWhatCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	ref, moved := window(r, 4, 300, 0), window(r, 4, 300, 3)
	report := func(rule Rule) Report {
		t.Helper()
		rep, err := Compare(ref, moved, rule)
		require.NoError(t, err)
		return rep
	}
	require.True(t, report(Rule{}).Drifted, "any column")
	require.True(t, report(Rule{Share: 0.25}).Drifted)
	require.False(t, report(Rule{Share: 0.26}).Drifted)
	require.True(t, report(Rule{Share: 0.26, Important: []string{"n0"}}).Drifted)
	require.False(t, report(Rule{Share: 0.26, Important: []string{"n1"}}).Drifted)
	ignored := report(Rule{Ignore: []string{"n0"}})
	require.False(t, ignored.Drifted)
	require.Len(t, ignored.Columns, 3)
	require.Equal(t, PSI, report(Rule{Columns: map[string]Options{"n1": {Method: PSI}}}).Columns[1].Method)

	few := report(Rule{MinRows: 301})
	require.True(t, few.TooFew)
	require.False(t, few.Drifted)
	require.Empty(t, few.Columns)
	require.Equal(t, CheckRows, few.Findings[0].Check)
	moved[0] = Numbers("n0", append(normals(1, 5, 9), slices.Repeat([]float64{math.NaN()}, 295)...))
	few = report(Rule{MinRows: 100})
	require.False(t, few.Drifted)
	require.Equal(t, []Skipped{{"n0", "it has 5 values on a side, too few of the 100 that a verdict needs"}}, few.Skipped)
	require.Equal(t, CheckMissing, few.Findings[0].Check)

	_, err := Compare(ref, moved, Rule{Important: []string{"typo"}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	other, err := Compare(ref[:2], moved[1:3], Rule{})
	require.NoError(t, err)
	require.Equal(t, []Finding{MissingColumn("n0")}, other.Findings)
	lost, err := Compare(ref[:2], moved[1:3], Rule{Important: []string{"n0", "n1"}})
	require.NoError(t, err)
	require.Equal(t, []string{"n0"}, lost.Unjudged)
	require.Equal(t, []Skipped{{"n2", "the reference does not have it"}}, other.Skipped)
	words, err := Compare([]Column{Categories("n0", []string{"a", "b"}, 0)}, ref[:1], Rule{})
	require.NoError(t, err)
	require.Contains(t, words.Skipped[0].Reason, "categorical in the reference and numerical")
}

func TestReportsOfProfilesAreThoseOfTheData(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 0))
	ref, cur := window(r, 6, 2000, 0), window(r, 6, 1500, 1)
	ref, cur = append(ref, Categories("w", []string{"a", "b", "a"}, 1997)), append(cur, Categories("w", []string{"a", "c", "c"}, 1497))
	want, err := Compare(ref, cur, DefaultRule())
	require.NoError(t, err)
	var a, b []Column
	for i := range ref {
		a, b = append(a, profiled(t, ref[i])), append(b, profiled(t, cur[i]))
	}
	for _, current := range [][]Column{cur, b} {
		got, err := Compare(a, current, DefaultRule())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestWhatIsWrongWithDataIsFound(t *testing.T) {
	numbers, integers := Numbers("c", normals(1, 1000, 0)), Integers("c", []int64{1, 2, 3, 1, 2, 3, 1, 2, 3})
	words := Counted("c", map[string]int{"a": 500, "b": 499, "rare": 1}, 0)
	unparsed := func(n int) Column {
		c := Numbers("c", append(normals(2, 1000-n, 0), slices.Repeat([]float64{math.NaN()}, n)...))
		c.Unparsed = n
		return c
	}
	for name, tt := range map[string]struct {
		ref, cur Column
		want     []Check
		value    float64
	}{
		"nothing":               {numbers, Numbers("c", normals(3, 1000, 0)), nil, 0},
		"missing":               {numbers, Numbers("c", append(normals(3, 900, 0), slices.Repeat([]float64{math.NaN()}, 100)...)), []Check{CheckMissing}, 0.1},
		"texts among numbers":   {numbers, unparsed(30), []Check{CheckUnparsed}, 0.03},
		"texts for numbers":     {numbers, unparsed(800), []Check{CheckType}, 0.8},
		"wild values":           {numbers, Numbers("c", append(normals(3, 900, 0), slices.Repeat([]float64{1e6}, 100)...)), []Check{CheckRange}, 0.1},
		"one wild value":        {numbers, Numbers("c", append(normals(3, 999, 0), 1e6)), nil, 0},
		"a new category":        {words, Counted("c", map[string]int{"a": 400, "b": 400, "new": 200}, 0), []Check{CheckUnseen}, 0.2},
		"a rare new category":   {words, Counted("c", map[string]int{"a": 500, "b": 495, "new": 5}, 0), nil, 0},
		"many new categories":   {words, Counted("c", map[string]int{"1": 9, "2": 9, "3": 9, "4": 9, "5": 9, "6": 9}, 0), []Check{CheckUnseen}, 1},
		"a constant category":   {words, Counted("c", map[string]int{"a": 100}, 0), []Check{CheckConstant}, 1},
		"a constant number":     {integers, Integers("c", slices.Repeat([]int64{2}, 50)), []Check{CheckConstant}, 1},
		"two rows of one value": {integers, Integers("c", []int64{2, 2}), nil, 0},
		"always constant":       {Integers("c", []int64{2, 2}), Integers("c", slices.Repeat([]int64{2}, 50)), nil, 0},
		"one row":               {integers, Integers("c", []int64{7}), nil, 0},
		"the last values gone":  {Column{Name: "c", Rows: 5000, Missing: 4800}, Column{Name: "c", Rows: 5000, Missing: 5000}, []Check{CheckMissing}, 1},
		"nothing at all":        {numbers, Column{Name: "c", Rows: 5, Missing: 5}, []Check{CheckMissing}, 1},
		"no rows":               {numbers, Column{Name: "c"}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var got []Check
			for _, f := range Quality(tt.ref, tt.cur, Limits{}) {
				require.Equal(t, "c", f.Column)
				require.NotEmpty(t, f.Detail)
				require.Greater(t, f.Value, f.Limit)
				require.InDelta(t, tt.value, f.Value, 0.002)
				got = append(got, f.Check)
			}
			require.Equal(t, tt.want, got)
		})
	}
	wild := Numbers("c", append(normals(3, 900, 0), slices.Repeat([]float64{1e6}, 100)...))
	require.Empty(t, Quality(numbers, wild, Limits{Range: 0.2}), "a limit of one's own")
	require.Empty(t, Quality(unparsed(600), unparsed(620), Limits{}), "a column of which most was no number before")
	require.Equal(t, CheckUnparsed, Quality(unparsed(600), unparsed(800), Limits{})[0].Check)
}

// TestAColumnWithoutAMethodHasFindingsToo is one of texts, and of times.
func TestAColumnWithoutAMethodHasFindingsToo(t *testing.T) {
	ref, cur := Column{Name: "note", Rows: 1000}, Column{Name: "note", Rows: 1000, Missing: 500}
	require.Empty(t, Quality(ref, ref, Limits{}))
	require.Equal(t, CheckMissing, Quality(ref, cur, Limits{})[0].Check)
	rep, err := Compare([]Column{ref}, []Column{cur}, DefaultRule())
	require.NoError(t, err)
	require.Contains(t, rep.Skipped[0].Reason, "no drift method")
}

// TestChanceMakesNoFinding takes both sides from one population: few rows and
// many, long tails, half of the values missing, and rare texts among numbers.
func TestChanceMakesNoFinding(t *testing.T) {
	r := rand.New(rand.NewPCG(18, 5))
	windows := 60
	if os.Getenv("MLOPS_SOAK") != "" {
		windows = 3000
	}
	zipf := rand.NewZipf(r, 1.3, 1, 1_000_000)
	words := func(rows, most int) Column {
		counts := map[string]int{}
		for range rows {
			counts[fmt.Sprint(zipf.Uint64()%uint64(most))]++
		}
		return Counted("c", counts, 0)
	}
	lost := func(share float64) func(int) Column {
		return func(rows int) Column {
			v, unparsed := make([]float64, rows), 0
			for i := range v {
				if v[i] = r.NormFloat64(); r.Float64() < share {
					v[i] = math.NaN()
					unparsed += i % 2
				}
			}
			c := Numbers("c", v)
			c.Unparsed = unparsed
			return c
		}
	}
	for name, sample := range map[string]func(rows int) Column{
		"long tail":        func(rows int) Column { return words(rows, 1_000_000) },
		"few categories":   func(rows int) Column { return words(rows, 8) },
		"numbers":          lost(0),
		"half missing":     lost(0.5),
		"some missing":     lost(0.03),
		"one in a hundred": lost(0.01),
		"nearly all":       lost(0.97),
		"few integers": func(rows int) Column {
			v := make([]int64, rows)
			for i := range v {
				v[i] = int64(zipf.Uint64() % 3)
			}
			return Integers("c", v)
		},
	} {
		for _, rows := range [][2]int{{100, 100}, {1000, 100}, {100, 1000}, {1000, 1000}, {2000, 1}, {2000, 2}, {2000, 5}, {2000, 20}} {
			fired := map[Check]int{}
			for range windows {
				for _, f := range Quality(sample(rows[0]), sample(rows[1]), Limits{}) {
					fired[f.Check]++
				}
			}
			require.Empty(t, fired, "%s, %v rows, of %d windows", name, rows, windows)
		}
	}
}
