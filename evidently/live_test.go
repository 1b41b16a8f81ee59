package evidently

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// python finds an interpreter with Evidently: MLOPS_EVIDENTLY_PYTHON, that of
// the running stack, or that of an installed one.
func python(t *testing.T) string {
	t.Helper()
	candidates := []string{os.Getenv("MLOPS_EVIDENTLY_PYTHON")}
	if home, err := mlops.Home(); err == nil {
		if s, err := stackfile.Read(home); err == nil {
			candidates = append(candidates, s.Pythons["evidently"])
		}
		candidates = append(candidates, filepath.Join(home, "venvs", "evidently", "bin", "python"))
	}
	for _, c := range candidates {
		if c == "" {
			continue
		}
		if _, err := os.Stat(c); err == nil {
			return c
		}
	}
	const what = "no Python with Evidently: set MLOPS_EVIDENTLY_PYTHON, or run mlopsctl setup"
	if cassette.Live() {
		t.Fatal(what)
	}
	t.Skip(what + "; what Evidently itself computes is not tested")
	return ""
}

// shared is one process for all tests that need the real Evidently.
var shared struct {
	sync.Mutex
	r *Runner
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.r != nil {
		shared.r.Close()
	}
	os.Exit(code)
}

func realRunner(t *testing.T) *Runner {
	t.Helper()
	p := python(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.r == nil {
		r, err := NewRunner(RunnerOptions{Python: p})
		require.NoError(t, err)
		r.script = noisy(t)
		shared.r = r
	}
	return shared.r
}

// noisy is runner.py with libraries that print: in Python, from a child, and
// past Python.
func noisy(t *testing.T) string {
	t.Helper()
	const line = "    import evidently\n"
	require.Contains(t, runnerScript, line)
	return strings.Replace(runnerScript, line, line+`    print("to stdout", flush=True); os.system("echo from a child"); os.write(1, b"raw")`+"\n", 1)
}

// table writes a CSV file of columns.
func table(t *testing.T, header string, rows int, row func(i int) string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(header + "\n")
	for i := range rows {
		b.WriteString(row(i) + "\n")
	}
	p := filepath.Join(t.TempDir(), "data.csv")
	require.NoError(t, os.WriteFile(p, []byte(b.String()), 0o644))
	return p
}

// sample writes 300 rows of two numbers, a class and a word; the numbers are
// moved by shift.
func sample(t *testing.T, seed uint64, shift float64) string {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 0))
	return table(t, `alcohol,"größe, µ",target,日本`, 300, func(i int) string {
		return fmt.Sprintf("%.4f,%.4f,%d,%c", 13+rnd.NormFloat64()+shift, 5+rnd.NormFloat64()+shift, i%3, 'a'+i%4)
	})
}

func TestDriftIsFoundInAShiftedSampleAndNotInAnUnshiftedOne(t *testing.T) {
	r := realRunner(t)
	reference := sample(t, 1, 0)
	same, err := r.Drift(t.Context(), reference, sample(t, 2, 0), DriftOptions{})
	require.NoError(t, err)
	require.False(t, same.Drifted)
	require.Zero(t, same.DriftedColumns)
	require.Zero(t, same.Share)

	moved, err := r.Drift(t.Context(), reference, sample(t, 5, 3), DriftOptions{Name: "moved"})
	require.NoError(t, err)
	require.True(t, moved.Drifted, "2 of 4 columns reach the share of 0.5")
	require.Equal(t, 2, moved.DriftedColumns)
	require.Equal(t, 0.5, moved.Share)
	require.Equal(t, 300, moved.ReferenceRows)
	require.Equal(t, 300, moved.CurrentRows)
	require.Empty(t, moved.Skipped)
	var got []string
	for _, c := range moved.Columns {
		got = append(got, fmt.Sprintf("%s: %s %s %v", c.Column, c.Method, c.Kind, c.Drifted))
		require.Equal(t, 0.05, c.Threshold)
	}
	require.Equal(t, []string{
		"alcohol: ks p-value true",
		"größe, µ: ks p-value true",
		"target: chisquare p-value false",
		"日本: chisquare p-value false",
	}, got)
	require.NoError(t, checkSnapshot(moved.Snapshot))

	higher, err := r.Drift(t.Context(), reference, sample(t, 5, 3), DriftOptions{DriftShare: new(0.51), Columns: []string{"target", "alcohol"}, Method: "PSI", ColumnMethods: map[string]string{"target": "z"}, Threshold: new(0.0)})
	require.NoError(t, err)
	require.Equal(t, 0.51, higher.DriftShare)
	require.Equal(t, []SkippedColumn(nil), higher.Skipped)
	require.Equal(t, "target", higher.Columns[0].Column)
	require.Equal(t, "z", higher.Columns[0].Method)
	require.False(t, higher.Columns[0].Drifted, "no p-value is below 0")
	require.Equal(t, "psi", higher.Columns[1].Method)
	require.True(t, higher.Columns[1].Drifted)
	require.False(t, higher.Drifted, "1 of 2 columns is less than 0.51")
}

