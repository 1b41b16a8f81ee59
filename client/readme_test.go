package client_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheProgramsInTheDocsArePartsOfExamplesThatCompile looks for each Go block of
// README.md and docs/ in the examples, which are built with the tests or by
// scripts/live.sh. Spaces and remarks may differ.
func TestTheProgramsInTheDocsArePartsOfExamplesThatCompile(t *testing.T) {
	remark := regexp.MustCompile(`(?m)(^|\s)//.*$`)
	flat := func(s string) string { return strings.Join(strings.Fields(remark.ReplaceAllString(s, "")), " ") }
	var compiled strings.Builder
	for _, file := range matches(t, "../*/example*_test.go", "../examples/*/*.go", "../examples/*/*/*.go") {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		compiled.WriteString(flat(string(b)) + "\n")
	}
	block := regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	for _, page := range matches(t, "../README.md", "../docs/*.md") {
		b, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range block.FindAllStringSubmatch(string(b), -1) {
			program := strings.TrimSuffix(flat(m[1]), " return err") // a function of the example ends otherwise
			if !strings.Contains(compiled.String(), program) {
				t.Errorf("%s has a program that no example has, so that nothing compiles it:\n%s", page, m[1])
			}
		}
	}
}

func matches(t *testing.T, patterns ...string) (files []string) {
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		require.NoError(t, err)
		require.NotEmpty(t, found, p)
		files = append(files, found...)
	}
	return files
}
