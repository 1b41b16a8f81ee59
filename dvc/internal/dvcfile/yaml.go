package dvcfile

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// yamlWidth is where DVC's YAML writer (ruamel.yaml, best_width) folds.
const yamlWidth = 80

// A text that YAML would read as something else is written in quotes. These
// are the YAML 1.2 types of ruamel.yaml's resolver, which dates and "=" belong
// to as well.
var otherType = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`true|True|TRUE|false|False|FALSE`,
	`[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?`,
	`[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+`,
	`[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?`,
	`[-+]?\.(?:inf|Inf|INF)`,
	`\.(?:nan|NaN|NAN)`,
	`[-+]?0b[01_]+`, `[-+]?0o?[0-7_]+`, `[-+]?[0-9_]+`, `[-+]?0x[0-9a-fA-F_]+`,
	`<<`, `=`, `~|null|Null|NULL|`,
	`[0-9]{4}-[0-9]{2}-[0-9]{2}`,
	`[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?`,
}, "|") + `)$`)

// looksOther reports whether a plain s would not be read as text. The resolver
// tries a type only for texts that begin with certain characters, so "_1" is
// text although the pattern for integers would take it.
func looksOther(s string) bool {
	if s == "" {
		return true
	}
	return strings.IndexByte("tTfF-+0123456789.<=~nN", s[0]) >= 0 && otherType.MatchString(s)
}

func isBreak(c rune) bool { return c == '\n' || c == 0x85 || c == 0x2028 || c == 0x2029 }

func isBlankYAML(c rune) bool { return c == 0 || c == ' ' || c == '\t' || c == '\r' || isBreak(c) }

// yamlStyle says how DVC writes a text: plain (0), '\” or '"'.
func yamlStyle(s string) byte {
	cs := []rune(s)
	plain := !looksOther(s) && !strings.HasPrefix(s, "---") && !strings.HasPrefix(s, "...") &&
		!strings.HasPrefix(s, " ") && !strings.HasSuffix(s, " ")
	single := true
	for i, c := range cs {
		next := i+1 == len(cs) || isBlankYAML(cs[i+1])
		switch {
		case i == 0 && strings.ContainsRune("#,[]{}&*!|>'\"%@`", c),
			i == 0 && strings.ContainsRune("?:-", c) && next,
			c == ':' && next,
			c == '#' && i > 0 && isBlankYAML(cs[i-1]):
			plain = false
		}
		if isBreak(c) {
			plain = false
			if i > 0 && cs[i-1] == ' ' || i+1 < len(cs) && cs[i+1] == ' ' {
				single = false
			}
		}
		if !yamlPrintable(c) && c != '\n' && c != 0x85 {
			plain, single = false, false
		}
	}
	switch {
	case plain:
		return 0
	case !single, strings.ContainsAny(s, "'\n"):
		return '"'
	}
	return '\''
}

func yamlPrintable(c rune) bool {
	return ' ' <= c && c <= '~' || 0xa0 <= c && c <= 0xd7ff || 0xe000 <= c && c <= 0xfffd && c != 0xfeff || c >= 0x10000
}

// yamlValue writes " value" after a key and its colon, folded as DVC folds it.
// column counts the characters before it, indent is where a folded line continues.
func yamlValue(s string, column, indent int) string {
	w := yamlWriter{column: column + 1, indent: indent}
	w.b.WriteByte(' ')
	switch yamlStyle(s) {
	case '"':
		w.double(s)
	case '\'':
		w.single(s)
	default:
		w.plain(s)
	}
	return w.b.String()
}

type yamlWriter struct {
	b              strings.Builder
	column, indent int
}

func (w *yamlWriter) put(s string) {
	w.b.WriteString(s)
	w.column += utf8.RuneCountInString(s)
}

func (w *yamlWriter) newline() {
	w.b.WriteByte('\n')
	w.b.WriteString(strings.Repeat(" ", w.indent))
	w.column = w.indent
}

