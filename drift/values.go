package drift

import (
	"math"
	"slices"
)

// MaxExact is how many numbers of a column a profile keeps as they are. More
// become a sketch.
const MaxExact = 100_000

// Values collects the numbers of one column, in any order. The zero value keeps
// all of them.
type Values struct {
	// Limit is how many numbers are kept as they are; what exceeds it goes into a
	// sketch of bounded size. 0: all are.
	Limit int

	missing, infinite int
	numbers           []float64
	sketch            *sketch
}

// Grow makes room for n more numbers.
func (v *Values) Grow(n int) {
	if v.Limit > 0 {
		n = min(n, v.Limit)
	}
	v.numbers = slices.Grow(v.numbers, n)
}

// Add takes a number. NaN is a missing value.
func (v *Values) Add(x float64) {
	switch {
	case math.IsNaN(x):
		v.missing++
	case math.IsInf(x, 0):
		v.infinite++
	case v.sketch != nil:
		v.sketch.add(x)
	default:
		if v.numbers = append(v.numbers, x); v.Limit > 0 && len(v.numbers) > v.Limit {
			v.sketch, v.numbers = sketchOf(v.numbers), nil
		}
	}
}

// Column makes the column of all numbers so far, which are of v no longer. With
// whole they are integers: see [Integers].
func (v *Values) Column(name string, whole bool) Column {
	slices.Sort(v.numbers)
	c := Column{
		Name: name, Type: TypeNumerical, Missing: v.missing, Infinite: v.infinite,
		Rows: v.missing + v.infinite + len(v.numbers), values: v.numbers, integer: whole, sketch: v.sketch,
	}
	if v.sketch != nil {
		c.Rows += v.sketch.n
	}
	*v = Values{Limit: v.Limit}
	return c
}

// sketch keeps numbers in bounded memory. A value of levels[h] stands for 2^h
// numbers. A full level is sorted, and every other value of it moves up: the first
// ones of each two and the second ones by turns, so that the same numbers in the
// same order make the same sketch. It is the scheme of Manku, Rajagopalan and
// Lindsay (Approximate Medians and other Quantiles in One Pass, SIGMOD 1998) with
// its guarantee: the error is known, not likely.
type sketch struct {
	n      int
	about  moments // exact
	levels [][]float64
	second []bool // by level: the second ones are next

	// By how many numbers the count of those below any number may be too high and
	// too low.
	over, under int
}

// sketchLevel is how many values a level holds. A million numbers have a rank
// error of at most 2e-4, a billion one of 5e-4.
const sketchLevel = 1 << 14

func sketchOf(values []float64) *sketch {
	s := &sketch{}
	for _, v := range values {
		s.add(v)
	}
	return s
}

func (s *sketch) add(x float64) {
	s.level(0)
	s.n++
	s.about.add(x, s.n)
	if s.levels[0] = append(s.levels[0], x); len(s.levels[0]) == sketchLevel {
		s.compact()
	}
}

// level makes levels up to h.
func (s *sketch) level(h int) {
	for len(s.levels) <= h {
		s.levels, s.second = append(s.levels, nil), append(s.second, false)
	}
}

// compact empties the levels that are full.
func (s *sketch) compact() {
	for h := 0; h < len(s.levels); h++ {
		full := s.levels[h]
		if len(full) < sketchLevel {
			continue
		}
		slices.Sort(full)
		s.level(h + 1)
		from := 0
		if s.second[h] {
			from, s.under = 1, s.under+1<<h
		} else {
			s.over += 1 << h
		}
		s.second[h] = !s.second[h]
		even := len(full) &^ 1
		for i := from; i < even; i += 2 {
			s.levels[h+1] = append(s.levels[h+1], full[i])
		}
		s.levels[h] = append(full[:0], full[even:]...)
	}
}

// merge adds the numbers of o, and leaves it as it is.
func (s *sketch) merge(o *sketch) {
	s.about.merge(o.about, s.n, o.n)
	s.n, s.over, s.under = s.n+o.n, s.over+o.over, s.under+o.under
	s.level(len(o.levels) - 1)
	for h, level := range o.levels {
		s.levels[h] = append(s.levels[h], level...)
	}
	s.compact()
}

func (s *sketch) clone() *sketch {
	c := *s
	c.second = slices.Clone(s.second)
	c.levels = make([][]float64, len(s.levels))
	for h, level := range s.levels {
		c.levels[h] = slices.Clone(level)
	}
	return &c
}

// rankError is by how much the share of numbers below any number may be wrong
// among the sample.
func (s *sketch) rankError() float64 {
	return float64(max(s.over, s.under))/float64(s.n) + 0.5/MaxExact
}

// sample is MaxExact ascending values at equal distances of rank. An extreme has
// the share that it has among the numbers, and none if that is too small: one far
// number would be so many otherwise that it alone makes a distance.
func (s *sketch) sample() []float64 {
	type weighted struct {
		value  float64
		weight int
	}
	var all []weighted
	for h, level := range s.levels {
		for _, v := range level {
			all = append(all, weighted{v, 1 << h})
		}
	}
	slices.SortFunc(all, func(a, b weighted) int {
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	last := len(all) - 1
	if s.about.most < all[last].weight && all[last].value == s.about.highest && last > 0 {
		all[last-1].weight += all[last].weight - s.about.most
		all[last].weight = s.about.most
	}
	if s.about.least < all[0].weight && all[0].value == s.about.lowest && last > 0 {
		all[1].weight += all[0].weight - s.about.least
		all[0].weight = s.about.least
	}
	out := make([]float64, MaxExact)
	at, below := 0, 0 // numbers up to all[at-1]
	for i := range out {
		rank := (float64(i) + 0.5) / MaxExact * float64(s.n)
		for at < len(all)-1 && float64(below+all[at].weight) <= rank {
			below += all[at].weight
			at++
		}
		out[i] = all[at].value
	}
	return out
}
