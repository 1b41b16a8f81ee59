package drift

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func collected(limit int, values []float64) Column {
	v := Values{Limit: limit}
	v.Grow(len(values))
	for _, x := range values {
		v.Add(x)
	}
	return v.Column("n", false)
}

// worstRank is the greatest difference between the shares of the numbers below
// any one in the column's sample and in all, where ties leave a choice the least.
func worstRank(c Column, all []float64) float64 {
	slices.Sort(all)
	worst, sample := 0.0, c.sampled().values
	for i, v := range sample {
		at := (float64(i) + 0.5) / float64(len(sample))
		from, to := sort.SearchFloat64s(all, v), sort.Search(len(all), func(k int) bool { return all[k] > v })
		worst = max(worst, float64(from)/float64(len(all))-at, at-float64(to)/float64(len(all)))
	}
	return worst
}

func TestASketchKeepsTheErrorThatItNames(t *testing.T) {
	const n = 360_000
	r := rand.New(rand.NewPCG(1, 0))
	for name, at := range map[string]func(i int) float64{
		"random":     func(int) float64 { return r.NormFloat64() },
		"ascending":  func(i int) float64 { return float64(i) },
		"descending": func(i int) float64 { return -float64(i) },
		"zigzag":     func(i int) float64 { return float64(i%2*n) - float64(i)*float64(i%2*2-1) },
		"ties":       func(i int) float64 { return float64(i % 7) },
		"times":      func(int) float64 { return 1.7e9 + 1e5*r.Float64() },
	} {
		values := make([]float64, n)
		for i := range values {
			values[i] = at(i)
		}
		c := collected(MaxExact, values)
		require.Equal(t, n, c.Len(), name)
		require.Equal(t, c, collected(MaxExact, values), "%s: the same numbers make the same sketch", name)
		low, high, ok := c.Range()
		require.True(t, ok)
		require.Equal(t, [2]float64{slices.Min(values), slices.Max(values)}, [2]float64{low, high}, name)
		kept := 0
		for _, level := range c.sketch.levels {
			kept += len(level)
		}
		require.Less(t, kept, 8*sketchLevel, name)

		parts := collected(MaxExact, values[:n/3])
		for _, part := range [][]float64{values[n/3 : n/3+20_000], values[n/3+20_000 : 300_000], values[300_000:]} {
			var err error
			before, _ := json.Marshal(parts)
			whole, err := parts.Merge(collected(MaxExact, part))
			require.NoError(t, err)
			after, _ := json.Marshal(parts)
			require.Equal(t, string(before), string(after), "a merge changes neither side")
			parts = whole
		}
		for which, c := range map[string]Column{"one": c, "merged": parts} {
			require.Equal(t, n, c.Len(), name)
			require.Less(t, c.RankError(), 4e-4, name)
			require.LessOrEqual(t, worstRank(c, slices.Clone(values)), c.RankError(), "%s, %s", name, which)
		}
	}
}

func TestAComparisonWithASketchSaysItsError(t *testing.T) {
	ref, cur := normals(1, 150_000, 0), normals(2, 120_000, 0.08)
	for _, m := range Methods() {
		if !slices.Contains([]Method{Wasserstein, JensenShannon, PSI, KLDivergence, Hellinger, EnergyDist, PSIReference, JSReference}, m) {
			continue
		}
		exact := value(t, m, Numbers("n", slices.Clone(ref)), Numbers("n", slices.Clone(cur)))
		require.Zero(t, exact.RankError)
		a, b := collected(MaxExact, ref), collected(MaxExact, cur)
		got := value(t, m, a, b)
		require.Equal(t, a.RankError()+b.RankError(), got.RankError)
		require.Positive(t, got.RankError)
		require.InDelta(t, exact.Value, got.Value, 0.002, m)
	}
	p := value(t, KS, collected(MaxExact, ref), collected(MaxExact, cur))
	require.True(t, p.Drifted)
}

