package table

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// readCSV reads a CSV file with a header line.
func readCSV(in io.Reader, o Options) (*Table, error) {
	lines := bufio.NewReaderSize(&bounded{in: in}, 1<<16)
	if mark, _ := lines.Peek(3); string(mark) == "\ufeff" {
		_, _ = lines.Discard(3)
	}
	r := csv.NewReader(lines)
	r.ReuseRecord, r.FieldsPerRecord = true, -1
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
		if len(header) > 1 && len(record) == 1 && strings.TrimSpace(record[0]) == "" {
			continue // a line of blanks
		}
		for len(record) > len(header) && record[len(record)-1] == "" {
			record = record[:len(record)-1]
		}
		if len(record) > len(header) {
			return nil, fmt.Errorf("line %d has %d values, and the header %d names", line, len(record), len(header))
		}
		if t.rows++; t.rows%4096 == 0 && o.Err() != nil {
			return nil, o.Err()
		}
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

// longestLine bounds a line: what has no end is no CSV file.
const longestLine = 64 << 20

// bounded fails after a line that is too long.
type bounded struct {
	in   io.Reader
	line int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if at := bytes.LastIndexByte(p[:n], '\n'); at >= 0 {
		b.line = n - at - 1
	} else {
		b.line += n
	}
	if b.line > longestLine {
		return 0, fmt.Errorf("a line has more than %d MiB", longestLine>>20)
	}
	return n, err
}
