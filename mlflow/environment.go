package mlflow

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mlops-integration/mlops"
)

// Environment is what is installed in a Python environment.
type Environment struct {
	Python   string            // "3.11.7"
	Packages map[string]string // version by name, "scikit-learn"
}

// ReadEnvironment reads a virtual environment, given its folder or the path of
// its interpreter. No Python is run. The error matches [mlops.ErrNotFound] if
// there is no environment.
func ReadEnvironment(venv string) (Environment, error) {
	root := venv
	if info, err := os.Stat(venv); err == nil && !info.IsDir() {
		root = filepath.Dir(filepath.Dir(venv)) // …/bin/python
	}
	b, err := os.ReadFile(filepath.Join(root, "pyvenv.cfg"))
	if err != nil {
		return Environment{}, &mlops.Error{Kind: mlops.ErrNotFound, Service: "mlflow", Op: "ReadEnvironment", Cause: err, Message: fmt.Sprintf("%s is no Python environment: %v", venv, err)}
	}
	e := Environment{Packages: map[string]string{}}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, "=")
		switch v = strings.TrimSpace(v); strings.TrimSpace(k) {
		case "version", "version_info": // venv's and uv's names for it
			e.Python = plainVersion(v)
		}
	}
	for _, pattern := range []string{"lib/python3*/site-packages/*.dist-info", "Lib/site-packages/*.dist-info"} {
		found, err := filepath.Glob(filepath.Join(escapeGlob(root), filepath.FromSlash(pattern)))
		if err != nil {
			return Environment{}, err
		}
		for _, f := range found {
			name, v, ok := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".dist-info"), "-")
			if ok {
				e.Packages[normal(name)] = v
			}
		}
	}
	return e, nil
}

// plainVersion takes "3.11.7.final.0" to "3.11.7".
func plainVersion(v string) string {
	parts := strings.Split(v, ".")
	return strings.Join(parts[:min(3, len(parts))], ".")
}

// escapeGlob keeps the characters of a folder's name from being a pattern.
func escapeGlob(s string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// normal is the form in which package names are compared.
func normal(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(strings.TrimSpace(name)))
}

// requirementName is the package that a line of requirements is about.
func requirementName(line string) string {
	if i := strings.IndexAny(line, "=<>!~;[ @"); i >= 0 {
		line = line[:i]
	}
	return normal(line)
}
