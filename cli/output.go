package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"golang.org/x/term"
)

// print writes the result of a command to stdout: with --json the document
// doc, on one line, else text.
//
//	return e.print(run.ID, runJSON{ID: run.ID})
func (e *env) print(text, doc any) error {
	if e.json {
		return e.printJSON(doc)
	}
	_, err := fmt.Fprintln(e.stdout, text)
	return err
}

// printJSON writes one document and a line end. A nil slice is "[]".
func (e *env) printJSON(doc any) error {
	if v := reflect.ValueOf(doc); v.Kind() == reflect.Slice && v.IsNil() {
		doc = []any{}
	}
	enc := json.NewEncoder(e.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

// note is talk: one line on stderr, left out with --quiet.
// It is safe for concurrent use: the library's own goroutines log through it.
func (e *env) note(format string, args ...any) {
	e.talking.Lock()
	defer e.talking.Unlock()
	if !e.quiet && !e.hushed {
		fmt.Fprintln(e.stderr, oneLine(fmt.Sprintf(format, args...)))
	}
}

// hush ends notes: a request that was given up may still have something to say.
func (e *env) hush() {
	e.talking.Lock()
	defer e.talking.Unlock()
	e.hushed = true
}

// table is a list for people: aligned columns under a header on a terminal,
// tabs without a header in a pipe.
//
//	t := newTable("SERVICE", "STATE", "URL")
//	t.row("mlflow", good("healthy"), url)
//	return e.table(t, doc)
type table struct {
	header []string
	rows   [][]cell
	empty  string // said on stderr when there are no rows: "no runs yet"
}

func newTable(header ...string) *table { return &table{header: header} }

// row adds one row; cells are texts, numbers, Stringers, or marked by good,
// warn, bad and faint.
func (t *table) row(cells ...any) {
	row := make([]cell, 0, len(cells))
	for _, c := range cells {
		marked, ok := c.(cell)
		if !ok {
			marked = cell{value: c}
		}
		row = append(row, marked)
	}
	t.rows = append(t.rows, row)
}

// cell is a value with a mark that a terminal shows as colour.
type cell struct {
	value any
	mark  mark
}

type mark int

const (
	plain mark = iota
	isGood
	isWarn
	isBad
	isFaint
)

func good(v any) cell  { return cell{v, isGood} }
func warn(v any) cell  { return cell{v, isWarn} }
func bad(v any) cell   { return cell{v, isBad} }
func faint(v any) cell { return cell{v, isFaint} }

// text is the cell on one line, without what would move the cursor.
func (c cell) text() string {
	if c.value == nil {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' {
			return ' '
		}
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, fmt.Sprint(c.value))
}

// table writes t, or doc with --json.
func (e *env) table(t *table, doc any) error {
	if e.json {
		return e.printJSON(doc)
	}
	if len(t.rows) == 0 && t.empty != "" {
		e.note("%s", t.empty)
		return nil
	}
	if !e.terminal(e.stdout) {
		var b strings.Builder
		for _, row := range t.rows {
			for i, c := range row {
				if i > 0 {
					b.WriteByte('\t')
				}
				b.WriteString(c.text())
			}
			b.WriteByte('\n')
		}
		_, err := io.WriteString(e.stdout, b.String())
		return err
	}
	_, err := io.WriteString(e.stdout, t.aligned(e.paint(e.stdout), e.width(e.stdout)))
	return err
}

// aligned lays the table out for a terminal of so many columns: what does not
// fit is cut in the middle, in the widest column first, the first column last.
// URLs come last and are never cut: half an address is none.
func (t *table) aligned(p *painter, columns int) string {
	t = t.urlsLast()
	var widths []int
	fit := func(i int, s string) {
		for len(widths) <= i {
			widths = append(widths, 0)
		}
		widths[i] = max(widths[i], lipgloss.Width(s))
	}
	for i, h := range t.header {
		fit(i, h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			fit(i, c.text())
		}
	}
	narrow(widths, columns, slices.Index(t.header, "URL"))
	var b strings.Builder
	line := func(n int, at func(i int) cell, paint func(cell) string) {
		for i := range n {
			c := at(i)
			shown := cut(c.text(), widths[i])
			b.WriteString(paint(cell{shown, c.mark}))
			if i < n-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-lipgloss.Width(shown)+2))
			}
		}
		b.WriteByte('\n')
	}
	line(len(t.header), func(i int) cell { return cell{value: t.header[i]} }, func(c cell) string { return p.header.Render(c.text()) })
	for _, row := range t.rows {
		line(len(row), func(i int) cell { return row[i] }, p.cell)
	}
	return b.String()
}

// urlsLast returns the table with its column of URLs at the end.
func (t *table) urlsLast() *table {
	i := slices.Index(t.header, "URL")
	if i < 0 {
		return t
	}
	out := &table{header: last(t.header, i)}
	for _, row := range t.rows {
		out.rows = append(out.rows, last(row, i))
	}
	return out
}

// last returns row with cell i moved to the end.
func last[T any](row []T, i int) []T {
	if i >= len(row) {
		return row
	}
	return append(slices.Delete(slices.Clone(row), i, i+1), row[i])
}

// narrowest is what a column is cut to at most.
const narrowest = 6

// narrow takes from the widest columns, but not from whole, until all fit.
func narrow(widths []int, columns, whole int) {
	total := 2 * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; total > columns; total-- {
		widest := -1
		for i, w := range widths {
			if i > 0 && i != whole && w > narrowest && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			if len(widths) == 0 || whole == 0 || widths[0] <= narrowest {
				return
			}
			widest = 0
		}
		widths[widest]--
	}
}

// cut shortens text to so many columns, in the middle.
func cut(text string, columns int) string {
	if lipgloss.Width(text) <= columns {
		return text
	}
	letters := []rune(text)
	head, tail := len(letters), 0
	for head+tail > 0 && lipgloss.Width(string(letters[:head])+string(letters[len(letters)-tail:]))+1 > columns {
		switch {
		case head == len(letters):
			head, tail = (columns+1)/2, min(columns/2, len(letters)/2)
		case head >= tail:
			head--
		default:
			tail--
		}
	}
	return string(letters[:head]) + "…" + string(letters[len(letters)-tail:])
}

// painter knows the styles of one stream.
type painter struct {
	header lipgloss.Style
	marks  map[mark]lipgloss.Style
}

func (p *painter) cell(c cell) string {
	if c.mark == plain || c.text() == "" {
		return c.text()
	}
	return p.marks[c.mark].Render(c.text())
}

// paint returns the styles for w: none unless w is a terminal that wants them.
func (e *env) paint(w io.Writer) *painter {
	r := lipgloss.NewRenderer(w)
	r.SetColorProfile(termenv.Ascii)
	if e.terminal(w) && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb" {
		r.SetColorProfile(termenv.ANSI)
	}
	colour := func(c string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(c)) }
	return &painter{
		header: r.NewStyle().Bold(true),
		marks:  map[mark]lipgloss.Style{isGood: colour("2"), isWarn: colour("3"), isBad: colour("1"), isFaint: r.NewStyle().Faint(true)},
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// columns is the width of a terminal, 80 if it does not tell.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}
