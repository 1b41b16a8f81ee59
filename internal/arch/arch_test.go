// Package arch holds the import table as a test: who may import whom.
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/mlops-integration/mlops"

// may lists for each package what it may import of this module. Arrows point
// down only; a new line or a new entry is a design change (ARCHITECTURE.md).
var may = map[string][]string{
	".":                  {},
	"internal/transport": {"."},
	"internal/rawfile":   {},
	"internal/trust":     {"."},
	"internal/spool":     {"."},
	"internal/stackfile": {".", "internal/trust"},
	"internal/cassette":  {".", "internal/stackfile"}, // imported by tests only
	"mlflow":             {".", "internal/transport", "internal/spool"},
	"mlflow/s3store":     {".", "mlflow"},
	"dvc":                {".", "internal/rawfile", "dvc/remote"},
	"dvc/remote":         {"."},
	"airflow":            {".", "internal/transport"},
	"rayserve":           {".", "internal/transport"},
	"evidently":          {".", "internal/transport"},
	"applesilicon":       {"."},
	"client":             {".", "internal/stackfile", "internal/trust", "mlflow", "mlflow/s3store", "dvc", "dvc/remote", "dvc/remote/local", "dvc/remote/s3", "airflow", "rayserve", "evidently", "applesilicon"},
	"compose":            {".", "internal/stackfile", "internal/trust", "mlflow", "airflow", "rayserve", "evidently"},
	"compose/stacktest":  {".", "compose", "internal/stackfile"},
	"agent":              {".", "client", "mlflow", "applesilicon"},
	"gateway":            {".", "client"},
	"dashboard":          {".", "client"},
	"cli":                {".", "client", "compose", "agent", "gateway", "dashboard", "internal/stackfile", "mlflow", "dvc", "dvc/remote/azure", "dvc/remote/http", "dvc/remote/ssh", "airflow", "rayserve", "evidently", "applesilicon"},
	"cmd/mlopsctl":       {"cli"},
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
	"modernc.org/sqlite":                    {"dvc"},
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
		if im.path == module || strings.HasPrefix(im.path, module+"/") {
			to := strings.TrimPrefix(strings.TrimPrefix(im.path, module), "/")
			if to == "" {
				to = "."
			}
			allowed, known := rowOf(im.pkg)
			if !known {
				out = append(out, im.file+": package "+im.pkg+" has no row in the import table")
			} else if !slices.Contains(allowed, to) {
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

// rowOf finds the row of a package: its own, or that of the driver packages
// and examples, which share one.
func rowOf(pkg string) ([]string, bool) {
	if strings.HasPrefix(pkg, "examples/") {
		return append(may["cli"], "."), true // whatever a user may import
	}
	if strings.HasPrefix(pkg, "dvc/remote/") {
		return []string{".", "internal/rawfile", "dvc/remote"}, true
	}
	if pkg == "rayserve/bentoml" {
		return []string{".", "rayserve", "internal/transport"}, true
	}
	r, ok := may[pkg]
	return r, ok
}

func TestImportsFollowTheTable(t *testing.T) {
	all := imports(t, "../..")
	require.NotEmpty(t, all)
	require.Empty(t, breaches(all), "arrows that DESIGN.md does not draw")
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
