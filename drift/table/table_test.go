package table

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/drift"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(p, []byte(content), 0o600))
	return p
}

func read(t *testing.T, csv string, o Options) *Table {
	t.Helper()
	tab, err := Read(write(t, "x.csv", csv), o)
	require.NoError(t, err)
	return tab
}

func TestAColumnHasTheTypeThatItsValuesMake(t *testing.T) {
	many := func(f func(i int) string) string {
		var b strings.Builder
		b.WriteString("x\n")
		for i := range 1500 {
			b.WriteString(f(i) + "\n")
		}
		return b.String()
	}
	letter := func(i int) string { return string(rune('a' + i%26)) }
	for name, tt := range map[string]struct {
		csv      string
		want     drift.Type
		distinct int
		missing  int
		unparsed int
		reason   string
	}{
		"whole numbers, ten":             {"x\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", drift.TypeCategorical, 10, 0, 0, ""},
		"whole numbers, eleven":          {"x\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", drift.TypeNumerical, 11, 0, 0, ""},
		"whole numbers, one missing":     {"x\n1\n2\n\n1\n", drift.TypeNumerical, 2, 1, 0, ""},
		"whole numbers of two spellings": {"x\n01\n1\n+1\n2\n", drift.TypeCategorical, 2, 0, 0, ""},
		"fractions":                      {"x\n1.0\n2.0\n", drift.TypeNumerical, 2, 0, 0, ""},
		"infinities":                     {"x\n1.5\ninf\n-Infinity\n2\n", drift.TypeNumerical, 2, 0, 0, ""},
		"a tenth are no numbers":         {"x\n1.5\n2\n3\n4\n5\n6\n7\n8\n9\noops\n", drift.TypeNumerical, 9, 1, 1, ""},
		"more are no numbers":            {"x\n1.5\n2\noops\n1.5\n2\noops\n", drift.TypeCategorical, 3, 0, 0, ""},
		"truth in three spellings":       {"x\nTrue\ntrue\nFALSE\n\n", drift.TypeCategorical, 2, 0, 0, ""},
		"words":                          {"x,y\na,1\nb,1\na,1\nNA,1\nb,1\n", drift.TypeCategorical, 2, 1, 0, ""},
		"texts":                          {"x\na\nb\nc\n", "", 0, 0, 0, "it is text"},
		"nothing":                        {"x,y\n,1\nnull,2\n", "", 0, 2, 0, "it has no value"},
		"more numbers than are kept": {many(func(i int) string {
			return "1." + strings.Repeat("0", i%3) + string(rune('0'+i%10)) + strings.Repeat("1", i/10%100)
		}), drift.TypeNumerical, 0, 0, 0, ""},
		"many numbers, then texts": {many(func(i int) string {
			return map[bool]string{true: strings.Repeat("1", i%200+1), false: letter(i)}[i < 1200]
		}), "", 0, 0, 0, ""},
		"hex and underscores are no number": {"x\n0x10\n0x10\n1_000\n1_000\n0x10\n", drift.TypeCategorical, 2, 0, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tab := read(t, tt.csv, Options{})
			c, ok := tab.Column("x")
			require.True(t, ok)
			if name == "many numbers, then texts" {
				return // which type does not matter; see the next test
			}
			require.Equal(t, tt.want, c.Type)
			require.Contains(t, c.Reason, tt.reason)
			if tt.distinct > 0 {
				require.Equal(t, tt.distinct, c.Distinct())
			}
			require.Equal(t, tt.missing, c.Missing)
			require.Equal(t, tt.unparsed, c.Unparsed)
		})
	}
}

func TestNumbersThatTurnIntoTextsAreNotCountedInPart(t *testing.T) {
	var b strings.Builder
	b.WriteString("x\n")
	for i := range 3000 {
		if i < 2000 {
			b.WriteString(strings.Repeat("1", i%17+1) + "." + strings.Repeat("2", i/17+1) + "\n")
		} else {
			b.WriteString("word\n")
		}
	}
	c, _ := read(t, b.String(), Options{}).Column("x")
	require.Empty(t, c.Type)
	require.Contains(t, c.Reason, "name it numerical or categorical")
	c, _ = read(t, b.String(), Options{Categorical: []string{"x"}}).Column("x")
	require.Equal(t, drift.TypeCategorical, c.Type)
	require.Equal(t, 3000, c.Len())
	c, _ = read(t, b.String(), Options{Numerical: []string{"x"}}).Column("x")
	require.Equal(t, 1000, c.Unparsed)
}

func TestTheCurrentFileHasTheTypesOfTheReference(t *testing.T) {
	ref := read(t, "n,c,w,b\n1.5,1,01,true\n2.5,2,x,False\n3.5,1,x,true\n", Options{})
	cur := read(t, "n,c,w,b\n1,1.0,1,TRUE\nx,x,x,maybe\n2,2,01,\n", Options{Like: ref})
	n, _ := cur.Column("n")
	require.Equal(t, drift.TypeNumerical, n.Type)
	require.Equal(t, 1, n.Unparsed)
	for name, want := range map[string]map[string]int{"c": {"1": 1, "x": 1, "2": 1}, "b": {"True": 1, "maybe": 1}} {
		c, _ := cur.Column(name)
		require.Equal(t, drift.Counted(name, want, 3-total(want)), c.Column)
	}
}

