package drift

import (
	"math"
	"slices"
	"strconv"
)

// Type is what a column's values are.
type Type string

// The types of columns that can be compared.
const (
	TypeNumerical   Type = "numerical"
	TypeCategorical Type = "categorical"
)

// Column is what a comparison needs of one side of a column. Its rows have no
// order. Columns are made by [Numbers], [Integers], [Values], [Categories] and
// [Counted] and are not changed after that; they may be used concurrently.
type Column struct {
	Name string
	Type Type

	Rows     int // all of them, missing ones included
	Missing  int
	Infinite int // numbers that are ±Inf; no method sees them
	Unparsed int // cells that are no number in a numerical column; they are among Missing

	values  []float64      // of a numerical column, finite and ascending; none if it has a sketch
	sketch  *sketch        // of more numbers than are kept
	of      *sketch        // whose sample the values are
	integer bool           // whole numbers without a missing one, for which bins are cut otherwise
	counts  map[string]int // of a categorical column
	numeric bool           // its categories are numbers, ordered as such
}

// Numbers makes a numerical column. NaN is a missing value. It takes values
// over, which are sorted in place.
func Numbers(name string, values []float64) Column {
	v := Values{numbers: values[:0]}
	for _, x := range values {
		v.Add(x)
	}
	return v.Column(name, false)
}

// Integers makes a numerical column of whole numbers. Evidently cuts no bin
// narrower than 1 for them, as long as none is missing.
func Integers(name string, values []int64) Column {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	c := Numbers(name, out)
	c.integer = true
	return c
}

// Categories makes a categorical column of labels and of how many values are
// missing beside them.
func Categories(name string, labels []string, missing int) Column {
	counts := map[string]int{}
	for _, l := range labels {
		counts[l]++
	}
	return Counted(name, counts, missing)
}

// Counted makes a categorical column of how often each category is there. It
// takes counts over.
func Counted(name string, counts map[string]int, missing int) Column {
	c := Column{Name: name, Type: TypeCategorical, Rows: missing, Missing: missing, counts: counts, numeric: len(counts) > 0}
	for label, n := range counts {
		c.Rows += n
		if _, err := strconv.ParseFloat(label, 64); err != nil {
			c.numeric = false
		}
	}
	return c
}

// Len is the number of values that methods see.
func (c Column) Len() int { return c.Rows - c.Missing - c.Infinite }

// comparable reports whether methods can take the column.
func (c Column) comparable() bool { return c.Type == TypeNumerical || c.Type == TypeCategorical }

// Distinct is the number of different values; of a sketch, that of a sample.
func (c Column) Distinct() int {
	if c.Type == TypeCategorical {
		return len(c.counts)
	}
	n, values := 0, c.sampled().values
	for i, v := range values {
		if i == 0 || v != values[i-1] {
			n++
		}
	}
	return n
}

// Range is the least and the greatest number of a numerical column; ok is false
// if it has none.
func (c Column) Range() (lowest, highest float64, ok bool) {
	switch {
	case c.sketch != nil:
		return c.sketch.about.lowest, c.sketch.about.highest, true
	case c.of != nil:
		return c.of.about.lowest, c.of.about.highest, true
	case len(c.values) == 0:
		return 0, 0, false
	}
	return c.values[0], c.values[len(c.values)-1], true
}

// RankError is by how much the share of the numbers below any number may be
// wrong, because the column has a sketch of them; 0: it has all.
func (c Column) RankError() float64 {
	if c.sketch == nil {
		return 0
	}
	return c.sketch.rankError()
}

// sampled is the column with a sample in the place of its sketch.
func (c Column) sampled() Column {
	if c.sketch == nil {
		return c
	}
	c.values, c.of, c.sketch = c.sketch.sample(), c.sketch, nil
	c.Rows, c.Missing, c.Infinite = len(c.values), 0, 0
	return c
}

// pair is both sides of a column as methods see them, without a sketch.
type pair struct {
	ref, cur Column
	n        int // values of both sides, of which a sketch's sample has fewer
}

func pairOf(ref, cur Column) pair {
	return pair{ref.sampled(), cur.sampled(), ref.Len() + cur.Len()}
}

// extremes are the least and the greatest number of both sides.
func (p pair) extremes() (lowest, highest float64) {
	l1, h1, _ := p.ref.Range()
	l2, h2, _ := p.cur.Range()
	return min(l1, l2), max(h1, h2)
}

// distinct is how many different values both sides have together, counted up
// to most.
func (p pair) distinct(most int) int {
	n := 0
	if p.ref.Type == TypeCategorical {
		for k := range p.ref.counts {
			if _, both := p.cur.counts[k]; !both {
				n++
			}
		}
		return n + len(p.cur.counts)
	}
	for range merged(p.ref.values, p.cur.values) {
		if n++; n == most {
			break
		}
	}
	return n
}

// share is how many values of either side are one value, or one category.
type share struct {
	key      string
	number   float64
	ref, cur int
}

// shares are the counts of all values that either side has, in Python's order.
func (p pair) shares() []share {
	var out []share
	if p.ref.Type == TypeNumerical {
		for v, n := range merged(p.ref.values, p.cur.values) {
			out = append(out, share{number: v, ref: n[0], cur: n[1]})
		}
		return out
	}
	numeric := p.ref.numeric && p.cur.numeric
	add := func(key string) {
		s := share{key: key, ref: p.ref.counts[key], cur: p.cur.counts[key]}
		if numeric {
			s.number, _ = strconv.ParseFloat(key, 64)
		}
		out = append(out, s)
	}
	for key := range p.ref.counts {
		add(key)
	}
	for key := range p.cur.counts {
		if _, both := p.ref.counts[key]; !both {
			add(key)
		}
	}
	slices.SortFunc(out, func(a, b share) int {
		switch {
		case a.number < b.number, a.number == b.number && a.key < b.key:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	return out
}

// merged goes through the different values of two ascending lists, with how
// often either has each.
func merged(a, b []float64) func(func(float64, [2]int) bool) {
	return func(yield func(float64, [2]int) bool) {
		for i, j := 0, 0; i < len(a) || j < len(b); {
			v := math.Inf(1)
			if i < len(a) {
				v = a[i]
			}
			if j < len(b) {
				v = min(v, b[j])
			}
			i0, j0 := i, j
			for i < len(a) && a[i] == v {
				i++
			}
			for j < len(b) && b[j] == v {
				j++
			}
			if !yield(v, [2]int{i - i0, j - j0}) {
				return
			}
		}
	}
}
