package dvc_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// ignoreCases are .dvcignore files by their directories.
var ignoreCases = []map[string]string{
	{"": "*.log"}, {"": "*.log\n!keep.log"}, {"": "*.log\n!sub"}, {"": "*.log\n!sub/"}, {"": "!keep.log\n*.log"},
	{"": "/top"}, {"": "sub/"}, {"": "/sub"}, {"": "sub/deep"}, {"": "/sub/deep/"}, {"": "top/"}, {"": "deep"},
	{"": "sub/**"}, {"": "sub/**\n!sub/keep.log"}, {"": "sub/*\n!sub/keep.log"}, {"": "**/deep"}, {"": "sub/**/z"}, {"": "**/deep/**"}, {"": "/**/z"}, {"": "**"}, {"": "**\n!**/z"},
	{"": "*/"}, {"": "**/"}, {"": "*"}, {"": "*\n!top"}, {"": "*\n!sub\n!z"}, {"": "***/z"}, {"": "sub/***"}, {"": "s**b"}, {"": "*/z"}, {"": "*/*/z"},
	{"": `\#hash`}, {"": "#hash"}, {"": `\!bang`}, {"": "!bang"}, {"": `st\*ar`}, {"": "st*ar"}, {"": `q\?x`}, {"": "q?x"}, {"": `bs\\x`}, {"": `\[x\]`}, {"": `\a.log`},
	{"": "tr ail"}, {"": "tr ail "}, {"": `spaced\ `}, {"": "  lead"}, {"": "lead\t"}, {"": "\u00a0top\u00a0"}, {"": "top\x1f"},
	{"": "[a-c]1"}, {"": "[!a-c]1"}, {"": "[^a-c]1"}, {"": "[]x]3"}, {"": "[!]x]3"}, {"": "[a-]1"}, {"": `[\]]b`}, {"": `[a\-c]1`}, {"": "[[:digit:]]d"}, {"": "[[:digit:]d"}, {"": "[unclosed"}, {"": "x[ab"}, {"": "sub[!a]z"}, {"": "[,-/]z"}, {"": "[z-a]1"}, {"": "[é]1"}, {"": "[!é]1"}, {"": "[a&&b]1"},
	{"": "café"}, {"": "cafe\u0301"}, {"": "caf?"}, {"": "cafe?"}, {"": "\U0001F600*"}, {"": "?.bin"}, {"": "\ufefftop"}, {"": "日*"},
	{"": "*.log\r\n!keep.log\r\n"}, {"": "*.log\rtop\r!keep.log"}, {"": "top\r"}, {"": "*.log\v\nz\f"}, {"": "*.log\u2028top"},
	{"": "/"}, {"": "//"}, {"": "//top"}, {"": "sub//z"}, {"": "!"}, {"": "!/"}, {"": `end\`}, {"": `sub\/z`}, {"": "!#x\n*.log"}, {"": "  \n\n#c\n *.log"}, {"": ".dvcignore"}, {"": ".*"}, {"": ".hidden/"},
	{"": "!.git\n!.dvc"}, {"": "!.hg/"},
	{"": "*.log", "sub": "!a.log"}, {"": "*.log", "sub": "!/a.log"}, {"": "*.log", "sub/deep": "!*.log"}, {"sub": "z"}, {"sub": "/z"}, {"sub": "deep/z"}, {"sub": "**/z"}, {"sub": "**/deep/z"},
	{"sub": "*"}, {"sub": "**"}, {"sub": "**\n!z"}, {"sub": "/**"}, {"sub": "*\n!z"}, {"sub": "*/"}, {"sub": "deep/"}, {"sub": "/deep/"}, {"sub": "!z"}, {"": "z", "sub": "!z"},
	{"sub": `\#hash`}, {"sub": `\*star`}, {"sub": `\\x`}, {"sub": "/"}, {"sub": "!"}, {"sub": "/deep/**\n!keep.log"}, {"": "sub/", "sub": "!z"}, {"": "sub/.dvcignore", "sub": "*"}, {"": ".dvcignore", "sub": "*"},
	{"[x]": "z"}, {"st*ar": "z"}, {"tr ail": "z"}, {"café": "z"}, {"sub": "*", "sub/deep": "!z"}, {"": "sub/\n!sub/", "sub": "z"}, {"": "**/sub\n!/sub"},
}

// ignoreTree is what the patterns are tried on.
var ignoreTree = []string{
	"a.log", "keep.log", "top", "z", "#hash", "!bang", "st*ar/z", "star", "q?x", "qax", "q/x", `bs\x`, "bsx", "[x]/z", "x/z", "*star", `\x`, `\#hash`,
	"tr ail/z", "spaced", "lead", "a1", "d1", "-1", `\1`, "é1", "&1", "]3", "x3", "]b", `\]b`, "7d", "[d]", ":]d", "[unclosed", "xa", "x[ab", "café/z", "cafe\u0301", "caf", "\U0001F600.bin", "日本", "\ufefftop",
	"sub/a.log", "sub/keep.log", "sub/top", "sub/z", "sub/deep/a.log", "sub/deep/keep.log", "sub/deep/z", "sub/deep/er/z", "sub/sub/z", "sub/#hash", "sub/*star", "sub/star", `sub/\x`, "sub/x",
	"p/sub/z", "p/deep/z", "p/top/z", "subz", "subXz", "s/b", "sXXb", ".hidden/f", "p/.hg/f", "p/.git", ".z", "new\nline/z", "new\nline2", "end\n", "é/z",
}

// plantIgnored makes the tree with the ignore files and lists all paths in it.
func plantIgnored(t *testing.T, dir string, ignore map[string]string) (paths []string, isDir map[string]bool) {
	files := map[string]string{".dvcignore": ""}
	for _, name := range ignoreTree {
		files[name] = "x"
	}
	for at, text := range ignore {
		files[path.Join(at, ".dvcignore")] = text
	}
	write(t, dir, files)
	isDir = map[string]bool{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if rel == ".git" || rel == ".dvc" {
			return filepath.SkipDir
		}
		if rel != "." {
			paths = append(paths, rel)
			isDir[rel] = d.IsDir()
		}
		return err
	}))
	return paths, isDir
}

