package drift

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/mlops-integration/mlops"
)

// Merge is the column of both columns' rows, as far as profiles go: numbers are
// all kept up to [MaxExact] of them. Neither column is changed.
//
// The error matches [mlops.ErrInvalid] if the columns have different types. One
// without a value has any.
func (c Column) Merge(o Column) (Column, error) {
	switch {
	case o.Rows == o.Missing:
		o.Type = c.Type
	case c.Rows == c.Missing:
		c.Type = o.Type
	}
	if c.Type != o.Type {
		return Column{}, fmt.Errorf("drift: column %q: %w: %s and %s columns cannot be merged", c.Name, mlops.ErrInvalid, c.Type, o.Type)
	}
	if c.Type == TypeCategorical {
		counts := maps.Clone(c.counts)
		if counts == nil {
			counts = map[string]int{}
		}
		for label, n := range o.counts {
			counts[label] += n
		}
		return Counted(c.Name, counts, c.Missing+o.Missing), nil
	}
	out := c
	out.Rows, out.Missing, out.Infinite, out.Unparsed = c.Rows+o.Rows, c.Missing+o.Missing, c.Infinite+o.Infinite, c.Unparsed+o.Unparsed
	out.integer = c.integer && o.integer
	if c.sketch == nil && o.sketch == nil {
		out.values = slices.Concat(c.values, o.values)
		slices.Sort(out.values)
		return out.bounded(), nil
	}
	out.values, out.sketch = nil, c.sketched().clone()
	if other := o.sketched(); other.n > 0 {
		out.sketch.merge(other)
	}
	return out, nil
}

// sketched is the sketch of the column's numbers.
func (c Column) sketched() *sketch {
	if c.sketch != nil {
		return c.sketch
	}
	return sketchOf(c.values)
}

// bounded is the column with a sketch if it has more than MaxExact numbers.
func (c Column) bounded() Column {
	if len(c.values) > MaxExact {
		c.sketch, c.values = sketchOf(c.values), nil
	}
	return c
}

// columnJSON is a column in a profile.
type columnJSON struct {
	Name     string         `json:"name"`
	Type     Type           `json:"type,omitempty"`
	Rows     int            `json:"rows"`
	Missing  int            `json:"missing,omitempty"`
	Infinite int            `json:"infinite,omitempty"`
	Unparsed int            `json:"unparsed,omitempty"`
	Whole    bool           `json:"whole,omitempty"`
	Values   float64s       `json:"values,omitempty"`
	Sketch   *sketchJSON    `json:"sketch,omitempty"`
	Counts   map[string]int `json:"counts,omitempty"`
}

type sketchJSON struct {
	Rows    int        `json:"rows"`
	Lowest  float64    `json:"lowest"`
	Highest float64    `json:"highest"`
	Least   int        `json:"least"` // how many are the lowest
	Most    int        `json:"most"`  // how many are the highest
	Mean    *float64   `json:"mean,omitempty"`
	Squares *float64   `json:"squares,omitempty"` // sum of the squared deviations; none if it is beyond floating-point numbers
	Levels  []float64s `json:"levels"`
	Second  []bool     `json:"second"`
	Over    int        `json:"over"`
	Under   int        `json:"under"`
}

// float64s are numbers in base64, eight bytes each, the least significant first.
type float64s []float64

func (f float64s) MarshalJSON() ([]byte, error) {
	raw := make([]byte, 8*len(f))
	for i, v := range f {
		binary.LittleEndian.PutUint64(raw[8*i:], math.Float64bits(v))
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(raw))
}

func (f *float64s) UnmarshalJSON(b []byte) error {
	var raw []byte
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	if len(raw)%8 != 0 || len(raw) > 8*MaxExact {
		return fmt.Errorf("%d bytes are no list of numbers", len(raw))
	}
	*f = make(float64s, len(raw)/8)
	for i := range *f {
		v := math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return errors.New("a number is not finite")
		}
		(*f)[i] = v
	}
	return nil
}

