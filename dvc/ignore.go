package dvc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
)

// pattern is one line of a .gitignore, or of a .dvcignore (see [parseDVCPattern]).
type pattern struct {
	glob     string
	dir      string // of the file it stands in, "" for the root
	negate   bool
	dirOnly  bool
	anchored bool // matches the path below dir; otherwise the name alone

	re   *regexp.Regexp // of a .dvcignore: takes the place of glob
	need string         // what re cannot match without
}

// parsePattern reads a line as git does. ok is false for blank lines and
// comments.
func parsePattern(line, dir string) (p pattern, ok bool) {
	line, _, _ = strings.Cut(strings.TrimSuffix(line, "\r"), "\x00") // git reads C strings
	if line == "" || line[0] == '#' {
		return p, false
	}
	// Trailing spaces go, unless the first of them is escaped.
	for strings.HasSuffix(line, " ") {
		rest := line[:len(line)-1]
		back := len(rest) - len(strings.TrimRight(rest, `\`))
		if back%2 == 1 {
			break
		}
		line = rest
	}
	p = pattern{dir: dir}
	if strings.HasPrefix(line, "!") {
		p.negate, line = true, line[1:]
	}
	if strings.HasSuffix(line, "/") {
		p.dirOnly, line = true, line[:len(line)-1]
	}
	if line == "" {
		return p, false
	}
	p.anchored = strings.Contains(line, "/")
	p.glob = strings.TrimPrefix(line, "/")
	return p, true
}

// match tells whether the pattern matches rel, a slash path from the root.
func (p pattern) match(rel string, isDir bool) bool {
	if p.dirOnly && !isDir {
		return false
	}
	if p.re != nil {
		return strings.Contains(rel, p.need) && (p.re.MatchString(rel) || isDir && p.re.MatchString(rel+"/"))
	}
	if p.dir != "" {
		var below bool
		if rel, below = strings.CutPrefix(rel, p.dir+"/"); !below {
			return false
		}
	}
	if !p.anchored {
		return wildmatch(p.glob, path.Base(rel), false)
	}
	return wildmatch(p.glob, rel, true)
}

// patterns is a list in rising priority: the last match decides.
type patterns []pattern

// decide returns what the last matching pattern says.
func (ps patterns) decide(rel string, isDir bool) (ignored, matched bool) {
	for _, p := range slices.Backward(ps) {
		if p.match(rel, isDir) {
			return !p.negate, true
		}
	}
	return false, false
}

// wildmatch matches a glob as git does. With pathname, * and ? and brackets do
// not match a slash, and ** between slashes matches any number of directories.
func wildmatch(glob, s string, pathname bool) bool {
	dead := map[[2]int]bool{}
	var match func(g, i int) bool
	match = func(g, i int) bool {
		for g < len(glob) {
			switch c := glob[g]; c {
			case '*':
				start := g
				for g < len(glob) && glob[g] == '*' {
					g++
				}
				deep := !pathname
				if pathname && g-start >= 2 && (start == 0 || glob[start-1] == '/') {
					if g == len(glob) {
						deep = true // a/** matches all below a
					} else if glob[g] == '/' {
						if match(g+1, i) { // a/**/b matches a/b
							return true
						}
						deep = true
					}
				}
				key := [2]int{start, i}
				if dead[key] {
					return false
				}
				for j := i; ; j++ {
					if match(g, j) {
						return true
					}
					if j >= len(s) || !deep && pathname && s[j] == '/' {
						dead[key] = true
						return false
					}
				}
			case '?':
				if i >= len(s) || pathname && s[i] == '/' {
					return false
				}
				g, i = g+1, i+1
			case '[':
				if i >= len(s) || pathname && s[i] == '/' {
					return false
				}
				ok, next := bracket(glob, g, s[i])
				if !ok {
					return false
				}
				g, i = next, i+1
			case '\\':
				if g++; g >= len(glob) {
					return false
				}
				if i >= len(s) || s[i] != glob[g] {
					return false
				}
				g, i = g+1, i+1
			default:
				if i >= len(s) || s[i] != c {
					return false
				}
				g, i = g+1, i+1
			}
		}
		return i == len(s)
	}
	return match(0, 0)
}

// bracket matches b against the bracket expression at glob[g]. It returns where
// the pattern goes on; a bracket without an end matches nothing.
func bracket(glob string, g int, b byte) (bool, int) {
	g++
	negate := g < len(glob) && (glob[g] == '!' || glob[g] == '^')
	if negate {
		g++
	}
	found := false
	for first := true; ; first = false {
		if g >= len(glob) {
			return false, g
		}
		c := glob[g]
		if c == ']' && !first {
			return found != negate, g + 1
		}
		if c == '[' && g+1 < len(glob) && glob[g+1] == ':' {
			if end := strings.Index(glob[g+2:], "]"); end > 0 && glob[g+1+end] == ':' {
				in, known := class(glob[g+2:g+1+end], b)
				if !known {
					return false, g
				}
				found = found || in
				g += end + 3
				continue
			}
		}
		if c == '\\' {
			if g++; g >= len(glob) {
				return false, g
			}
			c = glob[g]
		}
		g++
		if g+1 < len(glob) && glob[g] == '-' && glob[g+1] != ']' {
			hi := glob[g+1]
			g += 2
			if hi == '\\' {
				if g >= len(glob) {
					return false, g
				}
				hi = glob[g]
				g++
			}
			found = found || c == b || c <= b && b <= hi // also of [z-a] the z
			continue
		}
		found = found || c == b
	}
}

func class(name string, b byte) (in, known bool) {
	upper := 'A' <= b && b <= 'Z'
	lower := 'a' <= b && b <= 'z'
	digit := '0' <= b && b <= '9'
	graph := 0x21 <= b && b <= 0x7e
	switch name {
	case "alnum":
		return upper || lower || digit, true
	case "alpha":
		return upper || lower, true
	case "blank":
		return b == ' ' || b == '\t', true
	case "cntrl":
		return b < 0x20 || b == 0x7f, true
	case "digit":
		return digit, true
	case "graph":
		return graph, true
	case "lower":
		return lower, true
	case "print":
		return graph || b == ' ', true
	case "punct":
		return graph && !upper && !lower && !digit, true
	case "space":
		return b == ' ' || 0x09 <= b && b <= 0x0d, true
	case "upper":
		return upper, true
	case "xdigit":
		return digit || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F', true
	}
	return false, false
}

// ignoreFiles evaluates the ignore files of a tree: those of a directory and
// of all above it, from root downward.
type ignoreFiles struct {
	root  string // absolute
	name  string // ".gitignore" or ".dvcignore"
	parse func(text []byte, dir string) (patterns, error)
	base  patterns
	read  map[string]patterns // by slash directory
	texts map[string][]byte   // of a revision, by directory: they take the place of files
	err   error               // the first file that could not be read
}

// in returns the patterns that hold in a directory, lowest priority first.
func (f *ignoreFiles) in(dir string) patterns {
	if ps, ok := f.read[dir]; ok {
		return ps
	}
	ps := f.base
	if dir != "" {
		ps = f.in(parent(dir))
	}
	own, err := f.own(dir, ps)
	if err != nil && f.err == nil {
		f.err = err
	}
	if len(own) > 0 {
		ps = append(slices.Clip(ps), own...)
		if f.name == ".dvcignore" && ps.shut(dir) {
			ps = patterns{everything}
		}
	}
	f.read[dir] = ps
	return ps
}

// own reads the ignore file of a directory. dvc does not read one that the
// files above ignore.
func (f *ignoreFiles) own(dir string, above patterns) (patterns, error) {
	if f.texts != nil {
		return f.parse(f.texts[dir], dir)
	}
	if f.name == ".dvcignore" {
		if ignored, _ := above.decide(path.Join(dir, f.name), false); ignored {
			return nil, nil
		}
	}
	return readPatterns(filepath.Join(f.root, filepath.FromSlash(dir), f.name), dir, f.parse)
}

func parent(dir string) string {
	if d := path.Dir(dir); d != "." {
		return d
	}
	return ""
}

// entry tells whether an entry of a directory that is itself not ignored is.
func (f *ignoreFiles) entry(rel string, isDir bool) bool {
	ign, _ := f.in(parent(rel)).decide(rel, isDir)
	return ign
}

// ignored tells whether rel or a directory above it is ignored.
func (f *ignoreFiles) ignored(rel string, isDir bool) bool {
	for i := range len(rel) {
		if rel[i] == '/' && f.entry(rel[:i], true) {
			return true
		}
	}
	return f.entry(rel, isDir)
}

func readPatterns(file, dir string, parse func([]byte, string) (patterns, error)) (patterns, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		if fi, e := os.Stat(file); e == nil && fi.IsDir() {
			return nil, nil
		}
		return nil, fmt.Errorf("dvc: %w", err)
	}
	return parse(data, dir)
}

// parsePatterns reads a .gitignore.
func parsePatterns(text []byte, dir string) (patterns, error) {
	var ps patterns
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		if p, ok := parsePattern(strings.TrimSuffix(line, "\n"), dir); ok {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

// gitIgnore evaluates .gitignore files, info/exclude and the user's own file.
type gitIgnore struct {
	files  *ignoreFiles
	prefix string // from git's root to the repository's
}

// newGitIgnore reads what git ignores. Without git nothing is ignored.
func newGitIgnore(r *Repo) (*gitIgnore, error) {
	if r.gitRoot == "" {
		return nil, nil
	}
	rel, err := filepath.Rel(r.gitRoot, r.root)
	if err != nil {
		return nil, err
	}
	g := &gitIgnore{prefix: strings.TrimPrefix(filepath.ToSlash(rel)+"/", "./")}
	g.files = &ignoreFiles{root: r.gitRoot, name: ".gitignore", parse: parsePatterns, read: map[string]patterns{}}
	for _, file := range []string{userExcludes(), filepath.Join(gitDir(r.gitRoot), "info", "exclude")} {
		if file == "" {
			continue
		}
		ps, err := readPatterns(file, "", parsePatterns)
		if err != nil {
			return nil, err
		}
		g.files.base = append(g.files.base, ps...)
	}
	return g, nil
}

// ignored tells whether git ignores a path of the repository.
func (g *gitIgnore) ignored(rel string, isDir bool) bool {
	return g != nil && g.files.ignored(g.prefix+rel, isDir)
}

func (g *gitIgnore) entry(rel string, isDir bool) bool {
	return g != nil && g.files.entry(g.prefix+rel, isDir)
}

// gitDir returns .git, or the common directory that a linked work tree names.
func gitDir(root string) string {
	dir := filepath.Join(root, ".git")
	data, err := os.ReadFile(dir)
	if err != nil {
		return dir
	}
	p, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
	if !ok {
		return dir
	}
	if !filepath.IsAbs(p) {
		p = filepath.Join(root, p)
	}
	if common, err := os.ReadFile(filepath.Join(p, "commondir")); err == nil {
		c := strings.TrimSpace(string(common))
		if !filepath.IsAbs(c) {
			c = filepath.Join(p, c)
		}
		return c
	}
	return p
}

// userExcludes returns the file that core.excludesFile names in the user's git
// configuration, or git's default.
func userExcludes() string {
	home, _ := os.UserHomeDir()
	xdg := orDefault(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config"))
	file := filepath.Join(xdg, "git", "ignore")
	configs := []string{filepath.Join(xdg, "git", "config"), filepath.Join(home, ".gitconfig")}
	if g := os.Getenv("GIT_CONFIG_GLOBAL"); g != "" {
		configs = []string{g}
	}
	for _, c := range configs {
		data, err := os.ReadFile(c)
		if err != nil {
			continue
		}
		section := ""
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				section = strings.ToLower(line)
				continue
			}
			k, v, ok := strings.Cut(line, "=")
			if ok && section == "[core]" && strings.EqualFold(strings.TrimSpace(k), "excludesfile") {
				file = strings.Trim(strings.TrimSpace(v), `"`)
				if rest, ok := strings.CutPrefix(file, "~/"); ok {
					file = filepath.Join(home, rest)
				}
			}
		}
	}
	return file
}

// addGitIgnore writes the entry for rel into the .gitignore beside it, as DVC
// does, unless git ignores rel already.
func (r *Repo) addGitIgnore(root *os.Root, rel string, isDir bool) error {
	ig, err := newGitIgnore(r)
	if err != nil || ig == nil || ig.ignored(rel, isDir) {
		return err
	}
	file := path.Join(path.Dir(rel), ".gitignore")
	data, err := root.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dvc: %s: %w: %w", file, mlops.ErrInvalid, err)
	}
	entry := escapeEntry("/" + path.Base(rel))
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	for line := range strings.Lines(string(data)) {
		if line == entry+"\n" {
			return nil
		}
	}
	return r.writeFile(root, file, append(data, entry+"\n"...))
}

// escapeEntry escapes what is special in a pattern. dvc leaves a space at the
// end as it is, and so git does not ignore such a file; the bytes are dvc's.
func escapeEntry(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(`[]!*#?\`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
