package evidently

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

const golden = "../testdata/evidently"

// result writes a result in Evidently's form: metrics and tests of columns and
// of the whole.
func result(column, method, value, status, verdict string) string {
	return fmt.Sprintf(`{"metrics":[
{"id":"a","config":{"type":"evidently:metric_v2:DriftedColumnsCount","drift_share":0.5},"value":{"count":1.0,"share":0.25}},
{"id":"b","config":{"type":"evidently:metric_v2:ValueDrift","column":%q,"method":%q,"threshold":0.05},"value":%s}],
"tests":[{"id":"lt","metric_config":{"metric_id":"a"},"status":%q},{"id":"drift","metric_config":{"metric_id":"b"},"status":%q}]}`,
		column, method, value, verdict, status)
}

func TestTheVerdictIsTheTestsAndNotAComparison(t *testing.T) {
	for _, tt := range []struct {
		method, value, status string
		want                  ColumnDrift
	}{
		{"K-S p_value", "0.004", "FAIL", ColumnDrift{"x", "ks", "K-S p_value", KindPValue, 0.004, 0.05, true, Missing{}, nil, 0}},
		{"ks", "0.004", "FAIL", ColumnDrift{"x", "ks", "K-S p_value", KindPValue, 0.004, 0.05, true, Missing{}, nil, 0}},
		{"ks", "0.9", "SUCCESS", ColumnDrift{"x", "ks", "K-S p_value", KindPValue, 0.9, 0.05, false, Missing{}, nil, 0}},
		{"Wasserstein distance (normed)", "0.9", "FAIL", ColumnDrift{"x", "wasserstein", "Wasserstein distance (normed)", KindDistance, 0.9, 0.05, true, Missing{}, nil, 0}},
		{"psi", "0.004", "SUCCESS", ColumnDrift{"x", "psi", "PSI", KindDistance, 0.004, 0.05, false, Missing{}, nil, 0}},
		{"Total-Variation-Distance", "0.001", "FAIL", ColumnDrift{"x", "TVD", "Total-Variation-Distance", KindPValue, 0.001, 0.05, true, Missing{}, nil, 0}},
		{"brand new", "0.5", "FAIL", ColumnDrift{"x", "brand new", "brand new", KindUnknown, 0.5, 0.05, true, Missing{}, nil, 0}},
		{"brand new", "0.5", "SUCCESS", ColumnDrift{"x", "brand new", "brand new", KindUnknown, 0.5, 0.05, false, Missing{}, nil, 0}},
	} {
		rep, err := DecodeDrift(json.RawMessage(result("x", tt.method, tt.value, tt.status, "SUCCESS")))
		require.NoError(t, err)
		require.Equal(t, []ColumnDrift{tt.want}, rep.Columns)
		require.False(t, rep.Drifted)
		require.Equal(t, 1, rep.DriftedColumns)
		require.Equal(t, 0.25, rep.Share)
		require.Equal(t, 0.5, rep.DriftShare)
	}
	rep, err := DecodeDrift(json.RawMessage(result("x", "ks", "0", "SUCCESS", "FAIL")))
	require.NoError(t, err)
	require.True(t, rep.Drifted, "the test of the share failed: the data set drifted")
}

func TestAColumnWithoutAVerdictIsSkippedAndNotCalledFine(t *testing.T) {
	for _, in := range []struct{ value, status, reason string }{
		{"null", "SUCCESS", "its drift method gave no number"},
		{`{"count":1}`, "SUCCESS", "its drift method gave no number"},
		{"0.5", "ERROR", "its drift test ended with error"},
		{"0.5", "", "the snapshot was made without tests"},
	} {
		rep, err := DecodeDrift(json.RawMessage(result("größe", "ks", in.value, in.status, "SUCCESS")))
		require.NoError(t, err)
		require.Empty(t, rep.Columns)
		require.Equal(t, []SkippedColumn{{"größe", in.reason}}, rep.Skipped)
	}
}

func TestAResultWithoutAVerdictOnTheWholeIsAnError(t *testing.T) {
	for _, in := range []string{"", "{}", "[]", "null", `{"metrics":[{"config":{"type":"evidently:metric_v2:RowCount"},"value":5}],"tests":[]}`, result("x", "ks", "1", "FAIL", "ERROR"), result("x", "ks", "1", "FAIL", "")} {
		_, err := DecodeDrift(json.RawMessage(in))
		require.ErrorIs(t, err, mlops.ErrInvalid, in)
	}
}

func TestOptionsThatCannotWorkAreRefusedAtOnce(t *testing.T) {
	r := newRunner(t, RunnerOptions{Python: filepath.Join(t.TempDir(), "no-python")})
	for _, opt := range []DriftOptions{
		{DriftShare: new(-0.1)},
		{DriftShare: new(1.1)},
		{DriftShare: new(math.NaN())},
		{Threshold: new(math.NaN())},
		{Threshold: new(-1.0)},
		{MissingShare: 1.5},
		{MissingShare: math.NaN()},
		{Separator: ";;"},
		{Separator: "\n"},
		{Numerical: []string{"a"}, Categorical: []string{"a"}},
	} {
		_, err := r.Drift(t.Context(), "a.csv", "b.csv", opt)
		require.ErrorIs(t, err, mlops.ErrInvalid, "%+v", opt)
	}
}

