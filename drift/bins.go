package drift

import (
	"errors"
	"math"
	"sort"
)

// edges cuts the range of values by Sturges' rule as numpy.histogram_bin_edges
// does: from their extremes, for n of them, whole numbers in bins of at least 1.
// A range that floating-point numbers cannot divide is refused, as there.
func edges(lowest, highest float64, n int, integer bool) ([]float64, error) {
	first, last := lowest, highest
	if first == last {
		first, last = first-0.5, last+0.5
	}
	bins := 1
	if width := (highest - lowest) / (math.Log2(float64(n)) + 1); width > 0 {
		if integer {
			width = max(width, 1)
		}
		if math.IsInf(width, 0) {
			return nil, errRange
		}
		bins = int(math.Ceil((last - first) / width))
	}
	out := make([]float64, bins+1)
	step := (last - first) / float64(bins)
	for i := range out {
		out[i] = float64(i)*step + first
	}
	out[bins] = last
	for i := range bins {
		if out[i] >= out[i+1] {
			return nil, errRange
		}
	}
	return out, nil
}

var errRange = errors.New("the range of its values cannot be cut into bins")

// histogram counts ascending values in bins, each closed on the left, the last
// one on both sides. A value is compared with the edges themselves.
func histogram(values, edges []float64) []int {
	last := len(edges) - 1
	out := make([]int, last)
	before := sort.SearchFloat64s(values, edges[0])
	for i := range out {
		upTo := sort.SearchFloat64s(values, edges[i+1])
		if i+1 == last {
			upTo = sort.Search(len(values), func(k int) bool { return values[k] > edges[last] })
		}
		out[i], before = upTo-before, upTo
	}
	return out
}

// binned gives the shares of each side in common bins, or of each value where
// the column has categories or the reference at most 20 different values.
func binned(p pair) (ref, cur []float64, err error) {
	n1, n2 := float64(p.ref.Len()), float64(p.cur.Len())
	if p.ref.Type == TypeNumerical && p.ref.Distinct() > 20 {
		a, b := p.ref.values, p.cur.values
		lowest, highest := p.extremes()
		cuts, err := edges(lowest, highest, p.n, p.ref.integer && p.cur.integer)
		if err != nil {
			return nil, nil, err
		}
		return scaled(histogram(a, cuts), n1), scaled(histogram(b, cuts), n2), nil
	}
	for _, s := range p.shares() {
		ref, cur = append(ref, float64(s.ref)/n1), append(cur, float64(s.cur)/n2)
	}
	return ref, cur, nil
}

func scaled(counts []int, n float64) []float64 {
	out := make([]float64, len(counts))
	for i, c := range counts {
		out[i] = float64(c) / n
	}
	return out
}

// fill puts a small share in the place of those that are 0, as Evidently does
// before it takes logarithms.
func fill(shares []float64) {
	least := math.Inf(1)
	for _, s := range shares {
		if s > 0 {
			least = min(least, s)
		}
	}
	small := 0.0001
	if least <= small {
		small = least / 1e6
	}
	for i, s := range shares {
		if s == 0 {
			shares[i] = small
		}
	}
}

// normalize makes shares sum to 1.
func normalize(shares []float64) {
	total := sum(shares)
	for i := range shares {
		shares[i] /= total
	}
}

// relativeEntropy is p·log(p/q), 0 where p is.
func relativeEntropy(p, q float64) float64 {
	if p == 0 {
		return 0
	}
	return p * math.Log(p/q)
}

func jensenShannon(p pair) (float64, error) {
	ref, cur, err := binned(p)
	if err != nil {
		return 0, err
	}
	return jsDistance(ref, cur), nil
}

func jsDistance(ref, cur []float64) float64 {
	normalize(ref)
	normalize(cur)
	terms := make([]float64, len(ref))
	for i := range ref {
		mid := (ref[i] + cur[i]) / 2
		terms[i] = relativeEntropy(ref[i], mid) + relativeEntropy(cur[i], mid)
	}
	return math.Sqrt(max(sum(terms), 0) / 2)
}

func psi(p pair) (float64, error) {
	ref, cur, err := binned(p)
	if err != nil {
		return 0, err
	}
	return psiOf(ref, cur), nil
}

