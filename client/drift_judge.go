package client

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/drift"
	"github.com/mlops-integration/mlops/drift/table"
	"github.com/mlops-integration/mlops/evidently"
)

// judgement gathers what a comparison in Go finds, by its rule.
type judgement struct {
	rule     evidently.DriftRule
	results  []drift.Result
	findings []evidently.Finding
}

// uncompared are the columns that are read and not compared.
func uncompared(r evidently.DriftRule) []string {
	return slices.DeleteFunc([]string{r.ID, r.Time}, func(name string) bool { return name == "" })
}

// compare judges one column, or skips it with the reason.
func (j *judgement) compare(c *evidently.Comparison, ref, cur table.Column, o evidently.DriftOptions) {
	name := ref.Name
	skip := func(reason string) {
		c.Skipped = append(c.Skipped, evidently.SkippedColumn{Column: name, Reason: reason})
	}
	c.Missing[name] = [2]int{ref.Missing + ref.Unparsed, cur.Missing + cur.Unparsed}
	if ref.Type == drift.TypeNumerical { // NaN for both
		c.Missing[name] = [2]int{ref.Missing, cur.Missing}
	}
	if n := [2]int{ref.Unparsed, cur.Unparsed}; n != [2]int{} {
		c.Unparsed[name] = n
	}
	few := min(ref.Len(), cur.Len())
	switch {
	case cur.Rows == cur.Missing:
		skip("it has no value in the current file")
		return
	case ref.Rows == ref.Missing:
		skip("it has no value in the reference file")
		return
	case ref.Reason != "":
		skip(ref.Reason)
		return
	case cur.Reason != "":
		skip(cur.Reason)
		return
	case few < o.Rule.MinRows:
		skip(drift.FewValues(few, o.Rule.MinRows))
		return
	}
	method := o.Method
	if m := o.ColumnMethods[name]; m != "" {
		method = m
	}
	r, err := drift.CompareColumn(ref.Column, cur.Column, drift.Options{Method: methodNamed(method), Threshold: o.Threshold})
	if err != nil {
		skip(reasonOf(err))
		return
	}
	j.results = append(j.results, r)
}

// quality looks at the values of a column.
func (j *judgement) quality(ref, cur table.Column) {
	switch {
	case !j.rule.Quality:
	case cur.Name == j.rule.ID:
		if cur.Repeated > 0 {
			j.find(drift.Finding{Column: cur.Name, Check: drift.CheckDuplicates, Value: float64(cur.Repeated), Detail: fmt.Sprintf("%d of %d rows have an ID that another one has", cur.Repeated, cur.Rows)})
		}
		if cur.Missing > 0 {
			j.find(drift.Finding{Column: cur.Name, Check: drift.CheckMissing, Value: float64(cur.Missing) / float64(cur.Rows), Detail: fmt.Sprintf("%d of %d rows have no ID", cur.Missing, cur.Rows)})
		}
	case cur.Name == j.rule.Time:
		age, most := time.Since(cur.Newest), j.rule.MaxAge
		switch {
		case cur.Newest.IsZero():
			j.find(drift.Finding{Column: cur.Name, Check: drift.CheckAge, Limit: most.Seconds(), Detail: "no row has a time; " + cur.Reason})
		case age > most:
			j.find(drift.Finding{Column: cur.Name, Check: drift.CheckAge, Value: age.Seconds(), Limit: most.Seconds(), Detail: fmt.Sprintf("the newest row is of %s, %v ago", cur.Newest.UTC().Format(time.RFC3339), age.Round(time.Second))})
		}
	default:
		for _, f := range drift.Quality(ref.Column, cur.Column, drift.Limits{}) {
			j.find(f)
		}
	}
}

func (j *judgement) find(f drift.Finding) {
	j.findings = append(j.findings, evidently.Finding{Column: f.Column, Check: string(f.Check), Value: f.Value, Limit: f.Limit, Detail: f.Detail})
}

// tooFew is the report of a comparison that was not made.
func (j *judgement) tooFew(c evidently.Comparison) evidently.DriftReport {
	j.find(drift.TooFew(c.Rows, j.rule.MinRows))
	return evidently.DriftReport{TooFew: true, Findings: j.findings, Skipped: c.Skipped, ReferenceRows: c.Rows[0], CurrentRows: c.Rows[1]}
}

// report is the verdict on all columns.
func (j *judgement) report(c evidently.Comparison, o evidently.DriftOptions) (evidently.DriftReport, error) {
	if j.rule.Adjust {
		drift.Adjust(j.results)
	}
	for _, r := range j.results {
		c.Columns = append(c.Columns, evidently.ColumnDrift{
			Column: r.Column, Method: string(r.Method), MethodName: r.Method.Name(), Kind: evidently.Kind(r.Kind),
			Value: r.Value, Threshold: r.Threshold, Drifted: r.Drifted, Adjusted: r.Adjusted, RankError: r.RankError,
		})
	}
	rep, err := c.Report(o)
	if err != nil {
		return rep, err
	}
	rep.Findings = j.findings
	return rep, nil
}

