package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// script writes a program for /bin/sh.
func script(t *testing.T, path, body string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

const saysPython = `echo '{"path": "/opt/py/bin/python%s", "major": 3, "minor": %s, "micro": 4, "bits": 64, "ensurepip": true, "pip": true}'`

func pythonThat(t *testing.T, path, minor string) string {
	return script(t, path, fmt.Sprintf(saysPython, "3."+minor, minor))
}

// only sets PATH to dirs and takes away what else leads to a Python.
func only(t *testing.T, dirs ...string) {
	t.Helper()
	t.Setenv("PATH", strings.Join(dirs, string(os.PathListSeparator)))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("PYENV_ROOT", filepath.Join(t.TempDir(), "none"))
	t.Setenv("MLOPS_PYTHON", "")
}

func TestAShimThatDoesNotRunIsPassedOver(t *testing.T) {
	shims, bin := t.TempDir(), t.TempDir()
	script(t, filepath.Join(shims, "python3.11"), `echo "pyenv: python3.11: command not found" >&2; exit 127`)
	script(t, filepath.Join(shims, "python3.12"), `echo hello`)
	pythonThat(t, filepath.Join(shims, "python3.13"), "14") // lies about its version
	pythonThat(t, filepath.Join(bin, "python3"), "10")
	only(t, shims, bin)
	p, err := findPython(t.Context())
	require.NoError(t, err)
	require.Equal(t, "3.10.4", p.version(), "the only program that runs and fits is python3")
}

func TestPyenvVersionsAreFoundWithoutShims(t *testing.T) {
	only(t, t.TempDir())
	root := t.TempDir()
	t.Setenv("PYENV_ROOT", root)
	pythonThat(t, filepath.Join(root, "versions", "3.9.1", "bin", "python3"), "9")
	pythonThat(t, filepath.Join(root, "versions", "3.12.7", "bin", "python3"), "12")
	p, err := findPython(t.Context())
	require.NoError(t, err)
	require.Equal(t, 12, p.Minor)
}

func TestMLOPSPythonIsTakenOrRefusedButNotReplaced(t *testing.T) {
	bin := t.TempDir()
	pythonThat(t, filepath.Join(bin, "python3.11"), "11")
	only(t, bin)
	t.Setenv("MLOPS_PYTHON", pythonThat(t, filepath.Join(t.TempDir(), "mine"), "13"))
	p, err := findPython(t.Context())
	require.NoError(t, err)
	require.Equal(t, 13, p.Minor)

	t.Setenv("MLOPS_PYTHON", pythonThat(t, filepath.Join(t.TempDir(), "mine"), "9"))
	_, err = findPython(t.Context())
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.ErrorContains(t, err, "is Python 3.9.4, 64 bit; Python 3.10 to 3.13, 64 bit is needed")
}

func TestWithoutPythonAndUVTheErrorSaysWhatToInstall(t *testing.T) {
	only(t, t.TempDir())
	in := &installer{home: t.TempDir(), tell: func(Event) {}}
	err := in.install(t.Context(), []string{"train"})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.ErrorContains(t, err, "install one (apt-get install python3")
	require.NotContains(t, err.Error(), "\n")
}

// fakeUV is a uv on PATH that writes what it was asked, and makes what the
// next step looks for. hold, if there is such a file, makes "pip install" wait
// for its removal.
func fakeUV(t *testing.T) (bin, calls, hold string) {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	calls, hold = filepath.Join(dir, "calls"), filepath.Join(dir, "hold")
	pythonThat(t, filepath.Join(bin, "python3.11"), "11")
	script(t, filepath.Join(bin, "uv"), fmt.Sprintf(`
PATH=/usr/bin:/bin
[ "$1" = --version ] && { echo "uv 0.13.9 (test)"; exit; }
echo "$* bytecode=${PYTHONDONTWRITEBYTECODE-unset} cache=$UV_CACHE_DIR" >> %[1]s
case $1 in
venv) for dir; do :; done; mkdir -p "$dir/bin"; cp %[3]s/python3.11 "$dir/bin/python" ;;
pip) while [ -e %[2]s ]; do sleep 0.05 & wait $!; done; [ ! -e %[2]s.fail ] || { echo "no such wheel" >&2; exit 1; } ;;
esac`, calls, hold, bin))
	only(t, bin)
	return bin, calls, hold
}

func lines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestAnEnvironmentIsMadeOnceFromItsHashedLock(t *testing.T) {
	_, calls, _ := fakeUV(t)
	t.Setenv("PYTHONDONTWRITEBYTECODE", "1")
	home := t.TempDir()
	var events []Event
	in := &installer{home: home, tell: func(e Event) { events = append(events, e) }}
	require.NoError(t, in.install(t.Context(), []string{"train", "train"}))
	got := lines(t, calls)
	require.Len(t, got, 2)
	require.Contains(t, got[0], "venv --quiet --no-project --python /opt/py/bin/python3.11 "+venvDir(home, "train"))
	require.Contains(t, got[1], "--require-hashes --compile-bytecode")
	for _, call := range got {
		require.Contains(t, call, "bytecode=unset", "servers without bytecode take minutes to start")
		require.Contains(t, call, "cache="+filepath.Join(home, "cache", "uv"))
	}
	require.Equal(t, StateReady, events[len(events)-1].State)

	require.NoError(t, in.install(t.Context(), []string{"train"}))
	require.Len(t, lines(t, calls), 2, "it is there; nothing is to be done")
	d, err := lockDrift(home, "train")
	require.NoError(t, err)
	require.Contains(t, d, "is missing", "the fake installs nothing, and drift looks at what is installed")
}

func TestAnInterruptedOrChangedEnvironmentIsMadeAnew(t *testing.T) {
	_, calls, hold := fakeUV(t)
	home := t.TempDir()
	in := &installer{home: home, tell: func(Event) {}}
	require.NoError(t, os.WriteFile(hold, nil, 0o600))
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	done := make(chan error, 1)
	go func() { done <- in.install(ctx, []string{"train"}) }()
	require.Eventually(t, func() bool { return len(lines(t, calls)) == 2 }, 20*time.Second, 10*time.Millisecond)
	cancel(interrupted)
	require.ErrorIs(t, <-done, interrupted)
	require.NoError(t, os.Remove(hold))
	d, err := lockDrift(home, "train")
	require.NoError(t, err)
	require.Equal(t, "it is not installed", d, "half an environment counts as none")

	stale := filepath.Join(venvDir(home, "train"), "half")
	require.NoError(t, os.WriteFile(stale, nil, 0o600))
	require.NoError(t, in.install(t.Context(), []string{"train"}))
	require.NoFileExists(t, stale)

	mark := filepath.Join(venvDir(home, "train"), markerFile)
	require.NoError(t, os.WriteFile(mark, []byte(`{"lock_sha256":"00"}`), 0o600))
	d, err = lockDrift(home, "train")
	require.NoError(t, err)
	require.Equal(t, "it was made from another lock", d)
	require.NoError(t, in.install(t.Context(), []string{"train"}))
	require.Len(t, lines(t, calls), 6)

	require.NoError(t, os.Remove(filepath.Join(venvDir(home, "train"), "bin", "python")))
	d, err = lockDrift(home, "train")
	require.NoError(t, err)
	require.Contains(t, d, "is gone")
	require.NoError(t, os.WriteFile(hold+".fail", nil, 0o600))
	err = in.install(t.Context(), []string{"train"})
	require.ErrorContains(t, err, "compose: setup: train: uv: exit status 1: no such wheel")
}

func TestSetupsAtTheSameTimeMakeAnEnvironmentOnce(t *testing.T) {
	_, calls, hold := fakeUV(t)
	home := t.TempDir()
	require.NoError(t, os.WriteFile(hold, nil, 0o600))
	waits := make(chan struct{}, 1)
	in := &installer{home: home, tell: func(e Event) {
		if e.State == StateWaiting {
			waits <- struct{}{}
		}
	}}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			require.NoError(t, (&installer{home: home, tell: in.tell}).install(t.Context(), []string{"train"}))
		})
	}
	<-waits // the second says so
	require.NoError(t, os.Remove(hold))
	wg.Wait()
	require.Len(t, lines(t, calls), 2)
}