func TestLiveIgnoredIsWhatDVCIgnores(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	// What dvc check-ignore does with each operand, without its start.
	setup := `
import os, warnings
from dvc.ignore import DvcIgnoreFilter
from dvc.fs import localfs
warnings.simplefilter("ignore")
def ask(x):
    os.chdir(x["Dir"])
    try:
        f = DvcIgnoreFilter(localfs, x["Dir"])
        return [p for p in x["Paths"] if f.check_ignore(p).match]
    except Exception:
        return ["refused"]
`
	for i, ignore := range ignoreCases {
		dir, r := w.repo()
		paths, isDir := plantIgnored(t, dir, ignore)
		want := pythonValues[[]string](t, setup, "ask(x)", []map[string]any{{"Dir": dir, "Paths": paths}})[0]
		if slices.Equal(want, []string{"refused"}) {
			_, err := r.Ignored("sub/deep/z", false)
			require.ErrorIs(t, err, mlops.ErrInvalid, "dvc refuses %q", ignore)
			require.ErrorContains(t, err, ".dvcignore")
			continue
		}
		for _, p := range paths {
			have, err := r.Ignored(p, isDir[p])
			require.NoError(t, err, "%q", ignore)
			if have != slices.Contains(want, p) {
				t.Errorf("with %q, %q: ignored is %v, dvc says the opposite", ignore, p, have)
			}
		}
		if i%20 == 0 { // names with a line break cannot be told apart in what dvc prints
			oneLine := func(all []string) []string {
				return slices.DeleteFunc(slices.Clone(all), func(p string) bool { return strings.Contains(p, "\n") })
			}
			out, _ := w.try(dir, append([]string{"check-ignore", "--"}, oneLine(paths)...)...)
			require.Equal(t, strings.Join(oneLine(want), "\n"), strings.TrimSuffix(out, "\n"), "%q", ignore)
		}
	}
}

