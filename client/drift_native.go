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
	profiles := table.IsProfile(reference) || table.IsProfile(current)
	whole = whole && !profiles // Evidently cannot read them
	if len(uncompared(o.Rule)) > 0 && table.IsProfile(current) {
		return evidently.DriftReport{}, invalid("a profile has neither the IDs nor the times of rows; compare the current data itself")
	}
	for _, m := range slices.AppendSeq([]string{o.Method}, maps.Values(o.ColumnMethods)) {
		if slices.Contains(onlyEvidently, m) {
			if whole {
				return evidently.DriftReport{}, errNeedsEvidently
			}
			if profiles {
				return evidently.DriftReport{}, invalid("method %s is one of Evidently's library alone, which reads no profiles; compare the data itself", m)
			}
			return evidently.DriftReport{}, invalid("method %s is not one of the native engine; take the engine evidently", m)
		}
		if m != "" && methodNamed(m) == "" {
			return evidently.DriftReport{}, invalid("there is no drift method %q; there are %s", m, methodList())
		}
		whole = whole && !slices.Contains(onlyNative, methodNamed(m))
	}
	opt := table.Options{Columns: o.Columns, Numerical: o.Numerical, Categorical: o.Categorical, ID: o.Rule.ID, Time: o.Rule.Time}
	if len(opt.Columns) > 0 {
		opt.Columns = slices.Concat(o.Columns, uncompared(o.Rule))
	}
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
	judge := judgement{rule: o.Rule}
	columns, err := judge.columns(ref.table, cur.table, o, &c)
	if err != nil {
		return evidently.DriftReport{}, err
	}
	if min(c.Rows[0], c.Rows[1]) < o.Rule.MinRows {
		return judge.tooFew(c), nil
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
			if name == o.Rule.ID && b.Foreign { // not read
				return evidently.DriftReport{}, invalid("column %q cannot be the rows' ID: %s; take one of texts or numbers", name, b.Reason)
			}
			if err := context.Cause(ctx); err != nil {
				return evidently.DriftReport{}, err
			}
			judge.quality(a, b)
			if name != o.Rule.ID && name != o.Rule.Time {
				judge.compare(&c, a, b, o)
			}
		}
	}
	return judge.report(c, o)
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
