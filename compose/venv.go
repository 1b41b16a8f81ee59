package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// proofs are what an environment has to be able to import before it counts as
// made. Distributions install without complaint and fail at their first import
// when a dependency has moved on.
var proofs = map[string]string{
	"mlflow":    "import mlflow.server, mlflow.store.tracking.sqlalchemy_store, flask_wtf, psycopg2",
	"airflow":   "import airflow.settings, airflow.api_fastapi.app, psycopg2, asyncpg",
	"ray":       "import ray.serve, mlflow.pyfunc, sklearn, pandas, skops, uvicorn",
	"evidently": "import evidently, evidently.ui.service.app, pyarrow",
	"train":     "import sklearn, pandas, skops",
	"dvc":       "import dvc.repo",
	"mlflow2":   "import mlflow.server, mlflow.store.tracking.sqlalchemy_store",
}

// marker is the last file written into an environment. Without it, or with
// another lock's sum, the environment is made again.
type marker struct {
	Lock   string `json:"lock_sha256"`
	Python string `json:"python"`
	UV     string `json:"uv"`
}

const markerFile = ".mlops.json"

func readMarker(dir string) (marker, error) {
	var m marker
	b, err := os.ReadFile(filepath.Join(dir, markerFile))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(b, &m)
}

// venvDir is where an environment lies.
func venvDir(home, venv string) string { return filepath.Join(home, "venvs", venv) }

// made reports whether the environment is there, whole, and of this lock.
func made(home, venv, sum string) bool {
	m, err := readMarker(venvDir(home, venv))
	if err != nil || m.Lock != sum {
		return false
	}
	_, err = os.Stat(filepath.Join(venvDir(home, venv), "bin", "python")) // its target may be gone
	return err == nil
}

// lockDrift says how an environment differs from its lock; empty means not at
// all. It reads the names of the installed distributions and runs nothing.
func lockDrift(home, venv string) (string, error) {
	text, sum, err := lockText(venv)
	if err != nil {
		return "", err
	}
	m, err := readMarker(venvDir(home, venv))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it is not installed", nil
	case err != nil:
		return "its marker cannot be read: " + err.Error(), nil
	case m.Lock != sum:
		return "it was made from another lock", nil
	case !made(home, venv, sum):
		return "its Python " + m.Python + " is gone", nil
	}
	infos, err := filepath.Glob(filepath.Join(venvDir(home, venv), "lib", "python*", "site-packages", "*.dist-info"))
	if err != nil {
		return "", err
	}
	have := map[string]string{}
	for _, i := range infos {
		name, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(i), ".dist-info"), "-")
		have[canonical(name)] = version
	}
	return drift(lockPins(text), have), nil
}

// drift compares installed distributions with pins and names at most four
// differences.
func drift(pins []pin, have map[string]string) string {
	want := map[string][]string{}
	var out []string
	for _, p := range pins {
		want[p.name] = append(want[p.name], p.version)
		if _, ok := have[p.name]; p.always && !ok {
			out = append(out, p.name+" "+p.version+" is missing")
		}
	}
	for name, version := range have {
		switch {
		case want[name] == nil:
			out = append(out, name+" "+version+" is not in the lock")
		case !slices.Contains(want[name], version):
			out = append(out, name+" is "+version+" instead of "+strings.Join(want[name], " or "))
		}
	}
	slices.Sort(out)
	if n := len(out); n > 4 {
		out = append(out[:4], fmt.Sprintf("and %d more", n-4))
	}
	return strings.Join(out, ", ")
}

// uv is the program that makes environments.
type uv struct {
	path    string
	version string
	home    string
	python  interpreter // zero: uv shall find or fetch one
}

// oldestUV is the first that knows all we ask of it.
var oldestUV = [2]int{0, 5}

// findUV looks on PATH and in the home.
func findUV(ctx context.Context, home string) (uv, bool) {
	for _, path := range []string{lookPath("uv"), filepath.Join(home, "uv", "bin", "uv")} {
		if path == "" {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			continue
		}
		if v, ok := uvVersion(string(out)); ok {
			return uv{path: path, version: v, home: home}, true
		}
	}
	return uv{}, false
}

func lookPath(name string) string {
	p, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return p
}

// uvVersion reads "uv 0.13.9 (…)" and reports whether it is young enough.
func uvVersion(said string) (string, bool) {
	f := strings.Fields(said)
	if len(f) < 2 || f[0] != "uv" {
		return "", false
	}
	part := strings.Split(f[1], ".")
	if len(part) < 2 {
		return "", false
	}
	major, err1 := strconv.Atoi(part[0])
	minor, err2 := strconv.Atoi(part[1])
	if err1 != nil || err2 != nil {
		return "", false
	}
	return f[1], major > oldestUV[0] || major == oldestUV[0] && minor >= oldestUV[1]
}

