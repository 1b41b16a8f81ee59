package drift

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// moments are what is known of numbers that are not kept: their extremes with how
// often each is there, the mean, and the sum of the squared deviations from it
// (Welford, Note on a Method for Calculating Corrected Sums of Squares and
// Products, Technometrics 4, 1962).
type moments struct {
	lowest, highest float64
	least, most     int // how many are the lowest, and the highest
	mean, squares   float64
}

// add takes one more number, the nth.
func (m *moments) add(x float64, n int) { m.merge(moments{x, x, 1, 1, x, 0}, n-1, 1) }

// merge takes b of nb numbers to those of na.
func (m *moments) merge(b moments, na, nb int) {
	if na == 0 {
		*m = b
		return
	}
	switch {
	case b.lowest < m.lowest:
		m.lowest, m.least = b.lowest, b.least
	case b.lowest == m.lowest:
		m.least += b.least
	}
	switch {
	case b.highest > m.highest:
		m.highest, m.most = b.highest, b.most
	case b.highest == m.highest:
		m.most += b.most
	}
	n, d := float64(na)+float64(nb), b.mean-m.mean
	m.mean += d * (float64(nb) / n)
	m.squares += b.squares + d*d*(float64(na)*float64(nb)/n)
}

// mean is that of all numbers of the column, whose sample it may be.
func (c Column) mean() float64 {
	if c.of != nil {
		return c.of.about.mean
	}
	return mean(c.values)
}

// variance is that of all numbers of the column, whose sample it may be.
func (c Column) variance() float64 {
	if c.of != nil {
		return c.of.about.squares / float64(c.of.n)
	}
	return variance(c.values)
}

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

func wasserstein(p pair) (float64, error) {
	return cdfDistance(p.ref.values, p.cur.values, math.Abs) / max(math.Sqrt(p.ref.variance()), 0.001), nil
}

func energyDistance(ref, cur []float64) float64 {
	return math.Sqrt2 * math.Sqrt(cdfDistance(ref, cur, func(d float64) float64 { return d * d }))
}

func tTest(p pair) (float64, error) {
	n1, n2 := float64(len(p.ref.values)), float64(len(p.cur.values))
	df := n1 + n2 - 2
	pooled := (n1*p.ref.variance() + n2*p.cur.variance()) / df
	t := (p.ref.mean() - p.cur.mean()) / math.Sqrt(pooled*(1/n1+1/n2))
	switch {
	case math.IsNaN(t):
		return t, nil
	case math.IsInf(t, 0):
		return 0, nil
	}
	return mathext.RegIncBeta(df/2, 0.5, df/(df+t*t)), nil
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
