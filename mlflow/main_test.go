package mlflow

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/cassette"
)

// least is the share of MLflow's operations that the suites have to see answered.
const least = 0.90

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if own.stop != nil {
		own.stop()
	}
	for _, end := range atEnd {
		end()
	}
	if code == 0 && wholeSuite() {
		code = report()
	}
	os.Exit(code)
}

var atEnd []func()

// AtEnd has TestMain call end when all tests are over.
func AtEnd(end func()) { atEnd = append(atEnd, end) }

// wholeSuite reports whether no flag leaves tests out.
func wholeSuite() bool {
	if testing.Short() {
		return false
	}
	for _, f := range []string{"test.run", "test.skip", "test.list", "test.fuzz", "test.bench"} {
		if flag.Lookup(f).Value.String() != "" {
			return false
		}
	}
	return true
}

// report prints which operations were answered with 2xx, and returns the exit
// code that this deserves.
func report() int {
	list, err := operations()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	seen := map[string]bool{}
	for _, request := range cassette.Answered("mlflow") {
		if o := find(list, request); o != nil {
			seen[o.String()] = true
		}
	}
	n, due := 0, 0
	var missing []string
	for _, o := range list {
		switch {
		case o.leftOut != "":
		case seen[o.String()]:
			n, due = n+1, due+1
		default:
			due++
			missing = append(missing, o.String())
		}
	}
	share := float64(n) / float64(due)
	fmt.Printf("mlflow operations: %d of %d (%.1f %%)\n", n, due, 100*share)
	for _, o := range missing {
		fmt.Println("  not answered:", o)
	}
	if share < least {
		fmt.Printf("FAIL: the suites reach less than %.0f %% of MLflow's operations\n", 100*least)
		return 1
	}
	return 0
}

// operation is a line of testdata/mlflow/operations.tsv.
type operation struct {
	method, path string
	leftOut      string // why it does not count; empty: it does
	form         *regexp.Regexp
	open         int // placeholders in path
}

func (o operation) String() string { return o.method + " " + o.path }

var placeholder = regexp.MustCompile(`\\\{[a-z_]+\\\}`) // as QuoteMeta writes it

func operations() ([]operation, error) {
	f, err := os.Open(filepath.Join("..", "testdata", "mlflow", "operations.tsv"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []operation
	lines := bufio.NewScanner(f)
	lines.Scan() // the names of the columns
	for lines.Scan() {
		col := strings.Split(lines.Text(), "\t")
		if len(col) != 4 {
			return nil, fmt.Errorf("%s: a line has %d columns: %q", f.Name(), len(col), lines.Text())
		}
		o := operation{method: col[0], path: col[1], leftOut: col[3]}
		form := placeholder.ReplaceAllStringFunc(regexp.QuoteMeta(plainPath(o.path)), func(s string) string {
			o.open++
			if strings.Contains(s, "path") {
				return ".+" // slashes too
			}
			return "[^/]+"
		})
		o.form = regexp.MustCompile("^" + form + "$")
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b operation) int { return cmp.Compare(a.open, b.open) })
	return out, lines.Err()
}

// plainPath takes the two addresses of most operations together.
func plainPath(p string) string { return strings.Replace(p, "/ajax-api/", "/api/", 1) }

// find returns the operation that a request is, the one with the fewest
// placeholders if several fit.
func find(list []operation, request string) *operation {
	method, path, _ := strings.Cut(request, " ")
	for i, o := range list {
		if o.method == method && o.form.MatchString(plainPath(path)) {
			return &list[i]
		}
	}
	return nil
}

func TestRequestsAreCountedForTheOperationTheyAre(t *testing.T) {
	list, err := operations()
	require.NoError(t, err)
	for request, want := range map[string]string{
		"GET /api/3.0/mlflow/traces/get":                        "GET /api/3.0/mlflow/traces/get",
		"GET /api/3.0/mlflow/traces/tr-1":                       "GET /api/3.0/mlflow/traces/{trace_id}",
		"GET /ajax-api/2.0/mlflow/runs/get":                     "GET /api/2.0/mlflow/runs/get",
		"PUT /api/2.0/mlflow-artifacts/artifacts/1/x/a.txt":     "PUT /api/2.0/mlflow-artifacts/artifacts/{artifact_path}",
		"DELETE /api/2.0/mlflow/logged-models/m-1/tags/k":       "DELETE /api/2.0/mlflow/logged-models/{model_id}/tags/{tag_key}",
		"DELETE /api/2.0/mlflow/logged-models/m-1":              "DELETE /api/2.0/mlflow/logged-models/{model_id}",
		"POST /ajax-api/2.0/mlflow/experiments/search-datasets": "POST /ajax-api/2.0/mlflow/experiments/search-datasets",
	} {
		o := find(list, request)
		require.NotNil(t, o, request)
		require.Equal(t, want, o.String())
	}
	require.Nil(t, find(list, "GET /api/2.0/mlflow/no/such/call"))
}

func TestEveryMethodNamesAnOperationThatMLflowHas(t *testing.T) {
	list, err := operations()
	require.NoError(t, err)
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^// MLflow REST: (.*)$`)
	n := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range line.FindAllStringSubmatch(string(b), -1) {
			for request := range strings.SplitSeq(m[1], ", ") {
				if _, path, _ := strings.Cut(request, " "); !strings.HasPrefix(path, "/") {
					continue // "any", or the rest of a sentence
				}
				n++
				request = strings.TrimSuffix(request, ",")
				require.NotNil(t, find(list, request), "%s: %q is not in operations.tsv", file, request)
			}
		}
	}
	require.Greater(t, n, 100)
}
