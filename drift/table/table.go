// Package table reads CSV and Parquet files into columns that can be compared.
//
//	ref, err := table.Read("train.parquet", table.Options{})
//	cur, err := table.Read("today.csv", table.Options{Like: ref})
//	a, _ := ref.Column("age")
//	b, _ := cur.Column("age")
//	r, err := drift.CompareColumn(a.Column, b.Column, drift.Options{})
//
// A file is read once from its beginning. Numbers are kept as they are, eight
// bytes a row; of texts only how often each is there, up to a million different
// ones. A line of a CSV file has at most 64 MiB. Quotes must be balanced.
//
// # Types
//
// A column's type is that of the reference, which pandas and Evidently would
// give it; the current file is read as that type.
//
//	whole numbers, at most ten different ones, none missing   categorical
//	other numbers, and those among which at most a tenth
//	of the values are none (they count as missing)             numerical
//	True and False                                            categorical
//	texts, of which at most half are different                categorical
//	other texts                                               text: no method here
//	numbers and texts, of which a tenth or more are texts
//	and more than a thousand different numbers                no method here
//	times, decimals, lists, structs (Parquet)                 no method here
//	no value at all                                           no method
//
// # Profiles
//
// What a comparison needs of a table can be kept in a file of its own, which is
// read in the table's place:
//
//	ref, err := table.Read("train.parquet", table.Options{MaxValues: drift.MaxExact})
//	err = ref.WriteProfile(file)
//	cur, err := table.Read("today.csv", table.Options{Like: ref})
//
// # Missing values
//
// In CSV files an empty cell is missing, and so are the words that pandas
// takes for that: see [Missing]. In Parquet files null and NaN are.
package table

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/drift"
)

// Missing lists the cells of CSV files that are missing values, those of
// pandas.read_csv, beside the empty one.
var Missing = []string{
	"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
	"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
}

// Options say how a file is read. The zero value reads all columns as a
// reference.
type Options struct {
	Separator rune     // of a CSV file; 0: a comma
	Columns   []string // to read; empty: all
	Missing   []string // cells that are missing values, beside the empty one; nil: [Missing]

	// Numerical and Categorical override the types of columns.
	Numerical, Categorical []string

	// ID is a column that identifies rows: its values are not compared, only those
	// are counted that are there before.
	ID string

	// Time is a column of the rows' times, RFC 3339, YYYY-MM-DD or YYYY-MM-DD
	// HH:MM:SS in a CSV file, of UTC if they have no offset. Its values are not compared, only the newest
	// one is kept.
	Time string

	// Like is the reference whose types this file's columns have.
	Like *Table

	// MaxCategories bounds the different texts of a column that is judged; 0:
	// 1,000,000.
	MaxCategories int

	// MaxValues bounds the numbers of a column that are kept as they are; others
	// go into a sketch. 0: all are kept. A profile has [drift.MaxExact].
	MaxValues int

	// NamesOnly reads a Parquet file's names and number of rows, and no values.
	NamesOnly bool

	ctx context.Context // nil: until the end
}

// Err is why reading should end: the context is done.
func (o Options) Err() error {
	if o.ctx == nil {
		return nil
	}
	return context.Cause(o.ctx)
}

// Table is a file.
type Table struct {
	Rows    int
	Columns []Column // in the order of the file
	Unclear []Unclear

	NamesOnly bool // the columns have no values, as was asked for

	at map[string]int // Columns, by name
}

// Column is one column of a file.
type Column struct {
	drift.Column        // of type "" if no method takes it, as Reason says
	Reason       string // why no method takes it
	Foreign      bool   // and Evidently's own library may have one

	Repeated int       // rows whose ID an earlier one has, of the column [Options.ID]
	Newest   time.Time // of the column [Options.Time]; zero if it has no time

	form form // of its categories
}

// Unclear is a column that cannot be told from others.
type Unclear struct {
	Position int    `json:"position"` // from 1
	Name     string `json:"name"`
	Reason   string `json:"reason"` // "it has no name", "several columns have that name"
}

// Column finds a column by its name.
func (t *Table) Column(name string) (Column, bool) {
	i, ok := t.at[name]
	if !ok {
		return Column{}, false
	}
	return t.Columns[i], true
}

// parquet reads Parquet files, if the program has the package for that.
var parquet func(*os.File, Options) (*Table, error)

// RegisterParquet is called by package drift/table/parquet.
func RegisterParquet(read func(*os.File, Options) (*Table, error)) { parquet = read }

// Read reads a file: Parquet if its name ends in .parquet or .pq, else CSV,
// also compressed by gzip, or a profile, as [Table.WriteProfile] writes it.
//
// Parquet is read by package drift/table/parquet, which a program imports for
// that; otherwise the error matches [mlops.ErrUnsupported]. Other errors match
// [mlops.ErrInvalid] and name the file, and in a CSV file the line.
func Read(path string, o Options) (*Table, error) {
	return ReadContext(context.Background(), path, o)
}

// IsParquet reports whether Read takes the file for Parquet.
func IsParquet(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".parquet" || ext == ".pq"
}

// IsProfile reports whether the file says of itself that it is a profile, be it
// damaged or of another version. A file that cannot be read is none.
func IsProfile(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || IsParquet(path) {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	return err == nil && z.Comment == profileMark
}

// ReadContext is Read until ctx is done.
func ReadContext(ctx context.Context, path string, o Options) (*Table, error) {
	o.ctx = ctx
	f, err := os.Open(path)
	if err != nil {
		return nil, refused(path, err)
	}
	defer f.Close()
	var t *Table
	if IsParquet(path) {
		if parquet == nil {
			return nil, fmt.Errorf("table: %s: %w: import _ \"github.com/mlops-integration/mlops/drift/table/parquet\" to read Parquet files", path, mlops.ErrUnsupported)
		}
		t, err = parquet(f, o)
	} else {
		t, err = readCSVFile(f, o)
	}
	if err != nil {
		return nil, refused(path, err)
	}
	if t.Rows == 0 {
		return nil, refused(path, errors.New("it has no rows"))
	}
	return t, nil
}

func refused(path string, err error) error {
	return fmt.Errorf("table: %s: %w: %w", path, mlops.ErrInvalid, err)
}

func readCSVFile(f *os.File, o Options) (*Table, error) {
	var magic [4]byte
	n, err := f.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var in io.Reader = f
	switch s := string(magic[:n]); {
	case strings.HasPrefix(s, "\x1f\x8b"):
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		if z.Comment == profileMark {
			return readProfile(z, o)
		}
		in = z
	case strings.HasPrefix(s, "PK\x03\x04"), strings.HasPrefix(s, "BZh"), strings.HasPrefix(s, "\xfd7zX"), s == "\x28\xb5\x2f\xfd":
		return nil, errors.New("it is compressed by something else than gzip; decompress it first")
	case s == "PAR1":
		return nil, errors.New("it is a Parquet file; name it .parquet")
	}
	return readCSV(in, o)
}

func (o Options) maxCategories() int {
	if o.MaxCategories > 0 {
		return o.MaxCategories
	}
	return 1_000_000
}

// text reports whether a cell is text at all.
func text(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%.20q is not UTF-8", s)
	}
	return nil
}
