package drift

import (
	"errors"
	"fmt"
	"math"
)

func chiSquare(p pair) (float64, error) {
	shares := p.shares()
	scale := float64(p.cur.Len()) / float64(p.ref.Len())
	terms := make([]float64, len(shares))
	for i, s := range shares {
		expected := float64(s.ref) * scale
		d := float64(s.cur) - expected
		terms[i] = d * d / expected // +Inf for a category that the reference does not have
	}
	return chiSquareTail(sum(terms), len(shares)-1), nil
}

func chiSquareHomogeneity(p pair) (float64, error) {
	shares := p.shares()
	if len(shares) == 1 {
		return 1, nil
	}
	n1, n2 := float64(p.ref.Len()), float64(p.cur.Len())
	var terms []float64
	for _, s := range shares {
		all := float64(s.ref + s.cur)
		for _, side := range [][2]float64{{float64(s.ref), n1}, {float64(s.cur), n2}} {
			expected := all * side[1] / (n1 + n2)
			terms = append(terms, (side[0]-expected)*(side[0]-expected)/expected)
		}
	}
	return chiSquareTail(sum(terms), len(shares)-1), nil
}

// errDifferentLengths is why the methods that compare counts as they are refuse.
var errDifferentLengths = errors.New("it takes two sides of one length only")

func gTest(p pair) (float64, error) {
	// scipy lets sums differ by 1.5e-8 of the smaller.
	n1, n2 := float64(p.ref.Len()), float64(p.cur.Len())
	if math.Abs(n1-n2) > math.Sqrt(0x1p-52)*min(n1, n2) {
		return 0, errDifferentLengths
	}
	shares := p.shares()
	terms := make([]float64, len(shares))
	for i, s := range shares {
		if s.cur > 0 {
			terms[i] = 2 * float64(s.cur) * math.Log(float64(s.cur)/float64(s.ref))
		}
	}
	return chiSquareTail(sum(terms), len(shares)-1), nil
}

func zTest(p pair) (float64, error) {
	shares := p.shares()
	if len(shares) == 1 {
		return 1, nil
	}
	n1, n2 := float64(p.ref.Len()), float64(p.cur.Len())
	k1, k2 := n1-float64(shares[0].ref), n2-float64(shares[0].cur)
	all := (k1 + k2) / (n1 + n2)
	z := (k1/n1 - k2/n2) / math.Sqrt(all*(1-all)*(1/n1+1/n2))
	return 2 * normalTail(math.Abs(z)), nil
}

func fisherExact(p pair) (float64, error) {
	shares := p.shares()
	switch {
	case len(shares) > 2:
		return 0, errors.New("it takes two different values at most")
	case p.ref.Len() != p.cur.Len():
		return 0, errDifferentLengths
	case len(shares) == 1:
		return 1, nil
	case p.ref.Len() > mostFisher:
		return 0, fmt.Errorf("it takes %d rows of a side at most", mostFisher)
	}
	return fisher(shares[0].ref, shares[0].cur, shares[1].ref, shares[1].cur), nil
}

// mostFisher is for how many rows fisher keeps the chances of all tables.
const mostFisher = 10_000_000

// fisher is the two-sided p-value of the table [[a, b], [c, d]]: the chance of
// all tables of these margins that are no more likely than it.
func fisher(a, b, c, d int) float64 {
	row, column, n := a+b, a+c, a+b+c+d
	lowest, highest := max(0, row+column-n), min(row, column)
	// Chances relative to the likeliest table, from which both sides fall.
	mode := min(max(((row+1)*(column+1))/(n+2), lowest), highest)
	chances := make([]float64, highest-lowest+1)
	chances[mode-lowest] = 1
	step := func(x int) float64 { // from x to x+1
		return float64(row-x) / float64(x+1) * float64(column-x) / float64(n-row-column+x+1)
	}
	for x := mode; x < highest; x++ {
		chances[x+1-lowest] = chances[x-lowest] * step(x)
	}
	for x := mode; x > lowest; x-- {
		chances[x-1-lowest] = chances[x-lowest] / step(x-1)
	}
	limit := chances[a-lowest] * (1 + 1e-14)
	rare := make([]float64, 0, len(chances))
	for _, chance := range chances {
		if chance <= limit {
			rare = append(rare, chance)
		}
	}
	return min(sum(rare)/sum(chances), 1)
}
