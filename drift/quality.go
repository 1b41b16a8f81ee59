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

// Limits say what is a finding. The zero value has the limits named here. What
// chance makes of samples of these sizes is no finding, whatever the limit.
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

	before, now := count{ref.Missing - ref.Unparsed, ref.Rows}, count{cur.Missing - cur.Unparsed, cur.Rows}
	most := l.Missing
	if now.n == now.of { // a column that has lost its last values
		most = 0
	}
	find(CheckMissing, now.share(), limit(before, now, most), "%.3g %% of the rows have no value, before %.3g %%", 100*now.share(), 100*before.share())

	before, now = count{ref.Unparsed, ref.Rows - before.n}, count{cur.Unparsed, cur.Rows - now.n}
	if most := limit(before, now, l.Unparsed); now.share() > 0.5 && before.share() <= 0.5 {
		find(CheckType, now.share(), max(most, 0.5), "it is numbers in the reference, and %.3g %% of the values are none", 100*now.share())
	} else {
		find(CheckUnparsed, now.share(), most, "%.3g %% of the values are no number, before %.3g %%", 100*now.share(), 100*before.share())
	}

	if ref.Type != cur.Type || !ref.comparable() || ref.Len() == 0 || cur.Len() == 0 {
		return out
	}
	n, m := float64(ref.Len()), float64(cur.Len())
	if ref.Type == TypeNumerical {
		low, high, _ := ref.Range()
		lowest, highest, _ := cur.Range()
		v := cur.sampled().values
		beyond := sort.SearchFloat64s(v, low) + len(v) - sort.Search(len(v), func(i int) bool { return v[i] > high })
		// The outer k of n+m values are of one side with a chance of (m/(n+m))^k.
		find(CheckRange, float64(beyond)/float64(len(v)), l.Range+10/n+10/m, "values from %.6g to %.6g, in the reference from %.6g to %.6g", lowest, highest, low, high)
	} else {
		share, names := unseen(ref, cur)
		find(CheckUnseen, share, unseenLimit(ref, m, l.Unseen), "categories that the reference does not have: %s", names)
	}
	if before, ok := constant(ref, cur); ok && rareConstant(before, cur.Len()) {
		find(CheckConstant, 1, before.share(), "all values are one, which %.3g %% were", 100*before.share())
	}
	return out
}

// count is how many of so many rows are something.
type count struct{ n, of int }

func (c count) share() float64 { return float64(c.n) / float64(max(c.of, 1)) }

// sigmas is how many standard deviations chance may make: 1 of 30,000.
const sigmas = 4

// limit is the share above which now is beyond before by more than most, and by
// more than chance makes of two samples of one population. The last term is for
// the few rows of a small sample, of which the normal distribution knows too little.
func limit(before, now count, most float64) float64 {
	n, m := float64(max(before.of, 1)), float64(max(now.of, 1))
	p := float64(before.n+now.n) / (n + m)
	return before.share() + max(most, sigmas*math.Sqrt(p*(1-p)*(1/n+1/m))+2/m)
}

// unseen is the share of the current values whose category the reference does not
// have, and the first of these categories.
func unseen(ref, cur Column) (share float64, names string) {
	n := 0
	var all []string
	for label, c := range cur.counts {
		if ref.counts[label] == 0 {
			n += c
			all = append(all, fmt.Sprintf("%.40q", label))
		}
	}
	slices.Sort(all)
	names = strings.Join(all[:min(len(all), 5)], ", ")
	if len(all) > 5 {
		names += fmt.Sprintf(" and %d more", len(all)-5)
	}
	return float64(n) / float64(cur.Len()), names
}

// unseenLimit is the share of unseen categories that is too many among m values.
// What a sample has once is as likely as what it does not have (Good, The
// Population Frequencies of Species, Biometrika 40, 1953); for the variance see
// Esty, A Normal Limit Law for a Nonparametric Estimator of the Coverage of a
// Random Sample, Ann. Stat. 11, 1983. Four values more than there are once bound
// what a reference that has few or none of them does not show.
func unseenLimit(ref Column, m, most float64) float64 {
	n, once, twice := float64(ref.Len()), 0.0, 0.0
	for _, c := range ref.counts {
		switch c {
		case 1:
			once++
		case 2:
			twice++
		}
	}
	p := min((once+4)/n, 1)
	variance := (once*(1-once/n)+2*twice+8)/(n*n) + p*(1-p)/m
	return once/n + max(most, sigmas*math.Sqrt(variance)+2/m)
}

// constant is how often the reference has the only value of the current data.
func constant(ref, cur Column) (before count, ok bool) {
	before.of = ref.Len()
	if cur.Type == TypeCategorical {
		for label := range cur.counts {
			before.n = ref.counts[label]
		}
		return before, len(cur.counts) == 1
	}
	v, highest, _ := cur.Range()
	r := ref.sampled().values
	before.of = len(r)
	before.n = sort.Search(len(r), func(i int) bool { return r[i] > v }) - sort.SearchFloat64s(r, v)
	return before, v == highest
}

// rareConstant reports whether m values are hardly ever one value of the
// reference that is no more frequent than this one. All values of a share p or
// less together make m equal ones with a chance of at most p^(m-1).
func rareConstant(before count, m int) bool {
	n, p := float64(before.of), max(before.share(), 1/float64(before.of))
	p += 2 * math.Sqrt(p*(1-p)/n)
	return m >= 2 && p < 1 && math.Pow(p, float64(m-1)) < 0.0001
}
