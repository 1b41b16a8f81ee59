package dvc_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// oracle is the real dvc as one long-lived process, testdata/dvc/oracle.py:
// starting dvc takes longer than most of what it is asked.
type oracle struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
}

var theOracle = sync.OnceValues(func() (*oracle, error) {
	bin := os.Getenv("MLOPS_DVC")
	if bin == "" {
		bin = filepath.Join(os.Getenv("MLOPS_HOME"), "venvs", "dvc", "bin", "dvc")
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(bin), "python"), filepath.Join("..", "testdata", "dvc", "oracle.py"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// It ends when its stdin does, with this process.
	return &oracle{in: in, out: bufio.NewReader(out)}, cmd.Start()
})

func (o *oracle) ask(request, answer any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := o.in.Write(append(line, '\n')); err != nil {
		return err
	}
	if line, err = o.out.ReadBytes('\n'); err != nil {
		return fmt.Errorf("the oracle is gone: %w", err)
	}
	return json.Unmarshal(line, answer)
}

// try runs the real dvc.
func (w *world) try(dir string, args ...string) (string, error) {
	w.t.Helper()
	if w.bin == "" {
		w.bin = realDVC(w.t)
	}
	o, err := theOracle()
	require.NoError(w.t, err)
	env := map[string]string{}
	for _, kv := range os.Environ() {
		for i := range kv {
			if kv[i] == '=' {
				env[kv[:i]] = kv[i+1:]
				break
			}
		}
	}
	var answer struct {
		Code int
		Out  string
		Err  string
	}
	require.NoError(w.t, o.ask(map[string]any{"dir": dir, "args": args, "env": env}, &answer))
	if answer.Code != 0 {
		return answer.Out, fmt.Errorf("dvc %v: exit code %d: %s", args, answer.Code, answer.Err)
	}
	return answer.Out, nil
}

// pythonValues evaluates a Python expression over x for each item.
func pythonValues[T any](t testing.TB, setup, expr string, items any) []T {
	t.Helper()
	o, err := theOracle()
	require.NoError(t, err)
	var answer struct{ Values []T }
	require.NoError(t, o.ask(map[string]any{"setup": setup, "eval": expr, "items": items}, &answer))
	return answer.Values
}
