package client

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
)

// served writes rows of an age, a plan, an ID and a time.
func served(t *testing.T, rows int, row func(i int) string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("age,plan,id,at\n")
	for i := range rows {
		b.WriteString(row(i) + "\n")
	}
	p := filepath.Join(t.TempDir(), "x.csv")
	require.NoError(t, os.WriteFile(p, []byte(b.String()), 0o600))
	return p
}

func TestFindingsStandBesideDriftInOneReport(t *testing.T) {
	now := time.Now().UTC().Format(time.RFC3339)
	plain := func(i int) string { return fmt.Sprintf("%d.5,p%d,r%d,%s", i*37%200, i%3, i, now) }
	reference := served(t, 400, plain)
	bad := served(t, 400, func(i int) string {
		age := fmt.Sprintf("%d.5", i*37%200)
		switch {
		case i%10 == 1:
			age = ""
		case i%10 == 2:
			age = "old"
		case i%10 == 3:
			age = "1e9"
		}
		return fmt.Sprintf("%s,%s,r%d,2020-01-02 03:04:05", age, map[bool]string{true: "gold", false: "p1"}[i%4 == 0], i/2)
	})
	o := evidently.DriftOptions{Rule: evidently.DriftRule{Quality: true, ID: "id", Time: "at", MaxAge: time.Hour}}
	rep, err := compareNative(t.Context(), reference, reference, o, false)
	require.NoError(t, err)
	require.Empty(t, rep.Findings)
	require.Empty(t, rep.Skipped)
	require.Len(t, rep.Columns, 2)

	rep, err = compareNative(t.Context(), reference, bad, o, false)
	require.NoError(t, err)
	var got []string
	for _, f := range rep.Findings {
		require.NotEmpty(t, f.Detail)
		got = append(got, fmt.Sprintf("%s %s %.3g", f.Column, f.Check, min(f.Value, 1e6)))
	}
	require.Equal(t, []string{"age missing 0.1", "age unparsed 0.111", "age out_of_range 0.125", "plan unseen_categories 0.25", "id duplicate_ids 200", "at age 1e+06"}, got)
	require.Contains(t, rep.String(), "6 findings")

	o.Rule = evidently.DriftRule{Quality: true}
	less := filepath.Join(t.TempDir(), "less.csv")
	require.NoError(t, os.WriteFile(less, []byte("age,more\n1.5,1\n2.5,2\n3.5,3\n"), 0o600))
	rep, err = compareNative(t.Context(), reference, less, o, false)
	require.NoError(t, err)
	require.Equal(t, "plan", rep.Findings[0].Column)
	require.Equal(t, "missing_column", rep.Findings[0].Check)
	require.Contains(t, rep.Skipped, evidently.SkippedColumn{Column: "more", Reason: "the reference file does not have it"})
	o.Columns = []string{"age", "plan"}
	rep, err = compareNative(t.Context(), reference, less, o, false)
	require.NoError(t, err)
	require.Equal(t, "plan", rep.Findings[0].Column)
	o.Columns = []string{"plan"}
	_, err = compareNative(t.Context(), reference, less, o, false)
	require.ErrorContains(t, err, `the current file has no column "plan"`)
}

func TestARuleOfOnesOwnIsKept(t *testing.T) {
	reference := served(t, 400, func(i int) string { return fmt.Sprintf("%d.5,p%d,%d.5,1", i*37%200, i%3, i%50) })
	moved := served(t, 400, func(i int) string { return fmt.Sprintf("%d.5,p%d,%d.5,1", i*37%200+90, i%3, i%50) })
	check := func(r evidently.DriftRule) evidently.DriftReport {
		t.Helper()
		rep, err := compareNative(t.Context(), reference, moved, evidently.DriftOptions{Rule: r}, false)
		require.NoError(t, err)
		return rep
	}
	require.False(t, check(evidently.DriftRule{}).Drifted, "one of four columns")
	rep := check(evidently.DriftRule{Important: []string{"age"}})
	require.True(t, rep.Drifted)
	require.Equal(t, []string{"age"}, rep.Important)
	require.False(t, check(evidently.DriftRule{Important: []string{"plan"}}).Drifted)
	require.Len(t, check(evidently.DriftRule{Ignore: []string{"age"}}).Columns, 3)
	adjusted := check(evidently.DriftRule{Adjust: true}).Columns
	require.Greater(t, adjusted[0].Adjusted, adjusted[0].Value)
	require.True(t, adjusted[0].Drifted)

	few := check(evidently.DriftRule{MinRows: 401})
	require.True(t, few.TooFew)
	require.False(t, few.Drifted)
	require.Empty(t, few.Snapshot)
	require.Contains(t, few.String(), "no verdict")

	for says, r := range map[string]evidently.DriftRule{
		"cannot be important and not be compared": {Important: []string{"age"}, Ignore: []string{"age"}},
		`"typo", important, is not among`:         {Important: []string{"typo"}},
		"with the data's quality":                 {ID: "id"},
		"needs both its column and a limit":       {Quality: true, Time: "at"},
		`the current file has no column "typo"`:   {Quality: true, ID: "typo"},
		"both the rows' ID and their time":        {Quality: true, ID: "at", Time: "at", MaxAge: 1},
		"there cannot be -1 rows":                 {MinRows: -1},
	} {
		_, err := compareNative(t.Context(), reference, moved, evidently.DriftOptions{Rule: r}, false)
		require.ErrorIs(t, err, mlops.ErrInvalid, says)
		require.ErrorContains(t, err, says)
	}
	_, err := (&Project{}).compare(t.Context(), EngineEvidently, reference, moved, evidently.DriftOptions{Rule: evidently.DriftRule{Adjust: true}})
	require.ErrorContains(t, err, "take the engine native")
}