func TestTheMethodTableIsEvidentlys(t *testing.T) {
	out, err := exec.Command(python(t), "-I", "-c", `
import json, os
os.environ["DO_NOT_TRACK"] = "1"
import evidently
from evidently.legacy.calculations.stattests import registry
print("\n" + json.dumps({n: next(iter(m.values())).display_name for n, m in registry._registered_stat_tests.items()}))`).Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var want map[string]string
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &want))
	got := map[string]string{}
	for _, m := range methods {
		got[m.name] = m.display
	}
	require.Equal(t, want, got)
}

// TestEachMethodPointsTheWayTheTableSays moves one column per method far.
func TestEachMethodPointsTheWayTheTableSays(t *testing.T) {
	r := realRunner(t)
	text := map[string]bool{"perc_text_content_drift": true, "abs_text_content_drift": true}
	categories := map[string]bool{"chisquare": true, "z": true, "g_test": true, "fisher_exact": true, "TVD": true}
	opt := DriftOptions{ColumnMethods: map[string]string{}}
	var header []string
	for _, m := range methods {
		if text[m.name] {
			continue
		}
		header = append(header, m.name)
		opt.ColumnMethods[m.name] = m.name
		if categories[m.name] {
			opt.Categorical = append(opt.Categorical, m.name)
		} else {
			opt.Numerical = append(opt.Numerical, m.name)
		}
	}
	file := func(seed uint64, shift float64) string {
		rnd := rand.New(rand.NewPCG(seed, 0))
		return table(t, strings.Join(header, ","), 60, func(int) string {
			var cells []string
			for _, name := range header {
				if categories[name] {
					v := 0
					if rnd.Float64() < 0.3+0.15*shift {
						v = 1
					}
					cells = append(cells, fmt.Sprint(v))
				} else {
					cells = append(cells, fmt.Sprintf("%.4f", rnd.NormFloat64()+shift))
				}
			}
			return strings.Join(cells, ",")
		})
	}
	reference := file(1, 0)
	moved, err := r.Drift(t.Context(), reference, file(2, 4), opt)
	require.NoError(t, err)
	require.Empty(t, moved.Skipped)
	for _, c := range moved.Columns {
		require.Equal(t, c.Column, c.Method)
		require.True(t, c.Drifted, "%+v", c)
		if c.Kind == KindPValue {
			require.LessOrEqual(t, c.Value, c.Threshold, c.Column)
		} else {
			require.Equal(t, KindDistance, c.Kind)
			require.GreaterOrEqual(t, c.Value, c.Threshold, c.Column)
		}
	}
}

func TestTextIsComparedByContent(t *testing.T) {
	r := realRunner(t)
	rnd := rand.New(rand.NewPCG(1, 0))
	file := func(words ...string) string {
		return table(t, "text", 60, func(i int) string {
			return fmt.Sprintf("%s %s number %d", words[rnd.IntN(len(words))], words[rnd.IntN(len(words))], i)
		})
	}
	rep, err := r.Drift(t.Context(), file("wine", "grape", "cellar", "barrel"), file("engine", "wheel", "brake", "clutch"), DriftOptions{Method: "Absolute text content drift"})
	require.NoError(t, err)
	require.Equal(t, "abs_text_content_drift", rep.Columns[0].Method)
	require.Equal(t, KindDistance, rep.Columns[0].Kind)
	require.True(t, rep.Columns[0].Drifted)
}

func TestABadColumnDoesNotLoseTheOthers(t *testing.T) {
	r := realRunner(t)
	reference := table(t, "good,empty,mixed,when,constant,kept", 100, func(i int) string {
		return fmt.Sprintf("%d.5,,%d,2026-01-%02d,7,%d.25", i, i, 1+i%28, i)
	})
	current := table(t, "good,empty,mixed,when,constant,kept", 100, func(i int) string {
		return fmt.Sprintf("%d.5,,word %d,2026-01-%02d,7,%d.25", i, i, 1+i%28, i)
	})
	rep, err := r.Drift(t.Context(), reference, current, DriftOptions{Numerical: []string{"mixed"}})
	require.NoError(t, err)
	skipped := map[string]string{}
	for _, s := range rep.Skipped {
		skipped[s.Column] = s.Reason
	}
	require.Equal(t, "it has no value in the current file", skipped["empty"])
	require.Len(t, skipped, 1)
	var judged []string
	for _, c := range rep.Columns {
		judged = append(judged, c.Column)
		if c.Column == "mixed" { // no cell of the current file is a number
			require.Equal(t, ColumnDrift{
				Column: "mixed", Method: MethodMissing, MethodName: "share of missing values", Kind: KindDistance,
				Value: 1, Threshold: 0.1, Drifted: true, Missing: Missing{Current: 1, Unparsed: [2]int{0, 100}, Drifted: true},
			}, c)
		}
	}
	require.Equal(t, []string{"good", "when", "constant", "kept", "mixed"}, judged)
	require.NoError(t, checkSnapshot(rep.Snapshot))

	_, err = r.Drift(t.Context(), reference, current, DriftOptions{Columns: []string{"empty"}})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.EqualError(t, err, "evidently: Drift: no column can be judged: \"empty\": it has no value in the current file")
}

