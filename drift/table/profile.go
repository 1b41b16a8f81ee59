package table

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/drift"
)

// profileMark is the comment of a profile's gzip header, by which Read knows it.
const profileMark = "mlops drift profile"

// profileVersion is the form that WriteProfile writes.
const profileVersion = 1

// longestColumn bounds what a profile says of one column; tests lower it.
var longestColumn = 64 << 20

// profileHead is the first line of a profile; each column has one of the others.
type profileHead struct {
	Version int       `json:"profile"`
	Rows    int       `json:"rows"`
	Columns int       `json:"columns"`
	Unclear []Unclear `json:"unclear,omitempty"`
}

// profileColumn is what a table knows of a column beside what drift does.
type profileColumn struct {
	Column  drift.Column `json:"column"`
	Form    form         `json:"form,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Foreign bool         `json:"foreign,omitempty"`
}

// WriteProfile writes what a comparison needs of the table: of each column its
// counts and categories, and its numbers, as they are up to [drift.MaxExact] of
// them and a sketch of more. A comparison with the file, which [Read] reads, is
// that with the table as long as no column has a sketch.
//
// It is gzip of one JSON document a line.
func (t *Table) WriteProfile(w io.Writer) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	z.Comment = profileMark
	e := json.NewEncoder(z)
	if err := e.Encode(profileHead{profileVersion, t.Rows, len(t.Columns), t.Unclear}); err != nil {
		return err
	}
	for _, c := range t.Columns {
		line, err := json.Marshal(profileColumn{c.Column, c.form, c.Reason, c.Foreign})
		if err != nil {
			return err
		}
		if len(line) >= longestColumn {
			return fmt.Errorf("table: column %q: %w: its categories have more than the %d MiB that a profile takes; leave it out", c.Name, mlops.ErrInvalid, longestColumn>>20)
		}
		if _, err := z.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return z.Close()
}

// readProfile reads a profile after its gzip header.
func readProfile(in io.Reader, o Options) (*Table, error) {
	limited := &io.LimitedReader{R: in}
	d := json.NewDecoder(limited)
	d.DisallowUnknownFields()
	next := func(v any) error {
		limited.N = int64(longestColumn) + 1<<16 // what the decoder has read ahead is less
		err := d.Decode(v)
		switch {
		case err != nil && limited.N <= 0:
			return errors.New("a line of the profile is too long")
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("the profile is cut off")
		case err != nil:
			return fmt.Errorf("it is no profile: %w", err)
		}
		return nil
	}
	var first json.RawMessage
	if err := next(&first); err != nil {
		return nil, err
	}
	var version struct {
		Profile int `json:"profile"`
	}
	if err := json.Unmarshal(first, &version); err != nil || version.Profile != profileVersion {
		return nil, fmt.Errorf("it is a profile of version %d, and this program reads version %d; make it again", version.Profile, profileVersion)
	}
	var head profileHead
	strict := json.NewDecoder(bytes.NewReader(first))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&head); err != nil {
		return nil, fmt.Errorf("it is no profile: %w", err)
	}
	t := &Table{Rows: head.Rows, Unclear: head.Unclear, at: map[string]int{}}
	for range head.Columns {
		if err := o.Err(); err != nil {
			return nil, err
		}
		var c profileColumn
		if err := next(&c); err != nil {
			return nil, err
		}
		name := c.Column.Name
		_, twice := t.at[name]
		switch {
		case c.Column.Rows != head.Rows:
			return nil, fmt.Errorf("column %q of the profile has %d rows of %d", name, c.Column.Rows, head.Rows)
		case c.Form < formText || c.Form > formTruth, (c.Column.Type == "") != (c.Reason != ""), twice || name == "":
			return nil, fmt.Errorf("column %q of the profile contradicts itself", name)
		}
		t.at[name] = len(t.Columns)
		t.Columns = append(t.Columns, Column{Column: c.Column, Reason: c.Reason, Foreign: c.Foreign, form: c.Form})
	}
	limited.N = int64(longestColumn)
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than its columns is in the profile")
	}
	return t.of(o)
}

// of is the profile without the columns that are not to be read. Types are
// those that it has, which must be those of the reference that it is read like.
func (t *Table) of(o Options) (*Table, error) {
	for _, asked := range []struct {
		names []string
		kind  drift.Type
	}{{o.Numerical, drift.TypeNumerical}, {o.Categorical, drift.TypeCategorical}} {
		for _, name := range asked.names {
			if c, ok := t.Column(name); ok && c.Type != asked.kind {
				return nil, fmt.Errorf("column %q is not %s in the profile; make it again with that type", name, asked.kind)
			}
		}
	}
	for _, c := range t.Columns {
		if len(o.Columns) > 0 && !slices.Contains(o.Columns, c.Name) || o.Like == nil {
			continue
		}
		like, ok := o.Like.Column(c.Name)
		switch {
		case !ok || c.Type == "" || like.Type == "" || c.Rows == c.Missing || like.Rows == like.Missing:
		case c.Type != like.Type:
			return nil, fmt.Errorf("column %q is %s in the profile and %s in the reference; make the profile again with --like the reference", c.Name, c.Type, like.Type)
		case like.form == formText && c.form == formNumber: // as it is made like the reference, too
		case c.form != like.form:
			return nil, fmt.Errorf("the categories of column %q are %s in the profile and %s in the reference; make the profile again with --like the reference", c.Name, c.form, like.form)
		}
	}
	if len(o.Columns) == 0 {
		return t, nil
	}
	out := &Table{Rows: t.Rows, at: map[string]int{}}
	for _, c := range t.Columns {
		if slices.Contains(o.Columns, c.Name) {
			out.at[c.Name] = len(out.Columns)
			out.Columns = append(out.Columns, c)
		}
	}
	for _, u := range t.Unclear {
		if slices.Contains(o.Columns, u.Name) {
			out.Unclear = append(out.Unclear, u)
		}
	}
	return out, nil
}

// Merge is the table of the rows of both, as far as profiles go; see
// [drift.Column.Merge]. The second one is best read with [Options.Like] the
// first, so that columns have one type.
//
// The error matches [mlops.ErrInvalid] if the tables have different columns, or
// one of different types.
func Merge(a, b *Table) (*Table, error) {
	refuse := func(format string, args ...any) (*Table, error) {
		return nil, fmt.Errorf("table: merge: %w: %s", mlops.ErrInvalid, fmt.Sprintf(format, args...))
	}
	if len(a.Columns) != len(b.Columns) {
		return refuse("one has %d columns and the other %d", len(a.Columns), len(b.Columns))
	}
	out := &Table{Rows: a.Rows + b.Rows, Unclear: a.Unclear, at: map[string]int{}}
	for i, c := range a.Columns {
		d, ok := b.Column(c.Name)
		switch {
		case !ok:
			return refuse("only one of them has the column %q", c.Name)
		case d.Rows == d.Missing: // of no type
			d.form = c.form
		case c.Rows == c.Missing:
			c.form, c.Reason = d.form, d.Reason
		case c.Type != d.Type || c.form != d.form:
			return refuse("column %q is %s in one and %s in the other; read one like the other", c.Name, c.kind(), d.kind())
		}
		var err error
		if c.Column, err = c.Column.Merge(d.Column); err != nil {
			return nil, err
		}
		c.Foreign = c.Foreign || d.Foreign
		out.Columns, out.at[c.Name] = append(out.Columns, c), i
	}
	return out, nil
}

func (c Column) kind() string {
	if c.Type == "" {
		return "of no type, as " + strings.TrimPrefix(c.Reason, "it ")
	}
	return string(c.Type)
}
