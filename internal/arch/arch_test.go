// Package arch holds the import table as a test: who may import whom.
package arch

import (
	"cmp"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/mlops-integration/mlops"

// may lists for each package what it imports of this module: a package without
// a row, a row without a package, an import that is not listed and an entry that
// nothing uses all fail. Arrows point down only; a new line or a new entry is a
// design change, and ARCHITECTURE.md draws the same table.
var may = map[string][]string{
	".":                     {},
	"internal/transport":    {"."},
	"internal/rawfile":      {},
	"internal/trust":        {"."},
	"internal/gitcmd":       {},
	"internal/pyrepr":       {},
	"internal/lockfile":     {},
	"internal/atomicfile":   {},
	"internal/spool":        {".", "internal/lockfile", "internal/atomicfile"},
	"internal/stranger":     {}, // imported by tests only
	"internal/zerovalue":    {}, // imported by tests only
	"internal/stackfile":    {".", "internal/trust", "internal/atomicfile"},
	"internal/cassette":     {".", "internal/stackfile"}, // imported by tests only
	"mlflow":                {".", "internal/transport", "internal/spool", "internal/pyrepr"},
	"mlflow/s3store":        {".", "mlflow"},
	"dvc":                   {".", "internal/rawfile", "internal/gitcmd", "dvc/remote", "dvc/internal/fault", "dvc/internal/ini", "dvc/internal/object", "dvc/internal/ignore", "dvc/internal/known", "dvc/internal/address", "dvc/internal/dvcfile", "dvc/internal/cache", "dvc/internal/lock", "dvc/internal/config"},
	"dvc/internal/fault":    {"."},
	"dvc/internal/ini":      {".", "dvc/internal/fault"},
	"dvc/internal/object":   {".", "dvc/internal/fault"},
	"dvc/internal/ignore":   {".", "dvc/internal/fault", "internal/gitcmd"},
	"dvc/internal/address":  {"."},
	"dvc/internal/dvcfile":  {".", "dvc/internal/address", "dvc/internal/fault", "dvc/internal/object"},
	"dvc/internal/cache":    {".", "dvc/internal/fault", "dvc/internal/known", "dvc/internal/object", "internal/rawfile", "internal/lockfile"},
	"dvc/internal/lock":     {".", "dvc/internal/fault", "dvc/internal/object", "internal/lockfile"},
	"dvc/internal/config":   {".", "dvc/internal/address", "dvc/internal/cache", "dvc/internal/fault", "dvc/internal/ini", "internal/atomicfile"},
	"dvc/remote":            {"."},
	"dvc/remote/*":          {".", "internal/rawfile", "dvc/remote"}, // the drivers share a row
	"airflow":               {".", "internal/transport", "internal/atomicfile"},
	"airflow/gotask":        {}, // linked into tasks: the standard library only
	"rayserve":              {".", "internal/transport", "internal/lockfile", "internal/atomicfile"},
	"evidently":             {".", "internal/transport", "internal/pyrepr"},
	"applesilicon":          {"."},
	"fair/sim":              {"fair"},
	"internal/fairfile":     {"internal/atomicfile", "internal/lockfile", "internal/trust"},
	"agent/internal/heat":   {"applesilicon", "internal/fairfile", "internal/trust"},
	"agent/internal/shares": {".", "agent/internal/heat", "airflow", "fair", "internal/fairfile", "internal/lockfile"},
	"fair":                  {"."}, // no I/O: the time comes as an argument
	"client":                {".", "internal/stackfile", "internal/trust", "mlflow", "mlflow/s3store", "dvc", "dvc/remote/local", "dvc/remote/s3", "airflow", "rayserve", "evidently", "applesilicon", "fair", "internal/gitcmd", "internal/lockfile", "internal/fairfile", "internal/atomicfile", "drift", "drift/table"},
	"client/lineage":        {".", "client", "mlflow", "rayserve", "evidently"},
	"compose":               {".", "internal/stackfile", "internal/trust", "internal/lockfile", "internal/atomicfile", "rayserve", "compose/internal/proc", "airflow", "internal/fairfile"},
	"compose/stacktest":     {".", "compose", "internal/stackfile", "internal/lockfile"},
	"agent":                 {"client", "fair", "mlflow", "applesilicon", "agent/internal/heat", "agent/internal/shares", "internal/stackfile"},
	"cli":                   {".", "client", "client/lineage", "compose", "agent", "fair", "fair/sim", "internal/fairfile", "internal/stackfile", "internal/gitcmd", "mlflow", "dvc", "dvc/remote/azure", "dvc/remote/http", "dvc/remote/ssh", "airflow", "rayserve", "evidently", "applesilicon", "drift/table/parquet"},
	"drift":                 {"."},
	"drift/table":           {".", "drift"},
	"drift/table/parquet":   {"drift/table"},
	"cmd/mlopsctl":          {"cli"},
	"compose/internal/proc": {},
	"dvc/internal/known":    {"internal/rawfile", "dvc/internal/object", ".", "dvc/internal/fault"},
}

// only lists modules that one place alone may link, so that a program which
// imports a tool's package does not pay for the others.
var only = map[string][]string{
	"github.com/hashicorp/go-retryablehttp": {"internal/transport"},
	"github.com/urfave/cli/v2":              {"cli"},
	"github.com/charmbracelet/lipgloss":     {"cli"},
	"github.com/spf13/viper":                {"client", "cli"},
	"github.com/aws/aws-sdk-go-v2":          {"dvc/remote", "mlflow/s3store"},
	"github.com/fergusstrange":              {"compose"},
	"cloud.google.com/go":                   {"dvc/remote/gcs"},
	"github.com/Azure/azure-sdk-for-go":     {"dvc/remote/azure"},
	"github.com/pkg/sftp":                   {"dvc/remote/ssh"},
	"golang.org/x/crypto":                   {"dvc/remote/ssh"},
	"github.com/testcontainers":             {"compose/stacktest"},
	"modernc.org/sqlite":                    {"dvc/internal/known"},
}

type imported struct{ pkg, file, path string }

// imports lists what the non-test files below root import.
func imports(t *testing.T, root string) []imported {
	t.Helper()
	var out []imported
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bench") {
			return filepath.SkipDir
		}
		if d.IsDir() && p != root {
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
				return filepath.SkipDir // a module of its own
			}
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		for _, im := range f.Imports {
			out = append(out, imported{path.Dir(rel), rel, strings.Trim(im.Path.Value, `"`)})
		}
		return nil
	})
	require.NoError(t, err)
	return out
}