func TestFilesAreLookedAtBeforePythonStarts(t *testing.T) {
	dir := t.TempDir()
	r := newRunner(t, RunnerOptions{Python: filepath.Join(dir, "no-python")})
	good, empty := filepath.Join(dir, "good.csv"), filepath.Join(dir, "empty.csv")
	require.NoError(t, os.WriteFile(good, []byte("a\n1\n"), 0o644))
	require.NoError(t, os.WriteFile(empty, nil, 0o644))
	for _, tt := range []struct{ reference, current, want string }{
		{filepath.Join(dir, "gone.csv"), good, "the reference file " + filepath.Join(dir, "gone.csv") + " does not exist"},
		{good, empty, "the current file " + empty + " is empty"},
		{good, dir, "the current file " + dir + " is a directory"},
		{"", good, "no reference file is named"},
		{good, "s3://bucket/a.csv", "the current file s3://bucket/a.csv is not on this machine; download it first"},
		{good, good, "Python " + filepath.Join(dir, "no-python") + " cannot be started: fork/exec " + filepath.Join(dir, "no-python") + ": no such file or directory"},
	} {
		_, err := r.Drift(t.Context(), tt.reference, tt.current, DriftOptions{})
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.EqualError(t, err, "evidently: Drift: "+tt.want)
	}
	_, err := r.Drift(t.Context(), filepath.Join(dir, "gone.csv"), good, DriftOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestARunnerNeedsAPython(t *testing.T) {
	_, err := NewRunner(RunnerOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.EqualError(t, err, "evidently: NewRunner: the Python of an environment with Evidently is not configured")
}

func TestZeroValuesAreErrors(t *testing.T) {
	var r Runner
	_, err := r.Drift(t.Context(), "a.csv", "b.csv", DriftOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.NoError(t, r.Close())
	var c Client
	_, err = c.Version(t.Context())
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.EnsureProject(t.Context(), "x")
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.AddSnapshot(t.Context(), "x", nil)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = c.AddSnapshot(t.Context(), "x", minimal(nil))
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = mlops.Collect(c.Snapshots(t.Context(), "x"))
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorIs(t, c.DeleteProject(t.Context(), "x"), mlops.ErrInvalid)
	_, err = c.SnapshotJSON(t.Context(), "x", "y")
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.Empty(t, c.URL())
	_, err = New(Options{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = DecodeDrift(nil)
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

func newRunner(t *testing.T, opt RunnerOptions) *Runner {
	t.Helper()
	r, err := NewRunner(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func FuzzDecodeDrift(f *testing.F) {
	f.Add([]byte(result("x", "ks", "0.5", "FAIL", "SUCCESS")))
	f.Add([]byte(result("größe", "PSI", "null", "ERROR", "FAIL")))
	f.Add([]byte(`{"metrics":[{}],"tests":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rep, err := DecodeDrift(b)
		if err != nil {
			_, ok := errors.AsType[*mlops.Error](err)
			require.True(t, ok, "%v", err)
			return
		}
		for _, c := range rep.Columns {
			require.False(t, math.IsNaN(c.Value) || math.IsInf(c.Value, 0))
		}
		_, err = json.Marshal(rep)
		require.NoError(t, err)
	})
}

func TestAReportIsOneLineInEveryFormat(t *testing.T) {
	big := json.RawMessage(strings.Repeat(`"x\n"`, 1<<18))
	r := DriftReport{Drifted: true, DriftedColumns: 1, Share: 0.5, DriftShare: 0.5, Columns: make([]ColumnDrift, 2), Skipped: make([]SkippedColumn, 1), Snapshot: big}
	held := struct {
		Report  DriftReport
		Pointer *DriftReport
		List    []DriftReport
	}{r, &r, []DriftReport{r}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("checked", "report", r)
	for name, s := range map[string]string{
		"%v": fmt.Sprintf("%v", r), "%+v": fmt.Sprintf("%+v", r), "%#v": fmt.Sprintf("%#v", r), "String": r.String(), "pointer": fmt.Sprintf("%+v", &r),
		"held %+v": fmt.Sprintf("%+v", held), "held %#v": fmt.Sprintf("%#v", held), "zero": fmt.Sprintf("%+v", DriftReport{}), "slog": strings.TrimSpace(log.String()),
	} {
		require.Less(t, len(s), 600, name)
		require.NotContains(t, s, "\n", name)
	}
	require.Equal(t, "drift: 1 of 2 columns drifted (share 0.5 of 0.5), 1 skipped, snapshot of 1310720 bytes", r.String())
}

func TestARunnerRefusesARuleThatItDoesNotKeep(t *testing.T) {
	_, err := (&Runner{}).Drift(t.Context(), "a.csv", "b.csv", DriftOptions{Rule: DriftRule{Adjust: true}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "judges by its own rules alone")
}
