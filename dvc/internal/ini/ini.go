// Package ini reads and edits DVC's configuration files.
//
// They are ConfigObj files: sections in brackets, quoted where their name has
// quotes, "key = value" with quotes of three kinds, commas for lists, and comments
// after #. An edit touches the lines of its key alone.
package ini

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
)

// Section is a section of a configuration file.
type Section struct {
	Name       string
	head, last int // lines: the header, and the last one that is not blank or comment
	Keys       []Key
}

// Key is an option with its value: one item, or a list.
type Key struct {
	Name        string
	Items       []string
	first, last int // lines
}

// Parse reads a configuration file. The error matches [mlops.ErrInvalid].
func Parse(data []byte) ([]Section, error) {
	if fault.Unmerged(data) {
		return nil, fmt.Errorf("the file holds conflict markers of a merge; resolve it with git: %w", mlops.ErrInvalid)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	lines := strings.Split(string(data), "\n")
	var out []Section
	bad := func(n int, what string) error {
		return fmt.Errorf("line %d: %s: %w", n+1, what, mlops.ErrInvalid)
	}
	for n := 0; n < len(lines); n++ {
		line := strings.TrimSpace(lines[n])
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			name, ok := parseHeader(line)
			if !ok {
				return nil, bad(n, "section header")
			}
			if slices.ContainsFunc(out, func(s Section) bool { return s.Name == name }) {
				return nil, bad(n, "section given twice")
			}
			out = append(out, Section{Name: name, head: n, last: n})
			continue
		}
		if len(out) == 0 {
			return nil, bad(n, "key outside a section")
		}
		s := &out[len(out)-1]
		key, rest, ok := parseKey(line)
		if !ok {
			return nil, bad(n, "neither section nor key")
		}
		if slices.ContainsFunc(s.Keys, func(k Key) bool { return k.Name == key }) {
			return nil, bad(n, "key given twice")
		}
		k := Key{Name: key, first: n}
		if q := tripleQuote(rest); q != "" {
			body := rest[3:]
			for !strings.Contains(body, q) {
				if n++; n >= len(lines) {
					return nil, bad(k.first, "quotes without an end")
				}
				body += "\n" + lines[n]
			}
			text, tail, _ := strings.Cut(body, q)
			if tail = strings.TrimSpace(tail); tail != "" && tail[0] != '#' {
				return nil, bad(n, "text after quotes")
			}
			k.Items = []string{text}
		} else if k.Items, ok = parseValue(rest); !ok {
			return nil, bad(n, "value")
		}
		k.last, s.last = n, n
		s.Keys = append(s.Keys, k)
	}
	return out, nil
}

func tripleQuote(s string) string {
	for _, q := range []string{`"""`, `'''`} {
		if strings.HasPrefix(s, q) {
			return q
		}
	}
	return ""
}

// parseHeader reads "[Name]", "['name']" or "["name"]", with a comment or not.
func parseHeader(line string) (string, bool) {
	rest := strings.TrimSpace(line[1:])
	var name string
	if rest != "" && (rest[0] == '\'' || rest[0] == '"') {
		end := strings.IndexByte(rest[1:], rest[0])
		if end < 0 {
			return "", false
		}
		name, rest = rest[1:1+end], strings.TrimSpace(rest[2+end:])
		if !strings.HasPrefix(rest, "]") {
			return "", false
		}
		rest = rest[1:]
	} else {
		var ok bool
		name, rest, ok = strings.Cut(rest, "]")
		if name = strings.TrimSpace(name); !ok {
			return "", false
		}
	}
	rest = strings.TrimSpace(rest)
	return name, name != "" && name[0] != '[' && (rest == "" || rest[0] == '#')
}