// Random patterns, asked in one go of the class that dvc evaluates them with.
func TestLiveRandomPatternsIgnoreWhatDVCDoes(t *testing.T) {
	realDVC(t)
	rnd := rand.New(rand.NewPCG(uint64(number(t, "MLOPS_SEED", 1)), 7))
	atoms := []string{"*", "**", "/", "/", "!", "?", "[", "]", "-", "\\", "a", "b", "z", "é", " ", ".", "sub", "deep", "[a-c]", "[!b]", "\n", "\n"}
	any := func(n int) string {
		s := ""
		for range 1 + rnd.IntN(n) {
			s += atoms[rnd.IntN(len(atoms))]
		}
		return s
	}
	type item struct {
		Root, Sub string
		Paths     []string
	}
	var items []item
	for range number(t, "MLOPS_DVC_PATTERNS", 2000) {
		it := item{Root: any(9)}
		if rnd.IntN(2) == 0 {
			it.Sub = any(9)
		}
		for range 8 {
			p := strings.ReplaceAll(any(5), "\\", "b")
			if rnd.IntN(2) == 0 {
				p = "sub/" + p
			}
			if p = strings.Trim(path.Clean(p), "/"); p != "" && p[0] != '.' && p != "sub" {
				it.Paths = append(it.Paths, p)
			}
		}
		items = append(items, it)
	}
	setup := `
import posixpath, warnings
from dvc.ignore import DvcIgnorePatterns
from dvc.pathspec_math import PatternInfo, merge_patterns
warnings.simplefilter("ignore")
class fs:
    sep = "/"
    isabs = normpath = staticmethod(lambda p: p)
    dirname = staticmethod(posixpath.dirname)
    def __init__(self, text): self.text = text
    def open(self, path, encoding):
        import io
        return io.TextIOWrapper(io.BytesIO(self.text.encode()), encoding=encoding)
def ask(x):
    try:
        root = DvcIgnorePatterns([".hg/", ".git/", ".git", ".dvc/"], "/r", "/")
        for dir, text in (("/r", x["Root"]), ("/r/sub", x["Sub"])):
            # As DvcIgnoreFilter._update_trie does.
            if dir == "/r" or not root.matches(dir, ".dvcignore"):
                new = DvcIgnorePatterns.from_file(dir + "/.dvcignore", fs(text), "")
                sub = DvcIgnorePatterns(*merge_patterns(posixpath, root.pattern_list, root.dirname, new.pattern_list, new.dirname), "/")
                if dir == "/r": root = sub
            else:
                sub = root
        def one(p, isdir):
            at = "/r/" + p
            own = sub if p.startswith("sub/") else root
            return own.matches(posixpath.dirname(at), posixpath.basename(at), isdir)
        return "".join("fi"[one(p, d)] for p in x["Paths"] for d in (False, True))
    except Exception as e:
        return "refused"
`
	answers := pythonValues[string](t, setup, "ask(x)", items)
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".dvc"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	r, err := dvc.Open(dir)
	require.NoError(t, err)
	ignored, refused := 0, 0
	for i, it := range items {
		write(t, dir, map[string]string{".dvcignore": it.Root, "sub/.dvcignore": it.Sub})
		if answers[i] == "refused" {
			refused++
			_, err := r.Ignored("sub/f", false)
			require.ErrorIs(t, err, mlops.ErrInvalid, "dvc refuses %q and %q", it.Root, it.Sub)
			continue
		}
		have := ""
		for _, p := range it.Paths {
			for _, d := range []bool{false, true} {
				is, err := r.Ignored(p, d)
				require.NoError(t, err, "%q and %q", it.Root, it.Sub)
				have += map[bool]string{false: "f", true: "i"}[is]
			}
		}
		ignored += strings.Count(have, "i")
		require.Equal(t, answers[i], have, "with %q, and %q in sub: %q, each as a file and as a directory", it.Root, it.Sub, it.Paths)
	}
	require.Positive(t, ignored)
	figure(t, fmt.Sprintf("random ignore files: %d, of which dvc refuses %d", len(items), refused))
}