func psiOf(ref, cur []float64) float64 {
	fill(ref)
	fill(cur)
	terms := make([]float64, len(ref))
	for i := range ref {
		terms[i] = (ref[i] - cur[i]) * math.Log(ref[i]/cur[i])
	}
	return sum(terms)
}

func klDivergence(p pair) (float64, error) {
	ref, cur, err := binned(p)
	if err != nil {
		return 0, err
	}
	fill(ref)
	fill(cur)
	normalize(ref)
	normalize(cur)
	terms := make([]float64, len(ref))
	for i := range ref {
		terms[i] = relativeEntropy(ref[i], cur[i])
	}
	return sum(terms), nil
}

func hellinger(p pair) (float64, error) {
	var terms []float64
	if p.ref.Type == TypeCategorical {
		n1, n2 := float64(p.ref.Len()), float64(p.cur.Len())
		for _, s := range p.shares() {
			terms = append(terms, math.Sqrt(float64(s.ref)/n1*(float64(s.cur)/n2)))
		}
	} else {
		a, b := p.ref.values, p.cur.values
		lowest, highest := p.extremes()
		cuts, err := edges(lowest, highest, p.distinct(math.MaxInt), p.ref.integer && p.cur.integer)
		if err != nil {
			return 0, err
		}
		h1, h2 := histogram(a, cuts), histogram(b, cuts)
		width := (cuts[len(cuts)-1] - cuts[0]) / float64(len(cuts)-1)
		for i := range h1 {
			bin := cuts[i+1] - cuts[i]
			d1, d2 := float64(h1[i])/bin/float64(len(a)), float64(h2[i])/bin/float64(len(b))
			terms = append(terms, math.Sqrt(d1*d2)*width)
		}
	}
	overlap := 0.0 // one by one, as Python adds
	for _, t := range terms {
		overlap += t
	}
	return math.Sqrt(1 - min(overlap, 1)), nil
}

// tenths are the nine inner edges of ten bins that the reference fills equally,
// without those that fall together. A lowest value that fills a bin has it for
// itself.
func tenths(ref []float64) []float64 {
	var cuts []float64
	if above := sort.Search(len(ref), func(i int) bool { return ref[i] > ref[0] }); above > len(ref)/10 {
		cuts = append(cuts, ref[above]) // there are more than twenty different values
	}
	for i := 1; i < 10; i++ {
		v := ref[(len(ref)*i)/10]
		if len(cuts) == 0 && v > ref[0] || len(cuts) > 0 && v > cuts[len(cuts)-1] {
			cuts = append(cuts, v)
		}
	}
	return cuts
}

// referenceBinned gives the shares of both sides in bins that the reference
// alone decides. The outer two are open, so that no outlier moves the others.
func referenceBinned(p pair) (ref, cur []float64) {
	if p.ref.Type == TypeCategorical || p.ref.Distinct() <= 20 {
		known := p.shares()
		n1, n2, other := float64(p.ref.Len()), float64(p.cur.Len()), 0
		for _, s := range known {
			if s.ref == 0 {
				other += s.cur
				continue
			}
			ref, cur = append(ref, float64(s.ref)/n1), append(cur, float64(s.cur)/n2)
		}
		if other > 0 {
			ref, cur = append(ref, 0), append(cur, float64(other)/n2)
		}
		return ref, cur
	}
	cuts := append(append([]float64{math.Inf(-1)}, tenths(p.ref.values)...), math.Inf(1))
	return scaled(histogram(p.ref.values, cuts), float64(p.ref.Len())), scaled(histogram(p.cur.values, cuts), float64(p.cur.Len()))
}

func psiReference(p pair) (float64, error) { return psiOf(referenceBinned(p)), nil }

func jsReference(p pair) (float64, error) { return jsDistance(referenceBinned(p)), nil }

// sum adds pairwise, so that the error grows with the logarithm of the length.
func sum(v []float64) float64 {
	if len(v) <= 16 {
		s := 0.0
		for _, x := range v {
			s += x
		}
		return s
	}
	half := len(v) / 2
	return sum(v[:half]) + sum(v[half:])
}
