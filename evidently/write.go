package evidently

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/internal/pyrepr"
)

// WriteSnapshot makes the snapshot of a comparison that was not made by
// Evidently, as far as its page, its dashboards and [DecodeDrift] need it: the
// value and the test of each column and of the share of drifted ones, without
// the charts. Metrics have the IDs that Evidently gives to the same request, so
// that a history stays one when the engine changes.
//
// The test of the whole fails if an important column drifted, too; see
// [DriftReport.Important].
//
// Columns that were judged by their missing values alone are left out, as
// Evidently has no form for them.
//
// Format: SnapshotModel of evidently 0.7.23 (core/serialization.py).
func WriteSnapshot(r DriftReport, opt DriftOptions) (json.RawMessage, error) {
	share := max(r.DriftShare, anyShare)
	at := opt.Timestamp
	if at.IsZero() {
		at = time.Now()
	}
	s := snapshotModel{
		Name: opt.Name, Timestamp: Time{at}, Metadata: opt.Metadata, Tags: list(opt.Tags), TestsWidgets: []widget{},
		Results: map[string]any{},
	}
	if s.Metadata == nil {
		s.Metadata = map[string]string{}
	}
	whole := fingerprint("DriftedColumnsCount", countFields(share, opt))
	s.Top = []string{whole}
	count, columns := 0, 0
	var tests []any
	var shownDrifts []widget
	for _, c := range r.Columns {
		if c.Method == MethodMissing {
			continue
		}
		columns++
		if c.Drifted {
			count++
		}
		id, result := valueResult(c, opt)
		s.Top = append(s.Top, id)
		s.Results[id] = result
		shownDrifts = append(shownDrifts, valueWidget(id, c))
		tests = append(tests, shownTest(result.Tests[0]))
	}
	if columns == 0 {
		return nil, invalid("WriteSnapshot", "no column has a value")
	}
	got := float64(count) / float64(columns)
	result := countResult(whole, float64(count), got, share, r.Important, opt)
	s.Results[whole] = result
	verdict := "NOT detected"
	if got >= share || len(r.Important) > 0 {
		verdict = "detected"
	}
	s.Widgets = []widget{
		counter(2, shown{"Dataset Drift", fmt.Sprintf("Dataset Drift is %s. Dataset drift detection threshold is %v", verdict, share)}),
		counter(2, shown{strconv.Itoa(columns), "Columns"}, shown{strconv.Itoa(count), "Drifted Columns"}, shown{fmt.Sprintf("%.3g", got), "Share of Drifted Columns"}),
	}
	s.Widgets = append(s.Widgets, shownDrifts...)
	s.TestsWidgets = []widget{{
		Type: "test_suite", Size: 2, ID: newID(),
		Params: map[string]any{"v2_test": true, "tests": append([]any{shownTest(result.Tests[0])}, tests...)},
	}}
	return json.Marshal(s)
}

type snapshotModel struct {
	Name         string            `json:"name"`
	Timestamp    Time              `json:"timestamp"`
	Metadata     map[string]string `json:"metadata"`
	Tags         []string          `json:"tags"`
	Results      map[string]any    `json:"metric_results"`
	Top          []string          `json:"top_level_metrics"`
	Widgets      []widget          `json:"widgets"`
	TestsWidgets []widget          `json:"tests_widgets"`
}

// MarshalJSON adds the report, which is of no metrics.
func (s snapshotModel) MarshalJSON() ([]byte, error) {
	type plain snapshotModel
	return json.Marshal(struct {
		Report map[string][]any `json:"report"`
		plain
	}{map[string][]any{"items": {}}, plain(s)})
}

// widget is a part of Evidently's page.
type widget struct {
	Type   string   `json:"type"`
	Title  string   `json:"title"`
	Size   int      `json:"size"`
	ID     string   `json:"id"`
	Params any      `json:"params"`
	Linked []string `json:"linked_metrics,omitempty"`
}

// shown is a figure with what it is.
type shown struct {
	Value string `json:"value"`
	Label string `json:"label"`
}

func counter(size int, figures ...shown) widget {
	return widget{Type: "counter", Size: size, ID: newID(), Params: map[string]any{"counters": figures}}
}

// metricModel is what a result and its test say of their metric.
type metricModel struct {
	ID     string         `json:"metric_id"`
	Params map[string]any `json:"params"`
}

type resultModel struct {
	Type        string       `json:"type"`
	DisplayName string       `json:"display_name"`
	Location    location     `json:"metric_value_location"`
	Widget      []widget     `json:"widget"`
	Tests       []testModel  `json:"tests"`
	Value       *float64     `json:"value,omitempty"`
	Count       *resultModel `json:"count,omitempty"`
	Share       *resultModel `json:"share,omitempty"`
}

type location struct {
	Metric metricModel    `json:"metric"`
	Param  map[string]any `json:"param"`
}

type testModel struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Description string         `json:"description"`
	Metric      metricModel    `json:"metric_config"`
	Config      map[string]any `json:"test_config"`
	Status      string         `json:"status"`
	Bound       map[string]any `json:"bound_test"`
}

func status(failed bool) string {
	if failed {
		return "FAIL"
	}
	return "SUCCESS"
}

func shownTest(t testModel) any {
	return map[string]any{"title": t.Name, "description": t.Description, "state": strings.ToLower(t.Status), "groups": []any{}}
}

