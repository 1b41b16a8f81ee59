package ignore

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
)

// NewDVC evaluates .dvcignore files from the root of the repository.
func NewDVC(root string, read ReadFile) *Files {
	always := func() (Patterns, error) { return alwaysIgnored(), nil }
	return &Files{root: root, name: ".dvcignore", parse: parseDVCPatterns, base: always, read: map[string]Patterns{}, open: read}
}

// NewDVCAt is [NewDVC] for a git revision, by the texts of its files.
func NewDVCAt(texts map[string][]byte) *Files {
	f := NewDVC("", nil)
	f.texts = texts
	return f
}

// alwaysIgnored is what dvc ignores everywhere.
var alwaysIgnored = sync.OnceValue(func() Patterns {
	ps, _ := parseDVCPatterns([]byte(".hg/\n.git/\n.git\n.dvc/"), "")
	return ps
})

// everything ignores all there is.
var everything = Pattern{re: regexp.MustCompile("")}

// shut reports whether a directory is ignored, or one above it. In dvc a
// directory's own .dvcignore can do that.
func (ps Patterns) shut(dir string) bool {
	for d := dir; d != ""; d = Parent(d) {
		if ignored, _ := ps.Decide(d, true); ignored {
			return true
		}
	}
	return false
}

// parseDVCPatterns reads a .dvcignore: its lines end as Python's do, and have
// no spaces around them. A pattern that stops dvc is an error that matches
// [mlops.ErrInvalid].
func parseDVCPatterns(text []byte, dir string) (Patterns, error) {
	var ps Patterns
	lines := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(text))
	for line := range strings.SplitSeq(lines, "\n") {
		line = strings.TrimFunc(line, pythonSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		p, ok, err := parseDVCPattern(line)
		if ok && dir != "" {
			line = rebase(line, dir)
			p, ok, err = parseDVCPattern(line)
		}
		if err != nil {
			return nil, fault.New(mlops.ErrInvalid, "%s: the pattern %q %v", path.Join(dir, ".dvcignore"), line, err)
		}
		if ok {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

func pythonSpace(c rune) bool { return unicode.IsSpace(c) || c >= 0x1c && c <= 0x1f }

// rebase turns a pattern of a directory's file into one for the root
// (dvc/pathspec_math.py). A name with special characters becomes a pattern, and
// a backslash at the start is lost.
func rebase(line, dir string) string {
	rule, negate := strings.CutPrefix(line, "!")
	sub := "/**/"
	if strings.Contains(rule[:max(0, len(rule)-1)], "/") && !strings.HasPrefix(rule, "**/") {
		sub, rule = "/", strings.TrimPrefix(rule, "/")
	} else {
		rule = strings.TrimPrefix(rule, "**/")
	}
	rule = "/" + dir + sub + strings.TrimPrefix(rule, `\`)
	if negate {
		return "!" + rule
	}
	return rule
}

// parseDVCPattern makes a pattern of the regular expression that dvc's library
// makes of a line (pathspec 1.1, patterns/gitignore/spec.py). It is not what
// git does: what matches a directory also matches all below it, with ! as well;
// a/** matches a itself; ? and brackets match characters, not bytes, and
// brackets match a slash. ok is false for lines without effect.
func parseDVCPattern(line string) (p Pattern, ok bool, err error) {
	if line == "" || line[0] == '#' || line == "/" {
		return p, false, nil
	}
	glob, negate := strings.CutPrefix(line, "!")
	segs := strings.Split(glob, "/")
	p = Pattern{negate: negate, dirOnly: strings.HasSuffix(glob, "/")}
	switch {
	case segs[0] == "":
		segs = segs[1:]
	case (len(segs) == 1 || len(segs) == 2 && segs[1] == "") && segs[0] != "**":
		segs = append([]string{"**"}, segs...)
	}
	if len(segs) == 0 {
		return p, false, fmt.Errorf("is empty")
	}
	if end := len(segs) - 1; segs[end] == "" {
		segs[end] = "**"
	}
	for i := len(segs) - 1; i > 0; i-- {
		if segs[i] == "**" && segs[i-1] == "**" {
			segs = append(segs[:i], segs[i+1:]...)
		}
	}
	switch text := strings.Join(segs, "/"); {
	case text == "**" && !p.dirOnly, text == "**/*":
		p.re = regexp.MustCompile("^.")
	case text == "**", text == "**/*/**": // dvc looks for the slash at the start of the path
		p.re = regexp.MustCompile("^/")
	default:
		p.re, p.need, err = translate(segs)
	}
	return p, p.re != nil, err
}

// translate makes the regular expression. There is none for a pattern whose
// bracket has no end, which has no effect.
func translate(segs []string) (re *regexp.Regexp, need string, err error) {
	var b strings.Builder
	slash := false
	for i, seg := range segs {
		last := i == len(segs)-1
		switch {
		case seg == "**" && i == 0:
			b.WriteString("^(?:.+/)?")
			continue
		case seg == "**" && last:
			b.WriteString("/")
			continue
		case seg == "**":
			b.WriteString("(?:/.+)?")
			slash = true
			continue
		}
		if i == 0 {
			b.WriteByte('^')
		}
		if slash {
			b.WriteByte('/')
		}
		if seg == "*" {
			b.WriteString("[^/]+")
		} else {
			text, literal, err := translateGlob(seg)
			if text == "" && seg != "" || err != nil {
				return nil, "", err
			}
			b.WriteString(text)
			if len(literal) > len(need) {
				need = literal
			}
		}
		if last {
			b.WriteString(`(?:/|\n?\z)`) // Python's $ stands before a last line end, too
		}
		slash = true
	}
	re, err = regexp.Compile(b.String())
	return re, need, err
}

// translateGlob translates what stands between two slashes, and returns the
// longest text that it asks for as it is.
func translateGlob(seg string) (text, literal string, err error) {
	var b strings.Builder
	run := ""
	plain := func(c rune) {
		b.WriteString(regexp.QuoteMeta(string(c)))
		if run += string(c); len(run) > len(literal) {
			literal = run
		}
	}
	glob := []rune(seg)
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '\\':
			if i++; i == len(glob) {
				return "", "", fmt.Errorf(`ends with a \ that escapes nothing`)
			}
			plain(glob[i])
			continue
		case '*':
			b.WriteString("[^/]*")
		case '?':
			b.WriteString("[^/]")
		case '[':
			end := i + 1
			if end < len(glob) && (glob[end] == '!' || glob[end] == '^') {
				end++
			}
			if end < len(glob) && glob[end] == ']' {
				end++
			}
			for end < len(glob) && glob[end] != ']' {
				end++
			}
			if end >= len(glob) {
				return "", "", nil
			}
			set, err := translateSet(glob[i+1 : end])
			if err != nil {
				return "", "", err
			}
			b.WriteString(set)
			i = end
		default:
			plain(c)
			continue
		}
		run = ""
	}
	return b.String(), literal, nil
}

// translateSet translates what stands in brackets. A backslash stands for
// itself, and there are no named classes.
func translateSet(set []rune) (string, error) {
	var b strings.Builder
	b.WriteByte('[')
	if set[0] == '!' || set[0] == '^' {
		b.WriteByte('^')
		set = set[1:]
	}
	for i := 0; i < len(set); i++ {
		lo, hi := set[i], set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			hi = set[i+2]
			i += 2
		}
		if lo > hi {
			return "", fmt.Errorf("has the range %c-%c, which is empty", lo, hi)
		}
		fmt.Fprintf(&b, `\x{%x}-\x{%x}`, lo, hi)
	}
	b.WriteByte(']')
	return b.String(), nil
}