// breaches names each import that the tables forbid.
func breaches(all []imported) []string {
	var out []string
	for _, im := range all {
		if to, ours := inModule(im.path); ours && !strings.HasPrefix(im.pkg, "examples/") { // those import what a user may
			row, known := rowOf(im.pkg)
			if !known {
				out = append(out, im.file+": package "+im.pkg+" has no row in the import table")
			} else if !slices.Contains(may[row], to) {
				out = append(out, im.file+": "+im.pkg+" may not import "+to)
			}
		}
		for mod, homes := range only {
			if (im.path == mod || strings.HasPrefix(im.path, mod+"/")) && !slices.ContainsFunc(homes, func(h string) bool {
				return im.pkg == h || strings.HasPrefix(im.pkg, h+"/")
			}) {
				out = append(out, im.file+": "+mod+" belongs to "+strings.Join(homes, ", "))
			}
		}
	}
	return out
}

// rowOf finds the name of a package's row: its own, or the one that it shares.
func rowOf(pkg string) (string, bool) {
	name := pkg
	if strings.HasPrefix(pkg, "dvc/remote/") {
		name = "dvc/remote/*"
	}
	_, ok := may[name]
	return name, ok
}

// unused names the rows and entries of the table that no import needs.
func unused(all []imported) []string {
	var out []string
	for name, row := range may {
		used := map[string]bool{}
		for _, im := range all {
			if to, ours := inModule(im.path); ours {
				if of, _ := rowOf(im.pkg); of == name {
					used[to] = true
				}
			}
		}
		for _, to := range row {
			if !used[to] {
				out = append(out, name+" does not import "+to)
			}
		}
	}
	slices.Sort(out)
	return out
}

