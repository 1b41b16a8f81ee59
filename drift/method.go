package drift

import (
	"math"
	"slices"
)

// Method is a way to compare two columns, under Evidently's name.
type Method string

// Evidently's methods. Thresholds and signs are those of its registry.
const (
	KS            Method = "ks"            // Kolmogorov–Smirnov, exact up to 10,000 values a side
	Wasserstein   Method = "wasserstein"   // in standard deviations of the reference
	JensenShannon Method = "jensenshannon" // distance, natural logarithm
	PSI           Method = "psi"           // bins span both sides: a single far outlier hides a shift; see PSIReference
	KLDivergence  Method = "kl_div"        // of the reference from the current data; bins as for PSI
	Hellinger     Method = "hellinger"     // bins as for PSI, cut from the different values
	EnergyDist    Method = "ed"            // drift above its threshold, not at it; depends on the unit
	TTest         Method = "t_test"        // Student's, equal variances
	MannWhitney   Method = "mannw"         // one-sided: it never sees a shift downwards; see MannWhitneyTwoSided
	Anderson      Method = "anderson"      // the p-value stays between 0.001 and 0.25
	CramerVMises  Method = "cramer_von_mises"
	EppsSingleton Method = "es"           // refused if the middle half of the values is one value
	ChiSquare     Method = "chisquare"    // goodness of fit to the reference, as if it had no chance in it; see ChiSquareHomogeneity
	ZTest         Method = "z"            // of the share of all values but the smallest
	GTest         Method = "g_test"       // refused for sides of different lengths
	FisherExact   Method = "fisher_exact" // refused for sides of different lengths and for more than two values
)

// Methods that Evidently does not have.
const (
	MannWhitneyTwoSided  Method = "mannw_two_sided"         // sees a shift in either direction
	ChiSquareHomogeneity Method = "chisquare_homogeneity"   // both sides are samples
	PSIReference         Method = "psi_reference"           // ten bins of equal share of the reference, open at both ends
	JSReference          Method = "jensenshannon_reference" // the distance over the bins of PSIReference
)

// Kind is what a method's value is, and so which way it points.
type Kind string

// The kinds of values.
const (
	KindPValue   Kind = "p-value"  // small means drift
	KindDistance Kind = "distance" // large means drift
)

// method is what is known of a Method. compute returns NaN where Evidently
// gives no number, and an error where it refuses.
type method struct {
	name      Method
	display   string
	kind      Kind
	threshold float64
	drifted   func(value, threshold float64) bool
	types     []Type
	compute   func(pair) (float64, error)
}

func less(v, t float64) bool    { return v < t }
func atMost(v, t float64) bool  { return v <= t }
func atLeast(v, t float64) bool { return v >= t }
func above(v, t float64) bool   { return v > t }

var (
	numerical   = []Type{TypeNumerical}
	categorical = []Type{TypeCategorical}
	both        = []Type{TypeCategorical, TypeNumerical}
)

var methods = []method{
	{KS, "K-S p_value", KindPValue, 0.05, atMost, numerical, numbers(ks)},
	{Wasserstein, "Wasserstein distance (normed)", KindDistance, 0.1, atLeast, numerical, wasserstein},
	{JensenShannon, "Jensen-Shannon distance", KindDistance, 0.1, atLeast, both, jensenShannon},
	{PSI, "PSI", KindDistance, 0.1, atLeast, both, psi},
	{KLDivergence, "Kullback-Leibler divergence", KindDistance, 0.1, atLeast, both, klDivergence},
	{Hellinger, "Hellinger distance", KindDistance, 0.1, atLeast, both, hellinger},
	{EnergyDist, "Energy-distance", KindDistance, 0.1, above, numerical, numbers(energyDistance)},
	{TTest, "t_test", KindPValue, 0.05, less, numerical, tTest},
	{MannWhitney, "Mann-Whitney U-rank test", KindPValue, 0.05, less, numerical, numbers(mannWhitney)},
	{Anderson, "Anderson-Darling", KindPValue, 0.1, less, numerical, anderson},
	{CramerVMises, "Cramer-von Mises", KindPValue, 0.1, atMost, numerical, cramerVonMises},
	{EppsSingleton, "Epps-Singleton", KindPValue, 0.05, less, numerical, eppsSingleton},
	{ChiSquare, "chi-square p_value", KindPValue, 0.05, less, categorical, chiSquare},
	{ZTest, "Z-test p_value", KindPValue, 0.05, less, categorical, zTest},
	{GTest, "g_test", KindPValue, 0.1, less, categorical, gTest},
	{FisherExact, "Fisher's Exact test", KindPValue, 0.1, less, categorical, fisherExact},

	{MannWhitneyTwoSided, "Mann-Whitney U-rank test, two-sided", KindPValue, 0.05, less, numerical, numbers(mannWhitneyTwoSided)},
	{ChiSquareHomogeneity, "chi-square p_value of homogeneity", KindPValue, 0.05, less, categorical, chiSquareHomogeneity},
	{PSIReference, "PSI over the reference's bins", KindDistance, 0.1, atLeast, both, psiReference},
	{JSReference, "Jensen-Shannon distance over the reference's bins", KindDistance, 0.1, atLeast, both, jsReference},
}

// numbers makes a method's function of one on two ascending lists.
func numbers(f func(ref, cur []float64) float64) func(pair) (float64, error) {
	return func(p pair) (float64, error) { return f(p.ref.values, p.cur.values), nil }
}

// find looks a method up.
func find(name Method) (method, bool) {
	i := slices.IndexFunc(methods, func(m method) bool { return m.name == name })
	if i < 0 {
		return method{}, false
	}
	return methods[i], true
}

// Methods lists what can be asked for by name, Evidently's methods first.
func Methods() []Method {
	out := make([]Method, len(methods))
	for i, m := range methods {
		out[i] = m.name
	}
	return out
}

// Name is the name that Evidently's page shows for a method.
func (m Method) Name() string {
	if found, ok := find(m); ok {
		return found.display
	}
	return string(m)
}

// Kind is what the method's value is; empty for a name that is no method.
func (m Method) Kind() Kind {
	found, _ := find(m)
	return found.kind
}

// DefaultThreshold is the threshold that Evidently takes; NaN for a name that
// is no method.
func (m Method) DefaultThreshold() float64 {
	if found, ok := find(m); ok {
		return found.threshold
	}
	return math.NaN()
}

// choose picks a method as Evidently does: by the type, the rows of the
// reference and the number of different values of both sides.
func choose(p pair) Method {
	n, few := p.distinct(6), p.ref.Len() <= 1000
	switch {
	case few && n <= 2:
		return ZTest
	case few && (n <= 5 || p.ref.Type == TypeCategorical):
		return ChiSquare
	case few:
		return KS
	case n <= 5 || p.ref.Type == TypeCategorical:
		return JensenShannon
	}
	return Wasserstein
}
