package evidently

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// DriftOptions say how two data sets are compared. The zero value leaves every
// choice to Evidently.
type DriftOptions struct {
	Name    string   // of the snapshot
	Columns []string // to compare; empty: all, and then both files must have the same ones

	// Numerical and Categorical override what is made of a column. Left alone, its
	// type is that of the reference file, whatever the current one holds: whole
	// numbers with at most ten different values are categories, and numbers among
	// which up to a tenth of the cells do not parse are numbers.
	Numerical, Categorical []string

	Method        string            // for all columns: "ks", "wasserstein", "psi", …; empty: by type and number of rows
	ColumnMethods map[string]string // for single columns; wins over Method
	Threshold     *float64          // for all columns; nil: the method's own. 0 is a threshold
	DriftShare    *float64          // share of drifted columns from which the data set counts as drifted; nil: 0.5. 0: any column

	// MissingShare is by how much the shares of missing values of a column may
	// differ before it counts as drifted; 0: 0.1. A difference that chance makes
	// in 1 of 20 samples of that size does not count.
	MissingShare float64

	Separator  string // of CSV files; empty: a comma
	MaxColumns int    // more are refused before they are compared; 0: no limit

	Tags      []string
	Metadata  map[string]string
	Timestamp time.Time // of the snapshot; zero: now

	Rule DriftRule
}

// DriftRule is what counts beside Evidently's own rules. All of it is judged
// outside of Evidently; the zero value is nothing.
type DriftRule struct {
	Ignore    []string // columns that are not compared, and may be missing
	Important []string // columns of which any one that drifted is drift of the whole

	// MinRows is how many values a side must have: a column with fewer is skipped,
	// and with fewer rows there is no verdict at all.
	MinRows int

	// Adjust judges p-values by Benjamini and Hochberg's procedure, so that many
	// columns are not many errors.
	Adjust bool

	// Quality looks for what is wrong with the current data beside drift. Columns
	// that it lacks are findings then, and no error.
	Quality bool
	ID      string        // column that identifies rows: with Quality, those that are there twice are a finding
	Time    string        // column of the rows' times: with Quality, a newest one before MaxAge is a finding
	MaxAge  time.Duration // of the newest row
}

// IsZero reports whether the rule asks for nothing.
func (r DriftRule) IsZero() bool {
	return len(r.Ignore)+len(r.Important)+r.MinRows == 0 && !r.Adjust && !r.Quality && r.ID == "" && r.Time == "" && r.MaxAge == 0
}

// check finds what contradicts itself.
func (r DriftRule) check() error {
	switch {
	case r.MinRows < 0:
		return fmt.Errorf("there cannot be %d rows at least", r.MinRows)
	case (r.ID != "" || r.Time != "" || r.MaxAge != 0) && !r.Quality:
		return errors.New("IDs and times are looked at with the data's quality (--quality)")
	case (r.Time != "") != (r.MaxAge > 0):
		return errors.New("the age of the newest row needs both its column and a limit (--time, --max-age)")
	case r.ID != "" && r.ID == r.Time:
		return fmt.Errorf("column %q cannot be both the rows' ID and their time", r.ID)
	}
	for _, name := range r.Important {
		if slices.Contains(r.Ignore, name) || name == r.ID || name == r.Time {
			return fmt.Errorf("column %q cannot be important and not be compared", name)
		}
	}
	return nil
}