func TestAMergeIsTheColumnOfAllRows(t *testing.T) {
	values := append(normals(3, 5000, 0), math.NaN(), math.Inf(1))
	all := Numbers("n", slices.Clone(values))
	a, b := Numbers("n", slices.Clone(values[:700])), Numbers("n", slices.Clone(values[700:]))
	got, err := a.Merge(b)
	require.NoError(t, err)
	require.Equal(t, all, got)

	got, err = Integers("i", []int64{1, 2}).Merge(Integers("i", []int64{3}))
	require.NoError(t, err)
	require.Equal(t, Integers("i", []int64{1, 2, 3}), got)

	words := Categories("w", []string{"a", "b"}, 1)
	got, err = words.Merge(Categories("w", []string{"b", "c"}, 0))
	require.NoError(t, err)
	require.Equal(t, Counted("w", map[string]int{"a": 1, "b": 2, "c": 1}, 1), got)
	got, err = words.Merge(Column{Name: "w", Rows: 4, Missing: 4})
	require.NoError(t, err)
	require.Equal(t, Counted("w", map[string]int{"a": 1, "b": 1}, 5), got)
	got, err = Column{Name: "w", Rows: 4, Missing: 4}.Merge(words)
	require.NoError(t, err)
	require.Equal(t, Counted("w", map[string]int{"a": 1, "b": 1}, 5), got)

	_, err = words.Merge(all)
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

// profiled is the column after it was written and read.
func profiled(t *testing.T, c Column) Column {
	t.Helper()
	b, err := json.Marshal(c)
	require.NoError(t, err)
	var out Column
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}

func TestAProfileHasWhatItWasMadeOf(t *testing.T) {
	for _, c := range []Column{
		Numbers("n", append(normals(1, 500, 0), math.NaN(), math.Inf(-1), 5e-324, math.MaxFloat64)),
		Integers("i", []int64{5, -3, 1 << 53}),
		Numbers("none", []float64{math.NaN()}),
		Categories("w", []string{"a", "", "ü", "<&>"}, 2),
		Categories("numeric", []string{"1", "2", "1"}, 0),
		Counted("empty", map[string]int{}, 3),
		collected(MaxExact, normals(7, 250_000, 3)),
		{Name: "text", Rows: 3, Missing: 1},
	} {
		got := profiled(t, c)
		if c.Type == TypeNumerical && c.Len() == 0 {
			c.values = nil
		}
		require.Equal(t, c, got)
	}
	many := Numbers("n", normals(7, MaxExact+1, 0))
	require.Equal(t, many.bounded(), profiled(t, many))
}

func TestAProfileThatContradictsItselfIsRefused(t *testing.T) {
	good := `{"name":"n","type":"numerical","rows":1,"values":"AAAAAAAA8D8="}`
	var c Column
	require.NoError(t, json.Unmarshal([]byte(good), &c))
	require.Equal(t, Numbers("n", []float64{1}), c)
	for _, bad := range []string{
		`{"name":"n","type":"numerical","rows":2,"values":"AAAAAAAA8D8="}`,
		`{"name":"n","type":"numerical","rows":1,"values":"AAAAAAAA8D8=","extra":1}`,
		`{"name":"n","type":"numerical","rows":1,"values":"AAAA"}`,
		`{"name":"n","type":"numerical","rows":1,"values":"AAAAAAAA+H8="}`,             // NaN
		`{"name":"n","type":"numerical","rows":2,"values":"AAAAAAAA8D8AAAAAAADgPw=="}`, // 1, 0.5
		`{"name":"n","type":"categorical","rows":1,"values":"AAAAAAAA8D8="}`,           // of another type
		`{"name":"n","type":"numerical","rows":0,"missing":9223372036854775807,"infinite":9223372036854775807,"values":"AAAAAAAA8D8="}`,
		`{"name":"n","type":"numerical","rows":-1,"missing":-2,"values":"AAAAAAAA8D8="}`,
		`{"name":"n","type":"numerical","rows":1,"counts":{"a":1}}`,
		`{"name":"n","type":"categorical","rows":1,"counts":{"a":2}}`,
		`{"name":"n","type":"categorical","rows":1,"counts":{"a":2,"b":-1}}`,
		`{"name":"n","type":"other","rows":1}`,
		`{"name":"n","rows":1,"missing":2}`,
		`{"name":"n","type":"numerical","rows":2,"sketch":{"rows":2,"lowest":1,"highest":1,"least":1,"most":1,"mean":1,"squares":0,"levels":["AAAAAAAA8D8="],"second":[false],"over":0,"under":0}}`,
		`{"name":"n","type":"numerical","rows":1,"sketch":{"rows":1,"lowest":2,"highest":3,"least":1,"most":1,"mean":2,"squares":0,"levels":["AAAAAAAA8D8="],"second":[false],"over":0,"under":0}}`,
		`{"name":"n","type":"numerical","rows":1,"sketch":{"rows":1,"lowest":1,"highest":1,"least":1,"most":1,"mean":1,"squares":0,"levels":["AAAAAAAA8D8="],"second":[],"over":0,"under":0}}`,
		`[]`, `{`,
	} {
		require.Error(t, json.Unmarshal([]byte(bad), &c), bad)
	}
	levels := ""
	for i := range 41 {
		levels += fmt.Sprintf(`%s"AAAAAAAA8D8="`, map[bool]string{true: ","}[i > 0])
	}
	require.Error(t, json.Unmarshal([]byte(`{"name":"n","type":"numerical","rows":1,"sketch":{"rows":1,"lowest":1,"highest":1,"least":1,"most":1,"mean":1,"squares":0,"levels":[`+levels+`],"second":[false]}}`), &c))
}

// FuzzColumnJSON looks for a column that is read and cannot be used, or is
// another one after it was written again.
func FuzzColumnJSON(f *testing.F) {
	for _, c := range []Column{Numbers("n", []float64{1, 2, 3}), Categories("w", []string{"a", "b"}, 1), {Name: "x", Rows: 1}} {
		b, err := json.Marshal(c)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte(`{"name":"n","type":"numerical","rows":1,"sketch":{"rows":1,"lowest":1,"highest":1,"least":1,"most":1,"mean":1,"squares":0,"levels":["AAAAAAAA8D8="],"second":[false],"over":0,"under":0}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Column
		if json.Unmarshal(b, &c) != nil {
			return
		}
		require.Equal(t, profiled(t, c).Len(), c.Len())
		_, _ = CompareColumn(c, c, Options{})
		if merged, err := c.Merge(c); err == nil {
			require.Equal(t, 2*c.Len(), merged.Len())
		}
	})
}

// TestOneFarNumberMakesNoDistanceOfASketch has one number far from all
// others, which a sample may have often or not at all.
func TestOneFarNumberMakesNoDistanceOfASketch(t *testing.T) {
	const n = 150_000
	cur := Numbers("n", normals(2, n, 0.05))
	for _, far := range []float64{1e4, -1e7} {
		for _, at := range []int{0, n / 2} {
			ref := normals(1, n, 0)
			ref[at] = far
			all := Numbers("n", slices.Clone(ref))
			half, err := collected(MaxExact, ref[:n/2]).Merge(collected(MaxExact, ref[n/2:]))
			require.NoError(t, err)
			for name, c := range map[string]Column{"one": collected(MaxExact, ref), "merged and read": profiled(t, half)} {
				require.InEpsilon(t, all.mean(), c.sampled().mean(), 1e-9, name)
				require.InEpsilon(t, all.variance(), c.sampled().variance(), 1e-9, name)
				for _, m := range []Method{Wasserstein, JensenShannon} {
					exact, got := value(t, m, all, cur), value(t, m, c, cur)
					require.InDelta(t, exact.Value, got.Value, 0.004, "%s, %v at %d, %s", m, far, at, name)
					require.Equal(t, exact.Drifted, got.Drifted)
				}
			}
		}
	}
	huge := normals(1, 150_000, 0)
	huge[5], huge[6] = math.MaxFloat64, -math.MaxFloat64
	require.Equal(t, 150_000, profiled(t, collected(MaxExact, huge)).Len(), "a variance beyond floating-point numbers")
}
