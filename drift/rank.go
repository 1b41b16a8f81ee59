package drift

import (
	"errors"
	"math"
)

// rankSum is Mann and Whitney's U of the reference: how many pairs have the
// greater value there, ties counted half; and Σ (t³ − t) over the ties.
func rankSum(ref, cur []float64) (u, ties float64) {
	below := 0 // values of cur below the present one
	for _, n := range merged(ref, cur) {
		u += float64(n[0]) * (float64(below) + float64(n[1])/2)
		below += n[1]
		t := float64(n[0] + n[1])
		ties += t*t*t - t
	}
	return u, ties
}

// mannWhitney is the p-value for a reference that lies below the current data.
func mannWhitney(ref, cur []float64) float64 {
	u, ties := rankSum(ref, cur)
	return clip(uTail(float64(len(ref))*float64(len(cur))-u, ties, len(ref), len(cur)))
}

func mannWhitneyTwoSided(ref, cur []float64) float64 {
	u, ties := rankSum(ref, cur)
	return clip(2 * uTail(max(u, float64(len(ref))*float64(len(cur))-u), ties, len(ref), len(cur)))
}

// uTail is the chance of a U of at least u: exact if a side has at most 8
// values and no two are equal, else by the normal distribution with a
// correction for continuity.
func uTail(u, ties float64, n1, n2 int) float64 {
	if min(n1, n2) <= 8 && ties == 0 {
		return exactUTail(int(u), n1, n2)
	}
	a, b := float64(n1), float64(n2)
	n := a + b
	spread := math.Sqrt(a * b / 12 * (n + 1 - ties/(n*(n-1))))
	return normalTail((u - a*b/2 - 0.5) / spread)
}

// exactUTail counts the orders in which U is at least u, which as U is
// symmetric are those in which it is at most n1·n2 − u. The counts are the
// coefficients of a Gaussian binomial: Π (1 − q^(n2+i)) / (1 − qⁱ).
func exactUTail(u, n1, n2 int) float64 {
	n1, n2 = min(n1, n2), max(n1, n2)
	most := n1*n2 - u
	upper := u < most // sum the shorter side
	if upper {
		most = u
	}
	counts := make([]float64, most+1)
	counts[0] = 1
	for i := 1; i <= n1; i++ {
		for k := most; k >= n2+i; k-- {
			counts[k] -= counts[k-n2-i]
		}
		for k := i; k <= most; k++ {
			counts[k] += counts[k-i]
		}
	}
	all := 1.0
	for i := 1; i <= n1; i++ {
		all = all * float64(n2+i) / float64(i)
	}
	if upper {
		return 1 - sum(counts)/all + counts[most]/all
	}
	return sum(counts) / all
}

// anderson is the p-value of the two-sample Anderson–Darling test with
// midranks (Scholz and Stephens, K-Sample Anderson–Darling Tests, J. Am. Stat.
// Assoc. 82, 1987), interpolated between the seven that they print.
func anderson(p pair) (float64, error) {
	ref, cur := p.ref.values, p.cur.values
	n1, n2 := float64(len(ref)), float64(len(cur))
	n := n1 + n2
	if p.distinct(2) < 2 {
		return 0, errors.New("all values are one")
	}
	var a1, a2 []float64
	below, below1, below2 := 0.0, 0.0, 0.0
	for _, c := range merged(ref, cur) {
		c1, c2 := float64(c[0]), float64(c[1])
		l := c1 + c2
		b := below + l/2
		weight := l / n / (b*(n-b) - n*l/4)
		d1, d2 := n*(below1+c1/2)-b*n1, n*(below2+c2/2)-b*n2
		a1, a2 = append(a1, weight*d1*d1), append(a2, weight*d2*d2)
		below, below1, below2 = below+l, below1+c1, below2+c2
	}
	a := (sum(a1)/n1 + sum(a2)/n2) * (n - 1) / n

	// The variance for k = 2 samples, equation 4.
	var h, g float64
	for i := int(n) - 1; i > 1; i-- {
		h += 1 / float64(i)
		g += h / float64(int(n)-i+1)
	}
	h++
	hs := 1/n1 + 1/n2
	ca := (4*g - 6) + (10-6*g)*hs
	cb := (2*g-4)*4 + 16*h + (2*g-14*h-4)*hs - 8*h + 4*g - 6
	cc := (6*h+2*g-2)*4 + (4*h-4*g+6)*2 + (2*h-6)*hs + 4*h
	cd := (2*h+6)*4 - 8*h
	spread := (((ca*n+cb)*n+cc)*n + cd) / ((n - 1) * (n - 2) * (n - 3))
	t := (a - 1) / math.Sqrt(spread)
	switch critical := andersonTable; {
	case math.IsNaN(t):
		return t, nil
	case t < critical[0][0]:
		return critical[0][1], nil
	case t > critical[len(critical)-1][0]:
		return critical[len(critical)-1][1], nil
	}
	return math.Exp((andersonFit[2]*t+andersonFit[1])*t + andersonFit[0]), nil
}

// andersonTable has the critical values of two samples and their levels: sums
// of the coefficients of Scholz and Stephens' table 2.
var andersonTable = [][2]float64{
	{0.675 - 0.245 - 0.105, 0.25}, {1.281 + 0.25 - 0.305, 0.1}, {1.645 + 0.678 - 0.362, 0.05}, {1.96 + 1.149 - 0.391, 0.025},
	{2.326 + 1.822 - 0.396, 0.01}, {2.573 + 2.364 - 0.345, 0.005}, {3.085 + 3.615 - 0.154, 0.001},
}