func TestOnlyKnownEnvironmentsAreMade(t *testing.T) {
	in := &installer{home: t.TempDir(), tell: func(Event) {}}
	for _, name := range []string{"uv", "mlfow", "../mlflow", ""} {
		require.ErrorContains(t, in.install(t.Context(), []string{name}), "no environment is called", name)
	}
}

func TestAnOldUVIsNotUsed(t *testing.T) {
	for said, ok := range map[string]bool{"uv 0.13.9 (abc)": true, "uv 0.5.0": true, "uv 1.0.0": true, "uv 0.4.30": false, "uv": false, "bash: uv": false, "uv x.y": false} {
		_, got := uvVersion(said)
		require.Equal(t, ok, got, said)
	}
}

func TestSetupMakesWhatIsAskedForAndNoDatabase(t *testing.T) {
	_, calls, _ := fakeUV(t)
	var said []string
	s, err := New(Options{Home: t.TempDir(), Command: "mlopsctl", Progress: func(e Event) { said = append(said, e.Service+" "+string(e.State)) }})
	require.NoError(t, err)
	require.NoError(t, s.Setup(t.Context(), SetupOptions{Environments: []string{"train"}}))
	require.Len(t, lines(t, calls), 2)
	require.Equal(t, "train ready", said[len(said)-1])
	require.NoFileExists(t, postgresNote(s.home))
	require.NoError(t, s.ensureAll(t.Context(), []service{{name: "app"}}), "a service without an environment needs none")
}

func TestWithoutANetworkTheErrorIsOneSentence(t *testing.T) {
	pip := script(t, filepath.Join(t.TempDir(), "pip"), "echo 'WARNING: Retrying after NewConnectionError: [Errno -3] Temporary failure in name resolution' >&2; exit 1")
	err := uv{home: t.TempDir()}.run(t.Context(), pip)
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorContains(t, err, "pip reaches no package index")
	require.NotContains(t, err.Error(), "Retrying")
}
