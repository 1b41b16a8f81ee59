package evidently

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"
)

// DriftOptions say how two data sets are compared. The zero value leaves every
// choice to Evidently.
type DriftOptions struct {
	Name    string   // of the snapshot
	Columns []string // to compare; empty: all, and then both files must have the same ones

	// Numerical and Categorical override what Evidently makes of a column. Left
	// alone, it takes whole numbers with at most ten different values in the
	// current file for categories.
	Numerical, Categorical []string

	Method        string            // for all columns: "ks", "wasserstein", "psi", …; empty: by type and number of rows
	ColumnMethods map[string]string // for single columns; wins over Method
	Threshold     *float64          // for all columns; nil: the method's own. 0 is a threshold
	DriftShare    float64           // share of drifted columns from which the data set counts as drifted; 0: 0.5

	Tags      []string
	Metadata  map[string]string
	Timestamp time.Time // of the snapshot; zero: now
}

// check finds what is wrong without asking Evidently.
func (o DriftOptions) check() error {
	if !(o.DriftShare >= 0 && o.DriftShare <= 1) {
		return fmt.Errorf("drift share %v is not between 0 and 1", o.DriftShare)
	}
	if t := o.Threshold; t != nil && (math.IsNaN(*t) || math.IsInf(*t, 0) || *t < 0) {
		return fmt.Errorf("threshold %v is not a number from 0 up", *t)
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
	// share, by Evidently's own test.
	Drifted        bool
	DriftedColumns int
	Share          float64 // DriftedColumns of len(Columns)
	DriftShare     float64 // the share that counted

	Columns []ColumnDrift   // the columns that were judged, in the order of the current file
	Skipped []SkippedColumn // the others; they count nowhere

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
	Drifted    bool // by Evidently's own test
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
