package dvcfile

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
)

// patcher changes mappings of a .dvc file in its text, as dvc's own merge does:
// values in place, new keys at the end of their mapping, keys that have no
// value any more gone. Comments keep their column where they can.
type patcher struct {
	f     *File
	lines []string
	edits []edit
}

// edit replaces lines by a text; of no lines, it goes before line.
type edit struct {
	line, lines int
	text        string
}

// UnixLines returns a text with the line ends that dvc writes, which reads and
// writes a file whole: Python's text mode.
func UnixLines(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
}

func newPatcher(f *File) *patcher {
	lines := strings.SplitAfter(string(UnixLines(f.Text)), "\n")
	if last := lines[len(lines)-1]; last == "" {
		lines = lines[:len(lines)-1]
	} else {
		lines[len(lines)-1] = last + "\n"
	}
	return &patcher{f: f, lines: lines}
}

// set gives the keys of a mapping their values; of the managed keys, those that
// are not wanted go. A value that is a block of its own begins with a line end.
func (p *patcher) set(m *yaml.Node, managed []string, want [][2]string) error {
	if m.Style&yaml.FlowStyle != 0 || len(m.Content) == 0 {
		return fault.New(mlops.ErrUnsupported, "%s: outputs in {braces} cannot be changed in place; write them as a block", p.f.Rel)
	}
	want = slices.Clone(want)
	indent := m.Content[0].Column - 1
	end := 0   // the mapping's last line, from 1
	lead := "" // of the first key's line, if that goes away
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := m.Content[i], m.Content[i+1]
		last := lastLine(v, p.lines)
		end = max(end, last)
		at := slices.IndexFunc(want, func(f [2]string) bool { return f[0] == k.Value })
		switch {
		case at >= 0:
			val := want[at][1]
			want = slices.Delete(want, at, at+1)
			if v.Value == val || v.Kind != yaml.ScalarNode && strings.HasPrefix(val, "\n") {
				p.replace(k.Line, 1, lead, indent, p.lines[k.Line-1])
			} else if v.Kind != yaml.ScalarNode {
				return fault.New(mlops.ErrUnsupported, "%s:%d: %s is not a value", p.f.Rel, k.Line, k.Value)
			} else if v.LineComment == "" {
				head := string([]rune(p.lines[k.Line-1])[:indent])
				p.replace(k.Line, last-k.Line+1, lead, indent, head+field(k.Value, val, indent)+"\n")
			} else if last == k.Line {
				p.replace(k.Line, 1, lead, indent, replaceValue(p.lines[k.Line-1], k, v, val))
			} else {
				return fault.New(mlops.ErrUnsupported, "%s:%d: %s is not a value on its line", p.f.Rel, k.Line, k.Value)
			}
			lead = ""
		case slices.Contains(managed, k.Value):
			if i == 0 || lead != "" { // the line also begins the item
				if lead == "" {
					lead = string([]rune(p.lines[k.Line-1])[:indent])
				}
				if i+2 >= len(m.Content) {
					return fault.New(mlops.ErrUnsupported, "%s:%d: %s is the only key", p.f.Rel, k.Line, k.Value)
				}
			}
			p.edits = append(p.edits, edit{k.Line, last - k.Line + 1, ""})
		default:
			p.replace(k.Line, 1, lead, indent, p.lines[k.Line-1])
			lead = ""
		}
	}
	var add strings.Builder
	for _, f := range want {
		add.WriteString(strings.Repeat(" ", indent) + field(f[0], f[1], indent) + "\n")
	}
	if add.Len() > 0 {
		// dvc takes blank lines and comments to belong to what is before them.
		for end < len(p.lines) && (strings.TrimSpace(p.lines[end]) == "" || strings.HasPrefix(strings.TrimSpace(p.lines[end]), "#")) {
			end++
		}
		p.edits = append(p.edits, edit{end + 1, 0, add.String()})
	}
	return nil
}

