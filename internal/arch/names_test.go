package arch

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// largeYet lists the types that are to be cut still.
var largeYet = []string{"cli.env"}

// otherWord lists what comes out where upstream has its own word for it.
var otherWord = map[string]string{
	"airflow.TaskSpec": "TaskInstance",
}

// loose are groups of constants, by their first, that have no type, and why.
var loose = map[string]string{
	"evidently.CodeCrashed":  "the values of mlops.Error.Code",
	"compose.ProcessRuntime": "the values of Options.Runtime, a string so far",
}

// source is the syntax of one package, without its tests.
type source struct {
	pkg   string // "mlflow"
	files []*ast.File
	set   *token.FileSet
}

// sources parses the packages below root.
func sources(t *testing.T, root string) []source {
	t.Helper()
	byPkg := map[string]*source{}
	set := token.NewFileSet()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != root {
			_, other := os.Stat(filepath.Join(p, "go.mod"))
			if strings.HasPrefix(name, ".") || name == "testdata" || name == "bench" || name == "examples" || other == nil {
				return filepath.SkipDir
			}
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(set, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		if byPkg[pkg] == nil {
			byPkg[pkg] = &source{pkg: pkg, set: set}
		}
		byPkg[pkg].files = append(byPkg[pkg].files, f)
		return nil
	})
	require.NoError(t, err)
	var out []source
	for _, s := range byPkg {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b source) int { return strings.Compare(a.pkg, b.pkg) })
	return out
}

// maxMethods is the most methods of one type, exported or not.
const maxMethods = 60

// largeTypes names the types with more methods than maxMethods.
func largeTypes(s source) []string {
	methods := map[string]int{}
	for _, fn := range functions(s) {
		if fn.Recv != nil {
			methods[typeName(fn.Recv.List[0].Type)]++
		}
	}
	var out []string
	for name, n := range methods {
		if n > maxMethods && !slices.Contains(largeYet, s.pkg+"."+name) {
			out = append(out, fmt.Sprintf("%s.%s has %d methods; %d are the most", s.pkg, name, n, maxMethods))
		}
	}
	return out
}

// untypedEnums names the exported groups of string constants without a type. A
// lone constant is no enum, and internal packages have no public names.
func untypedEnums(s source) []string {
	var out []string
	if strings.HasPrefix(s.pkg, "internal/") {
		return nil
	}
	for _, d := range declarations(s, token.CONST) {
		var names []string
		for _, spec := range d.Specs {
			v := spec.(*ast.ValueSpec)
			if len(v.Names) != 1 || len(v.Values) != 1 || v.Type != nil || !v.Names[0].IsExported() {
				continue
			}
			if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				names = append(names, v.Names[0].Name)
			}
		}
		if len(names) > 1 && loose[s.pkg+"."+names[0]] == "" {
			out = append(out, fmt.Sprintf("%s: %s are strings without a type", s.pkg, strings.Join(names, ", ")))
		}
	}
	return out
}

// misplacedOptions names the exported functions that take an options struct by
// pointer, or not last. Functional options may follow it.
func misplacedOptions(s source) []string {
	var out []string
	for _, fn := range functions(s) {
		if !fn.Name.IsExported() || fn.Recv != nil && !ast.IsExported(typeName(fn.Recv.List[0].Type)) {
			continue
		}
		var params []ast.Expr
		for _, f := range fn.Type.Params.List {
			for range max(1, len(f.Names)) {
				params = append(params, f.Type)
			}
		}
		if n := len(params); n > 0 {
			if _, variadic := params[n-1].(*ast.Ellipsis); variadic {
				params = params[:n-1]
			}
		}
		for i, p := range params {
			star, pointer := p.(*ast.StarExpr)
			if pointer {
				p = star.X
			}
			if !strings.HasSuffix(typeName(p), "Options") {
				continue
			}
			if pointer || i != len(params)-1 {
				out = append(out, fmt.Sprintf("%s.%s: %s goes last, and by value", s.pkg, fn.Name.Name, typeName(p)))
			}
		}
	}
	return out
}

// lonelySpecs names the exported types XSpec of packages without an X: XSpec goes
// in, X comes out.
func lonelySpecs(s source) []string {
	types := map[string]bool{}
	for _, d := range declarations(s, token.TYPE) {
		for _, spec := range d.Specs {
			types[spec.(*ast.TypeSpec).Name.Name] = true
		}
	}
	var out []string
	for name := range types {
		x, ok := strings.CutSuffix(name, "Spec")
		if x = cmp.Or(otherWord[s.pkg+"."+name], x); ok && ast.IsExported(name) && !types[x] {
			out = append(out, fmt.Sprintf("%s.%s goes in, and no %s comes out", s.pkg, name, x))
		}
	}
	return out
}

func functions(s source) []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, f := range s.files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				out = append(out, fn)
			}
		}
	}
	return out
}

func declarations(s source, kind token.Token) []*ast.GenDecl {
	var out []*ast.GenDecl
	for _, f := range s.files {
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == kind {
				out = append(out, g)
			}
		}
	}
	return out
}

// typeName is the name of a type without its package, pointer and type arguments.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func TestPublicNamesFollowTheRules(t *testing.T) {
	all := sources(t, "../..")
	require.NotEmpty(t, all)
	for _, s := range all {
		for _, rule := range []func(source) []string{largeTypes, untypedEnums, misplacedOptions, lonelySpecs} {
			for _, breach := range rule(s) {
				t.Error(breach)
			}
		}
	}
}

func TestAPlantedNameIsFound(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "x"), 0o755))
	many := strings.Builder{}
	for i := range maxMethods + 1 {
		fmt.Fprintf(&many, "func (b *Big[T]) m%d() {}\n", i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "x", "x.go"), []byte(`package x

const (
	Ready = "READY"
	Gone  = "GONE"
)

const Alone = "ALONE"

type State string

const (
	StateReady State = "READY"
	StateGone  State = "GONE"
)

type Big[T any] struct{}
type RunOptions struct{}
type AppSpec struct{}
type JobSpec struct{}
type Job struct{}

func Start(o *RunOptions)                    {}
func Stop(o RunOptions, name string)         {}
func Run(name string, o RunOptions)          {}
func Open(o RunOptions, more ...func())      {}
func start(o RunOptions, name string)        {}

`+many.String()), 0o644))
	s := sources(t, root)
	require.Len(t, s, 1)
	require.Equal(t, []string{"x.Big has 61 methods; 60 are the most"}, largeTypes(s[0]))
	require.Equal(t, []string{"x: Ready, Gone are strings without a type"}, untypedEnums(s[0]))
	require.Equal(t, []string{"x.Start: RunOptions goes last, and by value", "x.Stop: RunOptions goes last, and by value"}, misplacedOptions(s[0]))
	require.Equal(t, []string{"x.AppSpec goes in, and no App comes out"}, lonelySpecs(s[0]))
}