// MarshalJSON writes the column for a profile, with at most [MaxExact] numbers as
// they are.
func (c Column) MarshalJSON() ([]byte, error) {
	c = c.bounded()
	out := columnJSON{
		Name: c.Name, Type: c.Type, Rows: c.Rows, Missing: c.Missing, Infinite: c.Infinite, Unparsed: c.Unparsed,
		Whole: c.integer, Values: c.values, Counts: c.counts,
	}
	if s := c.sketch; s != nil {
		out.Sketch = &sketchJSON{
			Rows: s.n, Lowest: s.about.lowest, Highest: s.about.highest, Least: s.about.least, Most: s.about.most,
			Mean: finite(s.about.mean), Squares: finite(s.about.squares), Second: s.second, Over: s.over, Under: s.under,
		}
		for _, level := range s.levels {
			out.Sketch.Levels = append(out.Sketch.Levels, level)
		}
	}
	return json.Marshal(out)
}

// finite is x, nil if JSON has no form for it.
func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// UnmarshalJSON reads what MarshalJSON writes, and nothing that contradicts
// itself.
func (c *Column) UnmarshalJSON(b []byte) error {
	var in columnJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return err
	}
	out, err := in.column()
	if err != nil {
		return fmt.Errorf("column %.100q: %w", in.Name, err)
	}
	*c = out
	return nil
}

func (in columnJSON) column() (Column, error) {
	for _, n := range []int{in.Rows, in.Missing, in.Infinite, in.Unparsed} {
		if n < 0 || n > 1<<53 {
			return Column{}, errors.New("a count is out of range")
		}
	}
	out := Column{Name: in.Name, Type: in.Type, Rows: in.Rows, Missing: in.Missing, Infinite: in.Infinite, Unparsed: in.Unparsed}
	numbers, categories := in.Values != nil || in.Sketch != nil || in.Whole, in.Counts != nil
	switch {
	case in.Type == TypeNumerical && !categories && (in.Sketch == nil || in.Values == nil):
		out.integer, out.values = in.Whole, in.Values
		if !slices.IsSorted(out.values) {
			return Column{}, errors.New("its numbers do not ascend")
		}
		if in.Sketch != nil {
			s, err := in.Sketch.sketch()
			if err != nil {
				return Column{}, fmt.Errorf("its sketch: %w", err)
			}
			out.sketch = s
		}
		if out.Len() != len(out.values)+in.sketched() {
			return Column{}, errors.New("it has another number of values than rows that are not missing")
		}
	case in.Type == TypeCategorical && !numbers && in.Infinite == 0:
		left := in.Rows - in.Missing
		for label, n := range in.Counts {
			if left -= n; n < 1 || left < 0 || !utf8.ValidString(label) {
				return Column{}, errors.New("a category has no number of rows that there can be")
			}
		}
		if left != 0 {
			return Column{}, errors.New("it has other rows than those of its categories and missing ones")
		}
		if in.Counts == nil {
			in.Counts = map[string]int{}
		}
		unparsed := out.Unparsed
		out = Counted(in.Name, in.Counts, in.Missing)
		out.Unparsed = unparsed
	case in.Type == "" && !numbers && !categories && in.Missing <= in.Rows:
	default:
		return Column{}, fmt.Errorf("it holds what no %.20q column does", in.Type)
	}
	return out, nil
}

func (in columnJSON) sketched() int {
	if in.Sketch == nil {
		return 0
	}
	return in.Sketch.Rows
}

func (in *sketchJSON) sketch() (*sketch, error) {
	about := moments{in.Lowest, in.Highest, in.Least, in.Most, math.NaN(), math.NaN()}
	if in.Mean != nil && in.Squares != nil {
		about.mean, about.squares = *in.Mean, *in.Squares
	}
	s := &sketch{n: in.Rows, about: about, second: in.Second, over: in.Over, under: in.Under}
	if len(in.Levels) == 0 || len(in.Levels) > 40 || len(in.Second) != len(in.Levels) || in.Over < 0 || in.Under < 0 || in.Rows < 1 || max(in.Over, in.Under) > in.Rows ||
		min(in.Least, in.Most) < 1 || max(in.Least, in.Most) > in.Rows || about.squares < 0 || about.mean < in.Lowest || about.mean > in.Highest {
		return nil, errors.New("its figures are out of range")
	}
	n := 0
	for h, level := range in.Levels {
		if len(level) >= sketchLevel {
			return nil, errors.New("a level has too many values")
		}
		for _, v := range level {
			if v < in.Lowest || v > in.Highest {
				return nil, errors.New("a value is not between its extremes")
			}
		}
		n += len(level) << h
		s.levels = append(s.levels, level)
	}
	if n != in.Rows {
		return nil, errors.New("its levels are of another number of values")
	}
	return s, nil
}
