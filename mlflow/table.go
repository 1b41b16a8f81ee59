package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// tableTag lists the tables of a run; mlflow.load_table looks for it.
const tableTag = "mlflow.loggedArtifacts"

// LogTable logs t as JSON at artifactPath, which ends in ".json". A table that
// is there already gets t's rows added, as Python's log_table does: columns are
// matched by name, and what one of them lacks is null. Two programs that add to
// one table at the same time lose rows of one of them.
//
// Times are written as ISO 8601, NaN and infinities as null.
//
// Form: what mlflow.log_table of MLflow 3.17 writes, and mlflow.load_table reads.
func (r *Run) LogTable(_ context.Context, t Frame, artifactPath string) error {
	const op = "LogTable"
	p, err := uploadPath(artifactPath)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(p, ".json") || strings.ContainsAny(p, `"',:[]{}`) {
		return invalid(op, "table %q: want a path that ends in .json, without quotes, brackets, commas and colons", artifactPath)
	}
	if err := t.check(op); err != nil {
		return err
	}
	b, err := json.Marshal(Frame{}.with(t))
	if err != nil {
		return invalid(op, "the table is not JSON: %v", err)
	}
	return r.s.add(op, record{kind: tableRecord, key: p, blob: b})
}

// addRows adds the rows of a record to its table on the server. again says
// that an earlier attempt may have done it: then rows that stand at the end of
// the table already are not added once more.
func (w runWriter) addRows(ctx context.Context, r record, again bool) error {
	t, err := parseTable(r.key, r.blob)
	if err != nil {
		return err
	}
	root, err := w.c.art.root(ctx, w.at.root)
	if err != nil {
		return err
	}
	old, err := w.c.art.table(ctx, root, r.key)
	if err != nil && !errors.Is(err, mlops.ErrNotFound) {
		return err
	}
	if all := old.with(t); !again || !old.endsWith(all, len(t.Data)) {
		b, err := json.Marshal(all)
		if err != nil {
			return err
		}
		if err := w.c.art.putBytes(ctx, root, b, r.key); err != nil {
			return err
		}
	}
	return w.listTable(ctx, r.key)
}

// endsWith reports whether the last n rows of all are those of f already.
func (f Frame) endsWith(all Frame, n int) bool {
	if len(f.Data) < n || len(f.Columns) != len(all.Columns) {
		return false
	}
	mine, merr := json.Marshal(f.with(Frame{}).Data[len(f.Data)-n:])
	theirs, terr := json.Marshal(all.Data[len(all.Data)-n:])
	return merr == nil && terr == nil && bytes.Equal(mine, theirs)
}

// listTable puts a table on the run's list, which mlflow.load_table looks at.
func (w runWriter) listTable(ctx context.Context, p string) error {
	info, err := w.c.RunInfo(ctx, w.at.id)
	if err != nil {
		return err
	}
	type entry struct {
		Path string `json:"path"`
		Type string `json:"type"`
	}
	var list []json.RawMessage
	_ = json.Unmarshal([]byte(info.Tags[tableTag]), &list) // not a list: Python's client fails on it, and here it is replaced
	for _, l := range list {
		var e entry
		if json.Unmarshal(l, &e) == nil && e == (entry{p, "table"}) {
			return nil
		}
	}
	mine, err := json.Marshal(entry{p, "table"})
	if err != nil {
		return err
	}
	all, err := json.Marshal(append(list, mine))
	if err != nil {
		return err
	}
	return w.logBatch(ctx, []record{{kind: tagRecord, key: tableTag, text: string(all)}})
}

// Table reads a table that LogTable, or Python's log_table, stored. Whole
// numbers come as int64, others as float64. of is as in [Client.Artifacts].
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) Table(ctx context.Context, of, artifactPath string) (Frame, error) {
	root, err := c.art.root(ctx, of)
	if err != nil {
		return Frame{}, err
	}
	t, err := c.art.table(ctx, root, artifactPath)
	for _, row := range t.Data {
		for i, v := range row {
			n, ok := v.(json.Number)
			if !ok {
				continue
			}
			if whole, werr := n.Int64(); werr == nil {
				row[i] = whole
			} else if f, ferr := n.Float64(); ferr == nil {
				row[i] = f
			}
		}
	}
	return t, err
}