// parseKey splits "key = rest"; the key may be quoted.
func parseKey(line string) (key, rest string, ok bool) {
	if line[0] == '\'' || line[0] == '"' {
		end := strings.IndexByte(line[1:], line[0])
		if end < 0 {
			return "", "", false
		}
		key, rest = line[1:1+end], strings.TrimSpace(line[2+end:])
		if !strings.HasPrefix(rest, "=") {
			return "", "", false
		}
		rest = rest[1:]
	} else {
		key, rest, ok = strings.Cut(line, "=")
		if !ok {
			return "", "", false
		}
	}
	key = strings.TrimSpace(key)
	return key, strings.TrimSpace(rest), key != ""
}

// parseValue reads one value or a comma-separated list, up to a comment.
func parseValue(s string) ([]string, bool) {
	var items []string
	list := false
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] == '#' {
			break
		}
		if s[0] == ',' { // an empty list, or a comma at the end of one
			if list || len(items) > 0 {
				return nil, false
			}
			list, s = true, s[1:]
			continue
		}
		var item string
		if s[0] == '\'' || s[0] == '"' {
			end := strings.IndexByte(s[1:], s[0])
			if end < 0 {
				return nil, false
			}
			item, s = s[1:1+end], strings.TrimLeft(s[2+end:], " \t")
			if s != "" && s[0] != ',' && s[0] != '#' {
				return nil, false
			}
		} else {
			end := strings.IndexAny(s, ",#")
			if end < 0 {
				end = len(s)
			}
			item, s = strings.TrimRight(s[:end], " \t"), s[end:]
		}
		items = append(items, item)
		if strings.HasPrefix(s, ",") {
			list, s = true, s[1:]
		}
	}
	if len(items) == 0 && !list {
		items = []string{""}
	}
	return items, true
}

// Named matches the name of a section that has a name of its own, as that of a
// remote does: its kind and the name.
var Named = regexp.MustCompile(`^\s*(remote|machine|db)\s*"(.*)"\s*$`)

// SectionName folds a section's name as DVC does: to lower case, and
// `remote "x"` with one space.
func SectionName(s string) string {
	s = strings.ToLower(s)
	if m := Named.FindStringSubmatch(s); m != nil {
		return m[1] + ` "` + m[2] + `"`
	}
	return s
}

// Set sets a key and leaves every other line as it is. A new section goes
// where DVC puts it: plain sections before those of remotes, remotes before
// machines.
func Set(data []byte, ini []Section, section, key, val string) []byte {
	lines := split(data)
	entry := "    " + key + " = " + quote(val, true) + "\n"
	for _, s := range ini {
		if SectionName(s.Name) != section {
			continue
		}
		for _, k := range s.Keys {
			if strings.EqualFold(k.Name, key) {
				return []byte(strings.Join(slices.Replace(lines, k.first, k.last+1, entry), ""))
			}
		}
		return []byte(strings.Join(slices.Insert(lines, s.last+1, entry), ""))
	}
	at := len(lines)
	for i := len(ini) - 1; i >= 0 && rank(ini[i].Name) > rank(section); i-- {
		at = ini[i].head
	}
	return []byte(strings.Join(slices.Insert(lines, at, "["+quote(section, false)+"]\n", entry), ""))
}

func rank(section string) int {
	m := Named.FindStringSubmatch(SectionName(section))
	if m == nil {
		return 0
	}
	return map[string]int{"remote": 1, "machine": 2, "db": 3}[m[1]]
}

// quote quotes a value as ConfigObj does.
func quote(s string, multiline bool) string {
	const blank = " \r\n\v\t'\""
	switch {
	case s == "":
		return `""`
	case multiline && strings.Contains(s, `"`) && strings.Contains(s, "'"):
		if strings.Contains(s, `"""`) {
			return `'''` + s + `'''`
		}
		return `"""` + s + `"""`
	case strings.ContainsAny(s[:1], blank), strings.ContainsAny(s[len(s)-1:], blank), strings.ContainsAny(s, ",#"):
		if strings.Contains(s, `"`) {
			return "'" + s + "'"
		}
		return `"` + s + `"`
	}
	return s
}
