// Package gotask runs the tasks of an Airflow DAG that are written in Go.
//
//	var tasks = gotask.Tasks{"train": train}
//
//	func main() {
//		os.Exit(tasks.Main(os.Args[1:]))
//	}
//
//	func train(ctx context.Context, t *gotask.Task) (any, error) {
//		var conf struct{ Rank int }
//		if err := t.Conf(&conf); err != nil {
//			return nil, err
//		}
//		…
//		return map[string]any{"loss": 0.31}, nil
//	}
//
// A DAG calls it as <program> task <name>, by airflow.GoTask. What the function
// returns is the XCom of the task; what it prints stands in the task's log. An
// error fails the task: Airflow tries it again as the declaration says. The
// package uses the standard library only.
package gotask

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Func is a task. Its context ends when Airflow ends the task: cancelled,
// cleared, marked or out of time. Airflow stops listening five seconds later, and
// after a minute the process ends itself. What it returns then is not a success.
type Func func(ctx context.Context, t *Task) (any, error)

// Tasks are the tasks of a program by name.
type Tasks map[string]Func

// ErrSkip marks the task as skipped, with what follows it, if it is returned or
// wrapped.
var ErrSkip = errors.New("skipped")

// The exit codes of Main. Airflow takes all but 0 and 99 as failed.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitSkipped = 99  // as BashOperator has it
	exitEnded   = 143 // 128 + SIGTERM
)

// Main runs the task that the arguments name ("task", "train"), and returns the
// exit code of the program. The last line on stderr is the error.
func (ts Tasks) Main(args []string) int {
	if len(args) != 2 || args[0] != "task" {
		return complain(exitUsage, fmt.Errorf("want the arguments task <name>"))
	}
	f := ts[args[1]]
	if f == nil {
		return complain(exitUsage, fmt.Errorf("there is no task %.200q; there are %s", args[1], strings.Join(slices.Sorted(maps.Keys(ts)), ", ")))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	done := context.AfterFunc(ctx, func() {
		time.AfterFunc(grace, func() { os.Exit(exitEnded) }) // Airflow ends its own side alone
	})
	defer done()
	value, err := call(ctx, f, fromEnvironment())
	switch {
	case ctx.Err() != nil:
		return complain(exitEnded, cmp.Or(err, errEnded))
	case errors.Is(err, ErrSkip):
		return complain(exitSkipped, err)
	case err == nil && (value != nil || os.Getenv("MLOPS_RETURN_FILE") != ""):
		err = leave(value) // null, too: without a value Airflow takes the last line of the log
	}
	if err != nil {
		return complain(exitFailed, err)
	}
	return 0
}

// grace is how long a task may tidy up.
const grace = time.Minute

var errEnded = errors.New("the task was ended")

// Calls reports whether the arguments are those of a task, for a program that
// does something else as well.
func Calls(args []string) bool { return len(args) == 2 && args[0] == "task" }

func complain(code int, err error) int {
	fmt.Fprintln(os.Stderr, err)
	return code
}

// call turns a panic into an error, after its stack.
func call(ctx context.Context, f Func, t *Task) (value any, err error) {
	defer func() {
		if p := recover(); p != nil {
			os.Stderr.Write(debug.Stack())
			value, err = nil, fmt.Errorf("panic: %v", p)
		}
	}()
	return f(ctx, t)
}

// leave writes the value where Airflow's side of the task looks for it; without
// one, as in a shell, to stdout.
func leave(value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("the task's value: %w", err)
	}
	file := os.Getenv("MLOPS_RETURN_FILE")
	if file == "" {
		_, err = fmt.Println(string(b))
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// Task is what a task knows of itself.
type Task struct {
	DAG   string
	Run   string
	ID    string
	Try   int // from 1
	Index int // of the item; -1: the task has none
}

func fromEnvironment() *Task {
	number := func(name string, other int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return other
	}
	return &Task{DAG: os.Getenv("MLOPS_DAG_ID"), Run: os.Getenv("MLOPS_RUN_ID"), ID: os.Getenv("MLOPS_TASK_ID"), Try: number("MLOPS_TRY", 1), Index: number("MLOPS_MAP_INDEX", -1)}
}

// Conf reads the conf of the run, with the defaults of the DAG's parameters,
// into v.
func (t *Task) Conf(v any) error { return read("conf", "MLOPS_CONF_FILE", v) }

// Item reads the task's item of a mapped task into v.
func (t *Task) Item(v any) error { return read("item", "MLOPS_ITEM_FILE", v) }

// Input reads what another task returned into v, by the name that the
// declaration gives it.
func (t *Task) Input(name string, v any) error {
	var inputs map[string]json.RawMessage
	if err := read("inputs", "MLOPS_INPUTS_FILE", &inputs); err != nil {
		return err
	}
	b, ok := inputs[name]
	if !ok {
		return fmt.Errorf("there is no input %.200q; declare it in TaskSpec.Inputs", name)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	return nil
}

// read reads a file of JSON that a variable names.
func read(what, variable string, v any) error {
	file := os.Getenv(variable)
	if file == "" {
		return fmt.Errorf("the task has no %s: %s is not set", what, variable)
	}
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
