package drift

import (
	"math"
)

// ksExact is up to how many values a side the Kolmogorov–Smirnov p-value is
// exact.
const ksExact = 10000

// ks is the two-sided p-value of the two-sample Kolmogorov–Smirnov test.
func ks(ref, cur []float64) float64 {
	n1, n2 := len(ref), len(cur)
	d, i, j := 0.0, 0, 0
	for _, n := range merged(ref, cur) {
		i, j = i+n[0], j+n[1]
		d = max(d, math.Abs(float64(i)/float64(n1)-float64(j)/float64(n2)))
	}
	if max(n1, n2) > ksExact {
		m, n := float64(n1), float64(n2)
		return kolmogorovTail(int(math.RoundToEven(m*n/(m+n))), d)
	}
	g := gcd(n1, n2)
	h := int(math.RoundToEven(d * float64(n1/g*n2)))
	switch {
	case h == 0:
		return 1
	case n1 == n2:
		return outsideSquare(n1, h)
	}
	return outsideBand(n1, n2, g, h)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// outsideSquare is the share of the lattice paths from (0, 0) to (n, n) that
// reach a distance of h from the diagonal: by reflection
// 2·Σ (−1)^(k+1) C(2n, n−kh) / C(2n, n), nested from its last term.
func outsideSquare(n, h int) float64 {
	p := 0.0
	for k := n / h; k > 0; k-- {
		// C(2n, n−kh) by C(2n, n−(k−1)h)
		ratio := 1.0
		for i := range h {
			ratio *= float64(n-(k-1)*h-i) / float64(n+(k-1)*h+i+1)
		}
		p = ratio * (1 - p)
	}
	return min(2*p, 1)
}

// outsideBand is the share of the lattice paths from (0, 0) to (m, n) that
// reach |x/m − y/n| ≥ h/lcm(m, n). The last step of a random path to (x, y)
// came along x with the chance x/(x+y), so the share for a point follows from
// those of its two neighbours; outside of the band it is 1.
func outsideBand(m, n, g, h int) float64 {
	if m < n {
		m, n = n, m
	}
	mg, ng := m/g, n/g
	inside := func(x int) (from, to int) { // y with |x·ng − y·mg| < h
		from = max((x*ng-h)/mg+1, 0)
		if x*ng < h {
			from = 0
		}
		return from, min((x*ng+h-1)/mg, n)
	}
	row := make([]float64, n+1) // of the column x
	from, to := inside(0)
	for y := to + 1; y <= n; y++ {
		row[y] = 1
	}
	for x := 1; x <= m; x++ {
		lastFrom, lastTo := from, to
		from, to = inside(x)
		for y := lastFrom; y < from; y++ {
			row[y] = 1
		}
		for y := lastTo + 1; y <= to; y++ {
			row[y] = 1
		}
		below := 1.0 // of (x, y−1)
		for y := from; y <= to; y++ {
			along := row[y]
			if y == 0 {
				below = along
				continue
			}
			below = (along*float64(x) + below*float64(y)) / float64(x+y)
			row[y] = below
		}
	}
	return min(row[n], 1)
}