// check finds what is wrong without asking Evidently.
func (o DriftOptions) check() error {
	if s := o.DriftShare; s != nil && !(*s >= 0 && *s <= 1) {
		return fmt.Errorf("drift share %v is not between 0 and 1", *s)
	}
	if !(o.MissingShare >= 0 && o.MissingShare <= 1) {
		return fmt.Errorf("share of missing values %v is not between 0 and 1", o.MissingShare)
	}
	if o.Separator != "" && (utf8.RuneCountInString(o.Separator) != 1 || strings.ContainsAny(o.Separator, "\"\r\n\x00")) {
		return fmt.Errorf("separator %q is not one character that can separate", o.Separator)
	}
	if t := o.Threshold; t != nil && (math.IsNaN(*t) || math.IsInf(*t, 0) || *t < 0) {
		return fmt.Errorf("threshold %v is not a number from 0 up", *t)
	}
	if err := o.Rule.check(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range o.Numerical {
		seen[c] = true
	}
	for _, c := range o.Categorical {
		if seen[c] {
			return fmt.Errorf("column %q cannot be both numerical and categorical", c)
		}
	}
	return nil
}

// DriftReport is the outcome of a comparison.
type DriftReport struct {
	// Drifted says whether the share of drifted columns has reached the drift
	// share. A stored snapshot counts Evidently's own tests only, not the shares
	// of missing values.
	Drifted        bool
	DriftedColumns int
	Share          float64 // DriftedColumns of len(Columns)
	DriftShare     float64 // the share that counted; 0: any column

	Columns []ColumnDrift   // the columns that were judged, in the order of the current file
	Skipped []SkippedColumn // the others; they count nowhere

	// Findings are what is wrong with the current data, Important the important
	// columns that drifted, Unjudged those that are missing or could not be judged,
	// so that no drift is no verdict on them, and TooFew that a side has too few rows, so that nothing
	// was compared; as DriftRule asks for.
	Findings  []Finding
	Important []string
	Unjudged  []string
	TooFew    bool

	ReferenceRows, CurrentRows int // 0 in a report read back from the service

	Snapshot   json.RawMessage // for [Client.AddSnapshot]; empty in a report read back
	SnapshotID string          // in the service; empty while the service does not have it

	// Unsent is why the service does not have the snapshot, and Waiting the file
	// of this machine from which it will be sent; empty if it could not be kept
	// there either. The verdict stands in any case.
	Unsent  error  `json:"-"`
	Waiting string `json:"-"`
}

// String returns the verdict in one line. The snapshot, which may have
// megabytes, is in no format.
func (r DriftReport) String() string {
	verdict := "no drift"
	if r.Drifted {
		verdict = "drift"
	}
	s := fmt.Sprintf("%s: %d of %d columns drifted (share %.3g of %.3g)", verdict, r.DriftedColumns, len(r.Columns), r.Share, r.DriftShare)
	if r.TooFew {
		s = "no verdict: too few rows"
	}
	if len(r.Important) > 0 {
		s += ", important: " + strings.Join(r.Important, ", ")
	}
	if len(r.Unjudged) > 0 {
		s += ", important and not judged: " + strings.Join(r.Unjudged, ", ")
	}
	if n := len(r.Findings); n > 0 {
		s += fmt.Sprintf(", %d findings", n)
	}
	if n := len(r.Skipped); n > 0 {
		s += fmt.Sprintf(", %d skipped", n)
	}
	switch {
	case r.SnapshotID != "":
		s += ", snapshot " + r.SnapshotID
	case r.Waiting != "":
		s += ", snapshot waits in " + r.Waiting
	case len(r.Snapshot) > 0:
		s += fmt.Sprintf(", snapshot of %d bytes", len(r.Snapshot))
	}
	return s
}

// GoString is String: a report has no form that is worth a page of a log.
func (r DriftReport) GoString() string { return "evidently.DriftReport{" + r.String() + "}" }

// LogValue is String, for [log/slog].
func (r DriftReport) LogValue() slog.Value { return slog.StringValue(r.String()) }

// ColumnDrift is the verdict on one column.
type ColumnDrift struct {
	Column     string
	Method     string // Evidently's name, which can be asked for: "ks"
	MethodName string // Evidently's display name: "K-S p_value"
	Kind       Kind   // what Value is
	Value      float64
	Threshold  float64
	Drifted    bool // by Evidently's own test, or because Missing did

	Missing Missing // zero in a report read back from the service

	Adjusted  *float64 // the p-value that was judged by, with DriftRule.Adjust; else nil
	RankError float64  // by how much the shares that were compared may be wrong, where a side is a profile with a sketch
}

// Missing is what a column lacks on each side: values that are not there, and
// in a column of numbers those that are none.
type Missing struct {
	Reference, Current float64 // shares of the rows
	Unparsed           [2]int  // cells of either side that are no number, counted in the shares
	Drifted            bool    // the shares differ too much
}

// MethodMissing is the Method of a column whose values cannot be compared,
// because a side has none, and whose shares of missing values differ.
const MethodMissing = "missing"

// Finding is what is wrong with the current data beside drift.
type Finding struct {
	Column string  `json:"column,omitempty"` // empty: it is about the whole
	Check  string  `json:"check"`            // "missing", "out_of_range", …: see drift.Check
	Value  float64 `json:"value"`
	Limit  float64 `json:"limit"` // that Value is beyond
	Detail string  `json:"detail"`
}

// SkippedColumn is a column that could not be judged.
type SkippedColumn struct {
	Column string `json:"column"`
	Reason string `json:"reason"`
}

// The types that matter here among what Evidently writes in front of a metric's
// parameters.
const (
	valueDrift          = "evidently:metric_v2:ValueDrift"
	driftedColumnsCount = "evidently:metric_v2:DriftedColumnsCount"
)

// DecodeDrift reads the JSON result of a data drift snapshot, as
// [Client.SnapshotJSON] returns it. Columns that carry no number or no test
// are skipped. It is an error if the result has no verdict on the whole.
func DecodeDrift(result json.RawMessage) (DriftReport, error) {
	var in struct {
		Metrics []struct {
			ID     string `json:"id"`
			Config struct {
				Type       string   `json:"type"`
				Column     string   `json:"column"`
				Method     string   `json:"method"`
				Threshold  *float64 `json:"threshold"`
				DriftShare *float64 `json:"drift_share"`
			} `json:"config"`
			Value json.RawMessage `json:"value"`
		} `json:"metrics"`
		Tests []struct {
			ID           string `json:"id"`
			Status       string `json:"status"`
			Description  string `json:"description"`
			MetricConfig struct {
				MetricID string `json:"metric_id"`
			} `json:"metric_config"`
		} `json:"tests"`
	}
	if err := json.Unmarshal(result, &in); err != nil {
		return DriftReport{}, invalid("DecodeDrift", "not a result: %v", err)
	}
	status := map[[2]string]string{} // by metric and test
	for _, t := range in.Tests {
		status[[2]string{t.MetricConfig.MetricID, t.ID}] = t.Status
	}

	var out DriftReport
	verdict := ""
	for _, m := range in.Metrics {
		switch m.Config.Type {
		case driftedColumnsCount:
			var v struct{ Count, Share float64 }
			if err := json.Unmarshal(m.Value, &v); err != nil {
				return DriftReport{}, invalid("DecodeDrift", "the count of drifted columns: %v", err)
			}
			out.DriftedColumns, out.Share, out.DriftShare = int(v.Count), v.Share, 0.5
			if s := m.Config.DriftShare; s != nil {
				out.DriftShare = *s
			}
			verdict = status[[2]string{m.ID, "lt"}] // "share < drift share"
		case valueDrift:
			how := methodOf(m.Config.Method)
			c := ColumnDrift{Column: m.Config.Column, Method: how.name, MethodName: how.display, Kind: how.kind}
			if t := m.Config.Threshold; t != nil {
				c.Threshold = *t
			}
			skip := func(reason string) {
				out.Skipped = append(out.Skipped, SkippedColumn{c.Column, reason})
			}
			st := status[[2]string{m.ID, "drift"}]
			if bytes.Equal(m.Value, []byte("null")) || json.Unmarshal(m.Value, &c.Value) != nil {
				skip("its drift method gave no number")
				continue
			}
			switch st {
			case "SUCCESS", "FAIL":
				c.Drifted = st == "FAIL"
				out.Columns = append(out.Columns, c)
			case "":
				skip("the snapshot was made without tests")
			default:
				skip("its drift test ended with " + strings.ToLower(st))
			}
		}
	}
	switch verdict {
	case "SUCCESS", "FAIL":
		out.Drifted = verdict == "FAIL"
		return out, nil
	case "":
		return DriftReport{}, invalid("DecodeDrift", "the result has no test of the share of drifted columns")
	}
	return DriftReport{}, invalid("DecodeDrift", "the test of the share of drifted columns ended with %s", strings.ToLower(verdict))
}
