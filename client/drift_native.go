package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops/drift"
	"github.com/mlops-integration/mlops/drift/table"
	"github.com/mlops-integration/mlops/evidently"
)

// DriftEngine is what computes a comparison.
type DriftEngine string

// The engines. Both have Evidently's methods, under its names and with its
// numbers.
const (
	// EngineNative is package drift: no Python, milliseconds. It has no method
	// for texts, and not Evidently's empirical_mmd and TVD. A program that
	// compares Parquet files by it imports package drift/table/parquet.
	EngineNative DriftEngine = "native"
	// EngineEvidently is Evidently's own library in a Python worker.
	EngineEvidently DriftEngine = "evidently"
)

// onlyEvidently are the methods that EngineNative does not have: one without a
// seed, one of random permutations, two with a trained classifier.
var onlyEvidently = []string{"empirical_mmd", "TVD", "Total-Variation-Distance", "perc_text_content_drift", "Percentile text content drift", "abs_text_content_drift", "Absolute text content drift"}

// onlyNative are the methods that EngineEvidently does not have.
var onlyNative = []drift.Method{drift.MannWhitneyTwoSided, drift.ChiSquareHomogeneity, drift.PSIReference, drift.JSReference}

// errNeedsEvidently is a comparison that EngineNative cannot make whole.
var errNeedsEvidently = errors.New("it needs Evidently's own library")

// compareNative compares two files in Go. With whole, a column or a method that
// needs Evidently ends the comparison with errNeedsEvidently; otherwise such a
// column is skipped.
func compareNative(ctx context.Context, reference, current string, o evidently.DriftOptions, whole bool) (evidently.DriftReport, error) {
	reference, current, err := o.Files(reference, current)
	if err != nil {
		return evidently.DriftReport{}, err
	}
	for _, m := range slices.AppendSeq([]string{o.Method}, maps.Values(o.ColumnMethods)) {
		if slices.Contains(onlyEvidently, m) {
			if whole {
				return evidently.DriftReport{}, errNeedsEvidently
			}
			return evidently.DriftReport{}, invalid("method %s is not one of the native engine; take the engine evidently", m)
		}
		if m != "" && methodNamed(m) == "" {
			return evidently.DriftReport{}, invalid("there is no drift method %q; there are %s", m, methodList())
		}
		whole = whole && !slices.Contains(onlyNative, methodNamed(m))
	}
	opt := table.Options{Columns: o.Columns, Numerical: o.Numerical, Categorical: o.Categorical}
	for _, r := range o.Separator {
		opt.Separator = r
	}
	// Parquet files are read some columns at a time, others at once.
	ref := tableFile{side: "reference", path: reference, o: opt, whole: whole}
	cur := tableFile{side: "current", path: current, o: opt, whole: whole}
	if err := ref.open(ctx, !table.IsParquet(reference) || !table.IsParquet(current), nil); err != nil {
		return evidently.DriftReport{}, err
	}
	if err := cur.open(ctx, !table.IsParquet(current), ref.table); err != nil {
		return evidently.DriftReport{}, err
	}
	c := evidently.Comparison{Rows: [2]int{ref.table.Rows, cur.table.Rows}, Missing: map[string][2]int{}, Unparsed: map[string][2]int{}}
	columns, err := chooseColumns(ref.table, cur.table, o, &c)
	if err != nil {
		return evidently.DriftReport{}, err
	}
	for some := range slices.Chunk(columns, max(1, atOnce/max(c.Rows[0], c.Rows[1]))) {
		ref, err := ref.columns(ctx, some, nil)
		if err != nil {
			return evidently.DriftReport{}, err
		}
		cur, err := cur.columns(ctx, some, ref)
		if err != nil {
			return evidently.DriftReport{}, err
		}
		for _, name := range some {
			a, _ := ref.Column(name)
			b, _ := cur.Column(name)
			if whole && b.Foreign {
				return evidently.DriftReport{}, errNeedsEvidently
			}
			if err := context.Cause(ctx); err != nil {
				return evidently.DriftReport{}, err
			}
			compareColumn(&c, a, b, o)
		}
	}
	return c.Report(o)
}