// makeUV installs uv into the home with pip, from its own hashed lock.
func makeUV(ctx context.Context, home string, p interpreter) (uv, error) {
	text, _, err := lockText("uv")
	if err != nil {
		return uv{}, err
	}
	dir := filepath.Join(home, "uv")
	if err := os.RemoveAll(dir); err != nil {
		return uv{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return uv{}, err
	}
	req := filepath.Join(dir, "uv.txt")
	if err := os.WriteFile(req, []byte(text), 0o600); err != nil {
		return uv{}, err
	}
	u := uv{home: home}
	install := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes", "-r", req}
	switch {
	case p.EnsureP:
		err = u.run(ctx, p.Path, "-m", "venv", dir)
		if err == nil {
			err = u.run(ctx, filepath.Join(dir, "bin", "python"), install...)
		}
	case p.Pip:
		err = u.run(ctx, p.Path, append(install, "--target", dir)...)
	default:
		err = &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Message: p.Path + " has neither venv nor pip; install uv, or the system's package python3-venv"}
	}
	if err != nil {
		return uv{}, fmt.Errorf("install uv with %s: %w", p.Path, err)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "bin", "uv"), "--version").Output()
	if err != nil {
		return uv{}, fmt.Errorf("the uv just installed does not run: %w", err)
	}
	u.path = filepath.Join(dir, "bin", "uv")
	u.version, _ = uvVersion(string(out))
	return u, nil
}

// environ is ours without what would bend another Python: the user's own
// settings for indexes, proxies and certificates stay.
func (u uv) environ() []string {
	out := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "PYTHON") || slices.Contains([]string{"VIRTUAL_ENV", "CONDA_PREFIX", "PIP_USER", "PIP_TARGET", "PIP_REQUIRE_VIRTUALENV"}, name)
	})
	return append(out,
		"UV_CACHE_DIR="+filepath.Join(u.home, "cache", "uv"),
		"UV_PYTHON_INSTALL_DIR="+filepath.Join(u.home, "cache", "python"),
		"UV_NO_PROGRESS=1", "NO_COLOR=1",
		"UV_HTTP_TIMEOUT=120",
		"UV_COMPILE_BYTECODE_TIMEOUT=600",
	)
}

// offline finds what pip and uv say when they reach no index.
var offline = regexp.MustCompile(`(?i)name resolution|failed to establish a new connection|network is unreachable|dns error|failed to lookup address|tcp connect error`)

// run starts a program and waits for it. Its error carries the last lines of
// what it said. The program gets SIGTERM when ctx ends.
func (u uv) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = u.environ()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && offline.Match(said.Bytes()) {
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "compose", Cause: err, Message: filepath.Base(program) +
			" reaches no package index; check the network, or name a mirror in PIP_INDEX_URL and UV_DEFAULT_INDEX, and run mlopsctl setup again: it continues where it ended"}
	}
	if err != nil {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.Join(lines[max(0, len(lines)-6):], "; "))
	}
	return nil
}

// build makes an environment from its lock, whole or not at all: the marker is
// written last, and what has none is removed first.
func (u uv) build(ctx context.Context, venv string) error {
	text, sum, err := lockText(venv)
	if err != nil {
		return err
	}
	dir := venvDir(u.home, venv)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	args := []string{"venv", "--quiet", "--no-project", "--python", "3.12", dir}
	if u.python.Path != "" {
		args[4] = u.python.Path
	}
	if err := u.run(ctx, u.path, args...); err != nil {
		if u.python.Path == "" {
			return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Cause: err,
				Message: "there is no " + pythonRange + " on this machine and uv could not fetch one; install one, or name it in MLOPS_PYTHON (" + err.Error() + ")"}
		}
		return err
	}
	req := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(req, []byte(text), 0o600); err != nil {
		return err
	}
	python := filepath.Join(dir, "bin", "python")
	if err := u.run(ctx, u.path, "pip", "install", "--quiet", "--require-hashes", "--compile-bytecode", "--python", python, "-r", req); err != nil {
		return err
	}
	if err := u.prove(ctx, venv, python); err != nil {
		return err
	}
	p, err := tryPython(ctx, python)
	if err != nil {
		return err
	}
	b, err := json.Marshal(marker{Lock: sum, Python: p.version(), UV: u.version})
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(dir, markerFile), string(b)+"\n")
}

// prove imports what the environment is for.
func (u uv) prove(ctx context.Context, venv, python string) error {
	scratch, err := os.MkdirTemp(filepath.Join(u.home, "venvs"), ".proof-") // Airflow writes a file at import
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	err = u.run(ctx, "/usr/bin/env", "AIRFLOW_HOME="+scratch, "DO_NOT_TRACK=1", python, "-I", "-c", proofs[venv])
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("the environment is installed and does not work: %w", err)
	}
	return err
}

// lockFile takes the exclusive lock of a file and returns what releases it. It
// tells once if it has to wait.
func lockFile(ctx context.Context, path string, waiting func()) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := lockfile.Open(path, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockfile.Wait(ctx, f, 200*time.Millisecond, waiting); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
