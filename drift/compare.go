package drift

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
)

// Options say how two columns are compared. The zero value leaves every choice
// to Evidently's rules.
type Options struct {
	Method    Method   // empty: by type, rows and number of different values
	Threshold *float64 // nil: the method's own
}

// Result is the verdict on one column.
type Result struct {
	Column    string
	Method    Method
	Kind      Kind
	Value     float64
	Threshold float64
	Drifted   bool

	// Adjusted is the p-value that [Adjust] judged by; nil before that, and of a
	// distance.
	Adjusted *float64

	// RankError is by how much the shares that were compared may be wrong, because
	// a side has a sketch; 0: Value is exact. A p-value is then that of a sample of
	// [MaxExact] values.
	RankError float64
}

// CompareColumn compares the two sides of one column.
//
// The error matches [mlops.ErrInvalid]: a side has no value, the sides have
// different types, the method does not take the type, or it gives no number for
// these values, as where it divides by a variance of nothing.
func CompareColumn(ref, cur Column, o Options) (Result, error) {
	refuse := func(format string, args ...any) (Result, error) {
		return Result{}, fmt.Errorf("drift: column %q: %w: %s", ref.Name, mlops.ErrInvalid, fmt.Sprintf(format, args...))
	}
	switch {
	case ref.Type != cur.Type:
		return refuse("it is %s in the reference and %s in the current data", ref.Type, cur.Type)
	case !ref.comparable():
		return refuse("there is no drift method for a column of type %q", ref.Type)
	case ref.Len() == 0:
		return refuse("it has no value in the reference")
	case cur.Len() == 0:
		return refuse("it has no value in the current data")
	}
	p := pairOf(ref, cur)
	byName := o.Method != ""
	if !byName {
		o.Method = choose(p)
	}
	m, ok := find(o.Method)
	if !ok {
		return refuse("there is no drift method %q; there are %s", o.Method, strings.Join(names(), ", "))
	}
	// A method that Evidently chose may be one that it would not take by name.
	if byName && !slices.Contains(m.types, ref.Type) {
		return refuse("method %s does not take a %s column", m.name, ref.Type)
	}
	r := Result{Column: ref.Name, Method: m.name, Kind: m.kind, Threshold: m.threshold, RankError: ref.RankError() + cur.RankError()}
	if o.Threshold != nil {
		r.Threshold = *o.Threshold
	}
	var err error
	if r.Value, err = m.compute(p); err != nil {
		return refuse("method %s: %v", m.name, err)
	}
	if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) {
		return refuse("method %s gives no number for these values", m.name)
	}
	r.Drifted = m.drifted(r.Value, r.Threshold)
	return r, nil
}

func names() []string {
	out := make([]string, len(methods))
	for i, m := range methods {
		out[i] = string(m.name)
	}
	return out
}
