// Package ignore evaluates the ignore files of git and of DVC.
package ignore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/mlops-integration/mlops/internal/gitcmd"
)

// Pattern is one line of a .gitignore, or of a .dvcignore (see [parseDVCPattern]).
type Pattern struct {
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
func parsePattern(line, dir string) (p Pattern, ok bool) {
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
	p = Pattern{dir: dir}
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

// match reports whether the pattern matches rel, a slash path from the root.
func (p Pattern) match(rel string, isDir bool) bool {
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

// Patterns is a list in rising priority: the last match decides.
type Patterns []Pattern

// Decide returns what the last matching pattern says.
func (ps Patterns) Decide(rel string, isDir bool) (ignored, matched bool) {
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
// the pattern continues; a bracket without an end matches nothing.
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

// ReadFile reads a whole file, as os.ReadFile does.
type ReadFile func(name string) ([]byte, error)

// Files evaluates the ignore files of a tree: those of a directory and of all
// above it, from root downward. Each is read once. It is safe for concurrent use.
type Files struct {
	root  string // absolute
	name  string // ".gitignore" or ".dvcignore"
	parse func(text []byte, dir string) (Patterns, error)
	base  func() (Patterns, error) // of the lowest priority; nil is none
	read  map[string]Patterns      // by slash directory
	texts map[string][]byte        // of a revision, by directory: they take the place of files
	open  ReadFile

	mu  sync.Mutex
	err error // the first file that could not be read
}

// In returns the patterns that hold in a directory, lowest priority first.
func (f *Files) In(dir string) Patterns {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.in(dir)
}

// Err returns the error of the first file that could not be read.
func (f *Files) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// in is In with f.mu held.
func (f *Files) in(dir string) Patterns {
	if ps, ok := f.read[dir]; ok {
		return ps
	}
	var ps Patterns
	if dir != "" {
		ps = f.in(Parent(dir))
	} else if f.base != nil {
		var err error
		if ps, err = f.base(); err != nil && f.err == nil {
			f.err = err
		}
	}
	own, err := f.own(dir, ps)
	if err != nil && f.err == nil {
		f.err = err
	}
	if len(own) > 0 {
		ps = append(slices.Clip(ps), own...)
		if f.name == ".dvcignore" && ps.shut(dir) {
			ps = Patterns{everything}
		}
	}
	f.read[dir] = ps
	return ps
}

// own reads the ignore file of a directory. dvc does not read one that the
// files above ignore.
func (f *Files) own(dir string, above Patterns) (Patterns, error) {
	if f.texts != nil {
		return f.parse(f.texts[dir], dir)
	}
	if f.name == ".dvcignore" {
		if ignored, _ := above.Decide(path.Join(dir, f.name), false); ignored {
			return nil, nil
		}
	}
	return f.open.patterns(filepath.Join(f.root, filepath.FromSlash(dir), f.name), dir, f.parse)
}

func Parent(dir string) string {
	if d := path.Dir(dir); d != "." {
		return d
	}
	return ""
}

// Entry reports whether an entry of a directory is ignored, where the directory
// itself is not.
func (f *Files) Entry(rel string, isDir bool) bool {
	ign, _ := f.In(Parent(rel)).Decide(rel, isDir)
	return ign
}

// Ignored reports whether rel or a directory above it is ignored.
func (f *Files) Ignored(rel string, isDir bool) bool {
	for i := range len(rel) {
		if rel[i] == '/' && f.Entry(rel[:i], true) {
			return true
		}
	}
	return f.Entry(rel, isDir)
}

// patterns reads the ignore file of a directory; none where there is no file.
func (read ReadFile) patterns(file, dir string, parse func([]byte, string) (Patterns, error)) (Patterns, error) {
	data, err := read(file)
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
func parsePatterns(text []byte, dir string) (Patterns, error) {
	var ps Patterns
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		if p, ok := parsePattern(strings.TrimSuffix(line, "\n"), dir); ok {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

// Git evaluates .gitignore files, info/exclude and the user's own file.
// A nil one ignores nothing.
type Git struct {
	files  *Files
	prefix string // from git's root to the repository's
}

// NewGit returns what git ignores in the repository of DVC at root, which
// lies in the work tree gitRoot. git is asked for its configuration in the
// background, so that its start does not delay the caller.
func NewGit(ctx context.Context, gitRoot, root string, read ReadFile) (*Git, error) {
	rel, err := filepath.Rel(gitRoot, root)
	if err != nil {
		return nil, err
	}
	g := &Git{prefix: strings.TrimPrefix(filepath.ToSlash(rel)+"/", "./")}
	g.files = &Files{root: gitRoot, name: ".gitignore", parse: parsePatterns, read: map[string]Patterns{}, open: read}
	base := sync.OnceValues(func() (Patterns, error) { return read.gitBase(ctx, gitRoot) })
	go func() { _, _ = base() }()
	g.files.base = base
	return g, nil
}

// gitBase returns the patterns that git's configuration names, and those of
// info/exclude.
func (read ReadFile) gitBase(ctx context.Context, gitRoot string) (Patterns, error) {
	user, err := userExcludes(ctx, gitRoot)
	if err != nil {
		return nil, err
	}
	var ps Patterns
	for _, file := range []string{user, filepath.Join(gitDir(gitRoot), "info", "exclude")} {
		if file == "" {
			continue
		}
		own, err := read.patterns(file, "", parsePatterns)
		if err != nil {
			return nil, err
		}
		ps = append(ps, own...)
	}
	return ps, nil
}

// Ignored reports whether git ignores a path of the repository.
func (g *Git) Ignored(rel string, isDir bool) bool {
	return g != nil && g.files.Ignored(g.prefix+rel, isDir)
}

// Err returns the error of the first file that could not be read.
func (g *Git) Err() error {
	if g == nil {
		return nil
	}
	return g.files.Err()
}

// Entry is ignored for an entry of a directory that is not ignored itself.
func (g *Git) Entry(rel string, isDir bool) bool {
	return g != nil && g.files.Entry(g.prefix+rel, isDir)
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

// userExcludes returns the file that core.excludesFile names, wherever git's
// configuration sets it, or git's default. Source: gitignore(5).
func userExcludes(ctx context.Context, gitRoot string) (string, error) {
	cmd := gitcmd.Command(ctx, gitRoot, "config", "--path", "--get", "core.excludesFile")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch e, exited := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		file := strings.TrimSuffix(string(out), "\n")
		if file != "" && !filepath.IsAbs(file) {
			file = filepath.Join(gitRoot, file)
		}
		return file, nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case exited && e.ExitCode() == 1, errors.Is(err, exec.ErrNotFound): // it is not set
	default:
		return "", fmt.Errorf("dvc: git config: %s: %w", strings.Join(strings.Fields(stderr.String()), " "), err)
	}
	if xdg := os.Getenv("XDG_CONFIG_HOME"); xdg != "" {
		return filepath.Join(xdg, "git", "ignore"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", nil
	}
	return filepath.Join(home, ".config", "git", "ignore"), nil
}
