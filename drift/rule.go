package drift

import (
	"fmt"
	"slices"

	"github.com/mlops-integration/mlops"
)

// Rule says when a comparison of many columns counts as drift, so that chance
// alone does not make it. The zero value takes each column's verdict as it is,
// and any one for drift of the whole.
type Rule struct {
	Options                    // of all columns
	Columns map[string]Options // of single ones, in their place

	Share     float64  // of the columns that were judged, from which the whole has drifted; 0: any
	Important []string // columns of which any one is drift of the whole
	Ignore    []string // columns that are not compared

	// MinRows is how many values a side must have: a column with fewer is skipped,
	// and with fewer rows there is no verdict at all.
	MinRows int

	// Adjust judges p-values by Benjamini and Hochberg's procedure; see [Adjust].
	Adjust bool

	Limits Limits // of data quality
}

// DefaultRule is for watching: equal data does not fire it.
func DefaultRule() Rule { return Rule{Share: 0.3, MinRows: 100, Adjust: true} }

// Report is the outcome of a comparison of many columns.
type Report struct {
	Rows     [2]int // of the reference and the current data
	Columns  []Result
	Skipped  []Skipped
	Findings []Finding // of data quality

	TooFew    bool // rows: nothing was compared, and there is no verdict
	Drifted   bool
	Share     float64  // of Columns that drifted
	Important []string // the important columns that drifted
	Unjudged  []string // those that are missing or were skipped
}

// Skipped is a column that could not be judged.
type Skipped struct{ Column, Reason string }

// Compare compares the columns of both sides by name. Columns that only the
// reference has are findings, those that only the current data has are skipped.
//
// The error matches [mlops.ErrInvalid]: an important column is not in the
// reference.
func Compare(ref, cur []Column, rule Rule) (Report, error) {
	var r Report
	for side, columns := range [][]Column{ref, cur} {
		for _, c := range columns {
			r.Rows[side] = max(r.Rows[side], c.Rows)
		}
	}
	named := func(columns []Column, name string) int {
		return slices.IndexFunc(columns, func(c Column) bool { return c.Name == name })
	}
	for _, name := range rule.Important {
		if named(ref, name) < 0 {
			return Report{}, fmt.Errorf("drift: the important column %q: %w: the reference does not have it", name, mlops.ErrInvalid)
		}
	}
	if min(r.Rows[0], r.Rows[1]) < rule.MinRows {
		r.TooFew = true
		r.Findings = []Finding{TooFew(r.Rows, rule.MinRows)}
		return r, nil
	}
	at := make(map[string]int, len(cur))
	for i, c := range cur {
		at[c.Name] = i
	}
	for _, a := range ref {
		i, ok := at[a.Name]
		switch {
		case slices.Contains(rule.Ignore, a.Name):
			continue
		case !ok:
			r.Findings = append(r.Findings, MissingColumn(a.Name))
			continue
		}
		b := cur[i]
		r.Findings = append(r.Findings, Quality(a, b, rule.Limits)...)
		if few := min(a.Len(), b.Len()); few < rule.MinRows {
			r.Skipped = append(r.Skipped, Skipped{a.Name, FewValues(few, rule.MinRows)})
			continue
		}
		o, own := rule.Columns[a.Name]
		if !own {
			o = rule.Options
		}
		result, err := CompareColumn(a, b, o)
		if err != nil {
			r.Skipped = append(r.Skipped, Skipped{a.Name, err.Error()})
			continue
		}
		r.Columns = append(r.Columns, result)
	}
	for _, c := range cur {
		if named(ref, c.Name) < 0 && !slices.Contains(rule.Ignore, c.Name) {
			r.Skipped = append(r.Skipped, Skipped{c.Name, "the reference does not have it"})
		}
	}
	if rule.Adjust {
		Adjust(r.Columns)
	}
	for _, name := range rule.Important {
		if !slices.ContainsFunc(r.Columns, func(c Result) bool { return c.Column == name }) {
			r.Unjudged = append(r.Unjudged, name)
		}
	}
	drifted := 0
	for _, c := range r.Columns {
		if !c.Drifted {
			continue
		}
		drifted++
		if slices.Contains(rule.Important, c.Column) {
			r.Important = append(r.Important, c.Column)
		}
	}
	if drifted > 0 {
		r.Share = float64(drifted) / float64(len(r.Columns))
		r.Drifted = r.Share >= rule.Share || len(r.Important) > 0
	}
	return r, nil
}

// TooFew is the finding that a side has fewer rows than there must be.
func TooFew(rows [2]int, least int) Finding {
	side, n := "current data", rows[1]
	if rows[0] < rows[1] {
		side, n = "reference", rows[0]
	}
	return Finding{Check: CheckRows, Value: float64(n), Limit: float64(least), Detail: fmt.Sprintf("the %s has %d rows, too few of the %d that a verdict needs", side, n, least)}
}

// MissingColumn is the finding that the current data lacks a column.
func MissingColumn(name string) Finding {
	return Finding{Column: name, Check: CheckMissingColumn, Value: 1, Detail: "the reference has it, the current data has not"}
}

// FewValues is why a column with too few values is skipped.
func FewValues(n, least int) string {
	return fmt.Sprintf("it has %d values on a side, too few of the %d that a verdict needs", n, least)
}

// Adjust judges the p-values among results again, so that of the columns that are
// said to have drifted the threshold's share is wrong, however many were compared
// (Benjamini and Hochberg, Controlling the False Discovery Rate, J. R. Stat. Soc.
// B 57, 1995). Distances stay as they are, and so do results of methods that are
// not among [Methods].
//
// The p-values of [Anderson] and [MannWhitney] are those of Evidently: the first
// one is never below 0.001, so that it finds nothing among more than a hundred
// columns of which one drifted; the second one sees one direction.
func Adjust(results []Result) {
	var by []int
	for i, r := range results {
		if _, known := find(r.Method); known && r.Kind == KindPValue {
			by = append(by, i)
		}
	}
	slices.SortStableFunc(by, func(a, b int) int {
		switch d := results[b].Value - results[a].Value; {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	})
	least := 1.0
	for k, i := range by { // from the greatest p-value down
		r := &results[i]
		least = min(least, r.Value*float64(len(by))/float64(len(by)-k))
		r.Adjusted = new(least)
		m, _ := find(r.Method)
		r.Drifted = m.drifted(least, r.Threshold)
	}
}
