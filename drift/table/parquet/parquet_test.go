package parquet

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/drift"
	"github.com/mlops-integration/mlops/drift/table"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(p, []byte(content), 0o600))
	return p
}

type row struct {
	F   float64  `parquet:"f"`
	F32 float32  `parquet:"f32"`
	N   *float64 `parquet:"n,optional"`
	I   int64    `parquet:"i"`
	U   uint64   `parquet:"u"`
	W   string   `parquet:"w"`
	E   string   `parquet:"e,dict"`
	B   bool     `parquet:"b"`
	L   []int32  `parquet:"l"`
	Raw []byte   `parquet:"raw"`
	T   int64    `parquet:"t,timestamp"`
	I32 int32    `parquet:"i32"`
}

func TestParquetColumnsComeTyped(t *testing.T) {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b)
	for i := range 5000 {
		r := row{F: float64(i) + 0.5, F32: float32(i) / 4, I: int64(i % 3), U: math.MaxUint64 - uint64(i%2), W: "word" + string(rune('a'+i%3)), E: "e", B: i%2 == 0, I32: int32(i)}
		if i%10 > 0 {
			r.N = new(float64(i))
		}
		if i == 7 {
			r.F = math.NaN()
		}
		_, err := w.Write([]row{r})
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	path := write(t, "x.parquet", b.String())
	tab, err := table.Read(path, table.Options{})
	require.NoError(t, err)
	require.Equal(t, 5000, tab.Rows)
	for name, want := range map[string]struct {
		kind              drift.Type
		distinct, missing int
		reason            string
	}{
		"f": {drift.TypeNumerical, 4999, 1, ""}, "f32": {drift.TypeNumerical, 5000, 0, ""}, "n": {drift.TypeNumerical, 4500, 500, ""},
		"i": {drift.TypeCategorical, 3, 0, ""}, "w": {drift.TypeCategorical, 3, 0, ""}, "e": {drift.TypeCategorical, 1, 0, ""}, "b": {drift.TypeCategorical, 2, 0, ""},
		"i32": {drift.TypeNumerical, 5000, 0, ""}, "u": {drift.TypeNumerical, 1, 0, ""},
		"l": {"", 0, 0, "lists or structs"}, "raw": {"", 0, 0, "bytes"}, "t": {"", 0, 0, "of type"},
	} {
		c, ok := tab.Column(name)
		require.True(t, ok, name)
		require.Equal(t, want.kind, c.Type, name)
		require.Contains(t, c.Reason, want.reason, name)
		if want.kind != "" {
			require.Equal(t, want.distinct, c.Distinct(), name)
			require.Equal(t, want.missing, c.Missing, name)
		}
	}
	cur, err := table.Read(path, table.Options{Like: tab, Columns: []string{"i", "f", "i32"}})
	require.NoError(t, err)
	require.Len(t, cur.Columns, 3)
	for cut := range 40 { // a file that ends too early, or has other bytes
		part := b.Bytes()[:b.Len()*cut/40]
		_, err := table.Read(write(t, "cut.parquet", string(part)), table.Options{})
		require.ErrorIs(t, err, mlops.ErrInvalid)
	}
}

func TestIDsAndTimesAreCountedAndNotCompared(t *testing.T) {
	var b bytes.Buffer
	w := parquet.NewGenericWriter[row](&b)
	for i := range 100 {
		_, err := w.Write([]row{{I: int64(i / 2), T: 1_700_000_000_000 + int64(i)}})
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	tab, err := table.Read(write(t, "x.parquet", b.String()), table.Options{Columns: []string{"i", "t"}, ID: "i", Time: "t"})
	require.NoError(t, err)
	id, _ := tab.Column("i")
	require.Equal(t, 50, id.Repeated)
	require.Equal(t, "it identifies rows", id.Reason)
	at, _ := tab.Column("t")
	require.Equal(t, int64(1_700_000_000_099), at.Newest.UnixMilli())
	tab, err = table.Read(write(t, "x.parquet", b.String()), table.Options{Columns: []string{"f"}, Time: "f"})
	require.NoError(t, err)
	require.Contains(t, tab.Columns[0].Reason, "no column of times")
}
