package client

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// randomTable writes a reference and a current file with columns of all kinds.
func randomTable(t *testing.T, seed uint64) (reference, current string) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	sizes := [2]int{[]int{30, 400, 1000, 1001, 3000}[r.IntN(5)], []int{25, 500, 1200, 2500}[r.IntN(4)]}
	kinds := make([]int, 3+r.IntN(6))
	for i := range kinds {
		kinds[i] = r.IntN(9)
	}
	dir := t.TempDir()
	for side, rows := range sizes {
		f, err := os.Create(filepath.Join(dir, []string{"reference.csv", "current.csv"}[side]))
		require.NoError(t, err)
		w := csv.NewWriter(f)
		header := []string{}
		for i := range kinds {
			header = append(header, fmt.Sprintf("c%d's, %d", i, kinds[i]))
		}
		require.NoError(t, w.Write(header))
		moved := make([]float64, len(kinds))
		for i := range moved {
			moved[i] = float64(side*r.IntN(2)) * r.Float64()
		}
		for range rows {
			record := make([]string, len(kinds))
			for i, k := range kinds {
				switch k {
				case 0:
					record[i] = strconv.FormatFloat(r.NormFloat64()+moved[i], 'g', -1, 64)
				case 1:
					record[i] = strconv.Itoa(int(20*r.NormFloat64() + 30*moved[i]))
				case 2:
					record[i] = strconv.Itoa(r.IntN(4 + int(2*moved[i])))
				case 3:
					record[i] = "w" + strconv.Itoa(int(r.ExpFloat64()*(2+moved[i])))
				case 4:
					record[i] = strconv.FormatBool(r.Float64() < 0.5+moved[i]/2)
				case 5: // some missing
					if record[i] = strconv.FormatFloat(r.ExpFloat64()+moved[i], 'f', 3, 64); r.IntN(5) == 0 {
						record[i] = []string{"", "NA", "null"}[r.IntN(3)]
					}
				case 6: // some no numbers
					if record[i] = strconv.Itoa(r.IntN(1000)); r.IntN(30) == 0 {
						record[i] = "oops"
					}
				case 7:
					record[i] = strconv.FormatFloat(float64(r.IntN(3))+moved[i], 'f', 1, 64)
				case 8:
					if record[i] = "yes"; r.Float64() < 0.3+moved[i]/2 {
						record[i] = "no"
					}
				}
			}
			require.NoError(t, w.Write(record))
		}
		w.Flush()
		require.NoError(t, w.Error())
		require.NoError(t, f.Close())
	}
	return filepath.Join(dir, "reference.csv"), filepath.Join(dir, "current.csv")
}

// TestBothEnginesReportTheSame compares whole reports on random tables: the
// types, the methods, the values and the shares of missing values.
func TestBothEnginesReportTheSame(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs Evidently's Python: only with MLOPS_LIVE=1")
	}
	home, err := mlops.Home()
	require.NoError(t, err)
	stack, err := stackfile.Read(home)
	require.NoError(t, err)
	r, err := evidently.NewRunner(evidently.RunnerOptions{Python: stack.Pythons["evidently"]})
	require.NoError(t, err)
	defer r.Close()
	tables := 15
	if os.Getenv("MLOPS_SOAK") != "" {
		tables = 1000
	}
	for seed := range tables {
		reference, current := randomTable(t, uint64(seed))
		opt := evidently.DriftOptions{}
		if seed%3 == 1 {
			opt.Method = "psi"
		}
		want, err := r.Drift(t.Context(), reference, current, opt)
		require.NoError(t, err)
		got, err := compareNative(t.Context(), reference, current, opt, true)
		if len(want.Skipped) == 0 || err == nil {
			require.NoError(t, err, "seed %d: Evidently judges %v", seed, want)
		} else {
			continue
		}
		require.Len(t, got.Columns, len(want.Columns), "seed %d: %v and %v, skipped %v and %v", seed, got, want, got.Skipped, want.Skipped)
		for i := range want.Columns {
			a, b := want.Columns[i], got.Columns[i]
			require.InDelta(t, a.Value, b.Value, 1e-15+1e-9*max(a.Value, -a.Value), "seed %d, %s: %+v", seed, a.Column, b)
			a.Value = b.Value
			require.Equal(t, a, b, "seed %d", seed)
		}
		want.Snapshot, got.Snapshot, want.Columns, got.Columns = nil, nil, nil, nil
		require.Equal(t, want, got, "seed %d", seed)
	}
}
