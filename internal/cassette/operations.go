package cassette

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
)

// Operation is a line of testdata/<tool>/operations.tsv: what a tool's API offers.
type Operation struct {
	Method, Path string
	LeftOut      string // why it does not count; empty: it does

	form *regexp.Regexp
	open int // placeholders in Path
}

func (o Operation) String() string { return o.Method + " " + o.Path }

// Operations is the whole of a tool's API.
type Operations []Operation

var placeholder = regexp.MustCompile(`\\\{[a-z_]+\\\}`) // as QuoteMeta writes it

// ReadOperations reads the operations of a tool. The test's folder lies directly
// below the module's top.
func ReadOperations(tool string) (Operations, error) {
	f, err := os.Open(filepath.Join("..", "testdata", tool, "operations.tsv"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out Operations
	lines := bufio.NewScanner(f)
	lines.Scan() // the names of the columns
	for lines.Scan() {
		col := strings.Split(lines.Text(), "\t")
		if len(col) != 4 {
			return nil, fmt.Errorf("%s: a line has %d columns: %q", f.Name(), len(col), lines.Text())
		}
		o := Operation{Method: col[0], Path: col[1], LeftOut: col[3]}
		form := placeholder.ReplaceAllStringFunc(regexp.QuoteMeta(o.Path), func(string) string {
			o.open++
			return "[^/]+"
		})
		o.form = regexp.MustCompile("^" + form + "$")
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b Operation) int { return cmp.Compare(a.open, b.open) })
	return out, lines.Err()
}

// Find returns the operation that a request, "GET /api/…", is: the one with the
// fewest placeholders if several fit, nil if none does.
func (all Operations) Find(request string) *Operation {
	method, path, _ := strings.Cut(request, " ")
	for i, o := range all {
		if o.Method == method && o.form.MatchString(path) {
			return &all[i]
		}
	}
	return nil
}

// Report prints which operations of a tool the suites of this process saw
// answered with 2xx, and returns the exit code of TestMain: 1 if that is less
// than the share least. A run that leaves tests out reports nothing.
func Report(tool string, least float64) int {
	if !wholeSuite() {
		return 0
	}
	all, err := ReadOperations(tool)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	seen := map[string]bool{}
	for _, request := range Answered(tool) {
		if o := all.Find(request); o != nil {
			seen[o.String()] = true
		}
	}
	n, due := 0, 0
	var missing []string
	for _, o := range all {
		if o.LeftOut != "" {
			continue
		}
		due++
		if seen[o.String()] {
			n++
		} else {
			missing = append(missing, o.String())
		}
	}
	share := float64(n) / float64(due)
	fmt.Printf("%s operations: %d of %d (%.1f %%)\n", tool, n, due, 100*share)
	for _, o := range missing {
		fmt.Println("  not answered:", o)
	}
	if share < least {
		fmt.Printf("FAIL: the suites reach less than %.0f %% of the operations of %s\n", 100*least, tool)
		return 1
	}
	return 0
}

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