// setTop is set for the file's own keys.
func (p *patcher) setTop(managed []string, want [][2]string) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(p.f.Text, &doc); err != nil || doc.Kind == 0 {
		return p.f.bad(nil, "not a mapping")
	}
	return p.set(doc.Content[0], managed, want)
}

// replace exchanges lines by one; lead is what that begins with from now on.
func (p *patcher) replace(at, lines int, lead string, indent int, line string) {
	if lead != "" {
		line = lead + string([]rune(line)[indent:])
	}
	if line != p.lines[at-1] || lines != 1 {
		p.edits = append(p.edits, edit{at, lines, line})
	}
}

// text is the file after all changes. Of what is inserted at one place, the
// first that was set comes first.
func (p *patcher) text() []byte {
	lines := slices.Clone(p.lines)
	slices.SortStableFunc(p.edits, func(a, b edit) int { return cmp.Or(a.line-b.line, a.lines-b.lines) })
	for _, e := range slices.Backward(p.edits) {
		var texts []string
		if e.text != "" {
			texts = []string{e.text}
		}
		lines = slices.Replace(lines, e.line-1, e.line-1+e.lines, texts...)
	}
	return []byte(strings.Join(lines, ""))
}

// Patch returns the file's text with o's content changed.
func (o *Out) Patch(c Content) ([]byte, error) {
	p := newPatcher(o.File)
	if err := p.set(o.node, outKeys, c.fields()); err != nil {
		return nil, err
	}
	return p.checked(o, c)
}

var outKeys = []string{"md5", "size", "nfiles", "isexec"}

// checked returns the text if it says what it should of an output.
func (p *patcher) checked(o *Out, c Content) ([]byte, error) {
	text := p.text()
	f, err := Parse(p.f.Rel, text)
	if err != nil {
		return nil, fmt.Errorf("dvc: %s would not be readable after the change: %w", p.f.Rel, err)
	}
	for _, n := range f.Outs {
		if n.Path == o.Path && n.ID == c.ID && n.Size == c.Size && n.NFiles == c.NFiles && n.Exec == c.Exec && n.Legacy == c.ID.Legacy() {
			return text, nil
		}
	}
	return nil, fault.New(mlops.ErrUnsupported, "%s: its layout cannot be changed in place", p.f.Rel)
}

// lastLine returns the last line that a node's value takes.
func lastLine(n *yaml.Node, lines []string) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c, lines))
	}
	if n.Kind == yaml.ScalarNode { // a folded value continues in deeper lines
		at := indentOf(lines[n.Line-1])
		if strings.HasPrefix(strings.TrimSpace(lines[n.Line-1]), "- ") {
			at += 2
		}
		for last < len(lines) && strings.TrimSpace(lines[last]) != "" && indentOf(lines[last]) > at && n.Value != "" && !strings.HasPrefix(strings.TrimSpace(lines[last]), "#") {
			last++
		}
	}
	return last
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// replaceValue puts val in the place of v on its line.
func replaceValue(line string, k, v *yaml.Node, val string) string {
	cs := []rune(strings.TrimRight(line, "\r\n"))
	start := min(v.Column-1, len(cs))
	stop := start
	if n := v.Style & (yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle); n != 0 && stop < len(cs) {
		quote := cs[stop]
		for stop++; stop < len(cs) && cs[stop] != quote; stop++ {
		}
		stop = min(stop+1, len(cs))
	} else {
		stop = min(start+utf8.RuneCountInString(v.Value), len(cs))
	}
	head, tail := string(cs[:start]), string(cs[stop:])
	if !plainKeys[k.Value] {
		val = strings.TrimSpace(yamlValue(val, 0, 0))
	}
	if comment := strings.TrimLeft(tail, " \t"); strings.HasPrefix(comment, "#") {
		column := len(cs) - utf8.RuneCountInString(comment)
		gap := max(1, column-start-utf8.RuneCountInString(val))
		tail = strings.Repeat(" ", gap) + comment
	}
	return head + val + tail + "\n"
}