// inModule returns the package of this module that an import path names.
func inModule(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImportsFollowTheTable(t *testing.T) {
	all := imports(t, "../..")
	require.NotEmpty(t, all)
	require.Empty(t, breaches(all), "arrows that DESIGN.md does not draw")
	require.Empty(t, unused(all), "arrows that nothing uses")
	for name := range may {
		files, err := filepath.Glob(filepath.Join("../..", name, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files, "the table has a row for %s, which is no package", name)
	}
}

// upward names the entries by which a package in an internal folder would import
// the package that the folder is part of, or a neighbour of that.
func upward(table map[string][]string) []string {
	var out []string
	for name, row := range table {
		house, _, inside := strings.Cut(name, "/internal/")
		for _, to := range row {
			if inside && (to == house || strings.HasPrefix(to, house+"/")) && !strings.HasPrefix(to, house+"/internal/") {
				out = append(out, name+" → "+to)
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestARoomImportsNothingAboveIt(t *testing.T) {
	require.Empty(t, upward(may))
	require.Equal(t, []string{"dvc/internal/x → dvc", "dvc/internal/x → dvc/remote"},
		upward(map[string][]string{"dvc/internal/x": {".", "dvc", "dvc/remote", "dvc/internal/y", "internal/rawfile"}, "dvc": {"dvc/remote"}}))
}

// drawing is the table as ARCHITECTURE.md has it, the top of the house first.
func drawing() string {
	var names []string
	width := 0
	for name := range may {
		names = append(names, name)
		width = max(width, len(name))
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(depth(b)-depth(a), strings.Compare(a, b)) })
	var out strings.Builder
	for _, name := range names {
		if len(may[name]) > 0 {
			fmt.Fprintf(&out, "%-*s → %s\n", width, name, strings.Join(may[name], " "))
		}
	}
	return out.String()
}

// depth is the length of the longest way down from a package.
func depth(name string) int {
	row, _ := rowOf(name)
	most := -1
	for _, to := range may[row] {
		most = max(most, depth(to))
	}
	return most + 1
}

func TestTheDrawingIsTheTable(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	require.NoError(t, err)
	if want := "```\n" + drawing() + "```\n"; !strings.Contains(string(text), want) {
		t.Errorf("ARCHITECTURE.md, Packages and arrows, should have this drawing:\n%s", want)
	}
}

func TestAPlantedImportIsFound(t *testing.T) {
	root := t.TempDir()
	plant := func(file, imp string) {
		p := filepath.Join(root, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, []byte("package x\n\nimport _ \""+imp+"\"\n"), 0o644))
	}
	plant("mlflow/a.go", module+"/airflow")
	plant("compose/a.go", module+"/client")
	plant("mlflow/b.go", "github.com/hashicorp/go-retryablehttp")
	plant("common/a.go", module)
	plant("mlflow/ok.go", module+"/internal/transport")
	plant("mlflow/ok_test.go", module+"/client")
	require.ElementsMatch(t, []string{
		"mlflow/a.go: mlflow may not import airflow",
		"compose/a.go: compose may not import client",
		"mlflow/b.go: github.com/hashicorp/go-retryablehttp belongs to internal/transport",
		"common/a.go: package common has no row in the import table",
	}, breaches(imports(t, root)))
	left := unused(imports(t, root))
	require.Contains(t, left, "mlflow does not import internal/spool")
	require.NotContains(t, left, "mlflow does not import internal/transport")
}

// heavy are modules that only a program pays for which asked for their driver.
var heavy = []string{"cloud.google.com/", "google.golang.org/", "github.com/Azure/", "github.com/pkg/sftp", "golang.org/x/crypto/ssh"}

func TestAProgramLinksTheDriversItNamesAndNoOthers(t *testing.T) {
	deps := func(pkgs ...string) []string {
		for i := range pkgs {
			pkgs[i] = module + "/" + pkgs[i]
		}
		cmd := exec.Command("go", append([]string{"list", "-deps"}, pkgs...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		return strings.Fields(string(out))
	}
	weighs := func(all []string) (out []string) {
		for _, p := range all {
			if slices.ContainsFunc(heavy, func(h string) bool { return strings.HasPrefix(p, h) }) {
				out = append(out, p)
			}
		}
		return out
	}
	require.Empty(t, weighs(deps("dvc", "dvc/remote/s3")), "dvc with S3 alone")
	require.Empty(t, weighs(deps("dvc", "dvc/remote/local", "dvc/remote/s3", "dvc/remote/http")))
	require.Empty(t, weighs(deps("client")), "the front door")
	require.NotEmpty(t, weighs(deps("dvc/remote/gcs")), "the test finds what is there")
	all := deps("cmd/mlopsctl")
	for _, driver := range []string{"local", "s3", "http", "ssh", "azure"} {
		require.Contains(t, all, module+"/dvc/remote/"+driver, "mlopsctl links it")
	}
	for _, p := range all {
		require.False(t, strings.HasPrefix(p, "google.golang.org/grpc"), "gRPC doubles the time that mlopsctl takes to start")
	}
}

// gitStarted finds where a program starts git by itself.
var gitStarted = regexp.MustCompile(`exec\.(Command|LookPath)[A-Za-z]*\((\w+(\.\w+)*, )?"git"`)

func TestGitIsStartedInOnePlace(t *testing.T) {
	require.True(t, gitStarted.MatchString(`exec.CommandContext(g.ctx, "git", args...)`))
	require.True(t, gitStarted.MatchString(`exec.Command("git", "init")`))
	for _, im := range imports(t, "../..") {
		if im.path != "os/exec" || im.pkg == "internal/gitcmd" {
			continue
		}
		text, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(im.file)))
		require.NoError(t, err)
		require.False(t, gitStarted.Match(text), "%s starts git: internal/gitcmd keeps it from running what a repository names", im.file)
	}
}

func TestFilesStayReadable(t *testing.T) {
	var lengths []int
	for _, dir := range []string{"../.."} {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") {
				return err
			}
			b, err := os.ReadFile(p)
			n := strings.Count(string(b), "\n")
			lengths = append(lengths, n)
			if n > 600 {
				t.Errorf("%s has %d lines; 600 is the most: split it by idea", p, n)
			}
			return err
		})
		require.NoError(t, err)
	}
	slices.Sort(lengths)
	if p90 := lengths[len(lengths)*9/10]; p90 > 400 {
		t.Errorf("the 90th percentile of file lengths is %d lines, 400 is the aim", p90)
	}
}
