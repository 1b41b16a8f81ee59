package client

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	_ "github.com/mlops-integration/mlops/drift/table/parquet"
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
	require.Contains(t, string(rep.Snapshot), "Dataset Drift is detected", "the snapshot has the verdict")
	require.Contains(t, string(rep.Snapshot), "important columns drifted: age")
	require.False(t, check(evidently.DriftRule{Important: []string{"plan"}}).Drifted)
	require.Len(t, check(evidently.DriftRule{Ignore: []string{"age"}}).Columns, 3)
	adjusted := check(evidently.DriftRule{Adjust: true}).Columns
	require.Greater(t, *adjusted[0].Adjusted, adjusted[0].Value)
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

func TestAProfileIsNeverHandedToEvidently(t *testing.T) {
	data := served(t, 400, func(i int) string { return fmt.Sprintf("%d.5,p%d,note %d,1.5", i*37%200, i%3, i) }) // id: texts
	kept := filepath.Join(t.TempDir(), "x.profile")
	_, err := WriteProfile(t.Context(), kept, []string{data}, ProfileOptions{})
	require.NoError(t, err)
	p := &Project{Client: &Client{}}
	p.Config.EvidentlyPython = "/no/such/python"
	for _, sides := range [][2]string{{kept, data}, {data, kept}, {kept, kept}} {
		rep, err := p.compare(t.Context(), "", sides[0], sides[1], evidently.DriftOptions{})
		require.NoError(t, err)
		require.Equal(t, "id", rep.Skipped[0].Column)
		_, err = p.compare(t.Context(), EngineEvidently, sides[0], sides[1], evidently.DriftOptions{})
		require.ErrorContains(t, err, "Evidently's library reads no profiles")
		for _, o := range []evidently.DriftOptions{{Method: "TVD"}, {ColumnMethods: map[string]string{"age": "empirical_mmd"}}} {
			_, err = p.compare(t.Context(), "", sides[0], sides[1], o)
			require.ErrorIs(t, err, mlops.ErrInvalid)
			require.ErrorContains(t, err, "which reads no profiles; compare the data itself")
		}
	}
	whole, err := os.ReadFile(kept)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(kept, whole[:len(whole)/2], 0o600))
	_, err = p.compare(t.Context(), "", kept, data, evidently.DriftOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "the profile is cut off")
}

func TestAProfileReplacesNothingButAProfile(t *testing.T) {
	dir := t.TempDir()
	data, other, link := filepath.Join(dir, "x.csv"), filepath.Join(dir, "other"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(data, []byte("x\n1.5\n"), 0o600))
	require.NoError(t, os.WriteFile(other, []byte("mine"), 0o600))
	require.NoError(t, os.Link(data, link))
	for path, says := range map[string]string{data: "which is the data", link: "which is the data", other: "exists and is no profile", dir: "exists and is no profile", filepath.Join(dir, "x.parquet"): "a Parquet file's name"} {
		_, err := WriteProfile(t.Context(), path, []string{data}, ProfileOptions{})
		require.ErrorIs(t, err, mlops.ErrInvalid, path)
		require.ErrorContains(t, err, says)
	}
	b, err := os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, "mine", string(b))
	for range 2 {
		_, err = WriteProfile(t.Context(), filepath.Join(dir, "x.profile"), []string{data}, ProfileOptions{})
		require.NoError(t, err)
	}
	_, err = WriteProfile(t.Context(), filepath.Join(dir, "x.profile"), []string{filepath.Join(dir, "x.profile")}, ProfileOptions{})
	require.ErrorContains(t, err, "which is the data")
}

func TestIDsThatCannotBeReadAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.parquet")
	type row struct {
		Age float64  `parquet:"age"`
		ID  [16]byte `parquet:"id,uuid"`
	}
	rows := make([]row, 300)
	for i := range rows {
		rows[i].Age = float64(i) + 0.5
	}
	require.NoError(t, parquet.WriteFile(file, rows))
	o := evidently.DriftOptions{Rule: evidently.DriftRule{Quality: true, ID: "id"}}
	_, err := compareNative(t.Context(), file, file, o, false)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, `column "id" cannot be the rows' ID`)

	kept := filepath.Join(dir, "x.profile")
	_, err = WriteProfile(t.Context(), kept, []string{file}, ProfileOptions{})
	require.NoError(t, err)
	for _, r := range []evidently.DriftRule{o.Rule, {Quality: true, Time: "age", MaxAge: time.Hour}} {
		_, err = compareNative(t.Context(), file, kept, evidently.DriftOptions{Rule: r}, false)
		require.ErrorContains(t, err, "a profile has neither the IDs nor the times of rows")
	}
}