func total(counts map[string]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

func TestCSVOfAllKindsIsRead(t *testing.T) {
	for name, csv := range map[string]string{
		"byte order mark":  "\ufeffx,y\n1.5,a\n2.5,b\n",
		"quoted newlines":  "x,y\n1.5,\"a\nb\"\n2.5,\"c,\"\"d\"\n",
		"carriage returns": "x,y\r\n1.5,a\r\n2.5,b\r\n",
		"a short line":     "x,y\n1.5\n2.5,b\n",
		"no last newline":  "x,y\n1.5,a\n2.5,b",
		"a comma too many": "x,y\n1.5,a,\n2.5,b,\n",
		"a line of blanks": "x,y\n1.5,a\n   \n2.5,b\n",
		"quoted name":      "\ufeff\"x\",y\n1.5,a\n2.5,b\n",
	} {
		tab := read(t, csv, Options{Columns: []string{"x"}})
		require.Equal(t, 2, tab.Rows, name)
		require.Len(t, tab.Columns, 1, name)
		require.Equal(t, 2, tab.Columns[0].Len(), name)
	}
	tab := read(t, "x\n1.5\n\n\n\"2.5\"\n", Options{})
	require.Equal(t, 4, tab.Rows, "in a file of one column an empty line is a missing value")
	require.Equal(t, 2, tab.Columns[0].Missing)
	tab = read(t, "a;b\n1,5;x\n", Options{Separator: ';', Missing: []string{"1,5"}})
	require.Equal(t, 1, tab.Columns[0].Missing)

	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte("x\n1.5\n"))
	require.NoError(t, w.Close())
	tab, err := Read(write(t, "x.csv.gz", z.String()), Options{})
	require.NoError(t, err)
	require.Equal(t, 1, tab.Rows)
}

func TestColumnsThatCannotBeToldApartAreNamed(t *testing.T) {
	tab := read(t, "a,,b,a,c\n1,2,3,4,5\n", Options{})
	require.Equal(t, []Unclear{{1, "a", "several columns have that name"}, {2, "column 2", "it has no name"}}, tab.Unclear)
	require.Len(t, tab.Columns, 2)
	_, ok := tab.Column("a")
	require.False(t, ok)
}

func TestAFileThatCannotBeReadIsRefusedInASentence(t *testing.T) {
	for name, tt := range map[string]struct{ file, content, says string }{
		"empty":       {"x.csv", "", "it is empty"},
		"header only": {"x.csv", "a,b\n", "it has no rows"},
		"separator":   {"x.csv", "a;b\n1;2\n", `is ';' its separator`},
		"long line":   {"x.csv", "a,b\n1,2\n1,2,3\n", "line 3 has 3 values, and the header 2 names"},
		"encoding":    {"x.csv", "a,b\n1,caf\xe9\n", `line 2: "caf\xe9" is not UTF-8`},
		"zip":         {"x.csv", "PK\x03\x04", "something else than gzip"},
		"parquet":     {"x.csv", "PAR1", "it is a Parquet file"},
		"stray quote": {"x.csv", "a,b\n1,\"x\n2,y\n3,z\n", "quote"},
		"escaped":     {"x.csv", "a,b\n1,\"say \\\"hi\\\"\"\n2,y\n", "quote"},
		"cut gzip":    {"x.csv", "\x1f\x8b\x08", "EOF"},
	} {
		_, err := Read(write(t, tt.file, tt.content), Options{})
		require.ErrorIs(t, err, mlops.ErrInvalid, name)
		require.ErrorContains(t, err, tt.says, name)
	}
	_, err := Read(write(t, "x.parquet", "PAR1"), Options{})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.ErrorContains(t, err, "drift/table/parquet")
	_, err = Read("nowhere.csv", Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	tab := read(t, "a,b\nx,1\ny,2\nz,3\nx,3\nx,1\nx,1\nx,1\n", Options{MaxCategories: 2})
	a, _ := tab.Column("a")
	require.Contains(t, a.Reason, "more than 2 different values")
	require.True(t, a.Foreign)
	_, err = readCSV(endless{}, Options{})
	require.ErrorContains(t, err, "a line has more than 64 MiB")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestTruthsAreTheNumbersOneAndZero(t *testing.T) {
	truths, numbers := "x\nTrue\nFalse\nTrue\n", "x\n1\n0\n1\n"
	for _, pair := range [][2]string{{truths, numbers}, {numbers, truths}} {
		ref := read(t, pair[0], Options{})
		cur := read(t, pair[1], Options{Like: ref})
		r, err := drift.CompareColumn(ref.Columns[0].Column, cur.Columns[0].Column, drift.Options{})
		require.NoError(t, err)
		require.Equal(t, drift.ZTest, r.Method)
		require.False(t, r.Drifted)
	}
}

func FuzzReadCSV(f *testing.F) {
	f.Add("a,b\n1,x\n2,y\n", "")
	f.Add("a\n\n\"1\n\"\n", "a\n1\n")
	f.Fuzz(func(t *testing.T, ref, cur string) {
		a, err := readCSV(strings.NewReader(ref), Options{})
		if err != nil {
			return
		}
		b, err := readCSV(strings.NewReader(cur), Options{Like: a})
		if err != nil {
			return
		}
		for _, c := range a.Columns {
			require.Equal(t, a.Rows, c.Rows, "%q", c.Name)
			if d, ok := b.Column(c.Name); ok {
				_, _ = drift.CompareColumn(c.Column, d.Column, drift.Options{})
			}
		}
	})
}

func TestTimesAreReadAsTheyAreWritten(t *testing.T) {
	want := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, raw := range []string{"2024-01-02T03:04:05Z", "2024-01-02 03:04:05", "2024-01-02 03:04:05+00:00", "2024-01-02 04:04:05.5+01:00", "2024-01-02T03:04:05"} {
		c, _ := read(t, "at\n"+raw+"\n", Options{Time: "at"}).Column("at")
		require.Zero(t, c.Unparsed, raw)
		require.Equal(t, want, c.Newest.UTC().Truncate(time.Second), raw)
	}
}