// maxTable is the most bytes of a table that are taken into memory.
const maxTable = 256 << 20

// table reads a table with its numbers as they are spelled.
func (a *artifacts) table(ctx context.Context, root, p string) (Frame, error) {
	uri, store, err := a.locate(root, p)
	if err != nil {
		return Frame{}, err
	}
	rd := newReader(ctx, a.c, store, uri, 0, -1)
	if err := rd.open(); err != nil {
		return Frame{}, err
	}
	defer rd.Close()
	b, err := io.ReadAll(io.LimitReader(rd, maxTable+1))
	if err != nil {
		return Frame{}, err
	}
	if len(b) > maxTable {
		return Frame{}, invalid("Table", "%s is larger than %d bytes", p, maxTable)
	}
	return parseTable(p, b)
}

func parseTable(p string, b []byte) (Frame, error) {
	var t Frame
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&t); err != nil {
		return Frame{}, invalid("Table", "%s is not a table: %v", p, err)
	}
	return t, t.check("Table")
}

// check finds rows of another length and names that appear twice.
func (f Frame) check(op string) error {
	for i, c := range f.Columns {
		if slices.Contains(f.Columns[:i], c) {
			return invalid(op, "the table has two columns %q", c)
		}
	}
	for i, row := range f.Data {
		if len(row) != len(f.Columns) {
			return invalid(op, "row %d of the table has %d cells for %d columns", i, len(row), len(f.Columns))
		}
	}
	return nil
}

// with is f with the rows of t below.
func (f Frame) with(t Frame) Frame {
	out := Frame{Columns: slices.Clone(f.Columns), Data: [][]any{}}
	for _, c := range t.Columns {
		if !slices.Contains(out.Columns, c) {
			out.Columns = append(out.Columns, c)
		}
	}
	if out.Columns == nil {
		out.Columns = []string{}
	}
	for _, from := range []Frame{f, t} {
		at := make([]int, len(from.Columns))
		for i, c := range from.Columns {
			at[i] = slices.Index(out.Columns, c)
		}
		for _, row := range from.Data {
			line := make([]any, len(out.Columns))
			for i, v := range row {
				line[at[i]] = cell(v)
			}
			out.Data = append(out.Data, line)
		}
	}
	return out
}

// cell is a value as pandas writes it.
func cell(v any) any {
	switch x := v.(type) {
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil
		}
	case float32:
		return cell(float64(x))
	case time.Time:
		return x.UTC().Format("2006-01-02T15:04:05.000Z")
	case []byte:
		return string(x)
	}
	return v
}

// figures are the forms in which figures are stored.
var figures = []string{".png", ".svg", ".html", ".pdf", ".jpeg", ".jpg", ".webp"}

// LogFigure stores a figure, as what draws it writes it, at artifactPath. Its
// ending tells the form: .png, .svg, .html, .pdf, .jpeg or .webp. A
// [bytes.Buffer] is a figure, and so is what gonum's plots give:
//
//	w, err := p.WriterTo(6*vg.Inch, 4*vg.Inch, "svg")
//	err = run.LogFigure(ctx, w, "loss.svg")
func (r *Run) LogFigure(ctx context.Context, figure io.WriterTo, artifactPath string) error {
	if !slices.Contains(figures, strings.ToLower(path.Ext(artifactPath))) {
		return invalid("LogFigure", "figure %q: want a path that ends in one of %s", artifactPath, strings.Join(figures, " "))
	}
	if figure == nil {
		return invalid("LogFigure", "figure %q is nil", artifactPath)
	}
	var b bytes.Buffer
	if _, err := figure.WriteTo(&b); err != nil {
		return err
	}
	if b.Len() == 0 {
		return invalid("LogFigure", "figure %q is empty", artifactPath)
	}
	return r.logBytes(ctx, b.Bytes(), artifactPath)
}
