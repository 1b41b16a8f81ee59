package table

import (
	"fmt"
	"slices"

	"github.com/mlops-integration/mlops/drift"
)

// Builder makes a table, for a reader of another format.
type Builder struct {
	rows    int
	take    []*Collector // nil: not to be read
	skipped []Column
	header  []string
	unclear []Unclear
	names   bool // only these
}

// NewBuilder chooses the columns to be read among those of a file.
func NewBuilder(header []string, o Options) *Builder {
	b := &Builder{take: make([]*Collector, len(header)), skipped: make([]Column, len(header)), header: header, names: o.NamesOnly}
	times := map[string]int{}
	for _, name := range header {
		times[name]++
	}
	said := map[string]bool{}
	for i, name := range header {
		wanted := len(o.Columns) == 0 || slices.Contains(o.Columns, name)
		switch {
		case name == "" && len(o.Columns) == 0:
			b.unclear = append(b.unclear, Unclear{i + 1, fmt.Sprintf("column %d", i+1), "it has no name"})
		case !wanted || name == "":
		case times[name] > 1:
			if !said[name] {
				b.unclear = append(b.unclear, Unclear{i + 1, name, "several columns have that name"})
			}
			said[name] = true
		default:
			b.take[i] = newCollector(name, o)
		}
	}
	return b
}

// Collector takes the cells of column i; nil if it is not to be read.
func (b *Builder) Collector(i int) *Collector {
	c := b.take[i]
	if c != nil {
		c.expect = b.rows
	}
	return c
}

// Skip leaves column i out, which has a type that no method takes, and so many
// missing values.
func (b *Builder) Skip(i, missing int, reason string) {
	b.skipped[i] = Column{Reason: reason, Foreign: missing < b.rows}
	b.skipped[i].Missing = missing
}

// SetRows says how many rows each column has.
func (b *Builder) SetRows(n int) { b.rows = n }

// Table is what the cells make.
func (b *Builder) Table() (*Table, error) {
	t := &Table{Rows: b.rows, Unclear: b.unclear, NamesOnly: b.names}
	for i, c := range b.take {
		switch {
		case c == nil:
		case b.names:
			t.Columns = append(t.Columns, Column{Column: drift.Column{Name: c.name, Rows: b.rows}, Reason: "only its name was read"})
		case b.skipped[i].Reason != "":
			b.skipped[i].Name, b.skipped[i].Rows = b.header[i], b.rows
			t.Columns = append(t.Columns, b.skipped[i])
		case c.rows != b.rows:
			return nil, fmt.Errorf("column %q has %d values, and the file %d rows", c.name, c.rows, b.rows)
		default:
			t.Columns = append(t.Columns, c.column())
		}
	}
	t.at = make(map[string]int, len(t.Columns))
	for i, c := range t.Columns {
		t.at[c.Name] = i
	}
	return t, nil
}
