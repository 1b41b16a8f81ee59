package evidently

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// anyShare is the drift share that any one drifted column reaches. Evidently
// takes 0 for a share that is always reached.
const anyShare = 1e-9

// report is what Evidently found, the columns in the order in which they were
// to be compared.
func (a driftAnswer) report() (DriftReport, error) {
	var rep DriftReport
	if len(a.Columns) > 0 || a.Order == nil {
		var err error
		if rep, err = DecodeDrift(a.Result); err != nil {
			return rep, err
		}
	}
	rep.Skipped = append(rep.Skipped, a.Skipped...)
	rep.ReferenceRows, rep.CurrentRows = a.Rows[0], a.Rows[1]
	if s := string(a.Snapshot); s != "null" {
		rep.Snapshot = a.Snapshot
	}
	order := a.Order
	if order == nil {
		order = a.Columns
	}
	slices.SortStableFunc(rep.Columns, func(x, y ColumnDrift) int {
		return slices.Index(order, x.Column) - slices.Index(order, y.Column)
	})
	return rep, nil
}

// missing compares the shares of missing values. A column that was skipped
// because a side has no value is judged by them if they differ.
func (r *DriftReport) missing(cells, unparsed map[string][2]int, most float64) {
	of := func(column string) (Missing, bool) {
		n, ok := cells[column]
		if !ok || r.ReferenceRows == 0 || r.CurrentRows == 0 {
			return Missing{}, false
		}
		m := Missing{
			Reference: float64(n[0]) / float64(r.ReferenceRows), Current: float64(n[1]) / float64(r.CurrentRows),
			Unparsed: unparsed[column],
		}
		m.Drifted = math.Abs(m.Reference-m.Current) >= most && !byChance(n[0], r.ReferenceRows, n[1], r.CurrentRows)
		return m, true
	}
	for i := range r.Columns {
		c := &r.Columns[i]
		c.Missing, _ = of(c.Column)
		c.Drifted = c.Drifted || c.Missing.Drifted
	}
	r.Skipped = slices.DeleteFunc(r.Skipped, func(s SkippedColumn) bool {
		m, ok := of(s.Column)
		if !ok || !m.Drifted {
			return false
		}
		r.Columns = append(r.Columns, ColumnDrift{
			Column: s.Column, Method: MethodMissing, MethodName: "share of missing values", Kind: KindDistance,
			Value: math.Abs(m.Reference - m.Current), Threshold: most, Drifted: true, Missing: m,
		})
		return true
	})
}

// count makes the verdict on the whole from those on the columns.
func (r *DriftReport) count(share float64) {
	r.DriftedColumns = 0
	for _, c := range r.Columns {
		if c.Drifted {
			r.DriftedColumns++
		}
	}
	r.Share, r.DriftShare = float64(r.DriftedColumns)/float64(len(r.Columns)), share
	r.Drifted = r.Share >= max(share, anyShare)
}

// byChance reports whether two shares, k1 of n1 and k2 of n2, differ by no more
// than 19 of 20 pairs of samples of one population do: the two-proportion
// z-test, two-sided.
func byChance(k1, n1, k2, n2 int) bool {
	p := float64(k1+k2) / float64(n1+n2)
	spread := math.Sqrt(p * (1 - p) * (1/float64(n1) + 1/float64(n2)))
	if spread == 0 {
		return true
	}
	z := math.Abs(float64(k1)/float64(n1)-float64(k2)/float64(n2)) / spread
	return math.Erfc(z/math.Sqrt2) >= 0.05
}

// reasons are why columns were skipped, the first five.
func reasons(skipped []SkippedColumn) string {
	var out []string
	for i, s := range skipped {
		if i == 5 {
			out = append(out, fmt.Sprintf("and %d more", len(skipped)-i))
			break
		}
		out = append(out, fmt.Sprintf("%q: %s", s.Column, s.Reason))
	}
	return strings.Join(out, "; ")
}

// csvHeaders reads the names of the columns of both files, as far as they are
// plain CSV. Those by which no column can be told, empty ones and ones that a
// file has twice, are nil in either file and skipped with the reason. A file of
// one column whose name holds what separates other files is asked about.
func csvHeaders(op, reference, current string, opt DriftOptions) (names [2][]*string, skipped []SkippedColumn, err error) {
	unclear := map[string]bool{"": true}
	for i, file := range []struct{ side, path string }{{"reference", reference}, {"current", current}} {
		header, err := csvHeader(file.path, opt.Separator)
		if err != nil {
			return names, nil, invalid(op, "the %s file %s cannot be read: %v", file.side, file.path, err)
		}
		if len(header) == 1 && opt.Separator == "" {
			if at := strings.IndexAny(header[0], ";\t|"); at >= 0 {
				return names, nil, invalid(op, "the %s file %s has one column, %q: is %q its separator? Name it with --separator, or a comma if it is one column", file.side, file.path, header[0], header[0][at])
			}
		}
		times := map[string]int{}
		for at, name := range header {
			names[i] = append(names[i], &name)
			switch times[name]++; {
			case name == "":
				skipped = append(skipped, SkippedColumn{fmt.Sprintf("column %d", at+1), fmt.Sprintf("it has no name in the %s file", file.side)})
			case times[name] == 2:
				unclear[name] = true
				skipped = append(skipped, SkippedColumn{name, fmt.Sprintf("the %s file has several columns of that name", file.side)})
			}
		}
	}
	for i := range names {
		for at, name := range names[i] {
			if unclear[*name] {
				names[i][at] = nil
			}
		}
	}
	if len(opt.Columns) > 0 {
		skipped = slices.DeleteFunc(skipped, func(s SkippedColumn) bool { return !slices.Contains(opt.Columns, s.Column) })
	}
	return names, skipped, nil
}

// csvHeader reads the first line of a CSV file; files of other kinds, which
// have their names elsewhere, have none.
func csvHeader(path, separator string) ([]string, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".parquet", ".pq", ".gz", ".bz2", ".zip", ".xz", ".zst", ".tar":
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := csv.NewReader(io.LimitReader(f, 16<<20))
	in.LazyQuotes = true
	for _, r := range separator {
		in.Comma = r
	}
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil // empty lines only: the runner says so
	}
	if err != nil {
		return nil, err
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	return header, nil
}
