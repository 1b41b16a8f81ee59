package table

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/drift"
)

func profile(t *testing.T, tab *Table) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, tab.WriteProfile(&b))
	return write(t, "x.profile", b.String())
}

const mixed = "n,c,w,b,t,e,\n1.5,1,01,true,one,,x\nNA,2,x,False,two,,x\n3.5,1,x,true,three,,x\n4.5,2,x,true,four,,x\n"

func TestAProfileIsReadInTheTablesPlace(t *testing.T) {
	ref := read(t, mixed, Options{})
	path := profile(t, ref)
	got, err := Read(path, Options{})
	require.NoError(t, err)
	require.Equal(t, ref, got)

	some, err := Read(path, Options{Columns: []string{"w", "nope"}, Categorical: []string{"w"}})
	require.NoError(t, err)
	require.Len(t, some.Columns, 1)
	require.Empty(t, some.Unclear)
	_, err = Read(path, Options{Numerical: []string{"w"}})
	require.ErrorContains(t, err, `column "w" is not numerical in the profile; make it again`)

	cur := "n,c,w,b,t,e\n1,1.0,1,TRUE,x,1\n"
	require.Equal(t, read(t, cur, Options{Like: ref}), read(t, cur, Options{Like: got}))
}

func TestProfilesOfPartsMakeTheProfileOfAll(t *testing.T) {
	row := func(i int) string {
		return fmt.Sprintf("%d.5,w%d,%d,\n", i*7%1000, i%5, i%3) + map[bool]string{true: "x,w0,1,y\n"}[i%100 == 0]
	}
	csv := func(from, to int) string {
		var b strings.Builder
		b.WriteString("n,w,i,late\n")
		for i := from; i < to; i++ {
			b.WriteString(row(i))
		}
		return b.String()
	}
	all := read(t, csv(1, 3000), Options{MaxValues: drift.MaxExact})
	a := read(t, csv(1, 100), Options{})
	b, err := Merge(a, read(t, csv(100, 1700), Options{Like: a}))
	require.NoError(t, err)
	c, err := Merge(b, read(t, csv(1700, 3000), Options{Like: b}))
	require.NoError(t, err)
	require.Equal(t, all.Rows, c.Rows)
	for _, col := range all.Columns {
		got, _ := c.Column(col.Name)
		require.Equal(t, col, got)
	}
	_, err = Merge(a, read(t, "n,w,i\n1.5,w,1\n", Options{}))
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "one has 4 columns and the other 3")
	_, err = Merge(read(t, "n\n1.5\n", Options{}), read(t, "m\n1.5\n", Options{}))
	require.ErrorContains(t, err, `only one of them has the column "n"`)
	_, err = Merge(read(t, "n\n1.5\n", Options{}), read(t, "n\n1\n", Options{}))
	require.ErrorContains(t, err, `column "n" is numerical in one and categorical in the other`)
	_, err = Merge(read(t, "n\n1.5\n", Options{}), read(t, "n\na\nb\nc\n", Options{}))
	require.ErrorContains(t, err, "of no type, as is text")
}

// packed is a file that says it is a profile.
func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Comment = profileMark
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