// valueResult is the result of one column.
func valueResult(c ColumnDrift, opt DriftOptions) (string, resultModel) {
	asked := map[string]any{"column": c.Column}
	method := c.MethodName // as Evidently shows a method that it chose
	if m := askedMethod(c.Column, opt); m != "" {
		asked["method"], method = methodOf(m).name, c.Method
	}
	if opt.Threshold != nil {
		asked["threshold"] = *opt.Threshold
	}
	description := fmt.Sprintf("Drift score is %.2f. The drift detection method is %s. The drift threshold is %.2f.", c.Value, c.MethodName, c.Threshold)
	if c.Adjusted != nil {
		description += fmt.Sprintf(" It was judged by the adjusted p-value %.3g.", *c.Adjusted)
	}
	metric := metricModel{fingerprint("ValueDrift", asked), map[string]any{"type": valueDrift, "column": c.Column, "method": method, "threshold": c.Threshold}}
	return metric.ID, resultModel{
		Type: "evidently:metric_result_v2:SingleValue", DisplayName: "Value drift for " + c.Column,
		Location: location{metric, map[string]any{}}, Widget: []widget{}, Value: &c.Value,
		Tests: []testModel{{
			ID: "drift", Name: "Value Drift for column " + c.Column,
			Description: description,
			Metric:      metric, Config: map[string]any{}, Status: status(c.Drifted),
			Bound: map[string]any{
				"type": "evidently:bound_test:ValueDriftBoundTest", "metric_fingerprint": metric.ID,
				"test": map[string]any{"type": "evidently:test_v2:ValueDriftTest", "is_critical": true},
			},
		}},
	}
}

// valueWidget shows the result of one column.
func valueWidget(metric string, c ColumnDrift) widget {
	found := "not detected"
	if c.Drifted {
		found = "detected"
	}
	w := counter(2, shown{fmt.Sprintf("Drift in column '%s'", c.Column), fmt.Sprintf("Data drift %s. Drift detection method: %s. Drift score: %.3g", found, c.MethodName, c.Value)})
	w.Linked = []string{metric}
	return w
}

// askedMethod is the method that was asked for by name for a column.
func askedMethod(column string, opt DriftOptions) string {
	if m := opt.ColumnMethods[column]; m != "" {
		return m
	}
	return opt.Method
}

// countFields are those of the metric of the whole that were asked for and are
// not Evidently's defaults.
func countFields(share float64, opt DriftOptions) map[string]any {
	asked := map[string]any{}
	if share != 0.5 {
		asked["drift_share"] = share
	}
	if opt.Method != "" {
		asked["method"] = methodOf(opt.Method).name
	}
	if len(opt.ColumnMethods) > 0 {
		by := map[string]string{}
		for c, m := range opt.ColumnMethods {
			by[c] = methodOf(m).name
		}
		asked["per_column_method"] = by
	}
	if opt.Threshold != nil {
		asked["threshold"] = *opt.Threshold
	}
	return asked
}

// countResult is the result of the whole.
func countResult(id string, count, got, share float64, important []string, opt DriftOptions) resultModel {
	params := countFields(share, opt)
	params["type"], params["drift_share"] = driftedColumnsCount, share
	metric := metricModel{id, params}
	part := func(name, kind string, v float64) *resultModel {
		return &resultModel{
			Type: "evidently:metric_result_v2:SingleValue", DisplayName: name, Value: &v, Tests: []testModel{},
			Location: location{metric, map[string]any{"value_type": kind}},
		}
	}
	sign := "<"
	if got >= share {
		sign = ">="
	}
	description := fmt.Sprintf("Share of Drifted Columns: Actual value %.3f %s %.3f", got, sign, share)
	if len(important) > 0 {
		description += "; important columns drifted: " + strings.Join(important, ", ")
	}
	test := map[string]any{"type": "evidently:test_v2:LessThanMetricTest", "is_critical": true, "threshold": share}
	return resultModel{
		Type: "evidently:metric_result_v2:CountValue", DisplayName: "Count of Drifted Columns",
		Location: location{metric, map[string]any{}}, Widget: []widget{},
		Count: part("Count of Drifted Columns", "count", count), Share: part("Share of Drifted Columns", "share", got),
		Tests: []testModel{{
			ID: "lt", Name: fmt.Sprintf("Share of Drifted Columns: Less %.3f", share),
			Description: description,
			Metric:      metric, Config: test, Status: status(got >= share || len(important) > 0),
			Bound: map[string]any{"type": "evidently:bound_test:CountBoundTest", "test": test, "metric_fingerprint": id, "is_count": false},
		}},
	}
}

// fingerprint is the ID that Evidently gives to a metric: the MD5 sum of its
// class and of its requested fields as Python prints them, by name.
func fingerprint(class string, fields map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, "("+pythonRepr(name)+", "+pythonRepr(fields[name])+")")
	}
	sum := md5.Sum([]byte("evidently.metrics.column_statistics." + class + pythonTuple(parts)))
	return hex.EncodeToString(sum[:])
}

func pythonTuple(parts []string) string {
	if len(parts) == 1 {
		return "(" + parts[0] + ",)"
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// pythonRepr prints a string, a float, or a map of strings as the tuple of its
// pairs, as Python's repr does.
func pythonRepr(v any) string {
	switch v := v.(type) {
	case map[string]string:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, "("+pythonRepr(k)+", "+pythonRepr(v[k])+")")
		}
		return pythonTuple(parts)
	case float64:
		return pyrepr.Float(v, 64)
	case string:
		return pyrepr.String(v)
	}
	return fmt.Sprint(v)
}
