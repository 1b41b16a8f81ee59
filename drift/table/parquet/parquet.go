// Package parquet lets package table read Parquet files. It is imported for
// that alone:
//
//	import _ "github.com/mlops-integration/mlops/drift/table/parquet"
package parquet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/mlops-integration/mlops/drift/table"
)

func init() { table.RegisterParquet(read) }

// read reads a Parquet file, one column after the other.
func read(f *os.File, o table.Options) (t *table.Table, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// The library panics on some damaged files.
	defer func() {
		if r := recover(); r != nil {
			t, err = nil, fmt.Errorf("it is damaged: %v", r)
		}
	}()
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	columns := slices.Clone(file.Root().Columns())
	index := indexOf(file)
	var header []string
	columns = slices.DeleteFunc(columns, func(c *parquet.Column) bool { return slices.Contains(index, c.Name()) })
	for _, c := range columns {
		header = append(header, c.Name())
	}
	b := table.NewBuilder(header, o)
	b.SetRows(int(file.NumRows()))
	for i, column := range columns {
		c := b.Collector(i)
		if c == nil || o.NamesOnly {
			continue
		}
		if err := o.Err(); err != nil {
			return nil, err
		}
		take, reason := cells(column)
		if c.WantsTime() {
			take, reason = times(column)
		}
		if reason != "" {
			missing, err := nulls(column)
			if err != nil {
				return nil, fmt.Errorf("column %q: %w", header[i], err)
			}
			b.Skip(i, missing, reason)
			continue
		}
		if err := readColumn(column, c, take); err != nil {
			return nil, fmt.Errorf("column %q: %w", header[i], err)
		}
	}
	return b.Table()
}

// indexOf names the columns that pandas wrote as its index, and does not give
// back as columns.
func indexOf(file *parquet.File) []string {
	text, _ := file.Lookup("pandas")
	var meta struct {
		Index []any `json:"index_columns"` // names, and descriptions of what is no column
	}
	_ = json.Unmarshal([]byte(text), &meta)
	var out []string
	for _, name := range meta.Index {
		if s, ok := name.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// nulls counts the missing values of a column whose values are not read; none of
// one that has other columns below it.
func nulls(column *parquet.Column) (int, error) {
	if !column.Leaf() || column.Repeated() {
		return 0, nil
	}
	pages, n := column.Pages(), 0
	defer pages.Close()
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		n += int(page.NumNulls())
		parquet.Release(page)
	}
}

// cells is how a column's values are taken, or the reason why there is no
// method for them.
func cells(column *parquet.Column) (func(*table.Collector, parquet.Value) error, string) {
	if !column.Leaf() || column.Repeated() {
		return nil, "there is no drift method for a column of lists or structs"
	}
	unsigned, texts := false, false
	if l := column.Type().LogicalType(); l != nil {
		switch v := l.Value.(type) {
		case *format.StringType, *format.EnumType, *format.JsonType:
			texts = true
		case *format.IntType:
			unsigned = !v.IsSigned
		default:
			return nil, fmt.Sprintf("there is no drift method for a column of type %v", l)
		}
	}
	switch column.Type().Kind() {
	case parquet.Boolean:
		return func(c *table.Collector, v parquet.Value) error {
			return c.Truth(v.Boolean())
		}, ""
	case parquet.Int32, parquet.Int64:
		return func(c *table.Collector, v parquet.Value) error {
			n := v.Int64()
			if v.Kind() == parquet.Int32 {
				n = int64(v.Int32())
				if unsigned {
					n = int64(v.Uint32())
				}
			}
			if unsigned && n < 0 { // above 2⁶³
				return c.Number(float64(uint64(n)), false)
			}
			return c.Integer(n)
		}, ""
	case parquet.Float, parquet.Double:
		return func(c *table.Collector, v parquet.Value) error {
			n := v.Double()
			if v.Kind() == parquet.Float {
				n = float64(v.Float())
			}
			return c.Number(n, false)
		}, ""
	case parquet.ByteArray:
		if !texts {
			return nil, "there is no drift method for a column of bytes"
		}
		return func(c *table.Collector, v parquet.Value) error { return c.Text(string(v.ByteArray())) }, ""
	}
	return nil, fmt.Sprintf("there is no drift method for a column of type %v", column.Type())
}

// times is how a column's values are taken for times, or the reason why they
// are none.
func times(column *parquet.Column) (func(*table.Collector, parquet.Value) error, string) {
	if !column.Leaf() || column.Repeated() {
		return nil, "it is no column of times"
	}
	if l := column.Type().LogicalType(); l != nil {
		switch v := l.Value.(type) {
		case *format.TimestampType:
			unit := v.Unit.Value.Duration()
			perSecond := int64(time.Second / unit)
			return func(c *table.Collector, v parquet.Value) error {
				n := v.Int64()
				c.Time(time.Unix(n/perSecond, n%perSecond*int64(unit)))
				return nil
			}, ""
		case *format.DateType:
			return func(c *table.Collector, v parquet.Value) error {
				c.Time(time.Unix(int64(v.Int32())*24*60*60, 0))
				return nil
			}, ""
		case *format.StringType:
			return func(c *table.Collector, v parquet.Value) error { return c.Word(string(v.ByteArray())) }, ""
		}
	}
	return nil, "it is no column of times"
}

// readColumn hands all values of a column to a collector.
func readColumn(column *parquet.Column, c *table.Collector, take func(*table.Collector, parquet.Value) error) error {
	pages := column.Pages()
	defer pages.Close()
	values := make([]parquet.Value, 1024)
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r := page.Values()
		for {
			n, err := r.ReadValues(values)
			for _, v := range values[:n] {
				if v.IsNull() {
					c.Null()
				} else if terr := take(c, v); terr != nil {
					return terr
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		parquet.Release(page)
	}
}