// runs splits s into words and the runs of spaces between them.
func runs(s string) []string {
	var out []string
	for s != "" {
		n := strings.IndexByte(s, ' ')
		if n == 0 {
			n = len(s) - len(strings.TrimLeft(s, " "))
		} else if n < 0 {
			n = len(s)
		}
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

// plain moves a word that would pass the width to a line of its own, and
// writes a single space beyond the width as a line break. dvc moves a word
// behind several spaces, too, and reads them as one.
func (w *yamlWriter) plain(s string) {
	all := runs(s)
	for i, run := range all {
		if run[0] == ' ' {
			if len(run) == 1 && w.column >= yamlWidth {
				w.newline()
			} else {
				w.put(run)
			}
			continue
		}
		if w.column+utf8.RuneCountInString(run) > yamlWidth && w.column > w.indent && (i == 0 || len(all[i-1]) == 1) {
			w.newline()
		}
		w.put(run)
	}
}

// single writes a single space beyond the width as a line break, except at
// the ends.
func (w *yamlWriter) single(s string) {
	w.put("'")
	all := runs(s)
	for i, run := range all {
		if run == " " && w.column > yamlWidth && i > 0 && i < len(all)-1 {
			w.newline()
			continue
		}
		w.put(run)
	}
	w.put("'")
}

var yamlEscapes = map[rune]string{
	0: "0", 7: "a", 8: "b", 9: "t", '\n': "n", 11: "v", 12: "f", '\r': "r", 27: "e",
	'"': `"`, '\\': `\`, 0x85: "N", 0xa0: "_", 0x2028: "L", 0x2029: "P",
}

// double escapes what is not printable, and folds with a backslash where a
// reader would otherwise see a space that is not there. dvc forgets the
// backslash behind some escapes, and reads another name than it wrote.
func (w *yamlWriter) double(s string) {
	text := []rune(s)
	w.put(`"`)
	start := 0
	for end := 0; end <= len(text); end++ {
		last := end == len(text)
		if last || text[end] == '"' || text[end] == '\\' || isBreak(text[end]) || !yamlPrintable(text[end]) {
			w.put(string(text[start:end]))
			start = end
			if !last {
				w.put(escapeYAML(text[end]))
				start = end + 1
			}
		}
		if end == 0 || end >= len(text)-1 || text[end] != ' ' && start < end || w.column+end-start <= yamlWidth {
			continue
		}
		escaped := start > end || foldNeedsBackslash(text, start, end)
		if start < end {
			w.put(string(text[start:end]))
			start = end
		}
		if escaped {
			w.put(`\`)
		}
		w.newline()
		if text[start] == ' ' {
			if escaped {
				w.put(`\`)
			} else {
				start++ // the line break is read as this space
			}
		}
	}
	w.put(`"`)
}

// foldNeedsBackslash reports whether a fold at end must be escaped: not where it
// stands for a single space before a word without quotes that is followed by
// another one.
func foldNeedsBackslash(text []rune, start, end int) bool {
	stop := -1
	for i := end; i < len(text); i++ {
		if text[i] == ' ' {
			stop = i
			break
		}
	}
	if stop < 0 {
		return true
	}
	for i := end; i < stop; i++ {
		if text[i] == '\n' {
			stop = i
			break
		}
	}
	if stop+1 >= len(text) || text[stop] == '\n' && text[stop+1] != ' ' {
		return true
	}
	for _, c := range text[end:stop] {
		if c == '"' || c == '\'' {
			return true
		}
	}
	next := text[stop+1]
	return next == ' ' || next == '\n' || text[end-1] == ' ' && text[end] == ' ' || start == end
}

func escapeYAML(c rune) string {
	if e, ok := yamlEscapes[c]; ok {
		return `\` + e
	}
	switch {
	case c <= 0xff:
		return fmt.Sprintf(`\x%02X`, c)
	case c <= 0xffff:
		return fmt.Sprintf(`\u%04X`, c)
	}
	return fmt.Sprintf(`\U%08X`, c)
}
