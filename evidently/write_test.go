package evidently

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMetricsHaveEvidentlysIDs is against IDs that evidently 0.7.23 gave to
// reports of these requests.
func TestMetricsHaveEvidentlysIDs(t *testing.T) {
	for _, tt := range []struct {
		opt         DriftOptions
		share       float64
		whole, each string
		column      string
	}{
		{DriftOptions{}, 0.5, "15e89f895b482f9b84ba7274ed18a106", "718c3d1c12f1e5e9a0d3b754dc73ae08", "it's"},
		{DriftOptions{}, 0.3, "8a8b69ee77cd8773c291cf3f6f78d5f0", "6b790aa3d5103ed87c221893eae0d7af", "c\n\"'"},
		{DriftOptions{Method: "psi"}, 0.5, "389d65fb2d00b0140fed36faa82e6dc3", "01dc66f13b38f110a26d77f376a06c57", "é\x1b\u200b"},
		{DriftOptions{Method: "PSI", Threshold: new(0.2)}, 0.5, "0615bcaa4fd7ba35e1b395a02ae4b021", "e2ca6581ce70143541d1b3a983fc11e9", "it's"},
		{DriftOptions{ColumnMethods: map[string]string{"it's": "ks"}}, 0.5, "22adc1e5ff34ef8d1aac65b47f781fe0", "ec60e20f8eda90f4cfbdadb6b37e2b71", "it's"},
		{DriftOptions{Threshold: new(0.0)}, 0.5, "c29a3687a18a1c30f6dac66a32a5e5f8", "dafedcfae2c58b539b2568991d0272fc", "c\n\"'"},
	} {
		require.Equal(t, tt.whole, fingerprint("DriftedColumnsCount", countFields(tt.share, tt.opt)), "%+v", tt.opt)
		id, _ := valueResult(ColumnDrift{Column: tt.column}, tt.opt)
		require.Equal(t, tt.each, id, "%+v %q", tt.opt, tt.column)
	}
	require.Equal(t, `'\u200b\x7f\U000e0001é\\\t\r'`, pythonRepr("\u200b\x7f\U000e0001é\\\t\r"))
	require.Equal(t, "1e-09", pythonRepr(1e-9))
}

func reportOf(columns int) DriftReport {
	r := DriftReport{DriftShare: 0.5}
	for i := range columns {
		c := ColumnDrift{Column: fmt.Sprintf("column %d's \"name\"\n", i), Method: "ks", MethodName: "K-S p_value", Kind: KindPValue, Value: 1 / float64(i+3), Threshold: 0.3}
		c.Drifted = c.Value <= c.Threshold
		r.Columns = append(r.Columns, c)
		if c.Drifted {
			r.DriftedColumns++
		}
	}
	r.Share = float64(r.DriftedColumns) / float64(columns)
	r.Drifted = r.Share >= r.DriftShare
	return r
}

func TestAWrittenSnapshotIsSmallAndChecked(t *testing.T) {
	r := reportOf(20)
	b, err := WriteSnapshot(r, DriftOptions{Name: "today", Tags: []string{"a"}, Metadata: map[string]string{"k": "v"}})
	require.NoError(t, err)
	require.NoError(t, checkSnapshot(b))
	t.Logf("%d bytes for 20 columns", len(b))
	require.Less(t, len(b), 45<<10)
	_, err = WriteSnapshot(DriftReport{Columns: []ColumnDrift{{Column: "x", Method: MethodMissing}}}, DriftOptions{})
	require.ErrorContains(t, err, "no column has a value")
}

// TestTheServiceReadsBackWhatGoWrote stores a snapshot that no Python made and
// reads the service's result of it.
func TestTheServiceReadsBackWhatGoWrote(t *testing.T) {
	s, c := open(t)
	p := project(t, s, c, "written")
	want := reportOf(3)
	snapshot, err := WriteSnapshot(want, DriftOptions{Name: "by Go"})
	require.NoError(t, err)
	id, err := c.AddSnapshot(t.Context(), p.ID, snapshot)
	require.NoError(t, err)
	result, err := c.SnapshotJSON(t.Context(), p.ID, id)
	require.NoError(t, err)
	got, err := DecodeDrift(json.RawMessage(result))
	require.NoError(t, err)
	require.Equal(t, want, got)
}
