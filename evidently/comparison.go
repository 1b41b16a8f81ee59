package evidently

import (
	"cmp"
	"slices"
)

// Comparison is what was found of two files outside of Evidently's runner.
type Comparison struct {
	Rows    [2]int          // of the reference and the current file
	Columns []ColumnDrift   // those that were judged, without Missing
	Skipped []SkippedColumn // the others

	Missing  map[string][2]int // by column, the rows of either side without a value
	Unparsed map[string][2]int // those of them that hold something that is no number
}

// Report makes the report of a comparison, as the runner makes that of
// Evidently's: with the shares of missing values, the verdict on the whole and
// the snapshot.
//
// The error matches [mlops.ErrInvalid] if no column can be judged.
func (c Comparison) Report(opt DriftOptions) (DriftReport, error) {
	r := DriftReport{Columns: slices.Clone(c.Columns), Skipped: slices.Clone(c.Skipped), ReferenceRows: c.Rows[0], CurrentRows: c.Rows[1]}
	r.missing(c.Missing, c.Unparsed, cmp.Or(opt.MissingShare, 0.1))
	if len(r.Columns) == 0 {
		return DriftReport{}, invalid("Drift", "no column can be judged: %s", reasons(r.Skipped))
	}
	r.count(opt.share())
	r.weigh(opt.Rule.Important)
	if len(c.Columns) > 0 { // without the missing values, which Evidently does not compare
		shown := DriftReport{Columns: c.Columns, DriftShare: opt.share(), Important: r.Important}
		var err error
		if r.Snapshot, err = WriteSnapshot(shown, opt); err != nil {
			return DriftReport{}, err
		}
	}
	return r, nil
}

// weigh lets any one important column that drifted be drift of the whole.
func (r *DriftReport) weigh(important []string) {
	for _, name := range important {
		at := slices.IndexFunc(r.Columns, func(c ColumnDrift) bool { return c.Column == name })
		switch {
		case at < 0:
			r.Unjudged = append(r.Unjudged, name)
		case r.Columns[at].Drifted:
			r.Important, r.Drifted = append(r.Important, name), true
		}
	}
}
