package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unplain are words that a comment, an error or a help text does without: each
// has a plainer one, or a term of the field.
var unplain = regexp.MustCompile(`(?i)\b(whoever|somebody|nobody|anybody|anew|goes on|went on|is had|in the end|by wish|tells whether|tells if|told apart|hearers|for who has|for company)\b`)

// verbal are types that are named by a verb. The words that are nouns as well
// are listed.
var (
	verbal = regexp.MustCompile(`^(said|learned|told|known|found|seen|made|kept|given|[a-zA-Z]*ing)$`)
	nouns  = []string{"Finding", "Listing", "DAGWarning", "Setting", "setting", "OnlineScoring", "Reading", "reading", "timing", "binding", "listing", "Missing", "Mapping", "Warning", "String", "Thing", "thing", "Pricing"}
)

// goFiles parses the files below root that are part of the program.
func goFiles(t *testing.T, root string, visit func(path string, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	fset := token.NewFileSet()
	require.NoError(t, filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err == nil {
			visit(p, fset, f)
		}
		return err
	}))
}

func TestTheEnglishIsPlain(t *testing.T) {
	goFiles(t, filepath.Join("..", ".."), func(_ string, fset *token.FileSet, f *ast.File) {
		check := func(at token.Pos, text string) {
			for _, m := range unplain.FindAllString(text, -1) {
				t.Errorf("%s: %q: say it plainly", fset.Position(at), m)
			}
		}
		for _, c := range f.Comments {
			check(c.Pos(), strings.Join(strings.Fields(c.Text()), " "))
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					if n.Value != `"nobody"` { // the system's user
						check(n.Pos(), n.Value)
					}
				}
			case *ast.TypeSpec:
				if name := n.Name.Name; verbal.MatchString(name) && !slices.Contains(nouns, name) {
					t.Errorf("%s: type %s is named by a verb: a type is a noun", fset.Position(n.Pos()), name)
				}
			}
			return true
		})
	})
}

func TestUnplainWordsAreFound(t *testing.T) {
	for text, want := range map[string]bool{
		"x reports whether it exists": false, "for whoever asks": true, "it is made anew": true, "renewed": false,
		"the run goes on": true, "It tells whether t is there": true, "Nobody has it": true,
	} {
		require.Equal(t, want, unplain.MatchString(text), text)
	}
	require.True(t, verbal.MatchString("bringing") && verbal.MatchString("said") && !verbal.MatchString("importer"))
}