// atOnce is how many values of a Parquet file are in memory at once, unless one
// column has more.
const atOnce = 1 << 21

// tableFile is one side of a comparison.
type tableFile struct {
	side, path string
	o          table.Options
	whole      bool // what cannot be read, or has no method, is left to Evidently, which reads more

	table *table.Table // with the names alone if the columns are read one after the other
}

// open reads the names of the file, or all of it.
func (f *tableFile) open(ctx context.Context, all bool, like *table.Table) (err error) {
	o := f.o
	o.NamesOnly, o.Like = !all, like
	f.table, err = f.read(ctx, o)
	return err
}

// columns reads these columns, unless they are there already.
func (f *tableFile) columns(ctx context.Context, names []string, like *table.Table) (*table.Table, error) {
	if !f.table.NamesOnly {
		return f.table, nil
	}
	o := f.o
	o.Columns, o.Like = names, like
	return f.read(ctx, o)
}

func (f *tableFile) read(ctx context.Context, o table.Options) (*table.Table, error) {
	t, err := table.ReadContext(ctx, f.path, o)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && f.whole:
		return nil, errNeedsEvidently
	case err != nil:
		return nil, fmt.Errorf("the %s file: %w", f.side, err)
	}
	if f.whole && slices.ContainsFunc(t.Columns, func(c table.Column) bool { return c.Foreign }) {
		return nil, errNeedsEvidently
	}
	return t, nil
}

// compareColumn judges one column, or skips it with the reason.
func compareColumn(c *evidently.Comparison, ref, cur table.Column, o evidently.DriftOptions) {
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
	c.Columns = append(c.Columns, evidently.ColumnDrift{
		Column: name, Method: string(r.Method), MethodName: r.Method.Name(), Kind: evidently.Kind(r.Kind),
		Value: r.Value, Threshold: r.Threshold, Drifted: r.Drifted,
	})
}

// reasonOf is what is said of a column, without the column.
func reasonOf(err error) string {
	_, reason, _ := strings.Cut(err.Error(), "invalid: ")
	return reason
}

// methodNamed finds a method by its name or the name that a report shows.
func methodNamed(name string) drift.Method {
	for _, m := range drift.Methods() {
		if name == string(m) || name == m.Name() {
			return m
		}
	}
	return ""
}

func methodList() string {
	var all []string
	for _, m := range drift.Methods() {
		all = append(all, string(m))
	}
	return strings.Join(all, ", ")
}

// chooseColumns are the columns to compare; those that cannot be told from
// others are skipped.
func chooseColumns(ref, cur *table.Table, o evidently.DriftOptions, c *evidently.Comparison) ([]string, error) {
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
	a, b := names(ref), names(cur)
	columns, err := commonColumns(a, b, o.Columns)
	if err != nil {
		return nil, err
	}
	if o.MaxColumns > 0 && len(columns) > o.MaxColumns {
		return nil, invalid("%d columns are more than the %d whose snapshot the service takes; name fewer columns to compare", len(columns), o.MaxColumns)
	}
	for _, asked := range []struct {
		names []string
		what  string
	}{{o.Numerical, "to be numerical"}, {o.Categorical, "to be categorical"}, {slices.Sorted(maps.Keys(o.ColumnMethods)), "given a method"}} {
		if missing := without(asked.names, columns); len(missing) > 0 {
			return nil, invalid("%s, %s, is not among the columns", quotedNames(missing), asked.what)
		}
	}
	return columns, nil
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
	if len(onlyRef) == len(ref) {
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

// without is a without what is in b.
func without(a, b []string) []string {
	in := map[string]bool{}
	for _, s := range b {
		in[s] = true
	}
	var out []string
	for _, s := range a {
		if !in[s] {
			out = append(out, s)
		}
	}
	return out
}

// quotedNames lists the first ten names.
func quotedNames(names []string) string {
	var out []string
	for i, n := range names {
		if i == 10 {
			return fmt.Sprintf("%s and %d more", strings.Join(out, ", "), len(names)-i)
		}
		out = append(out, fmt.Sprintf("%q", n))
	}
	return strings.Join(out, ", ")
}