func TestAProfileThatIsNoneIsRefusedInASentence(t *testing.T) {
	defer func(n int) { longestColumn = n }(longestColumn)
	longestColumn = 1 << 20
	head := `{"profile":1,"rows":1,"columns":1}` + "\n"
	column := `{"column":{"name":"n","type":"numerical","rows":1,"values":"AAAAAAAA8D8="}}` + "\n"
	_, err := Read(write(t, "x", packed(head+column)), Options{})
	require.NoError(t, err)
	for text, says := range map[string]string{
		"":    "the profile is cut off",
		head:  "the profile is cut off",
		"1\n": "a profile of version 0",
		strings.Replace(head, "1", "2", 1) + column:                               "of version 2, and this program reads version 1; make it again",
		strings.Replace(head, "rows", "rwos", 1) + column:                         `unknown field "rwos"`,
		strings.Replace(head, `"rows":1`, `"rows":2`, 1) + column:                 `column "n" of the profile has 1 rows of 2`,
		head + column + column:                                                    "more than its columns",
		strings.Replace(head, `"columns":1`, `"columns":2`, 1) + column + column:  "contradicts itself",
		head + strings.Replace(column, `"column"`, `"form":7,"column"`, 1):        "contradicts itself",
		head + strings.Replace(column, `"column"`, `"reason":"no","column"`, 1):   "contradicts itself",
		head + strings.Replace(column, `"name":"n"`, `"name":""`, 1):              "contradicts itself",
		head + strings.Replace(column, "numerical", "n", 1):                       "no \"n\" column",
		head + `{"column":{"name":"` + strings.Repeat("x", 2*longestColumn) + `"`: "a line of the profile is too long",
	} {
		_, err := Read(write(t, "x", packed(text)), Options{})
		require.ErrorIs(t, err, mlops.ErrInvalid, "%.200s", text)
		require.ErrorContains(t, err, says, "%.200s", text)
	}
	whole := packed(head + column)
	_, err = Read(write(t, "x", whole[:len(whole)-9]), Options{})
	require.ErrorIs(t, err, mlops.ErrInvalid)

	var b bytes.Buffer
	long := &Table{Rows: 1, Columns: []Column{{Column: drift.Counted("w", map[string]int{strings.Repeat("x", longestColumn): 1}, 0)}}}
	require.ErrorContains(t, long.WriteProfile(&b), `column "w": invalid: its categories have more than the 1 MiB`)
}

// FuzzReadProfile looks for a profile that is read, and is another one, or none,
// after it was written again.
func FuzzReadProfile(f *testing.F) {
	f.Add(`{"profile":1,"rows":1,"columns":1}` + "\n" + `{"column":{"name":"n","type":"numerical","rows":1,"values":"AAAAAAAA8D8="}}`)
	f.Add(`{"profile":1,"rows":2,"columns":1,"unclear":[{"position":1,"name":"x","reason":"it has no name"}]}` + "\n" + `{"column":{"name":"w","type":"categorical","rows":2,"counts":{"a":2}},"form":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		tab, err := readProfile(strings.NewReader(text), Options{})
		if err != nil {
			return
		}
		again, err := Read(profile(t, tab), Options{})
		if tab.Rows == 0 {
			return
		}
		require.NoError(t, err)
		require.Equal(t, len(tab.Columns), len(again.Columns))
		_, _ = Merge(tab, again)
	})
}

func TestAProfileOfAnotherFormThanTheReferenceIsRefused(t *testing.T) {
	truths, ones := read(t, "b\nTrue\nFalse\nTrue\nFalse\n", Options{}), read(t, "b\n1\n0\n1\n0\n", Options{})
	_, err := Read(profile(t, ones), Options{Like: truths})
	require.ErrorContains(t, err, `the categories of column "b" are numbers in the profile and True and False in the reference; make the profile again with --like`)
	_, err = Read(profile(t, ones), Options{Like: truths, Columns: []string{"other"}})
	require.NoError(t, err)
	_, err = Read(profile(t, ones), Options{Like: read(t, "b\n1.5\n2.5\n", Options{})})
	require.ErrorContains(t, err, `column "b" is categorical in the profile and numerical in the reference`)
	alike := read(t, "b\n1\n0\n1\n0\n", Options{Like: truths})
	_, err = Read(profile(t, alike), Options{Like: truths})
	require.NoError(t, err)
	_, err = Read(profile(t, read(t, "b,x\n,1\n,2\n", Options{})), Options{Like: truths})
	require.NoError(t, err, "a column without a value has any form")
}

func TestAProfileIsKnownByItsHead(t *testing.T) {
	path := profile(t, read(t, mixed, Options{}))
	require.True(t, IsProfile(path))
	require.True(t, IsProfile(write(t, "x", packed("damaged"))))
	require.False(t, IsProfile(write(t, "x.csv", mixed)))
	require.False(t, IsProfile(t.TempDir()))
	require.False(t, IsProfile(path+".missing"))
}
