package drift

import "math"

// kolmogorovTail is the chance that the two-sided one-sample statistic of n
// values is at least x, by the formulas that Simard and L'Ecuyer choose among
// (Computing the Two-Sided Kolmogorov–Smirnov Distribution, J. Stat. Softw. 39,
// 2011), with scipy's limits between them.
func kolmogorovTail(n int, x float64) float64 {
	t := float64(n) * x
	spread := t * x // n·x²
	switch {
	case n < 1:
		return math.NaN()
	case x >= 1:
		return 0
	case t <= 0.5:
		return 1
	case t <= 1:
		return 1 - smallest(n, 2*t-1)
	case t >= float64(n-1):
		return clip(2 * math.Pow(1-x, float64(n)))
	case x >= 0.5:
		return clip(2 * smirnovTail(n, x))
	case n <= 140 && spread <= 4:
		return clip(1 - durbin(n, x))
	case n <= 140:
		return clip(2 * smirnovTail(n, x))
	case spread >= 370:
		return 0
	case spread >= 2.2:
		return clip(2 * smirnovTail(n, x))
	case n <= 100000 && float64(n)*math.Pow(x, 1.5) <= 1.4:
		return clip(1 - durbin(n, x))
	}
	return clip(1 - pelzGood(n, x))
}

func clip(p float64) float64 { return min(max(p, 0), 1) }

// smallest is n!/nⁿ·uⁿ.
func smallest(n int, u float64) float64 {
	if n <= 140 {
		p := 1.0
		for i := 1; i <= n; i++ {
			p *= float64(i) / float64(n) * u
		}
		return p
	}
	m := float64(n)
	return math.Exp(stirlingError(m) + math.Log(2*math.Pi*m)/2 - m + m*math.Log(u))
}

// smirnovTail is the chance that the one-sided statistic is at least x:
// x·Σ C(n, j) (x+j/n)^(j−1) (1−x−j/n)^(n−j), each term a binomial chance.
func smirnovTail(n int, x float64) float64 {
	m := float64(n)
	total, highest := 0.0, 0.0
	for j := 0; float64(j) <= m*(1-x); j++ {
		p := x + float64(j)/m
		term := binomial(float64(j), m, p, 1-x-float64(j)/m) / p
		total += term
		highest = max(highest, term)
		if term < highest*1e-20 {
			break // they rise to one top and fall from it
		}
	}
	return x * total
}

// binomial is C(n, k)·pᵏ·qⁿ⁻ᵏ by Loader's saddle point form, which keeps its
// digits where logarithms of factorials do not (Fast and Accurate Computation
// of Binomial Probabilities, 2000).
func binomial(k, n, p, q float64) float64 {
	switch {
	case q <= 0:
		if k == n {
			return 1
		}
		return 0
	case k == 0:
		return math.Exp(n * math.Log1p(-p))
	case k == n:
		return math.Exp(n * math.Log(p))
	}
	e := stirlingError(n) - stirlingError(k) - stirlingError(n-k) - deviance(k, n*p) - deviance(n-k, n*q)
	return math.Exp(e) * math.Sqrt(n/(2*math.Pi*k*(n-k)))
}

// stirlingError is log(n!) less Stirling's √(2πn)·(n/e)ⁿ.
func stirlingError(n float64) float64 {
	if n <= 15 {
		gamma, _ := math.Lgamma(n + 1)
		return gamma - (n+0.5)*math.Log(n) + n - math.Log(2*math.Pi)/2
	}
	s, r := 0.0, 1/(n*n)
	for _, c := range []float64{-3617.0 / 122400, 1.0 / 156, -691.0 / 360360, 1.0 / 1188, -1.0 / 1680, 1.0 / 1260, -1.0 / 360, 1.0 / 12} {
		s = s*r + c
	}
	return s / n
}

// deviance is x·log(x/m) + m − x, without cancellation where x is near m.
func deviance(x, m float64) float64 {
	if math.Abs(x-m) >= 0.1*(x+m) {
		return x*math.Log(x/m) + m - x
	}
	v := (x - m) / (x + m)
	s, term := (x-m)*v, 2*x*v
	for j := 1; j < 1000; j++ {
		term *= v * v
		next := s + term/float64(2*j+1)
		if next == s {
			break
		}
		s = next
	}
	return s
}

