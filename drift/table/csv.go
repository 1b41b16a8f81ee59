package table

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// readCSV reads a CSV file with a header line.
func readCSV(in io.Reader, o Options) (*Table, error) {
	r := csv.NewReader(in)
	r.LazyQuotes, r.ReuseRecord, r.FieldsPerRecord = true, true, -1
	if o.Separator != 0 {
		r.Comma = o.Separator
	}
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	header = slices.Clone(header)
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	if len(header) == 1 && o.Separator == 0 {
		if at := strings.IndexAny(header[0], ";\t|"); at >= 0 {
			return nil, fmt.Errorf("it has one column, %q: is %q its separator? Name it with --separator, or a comma if it is one column", header[0], header[0][at])
		}
	}
	for _, name := range header {
		if err := text(name); err != nil {
			return nil, fmt.Errorf("the header: %w", err)
		}
	}
	t := NewBuilder(header, o)
	take := t.take
	missing := map[string]bool{}
	words := o.Missing
	if words == nil {
		words = Missing
	}
	for _, w := range words {
		missing[w] = true
	}
	after, _ := r.FieldPos(0)
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := r.FieldPos(0)
		// In a file of one column an empty line, which the reader passes over, is
		// a missing value.
		for ; len(header) == 1 && after+1 < line; after++ {
			t.rows++
			if take[0] != nil {
				take[0].Null()
			}
		}
		if len(record) > len(header) {
			return nil, fmt.Errorf("line %d has %d values, and the header %d names", line, len(record), len(header))
		}
		t.rows++
		for i, c := range take {
			switch {
			case c == nil:
			case i >= len(record): // a short line
				c.Null()
			default:
				if err := c.cell(record[i], missing); err != nil {
					return nil, fmt.Errorf("line %d: %w", line, err)
				}
			}
		}
		after = line
		for _, v := range record {
			after += strings.Count(v, "\n")
		}
	}
	return t.Table()
}
