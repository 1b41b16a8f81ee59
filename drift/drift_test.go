package drift

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func normals(seed uint64, n int, mean float64) []float64 {
	r := rand.New(rand.NewPCG(seed, 0))
	out := make([]float64, n)
	for i := range out {
		out[i] = r.NormFloat64() + mean
	}
	return out
}

func value(t *testing.T, m Method, ref, cur Column) Result {
	t.Helper()
	r, err := CompareColumn(ref, cur, Options{Method: m})
	require.NoError(t, err)
	return r
}

// TestOurMethodsSeeWhatEvidentlyDoesNot is on the four methods that have no
// upstream to compare with.
func TestOurMethodsSeeWhatEvidentlyDoesNot(t *testing.T) {
	before := Numbers("n", normals(1, 5000, 0))
	lower, higher := Numbers("n", normals(2, 5000, -1)), Numbers("n", normals(3, 5000, 1))
	require.False(t, value(t, MannWhitney, before, lower).Drifted, "Evidently's is one-sided")
	require.True(t, value(t, MannWhitneyTwoSided, before, lower).Drifted)
	require.True(t, value(t, MannWhitneyTwoSided, before, higher).Drifted)
	require.False(t, value(t, MannWhitneyTwoSided, before, Numbers("n", normals(4, 5000, 0))).Drifted)

	outlier := Numbers("n", append(normals(3, 5000, 1), 1e6))
	for own, theirs := range map[Method]Method{PSIReference: PSI, JSReference: JensenShannon} {
		require.Less(t, value(t, theirs, before, outlier).Value, 0.02, "one value of 1e6 hides the shift")
		clean := value(t, own, before, higher)
		require.True(t, clean.Drifted)
		require.InDelta(t, clean.Value, value(t, own, before, outlier).Value, 0.01*clean.Value)
		require.False(t, value(t, own, before, Numbers("n", normals(5, 5000, 0))).Drifted)
	}
	// Where nearly all of the reference is one value, the others count.
	var mostly, moved []float64
	for i := range 1000 {
		mostly, moved = append(mostly, float64(max(0, i-950))), append(moved, 25)
	}
	require.True(t, value(t, PSIReference, Numbers("n", mostly), Numbers("n", moved)).Drifted)
	// A category that is new counts, and so does one among few numbers.
	words := Counted("w", map[string]int{"a": 500, "b": 500}, 0)
	require.True(t, value(t, PSIReference, words, Counted("w", map[string]int{"a": 400, "b": 400, "c": 200}, 0)).Drifted)
	require.True(t, value(t, JSReference, Integers("i", []int64{1, 2, 1, 2, 1, 2}), Integers("i", []int64{1, 2, 3, 3, 3, 3})).Drifted)

	// scipy.stats.chi2_contingency([[10, 20, 30], [6, 9, 17]], correction=False)
	got := value(t, ChiSquareHomogeneity, Counted("c", map[string]int{"a": 10, "b": 20, "c": 30}, 0), Counted("c", map[string]int{"a": 6, "b": 9, "c": 17}, 0))
	require.InEpsilon(t, 0.873028283380073, got.Value, 1e-12)
}

func TestAComparisonThatCannotBeIsRefusedByName(t *testing.T) {
	some, words := Numbers("n", []float64{1, 2, 3}), Categories("n", []string{"a"}, 0)
	for name, tt := range map[string]struct {
		ref, cur Column
		o        Options
		says     string
	}{
		"types":           {some, words, Options{}, "numerical in the reference and categorical in the current"},
		"no values":       {Numbers("n", []float64{math.NaN()}), some, Options{}, "no value in the reference"},
		"only infinities": {some, Numbers("n", []float64{math.Inf(1)}), Options{}, "no value in the current"},
		"method":          {some, some, Options{Method: "nope"}, `no drift method "nope"; there are ks, wasserstein`},
		"type of method":  {words, words, Options{Method: KS}, "ks does not take a categorical column"},
		"lengths":         {words, Categories("n", []string{"a", "b"}, 0), Options{Method: GTest}, "two sides of one length"},
		"no number":       {Numbers("n", []float64{1, 1}), Numbers("n", []float64{1, 1}), Options{Method: TTest}, "gives no number"},
		"zero column":     {Column{}, Column{}, Options{}, `a column of type ""`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := CompareColumn(tt.ref, tt.cur, tt.o)
			require.ErrorIs(t, err, mlops.ErrInvalid)
			require.ErrorContains(t, err, tt.says)
		})
	}
}

func TestAThresholdOfOnesOwnDecides(t *testing.T) {
	ref, cur := Numbers("n", normals(1, 2000, 0)), Numbers("n", normals(2, 2000, 0.05))
	r := value(t, Wasserstein, ref, cur)
	low, err := CompareColumn(ref, cur, Options{Method: Wasserstein, Threshold: new(0.0)})
	require.NoError(t, err)
	require.False(t, r.Drifted)
	require.True(t, low.Drifted)
	require.Zero(t, low.Threshold)
}

func TestEachMethodHasAKindAndAThreshold(t *testing.T) {
	require.Len(t, Methods(), 20)
	for _, m := range Methods() {
		require.NotEmpty(t, m.Name())
		require.Contains(t, []Kind{KindPValue, KindDistance}, m.Kind())
		require.Positive(t, m.DefaultThreshold())
	}
	require.Equal(t, "K-S p_value", KS.Name())
	require.Equal(t, "nope", Method("nope").Name())
	require.Empty(t, Method("nope").Kind())
	require.True(t, math.IsNaN(Method("nope").DefaultThreshold()))
}

// FuzzCompareColumn looks for values that make a method panic, or give a
// number that is none.
func FuzzCompareColumn(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200}, []byte{4, 4}, 1.0, uint8(0))
	f.Add([]byte{0}, []byte{0}, 0.0, uint8(7))
	f.Add([]byte{255, 254, 9, 9, 9}, []byte{9, 8, 7, 6, 5, 4, 3, 2, 1}, 1e300, uint8(11))
	f.Fuzz(func(t *testing.T, a, b []byte, scale float64, pick uint8) {
		m := methods[int(pick)%len(methods)]
		column := func(bytes []byte) Column {
			if m.types[0] == TypeCategorical {
				counts := map[string]int{}
				for _, c := range bytes {
					counts[string(rune(c))]++
				}
				return Counted("c", counts, 0)
			}
			var v []float64
			for _, c := range bytes {
				v = append(v, (float64(c)-100)*scale)
			}
			return Numbers("c", v)
		}
		for _, o := range []Options{{Method: m.name}, {}} {
			r, err := CompareColumn(column(a), column(b), o)
			if err != nil {
				require.ErrorIs(t, err, mlops.ErrInvalid)
				continue
			}
			require.False(t, math.IsNaN(r.Value) || math.IsInf(r.Value, 0))
			if m.kind == KindPValue && o.Method != "" {
				require.True(t, r.Value >= 0 && r.Value <= 1+1e-12, "%v", r)
			}
		}
	})
}