// andersonFit is the parabola through the logarithms of the levels, by least
// squares: its coefficients from the constant up.
var andersonFit = parabola(andersonTable)

// parabola fits c0 + c1·x + c2·x² to the logarithm of each second value.
func parabola(points [][2]float64) [3]float64 {
	// Polynomials that are orthogonal over the points need no elimination.
	n := float64(len(points))
	var center, spread float64
	for _, p := range points {
		center += p[0] / n
	}
	for _, p := range points {
		spread += (p[0] - center) * (p[0] - center)
	}
	var skew float64
	for _, p := range points {
		d := p[0] - center
		skew += d * d * d / spread
	}
	var y0, y1, y2, norm float64
	for _, p := range points {
		d, y := p[0]-center, math.Log(p[1])
		q := d*d - skew*d - spread/n
		y0 += y / n
		y1 += d * y / spread
		y2 += q * y
		norm += q * q
	}
	y2 /= norm
	// y0 + y1·d + y2·(d² − skew·d − spread/n), with d = x − center
	linear := y1 - y2*skew
	return [3]float64{
		y0 - linear*center + y2*(center*center-spread/n),
		linear - 2*y2*center,
		y2,
	}
}

// cramerVonMises is the p-value of the two-sample test: exact up to 20 values
// a side, else by the limit of the distribution.
func cramerVonMises(p pair) (float64, error) {
	ref, cur := p.ref.values, p.cur.values
	n1, n2 := len(ref), len(cur)
	if n1 < 2 || n2 < 2 {
		return 0, errors.New("it takes two values a side")
	}
	// U of Anderson's equation 10, of midranks.
	var u1, u2 []float64
	i, j := 0, 0
	for _, n := range merged(ref, cur) {
		rank := float64(i+j) + float64(n[0]+n[1]+1)/2
		for range n[0] {
			i++
			u1 = append(u1, (rank-float64(i))*(rank-float64(i)))
		}
		for range n[1] {
			j++
			u2 = append(u2, (rank-float64(j))*(rank-float64(j)))
		}
	}
	a, b := float64(n1), float64(n2)
	u := a*sum(u1) + b*sum(u2)
	if max(n1, n2) <= 20 {
		return exactCramer(u, n1, n2), nil
	}
	k, n := a*b, a+b
	t := u/(k*n) - (4*k-1)/(6*n)
	expected := (1 + 1/n) / 6
	v := (n + 1) * (4*k*n - 3*(a*a+b*b) - 2*k) / (45 * n * n * 4 * k)
	x := 1.0/6 + (t-expected)/math.Sqrt(45*v)
	if x < 0.003 {
		return 1, nil
	}
	return max(0, 1-cramerLimit(x)), nil
}

// exactCramer counts the orders of n1 and n2 values in which the statistic is
// at least that of u, over lattice paths (Xiao, Gordon and Yakovlev, A C++
// Program for the Cramér–von Mises Two-Sample Test, J. Stat. Softw. 17, 2006).
func exactCramer(u float64, n1, n2 int) float64 {
	lcm := n1 / gcd(n1, n2) * n2
	a, b := lcm/n1, lcm/n2
	mn := float64(n1 * n2)
	least := math.Floor(float64(lcm*lcm*(n1+n2)) * (6*u - mn*(4*mn-1)) / (6 * mn * mn))
	column := make([]map[int]float64, n1+1) // by y: how many paths have which sum
	for x := 0; x <= n2; x++ {
		for y := 0; y <= n1; y++ {
			d := (a*y - b*x) * (a*y - b*x)
			next := map[int]float64{}
			if x == 0 && y == 0 {
				next[0] = 1
			}
			if x > 0 {
				for s, n := range column[y] {
					next[s+d] += n
				}
			}
			if y > 0 {
				for s, n := range column[y-1] {
					next[s+d] += n
				}
			}
			column[y] = next
		}
	}
	rare, all := 0.0, 0.0
	for s, n := range column[n1] {
		all += n
		if float64(s) >= least {
			rare += n
		}
	}
	return rare / all
}

// cramerLimit is the limit of the distribution function (Csörgő and Faraway,
// The Exact and Asymptotic Distributions of Cramér–von Mises Statistics, J. R.
// Stat. Soc. B 58, 1996). The sum ends as scipy's does, after a term below 1e-7.
func cramerLimit(x float64) float64 {
	total := 0.0
	for k := 0; ; k++ {
		y := float64(4*k + 1)
		g1, _ := math.Lgamma(float64(k) + 0.5)
		g2, _ := math.Lgamma(float64(k) + 1)
		term := math.Exp(g1-g2) / (math.Pow(math.Pi, 1.5) * math.Sqrt(x)) * math.Sqrt(y) * scaledBesselK(y*y/(16*x))
		total += term
		if term < 1e-7 {
			return total
		}
	}
}

// scaledBesselK is e^(−q) times the modified Bessel function K of order 1/4:
// ∫ exp(−q − q·cosh t)·cosh(t/4) over t from 0, by the trapezoidal rule, which
// for such a function has all digits.
func scaledBesselK(q float64) float64 {
	const step = 1.0 / 16
	total := math.Exp(-2*q) / 2
	for i := 1; ; i++ {
		t := float64(i) * step
		term := math.Exp(-q-q*math.Cosh(t)) * math.Cosh(t/4)
		if total += term; term < total*1e-18 {
			return total * step
		}
	}
}
