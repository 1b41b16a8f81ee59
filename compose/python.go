package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// interpreter is a Python that was seen to run.
type interpreter struct {
	Path    string `json:"path"` // the program itself, not a shim
	Major   int    `json:"major"`
	Minor   int    `json:"minor"`
	Micro   int    `json:"micro"`
	Bits    int    `json:"bits"`
	EnsureP bool   `json:"ensurepip"` // it can make an environment with pip in it
	Pip     bool   `json:"pip"`
}

func (p interpreter) version() string { return fmt.Sprintf("%d.%d.%d", p.Major, p.Minor, p.Micro) }

// fits reports whether the locks hold for it.
func (p interpreter) fits() bool {
	return p.Major == 3 && p.Minor >= 10 && p.Minor <= 13 && p.Bits == 64
}

const pythonRange = "Python 3.10 to 3.13, 64 bit"

const pythonAsks = `import importlib.util as u, json, os, sys
print(json.dumps({"path": os.path.realpath(sys.executable), "major": sys.version_info[0],
  "minor": sys.version_info[1], "micro": sys.version_info[2], "bits": 64 if sys.maxsize > 2**32 else 32,
  "ensurepip": u.find_spec("ensurepip") is not None, "pip": u.find_spec("pip") is not None}))`

// tryPython runs a program that calls itself Python. A shim of pyenv exists
// for every version and runs only for the chosen ones, so nothing else proves
// that there is an interpreter.
func tryPython(ctx context.Context, program string) (interpreter, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-I", "-c", pythonAsks)
	cmd.WaitDelay = time.Second
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if first, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n"); first != "" {
			return interpreter{}, fmt.Errorf("%s: %s", program, first)
		}
		return interpreter{}, fmt.Errorf("%s: %w", program, err)
	}
	var p interpreter
	if err := json.Unmarshal(out, &p); err != nil {
		return interpreter{}, fmt.Errorf("%s is no Python: it answers %.60q", program, out)
	}
	if !p.fits() {
		return p, fmt.Errorf("%s is Python %s, %d bit; %s is needed", program, p.version(), p.Bits, pythonRange)
	}
	return p, nil
}

// errNoPython says that no interpreter was found.
var errNoPython = errors.New("no interpreter found")

// findPython returns the first Python that runs and fits: what MLOPS_PYTHON
// names, and that alone if it is set; then what PATH offers; then pyenv's.
func findPython(ctx context.Context) (interpreter, error) {
	if named := os.Getenv("MLOPS_PYTHON"); named != "" {
		p, err := tryPython(ctx, named)
		if err != nil {
			return p, &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Message: "MLOPS_PYTHON: " + err.Error()}
		}
		return p, nil
	}
	for _, program := range pythonCandidates() {
		if p, err := tryPython(ctx, program); err == nil {
			return p, nil
		}
		if ctx.Err() != nil {
			return interpreter{}, context.Cause(ctx)
		}
	}
	return interpreter{}, errNoPython
}

// pythonCandidates lists programs that may be an interpreter, in the order in
// which we like them: versions that every lock was tried with come first.
func pythonCandidates() []string {
	var out []string
	add := func(p string) {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, name := range []string{"python3.11", "python3.12", "python3.13", "python3.10", "python3", "python"} {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if filepath.IsAbs(dir) {
				add(filepath.Join(dir, name))
			}
		}
	}
	root := os.Getenv("PYENV_ROOT")
	if home, err := os.UserHomeDir(); root == "" && err == nil {
		root = filepath.Join(home, ".pyenv")
	}
	for _, minor := range []string{"3.11", "3.12", "3.13", "3.10"} {
		found, _ := filepath.Glob(filepath.Join(root, "versions", minor+"*", "bin", "python3"))
		for _, p := range slices.Backward(found) {
			add(p)
		}
	}
	return out
}

// noPython is the one sentence for a machine without an interpreter.
func noPython() error {
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose",
		Message: "there is no " + pythonRange + " on this machine; install one (apt-get install python3 python3-venv, brew install python@3.12) or uv, or name it in MLOPS_PYTHON"}
}