// durbin is the distribution function by Durbin's matrix in the form of
// Marsaglia, Tsang and Wang (Evaluating Kolmogorov's Distribution, J. Stat.
// Softw. 8, 2003): an element of its n-th power.
func durbin(n int, x float64) float64 {
	t := float64(n) * x
	k := int(math.Ceil(t))
	h := float64(k) - t
	m := 2*k - 1
	a := make([][]float64, m)
	for i := range a {
		a[i] = make([]float64, m)
		for j := range m {
			if i-j+1 >= 0 {
				a[i][j] = 1
			}
		}
	}
	for i := range m {
		a[i][0] -= math.Pow(h, float64(i+1))
		a[m-1][i] -= math.Pow(h, float64(m-i))
	}
	if 2*h > 1 {
		a[m-1][0] += math.Pow(2*h-1, float64(m))
	}
	for i := range m {
		for j := range m {
			for f := 2; f <= i-j+1; f++ {
				a[i][j] /= float64(f)
			}
		}
	}
	power, scale := matrixPower(a, n)
	p := power[k-1][k-1]
	for i := 1; i <= n; i++ {
		if p *= float64(i) / float64(n); p < 0x1p-400 {
			p *= 0x1p400
			scale -= 400
		}
	}
	return math.Ldexp(p, scale)
}

// matrixPower is aⁿ, to be multiplied with 2^scale.
func matrixPower(a [][]float64, n int) (power [][]float64, scale int) {
	if n == 1 {
		return a, 0
	}
	half, scale := matrixPower(a, n/2)
	power, scale = product(half, half), 2*scale
	if n%2 == 1 {
		power = product(a, power)
	}
	if top := power[len(a)/2][len(a)/2]; top > 0x1p400 {
		for i := range power {
			for j := range power[i] {
				power[i][j] *= 0x1p-400
			}
		}
		scale += 400
	}
	return power, scale
}

func product(a, b [][]float64) [][]float64 {
	out := make([][]float64, len(a))
	for i := range a {
		out[i] = make([]float64, len(b))
		for k, x := range a[i] {
			if x == 0 {
				continue
			}
			for j, y := range b[k] {
				out[i][j] += x * y
			}
		}
	}
	return out
}

// pelzGood is the distribution function by the expansion of Pelz and Good
// (Approximating the Lower Tail-areas of the Kolmogorov–Smirnov One-sample
// Statistic, J. R. Stat. Soc. B 38, 1976): four terms in 1/√n.
func pelzGood(n int, x float64) float64 {
	const pi2, pi4, pi6 = math.Pi * math.Pi, math.Pi * math.Pi * math.Pi * math.Pi, math.Pi * math.Pi * math.Pi * math.Pi * math.Pi * math.Pi
	z := math.Sqrt(float64(n)) * x
	z2 := z * z
	z4, z6 := z2*z2, z2*z2*z2
	if pi2/8/z2 > 708 {
		return 0
	}
	var k0, k1, k2, k3, whole2, whole3 float64
	for k := int(math.Ceil(16 * z / math.Pi)); k > 0; k-- {
		m := float64(2*k - 1)
		m2 := m * m
		q := math.Exp(-pi2 * m2 / 8 / z2)
		k0 += q
		k1 += (pi2*m2/4 - z2) * q
		k2 += (6*z6 + 2*z4 + (2*z4-5*z2)*pi2*m2/4 + pi4*(1-2*z2)*m2*m2/16) * q
		k3 += (-30*z6 - 90*z4*z4 + pi2*(135*z4-96*z6)*m2/4 + pi4*(-60*z2+212*z4)*m2*m2/16 + pi6*(5-30*z2)*m2*m2*m2/64) * q
		j2 := float64(k * k)
		r := math.Exp(-pi2 * j2 / 2 / z2)
		whole2 += j2 * r
		whole3 += (3*z2 - pi2*j2) * j2 * r
	}
	root := math.Sqrt(2 * math.Pi)
	k0 *= root / z
	k1 *= root / (6 * z4)
	k2 = k2*root/(72*z6*z) - whole2*pi2*root/(36*z2*z)
	k3 = k3*root/(6480*z6*z4) + whole3*pi2*root/(216*z6)
	s := math.Sqrt(float64(n))
	return k0 + k1/s + k2/(s*s) + k3/(s*s*s)
}