func TestParquetIsReadWithTheTypesItHas(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command(python(t), "-I", "-c", `
import sys
import pandas as pd
n = 80
for name, shift in (("a", 0), ("b", 40)):
    pd.DataFrame({
        "small": pd.Series([(i + shift) % 200 for i in range(n)], dtype="uint8"),
        "maybe": pd.Series([None if i == 3 else i * 7 for i in range(n)], dtype="Int64"),
        "yes": pd.Series([i % 2 == 0 for i in range(n)], dtype="boolean"),
        "when": pd.date_range("2026-01-01", periods=n),
        7: [i / 3 for i in range(n)],
    }).rename(columns=str).to_parquet(f"{sys.argv[1]}/{name}.parquet")`, dir).CombinedOutput()
	require.NoError(t, err, string(out))
	rep, err := realRunner(t).Drift(t.Context(), filepath.Join(dir, "a.parquet"), filepath.Join(dir, "b.parquet"), DriftOptions{})
	require.NoError(t, err)
	var got []string
	for _, c := range rep.Columns {
		got = append(got, fmt.Sprintf("%s %s %v", c.Column, c.Method, c.Drifted))
	}
	require.Equal(t, []string{"small ks true", "maybe ks false", "yes z false", "7 ks false"}, got)
	require.Equal(t, []SkippedColumn{{"when", "Evidently has no drift method for a column of type datetime"}}, rep.Skipped)
}

func TestWhatIsWrongWithTheFilesIsSaidInOneSentence(t *testing.T) {
	r := realRunner(t)
	ab := table(t, "a,b", 30, func(i int) string { return fmt.Sprintf("%d,%d", i, i) })
	ac := table(t, "a,c", 30, func(i int) string { return fmt.Sprintf("%d,%d", i, i) })
	z := table(t, "z", 30, func(i int) string { return fmt.Sprint(i) })
	headOnly := table(t, "a,b", 0, nil)
	torn := filepath.Join(t.TempDir(), "torn.parquet")
	require.NoError(t, os.WriteFile(torn, []byte("PAR1 and no more"), 0o644))
	for _, tt := range []struct {
		reference, current string
		opt                DriftOptions
		want               string
	}{
		{ab, z, DriftOptions{}, "the reference and the current file have no column in common"},
		{ab, ac, DriftOptions{}, "the two files have different columns: only the reference has 'b'; only the current file has 'c'; name the columns to compare"},
		{ab, ac, DriftOptions{Columns: []string{"a", "b"}}, "the current file has no column 'b'"},
		{ab, headOnly, DriftOptions{}, "the current file " + headOnly + " has no rows"},
		{ab, ab, DriftOptions{Method: "chi"}, "Evidently has no drift method 'chi'; it has "},
		{ab, ab, DriftOptions{Numerical: []string{"q"}}, "'q', to be numerical, is not among the columns"},
		{ab, ab, DriftOptions{ColumnMethods: map[string]string{"q": "ks"}}, "'q', given a method, is not among the columns"},
		{torn, ab, DriftOptions{}, "the reference file " + torn + " cannot be read: "},
	} {
		_, err := r.Drift(t.Context(), tt.reference, tt.current, tt.opt)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.Contains(t, err.Error(), "evidently: Drift: "+tt.want)
		require.NotContains(t, err.Error(), "\n")
	}
	rep, err := r.Drift(t.Context(), ab, ac, DriftOptions{Columns: []string{"a"}})
	require.NoError(t, err)
	require.Len(t, rep.Columns, 1)
}

func TestThreeRequestsImportOnceAndPrintingLibrariesDoNotSpoilAnswers(t *testing.T) {
	r := realRunner(t)
	reference := table(t, "a", 30, func(i int) string { return fmt.Sprint(i) })
	var first *worker
	for range 3 {
		rep, err := r.Drift(t.Context(), reference, reference, DriftOptions{})
		require.NoError(t, err)
		require.False(t, rep.Drifted)
		if first == nil {
			first = r.worker
		}
	}
	require.Same(t, first, r.worker)
	first.words.mu.Lock()
	defer first.words.mu.Unlock()
	require.Contains(t, string(first.words.buf), "to stdout", "what libraries print goes where messages come from")
}