// columns are those to read: the ones to compare, and the rule's own.
func (j *judgement) columns(ref, cur *table.Table, o evidently.DriftOptions, c *evidently.Comparison) ([]string, error) {
	columns, err := j.compared(ref, cur, o, c)
	if err != nil {
		return nil, err
	}
	for _, name := range uncompared(j.rule) {
		if !slices.ContainsFunc(cur.Columns, func(c table.Column) bool { return c.Name == name }) {
			return nil, invalid("the current file has no column %q", name)
		}
	}
	return append(slices.Clone(columns), uncompared(j.rule)...), nil
}

// compared are the columns to compare; those that cannot be told from
// others are skipped.
func (j *judgement) compared(ref, cur *table.Table, o evidently.DriftOptions, c *evidently.Comparison) ([]string, error) {
	unclear := map[string]bool{}
	for _, side := range []struct {
		name string
		t    *table.Table
	}{{"reference", ref}, {"current", cur}} {
		for _, u := range side.t.Unclear {
			reason := u.Reason + " in the " + side.name + " file"
			if u.Reason == "several columns have that name" {
				unclear[u.Name] = true
				reason = "the " + side.name + " file has several columns of that name"
			}
			c.Skipped = append(c.Skipped, evidently.SkippedColumn{Column: u.Name, Reason: reason})
		}
	}
	names := func(t *table.Table) []string {
		var out []string
		for _, column := range t.Columns {
			if !unclear[column.Name] {
				out = append(out, column.Name)
			}
		}
		return out
	}
	apart := slices.Concat(j.rule.Ignore, uncompared(j.rule))
	a, b, wanted := without(names(ref), apart), without(names(cur), apart), without(o.Columns, apart)
	if j.rule.Quality {
		a, b, wanted = j.inBoth(a, b, wanted, c)
	}
	columns, err := commonColumns(a, b, wanted)
	if err != nil {
		return nil, err
	}
	if o.MaxColumns > 0 && len(columns) > o.MaxColumns {
		return nil, invalid("%d columns are more than the %d whose snapshot the service takes; name fewer columns to compare", len(columns), o.MaxColumns)
	}
	for _, asked := range []struct {
		names []string
		what  string
	}{{o.Numerical, "to be numerical"}, {o.Categorical, "to be categorical"}, {slices.Sorted(maps.Keys(o.ColumnMethods)), "given a method"}, {o.Rule.Important, "important"}} {
		if missing := without(asked.names, append(columns, j.missing()...)); len(missing) > 0 {
			return nil, invalid("%s, %s, is not among the columns", quotedNames(missing), asked.what)
		}
	}
	return columns, nil
}

// inBoth makes findings of the columns that the current data lacks, and skips
// those that only it has.
func (j *judgement) inBoth(ref, cur, wanted []string, c *evidently.Comparison) (a, b, left []string) {
	lost := without(ref, cur)
	if len(wanted) > 0 {
		lost = slices.DeleteFunc(lost, func(name string) bool { return !slices.Contains(wanted, name) })
	}
	for _, name := range lost {
		j.find(drift.MissingColumn(name))
	}
	more := without(cur, ref)
	if len(wanted) == 0 {
		for _, name := range more {
			c.Skipped = append(c.Skipped, evidently.SkippedColumn{Column: name, Reason: "the reference file does not have it"})
		}
	}
	if len(wanted) == 0 || len(lost) < len(wanted) {
		wanted = without(wanted, lost)
	}
	if len(wanted) > 0 {
		return ref, cur, wanted
	}
	return without(ref, lost), without(cur, more), wanted
}

// missing are the columns that the current data was found to lack.
func (j *judgement) missing() []string {
	var out []string
	for _, f := range j.findings {
		if f.Check == string(drift.CheckMissingColumn) {
			out = append(out, f.Column)
		}
	}
	return out
}

func commonColumns(ref, cur, wanted []string) ([]string, error) {
	if len(wanted) > 0 {
		for _, side := range []struct {
			name string
			has  []string
		}{{"reference", ref}, {"current", cur}} {
			if missing := without(wanted, side.has); len(missing) > 0 {
				return nil, invalid("the %s file has no column %s", side.name, quotedNames(missing))
			}
		}
		var out []string
		for _, w := range wanted {
			if !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
		return out, nil
	}
	onlyRef, onlyCur := without(ref, cur), without(cur, ref)
	if len(onlyRef) == len(ref) || len(ref) == 0 {
		return nil, invalid("the reference and the current file have no column in common")
	}
	var sides []string
	if len(onlyRef) > 0 {
		sides = append(sides, "only the reference has "+quotedNames(onlyRef))
	}
	if len(onlyCur) > 0 {
		sides = append(sides, "only the current file has "+quotedNames(onlyCur))
	}
	if len(sides) > 0 {
		return nil, invalid("the two files have different columns: %s; name the columns to compare", strings.Join(sides, "; "))
	}
	return ref, nil
}
