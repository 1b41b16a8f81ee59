package drift

import (
	"errors"
	"math"
	"sort"
)

// eppsSingleton is the p-value of the test of Epps and Singleton on the
// characteristic functions at 0.4 and 0.8 (An omnibus test for the two-sample
// problem using the empirical characteristic function, J. Stat. Comput. Simul.
// 26, 1986).
func eppsSingleton(p pair) (float64, error) {
	ref, cur := p.ref.values, p.cur.values
	all := make([]float64, 0, len(ref)+len(cur))
	all = append(append(all, ref...), cur...)
	sort.Float64s(all)
	half := (quantile(all, 0.75) - quantile(all, 0.25)) / 2
	if half == 0 {
		return 0, errors.New("the middle half of its values is one value")
	}
	if len(ref) < 5 || len(cur) < 5 {
		return math.NaN(), nil
	}
	n1, n2 := float64(len(ref)), float64(len(cur))
	n := n1 + n2
	d, inverse, rank := eppsDifference(ref, cur, half)
	w := 0.0
	for i := range 4 {
		for j := range 4 {
			w += n * d[i] * inverse[i][j] * d[j]
		}
	}
	if max(n1, n2) < 25 {
		w /= 1 + math.Pow(n, -0.45) + 10.1*(math.Pow(n1, -1.7)+math.Pow(n2, -1.7))
	}
	return chiSquareTail(w, rank), nil
}

// eppsDifference is the difference of the two characteristic functions, and the
// inverse of its covariance with that one's rank. Below five different values
// the rank is not full; scipy's is then one of rounding, and so is its p-value.
func eppsDifference(ref, cur []float64, half float64) (d [4]float64, inverse [4][4]float64, rank int) {
	n1, n2 := float64(len(ref)), float64(len(cur))
	m1, c1 := characteristic(ref, half)
	m2, c2 := characteristic(cur, half)
	var cov [4][4]float64
	for i := range 4 {
		d[i] = m1[i] - m2[i]
		for j := range 4 {
			cov[i][j] = (n1+n2)/n1*c1[i][j] + (n1+n2)/n2*c2[i][j]
		}
	}
	inverse, rank = pseudoInverse(cov)
	return d, inverse, rank
}

// quantile interpolates between ascending values.
func quantile(v []float64, q float64) float64 {
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

// characteristic gives the means of cosine and sine at both points, and their
// covariances.
func characteristic(v []float64, half float64) (means [4]float64, cov [4][4]float64) {
	g := [4][]float64{}
	for k, t := range []float64{0.4 / half, 0.8 / half} {
		g[k], g[k+2] = make([]float64, len(v)), make([]float64, len(v))
		for i, x := range v {
			g[k+2][i], g[k][i] = math.Sincos(t * x)
		}
	}
	for i := range 4 {
		means[i] = mean(g[i])
	}
	products := make([]float64, len(v))
	for i := range 4 {
		for j := range i + 1 {
			for k := range v {
				products[k] = (g[i][k] - means[i]) * (g[j][k] - means[j])
			}
			cov[i][j] = sum(products) / float64(len(v))
			cov[j][i] = cov[i][j]
		}
	}
	return means, cov
}

// pseudoInverse inverts a symmetric matrix without its eigenvalues below 1e-15
// of the largest, by Jacobi's rotations, and counts the others.
func pseudoInverse(a [4][4]float64) (inverse [4][4]float64, rank int) {
	var vectors [4][4]float64
	for i := range 4 {
		vectors[i][i] = 1
	}
	for range 100 {
		off, scale := 0.0, 0.0
		for i := range 4 {
			for j := range 4 {
				scale = max(scale, math.Abs(a[i][j]))
				if i != j {
					off = max(off, math.Abs(a[i][j]))
				}
			}
		}
		if off <= scale*1e-17 {
			break
		}
		for i := range 4 {
			for j := i + 1; j < 4; j++ {
				rotate(&a, &vectors, i, j)
			}
		}
	}
	largest := 0.0
	for i := range 4 {
		largest = max(largest, math.Abs(a[i][i]))
	}
	for k := range 4 {
		if math.Abs(a[k][k]) <= largest*1e-15 {
			continue
		}
		rank++
		for i := range 4 {
			for j := range 4 {
				inverse[i][j] += vectors[i][k] * vectors[j][k] / a[k][k]
			}
		}
	}
	return inverse, rank
}

// rotate makes the element (i, j) of a zero, and turns the vectors along.
func rotate(a, vectors *[4][4]float64, i, j int) {
	if a[i][j] == 0 {
		return
	}
	theta := (a[j][j] - a[i][i]) / (2 * a[i][j])
	t := math.Copysign(1, theta) / (math.Abs(theta) + math.Hypot(theta, 1))
	c := 1 / math.Hypot(t, 1)
	s := t * c
	for k := range 4 {
		a[k][i], a[k][j] = c*a[k][i]-s*a[k][j], s*a[k][i]+c*a[k][j]
	}
	for k := range 4 {
		a[i][k], a[j][k] = c*a[i][k]-s*a[j][k], s*a[i][k]+c*a[j][k]
	}
	for k := range 4 {
		vectors[k][i], vectors[k][j] = c*vectors[k][i]-s*vectors[k][j], s*vectors[k][i]+c*vectors[k][j]
	}
}
