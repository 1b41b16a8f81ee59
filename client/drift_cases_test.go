package client

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
)

// TestTheNativeEngineFindsWhatTheTableSays runs testdata/drift/cases; its README
// describes them.
func TestTheNativeEngineFindsWhatTheTableSays(t *testing.T) {
	files, err := filepath.Glob("../testdata/drift/cases/*.txt")
	require.NoError(t, err)
	require.Greater(t, len(files), 30)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			require.NoError(t, err)
			dir, parts := t.TempDir(), map[string][]byte{}
			for _, f := range a.Files {
				parts[f.Name] = f.Data
				require.NoError(t, os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600))
			}
			var opt evidently.DriftOptions
			require.NoError(t, json.Unmarshal(parts["options.json"], &opt))
			reference, current := filepath.Join(dir, "reference.csv"), filepath.Join(dir, "current.csv")
			rep, err := compareNative(t.Context(), reference, current, opt, false)
			checkFindings(t, string(parts["want"]), rep, err)

			// The profiles of both files give the same.
			po := ProfileOptions{Columns: opt.Columns, Numerical: opt.Numerical, Categorical: opt.Categorical}
			for _, r := range opt.Separator {
				po.Separator = r
			}
			kept := filepath.Join(dir, "reference.profile")
			if _, perr := WriteProfile(t.Context(), kept, []string{reference}, po); perr != nil {
				require.Error(t, err)
				return
			}
			same := func(current string) {
				got, gerr := compareNative(t.Context(), kept, current, opt, false)
				rep.Snapshot, got.Snapshot = nil, nil // has random IDs and the time
				require.Equal(t, rep, got)
				require.Equal(t, err == nil, gerr == nil)
			}
			same(current)
			po.Like = kept
			if _, perr := WriteProfile(t.Context(), filepath.Join(dir, "current.profile"), []string{current}, po); perr == nil {
				same(filepath.Join(dir, "current.profile"))
			}
		})
	}
}

// checkFindings compares a report with the lines of a case's want.
func checkFindings(t *testing.T, want string, rep evidently.DriftReport, err error) {
	t.Helper()
	found := map[string]bool{}
	for _, c := range rep.Columns {
		verdict := "same"
		if c.Drifted {
			verdict = "drift"
		}
		found[fmt.Sprintf("column %s %s %s", c.Column, c.Method, verdict)] = false
		if c.Missing.Drifted {
			found["missing "+c.Column] = true
		}
		if n := c.Missing.Unparsed; n != [2]int{} {
			found[fmt.Sprintf("unparsed %s %d %d", c.Column, n[0], n[1])] = true
		}
	}
	for _, s := range rep.Skipped {
		found[fmt.Sprintf("skipped %s %s", strings.ReplaceAll(s.Column, " ", "_"), s.Reason)] = true
	}
	for line := range strings.Lines(want) {
		line = strings.TrimSpace(line)
		what, rest, _ := strings.Cut(line, " ")
		if what == "error" {
			require.ErrorIs(t, err, mlops.ErrInvalid)
			require.ErrorContains(t, err, rest)
			return
		}
		require.NoError(t, err)
		if what == "drifted" {
			require.Equal(t, rest, fmt.Sprint(rep.Drifted), "%v %+v", rep, rep.Columns)
			continue
		}
		require.Contains(t, found, line, "%v %+v", rep, rep.Columns)
		delete(found, line)
	}
	for line, due := range found {
		require.False(t, due, "found and not in the table: %s", line)
	}
}
