package drift

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
)

// Check is what a [Finding] is about.
type Check string

// The checks of data quality. The value and the limit of a finding are what is
// said here.
const (
	CheckMissingColumn Check = "missing_column"    // 1: the reference has the column, the current data has not
	CheckType          Check = "type"              // share of the values that are no number, where the reference has numbers
	CheckUnparsed      Check = "unparsed"          // likewise, of fewer than half of the values
	CheckMissing       Check = "missing"           // share of the rows without a value
	CheckRange         Check = "out_of_range"      // share of the values beyond the reference's extremes
	CheckUnseen        Check = "unseen_categories" // share of the values whose category the reference does not have
	CheckConstant      Check = "constant"          // share of the values that are one, where the reference has others
	CheckDuplicates    Check = "duplicate_ids"     // rows whose ID another one has
	CheckRows          Check = "rows"              // rows
	CheckAge           Check = "age"               // seconds since the newest row
)

// Finding is what is wrong with the current data.
type Finding struct {
	Column string // empty if it is about the whole
	Check  Check
	Value  float64
	Limit  float64 // that Value is beyond
	Detail string  // in words
}

// Limits say what is a finding. The zero value has the limits named here.
type Limits struct {
	Missing  float64 // by how much the share of missing values may be above the reference's; 0: 0.05
	Unparsed float64 // likewise of values that are no number; 0: 0.01
	Range    float64 // share of values out of range, beside what chance makes of a sample; 0: 0.01
	Unseen   float64 // share of values of unseen categories, likewise; 0: 0.01
}

func (l Limits) filled() Limits {
	for field, value := range map[*float64]float64{&l.Missing: 0.05, &l.Unparsed: 0.01, &l.Range: 0.01, &l.Unseen: 0.01} {
		if *field == 0 {
			*field = value
		}
	}
	return l
}

// Quality looks for what is wrong with the values of a column, beside drift.
// What two samples of one population differ by is no finding.
func Quality(ref, cur Column, l Limits) []Finding {
	l = l.filled()
	var out []Finding
	find := func(c Check, value, limit float64, format string, args ...any) {
		if value > limit {
			out = append(out, Finding{cur.Name, c, value, limit, fmt.Sprintf(format, args...)})
		}
	}
	if ref.Rows == 0 || cur.Rows == 0 {
		return nil
	}
	share := func(n, of int) float64 { return float64(n) / float64(max(of, 1)) }
	gone, goneBefore := share(cur.Missing-cur.Unparsed, cur.Rows), share(ref.Missing-ref.Unparsed, ref.Rows)
	find(CheckMissing, gone, min(goneBefore+l.Missing, 1), "%.3g %% of the rows have no value, before %.3g %%", 100*gone, 100*goneBefore)
	present := cur.Rows - cur.Missing + cur.Unparsed
	text, textBefore := share(cur.Unparsed, present), share(ref.Unparsed, ref.Rows-ref.Missing+ref.Unparsed)
	if text > 0.5 {
		find(CheckType, text, 0.5, "it is numbers in the reference, and %.3g %% of the values are none", 100*text)
	} else {
		find(CheckUnparsed, text, textBefore+l.Unparsed, "%.3g %% of the values are no number, before %.3g %%", 100*text, 100*textBefore)
	}
	if ref.Type != cur.Type || ref.Len() == 0 || cur.Len() == 0 {
		return out
	}
	p := pairOf(ref, cur)
	n, m := float64(p.ref.Len()), float64(p.cur.Len())
	if ref.Type == TypeNumerical {
		low, high, _ := ref.Range()
		v := p.cur.values
		below, above := sort.SearchFloat64s(v, low), len(v)-sort.Search(len(v), func(i int) bool { return v[i] > high })
		lowest, highest, _ := cur.Range()
		// Of an equal sample two in n+1 are beyond on average; ten are rare.
		find(CheckRange, float64(below+above)/m, l.Range+10/n, "values from %.6g to %.6g, in the reference from %.6g to %.6g", lowest, highest, low, high)
	} else {
		// What a sample has once is as likely as what it has not (Good and Turing).
		once, unseen := 0, 0
		var names []string
		for _, c := range ref.counts {
			if c == 1 {
				once++
			}
		}
		for label, c := range cur.counts {
			if ref.counts[label] == 0 {
				unseen += c
				names = append(names, fmt.Sprintf("%.40q", label))
			}
		}
		slices.Sort(names)
		some := strings.Join(names[:min(len(names), 5)], ", ")
		if len(names) > 5 {
			some += fmt.Sprintf(" and %d more", len(names)-5)
		}
		find(CheckUnseen, float64(unseen)/m, l.Unseen+float64(once)/n, "categories that the reference does not have: %s", some)
	}
	if only, ok := p.constant(); ok && math.Pow(only, m) < 0.001 {
		find(CheckConstant, 1, only, "all values are one, which %.3g %% were", 100*only)
	}
	return out
}

// constant is the share that the only value of the current data has in the
// reference.
func (p pair) constant() (share float64, ok bool) {
	if p.cur.Type == TypeCategorical {
		for label := range p.cur.counts {
			share = float64(p.ref.counts[label]) / float64(p.ref.Len())
		}
		return share, len(p.cur.counts) == 1
	}
	v, r := p.cur.values, p.ref.values
	from, to := sort.SearchFloat64s(r, v[0]), sort.Search(len(r), func(i int) bool { return r[i] > v[0] })
	return float64(to-from) / float64(len(r)), v[0] == v[len(v)-1]
}
