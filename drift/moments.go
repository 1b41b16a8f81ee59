package drift

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

func mean(v []float64) float64 { return sum(v) / float64(len(v)) }

// variance is the mean squared deviation.
func variance(v []float64) float64 {
	m := mean(v)
	squares := make([]float64, len(v))
	for i, x := range v {
		squares[i] = (x - m) * (x - m)
	}
	return sum(squares) / float64(len(v))
}

// cdfDistance adds f of the difference of the two distribution functions over
// the line, weighted with the distance between neighbouring values.
func cdfDistance(ref, cur []float64, f func(float64) float64) float64 {
	n1, n2 := float64(len(ref)), float64(len(cur))
	terms := make([]float64, 0, len(ref)+len(cur))
	i, j, before := 0, 0, math.NaN()
	for v, n := range merged(ref, cur) {
		if i+j > 0 {
			terms = append(terms, f(float64(i)/n1-float64(j)/n2)*(v-before))
		}
		i, j, before = i+n[0], j+n[1], v
	}
	return sum(terms)
}

func wasserstein(ref, cur []float64) float64 {
	return cdfDistance(ref, cur, math.Abs) / max(math.Sqrt(variance(ref)), 0.001)
}

func energyDistance(ref, cur []float64) float64 {
	return math.Sqrt2 * math.Sqrt(cdfDistance(ref, cur, func(d float64) float64 { return d * d }))
}

func tTest(ref, cur []float64) float64 {
	n1, n2 := float64(len(ref)), float64(len(cur))
	df := n1 + n2 - 2
	pooled := (n1*variance(ref) + n2*variance(cur)) / df
	t := (mean(ref) - mean(cur)) / math.Sqrt(pooled*(1/n1+1/n2))
	switch {
	case math.IsNaN(t):
		return t
	case math.IsInf(t, 0):
		return 0
	}
	return mathext.RegIncBeta(df/2, 0.5, df/(df+t*t))
}

// normalTail is the chance of a standard normal value above z.
func normalTail(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

// chiSquareTail is the chance of a chi-square value of df degrees of freedom
// above x.
func chiSquareTail(x float64, df int) float64 {
	switch {
	case df < 1 || math.IsNaN(x):
		return math.NaN()
	case x <= 0:
		return 1
	case math.IsInf(x, 1):
		return 0
	}
	return mathext.GammaIncRegComp(float64(df)/2, x/2)
}
