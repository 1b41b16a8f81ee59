package gotask_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/airflow/gotask"
)

// tasks are those of this test program, which calls itself.
var tasks = gotask.Tasks{
	"prepare": func(_ context.Context, t *gotask.Task) (any, error) {
		var conf struct {
			Rows int `json:"rows"`
		}
		err := t.Conf(&conf)
		fmt.Println("preparing", conf.Rows)
		return map[string]any{"rows": conf.Rows, "run": t.Run}, err
	},
	"train": func(_ context.Context, t *gotask.Task) (any, error) {
		if t.Try == 1 {
			return nil, errors.New("the first try fails")
		}
		var in struct{ Rows int }
		err := t.Input("DATA", &in)
		return []int{in.Rows, in.Rows + 1}, err
	},
	"score": func(_ context.Context, t *gotask.Task) (any, error) {
		var n int
		err := t.Item(&n)
		return n*10 + t.Index, err
	},
	"panics": func(context.Context, *gotask.Task) (any, error) {
		first := func(of []int) int { return of[0] }
		return first(nil), nil
	},
	"nothing": func(context.Context, *gotask.Task) (any, error) {
		fmt.Println("a last line of the log")
		return nil, nil
	},
	"skips": func(context.Context, *gotask.Task) (any, error) {
		return nil, fmt.Errorf("nothing new: %w", gotask.ErrSkip)
	},
	"odd": func(context.Context, *gotask.Task) (any, error) { return func() {}, nil },
	"waits": func(ctx context.Context, _ *gotask.Task) (any, error) {
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("tidied up")
		if file := os.Getenv("TIDY"); file != "" {
			_ = os.WriteFile(file, nil, 0o600)
		}
		return nil, ctx.Err()
	},
}

func TestMain(m *testing.M) {
	if gotask.Calls(os.Args[1:]) {
		os.Exit(tasks.Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// command is this program, with what Airflow's side hands to it.
func command(t *testing.T, env map[string]any, args ...string) (*exec.Cmd, func() string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), "MLOPS_RETURN_FILE="+filepath.Join(dir, "return"))
	for name, v := range env {
		s, isText := v.(string)
		if !isText {
			b, err := json.Marshal(v)
			require.NoError(t, err)
			s = filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(s, b, 0o600))
		}
		cmd.Env = append(cmd.Env, name+"="+s)
	}
	return cmd, func() string {
		b, err := os.ReadFile(filepath.Join(dir, "return"))
		if errors.Is(err, os.ErrNotExist) {
			return ""
		}
		require.NoError(t, err)
		return string(b)
	}
}

func TestATaskReturnsItsValueOrItsError(t *testing.T) {
	for _, tt := range []struct {
		name, task  string
		env         map[string]any
		code        int
		value, last string // last is the last line on stderr
	}{
		{"conf", "prepare", map[string]any{"MLOPS_CONF_FILE": map[string]any{"rows": 7}, "MLOPS_RUN_ID": "r"}, 0, `{"rows": 7, "run": "r"}`, ""},
		{"no conf", "prepare", nil, 1, "", "the task has no conf: MLOPS_CONF_FILE is not set"},
		{"an error", "train", nil, 1, "", "the first try fails"},
		{"an input", "train", map[string]any{"MLOPS_TRY": "2", "MLOPS_INPUTS_FILE": map[string]any{"DATA": map[string]int{"rows": 7}}}, 0, `[7, 8]`, ""},
		{"no input", "train", map[string]any{"MLOPS_TRY": "2", "MLOPS_INPUTS_FILE": map[string]any{}}, 1, "", `there is no input "DATA"; declare it in TaskSpec.Inputs`},
		{"an item", "score", map[string]any{"MLOPS_ITEM_FILE": 4, "MLOPS_MAP_INDEX": "2"}, 0, `42`, ""},
		{"a panic", "panics", nil, 1, "", "panic: runtime error: index out of range [0] with length 0"},
		{"skipped", "skips", nil, 99, "", "nothing new: skipped"},
		{"nothing", "nothing", map[string]any{}, 0, "null", ""},
		{"no JSON", "odd", nil, 1, "", "the task's value: json: unsupported type: func()"},
		{"no such task", "nope", nil, 2, "", `there is no task "nope"; there are nothing, odd, panics, prepare, score, skips, train, waits`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd, value := command(t, tt.env, "task", tt.task)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			err := cmd.Run()
			code := 0
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				code = exit.ExitCode()
			}
			require.Equal(t, tt.code, code, "%v: %s", err, stderr.String())
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			require.Equal(t, tt.last, lines[len(lines)-1])
			if tt.value == "" {
				require.Empty(t, value())
				return
			}
			require.JSONEq(t, tt.value, value())
		})
	}
}

func TestATaskThatAirflowEndsTidiesUp(t *testing.T) {
	cmd, _ := command(t, nil, "task", "waits")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "waiting", lines.Text())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.True(t, lines.Scan(), "it ended at once")
	require.Equal(t, "tidied up", lines.Text())
	exit, ok := errors.AsType[*exec.ExitError](cmd.Wait())
	require.True(t, ok)
	require.Equal(t, 143, exit.ExitCode())
}

func TestATasksBinaryLinksTheStandardLibraryOnly(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range f.Imports {
			require.NotContains(t, i.Path.Value, ".", "%s imports it", file)
		}
	}
}
