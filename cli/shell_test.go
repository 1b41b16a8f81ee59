package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/charmbracelet/lipgloss"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestAnInterruptedCommandExits130WhateverItWasDoing(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		stop bool
		code int
	}{
		{"an error of the interruption", &mlops.Error{Service: "mlflow", Cause: context.Canceled}, true, exitInterrupted},
		{"an error it had anyway", &mlops.Error{Kind: mlops.ErrNotFound}, true, exitNotFound},
		{"something else was cancelled", context.Canceled, false, exitFailed},
		{"it ended well", nil, true, exitDone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.stop {
				cancel()
			}
			var stdout, stderr bytes.Buffer
			e := newEnv(strings.NewReader(""), &stdout, &stderr, labCommands)
			require.Equal(t, tt.code, e.exit(ctx, tt.err))
			if tt.code == exitInterrupted {
				require.Equal(t, "mlopsctl: interrupted\n", stderr.String())
			}
		})
	}
}

func TestTheCauseOfASignalIsAnInterruptionToo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	signal := errors.New("interrupt signal received")
	cancel(signal)
	var stderr bytes.Buffer
	e := newEnv(strings.NewReader(""), io.Discard, &stderr, labCommands)
	require.Equal(t, exitInterrupted, e.exit(ctx, fmt.Errorf("mlflow: %w", signal)))

	ctx, cancel = context.WithCancelCause(t.Context())
	cancel(&signalled{syscall.SIGTERM})
	require.Equal(t, 143, e.exit(ctx, fmt.Errorf("mlflow: %w", context.Canceled)), "as a shell tells it")
}

func TestExitCodesAreTheDocumentedOnes(t *testing.T) {
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 14, 126, 127, 128, 130}, []int{
		exitDone, exitFailed, exitUsage, exitNotFound, exitNotAuthorized, exitConflict, exitUnavailable,
		exitNotSent, exitDrift, exitDegraded, exitStopped, exitQuota, exitNoExec, exitNoCommand, exitSignal, exitInterrupted,
	})
}

func TestEveryCommandTeachesAndParsesItsOwnHelp(t *testing.T) {
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, commands)
	for _, c := range e.app.Commands {
		if c.Hidden {
			continue
		}
		require.NotEmpty(t, c.Usage, c.Name)
		var stdout, stderr bytes.Buffer
		require.Equal(t, exitDone, Main(t.Context(), []string{c.Name, "--help"}, strings.NewReader(""), &stdout, &stderr))
		require.Contains(t, stdout.String(), "Usage: mlopsctl "+c.Name)
		require.Contains(t, stdout.String(), c.Description)
		require.Empty(t, stderr.String())
	}
}

// look is an env whose streams are terminals, 20 columns wide.
func look(stdout, stderr io.Writer, vars map[string]string) *env {
	e := newEnv(strings.NewReader(""), stdout, stderr, labCommands)
	e.terminal = func(io.Writer) bool { return true }
	e.width = func(io.Writer) int { return 20 }
	e.getenv = func(k string) string { return vars[k] }
	return e
}

func TestATerminalTableIsAlignedWhateverTheCellsHold(t *testing.T) {
	var out bytes.Buffer
	e := look(&out, io.Discard, map[string]string{"NO_COLOR": "1"})
	e.width = func(io.Writer) int { return 80 }
	tab := newTable("NAME", "STATE", "URL")
	tab.row("mlflow", good("ok"), "http://x")
	tab.row("größe", bad("dead\x1b[2J"), nil)
	tab.row("a\tb\nc", warn(7), faint(""))
	require.NoError(t, e.table(tab, nil))
	require.Equal(t, ""+
		"NAME    STATE    URL\n"+
		"mlflow  ok       http://x\n"+
		"größe   dead[2J  \n"+
		"a b c   7        \n", out.String())
}

func TestColoursAreForTerminalsThatWantThem(t *testing.T) {
	row := func(vars map[string]string, terminal bool) string {
		var out bytes.Buffer
		e := look(&out, io.Discard, vars)
		e.terminal = func(io.Writer) bool { return terminal }
		tab := newTable("S")
		tab.row(good("ok"))
		tab.row(faint("x"))
		require.NoError(t, e.table(tab, nil))
		return out.String()
	}
	require.Contains(t, row(nil, true), "\x1b[32mok\x1b[0m")
	require.NotContains(t, row(map[string]string{"NO_COLOR": "1"}, true), "\x1b")
	require.NotContains(t, row(map[string]string{"TERM": "dumb"}, true), "\x1b")
	require.Equal(t, "ok\nx\n", row(nil, false))
}

func TestProgressRedrawsOneLineAndCutsItToTheTerminal(t *testing.T) {
	var out bytes.Buffer
	p := look(io.Discard, &out, nil).progress()
	p.keep("first")
	p.set("%s", strings.Repeat("é", 30))
	p.keep("kept")
	p.done()
	p.done()
	const erase = "\r\x1b[K"
	cut := strings.Repeat("é", 19)
	require.Equal(t, "first\n"+erase+cut+erase+"kept\n"+cut+erase, out.String())
}

func TestProgressInAPipeSaysEachChangeOnce(t *testing.T) {
	var out bytes.Buffer
	e := look(io.Discard, &out, map[string]string{"TERM": "dumb"})
	p := e.progress()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { p.set("starting\nnow") })
	}
	wg.Wait()
	p.keep("kept")
	p.done()
	require.Equal(t, "starting; now\nkept\n", out.String())

	out.Reset()
	e.quiet = true
	p = e.progress()
	p.set("x")
	p.keep("y")
	p.done()
	e.note("z")
	require.Empty(t, out.String())
}

func TestNearestFindsTyposAndLeavesStrangersAlone(t *testing.T) {
	names := []string{"start", "status", "stop", "restart", "dvc-push"}
	for word, want := range map[string]string{
		"strat": "start", "sttaus": "status", "dvcpush": "dvc-push", "destroy": "", "x": "", "stop": "stop",
	} {
		require.Equal(t, want, nearest(word, names), word)
	}
}

// FuzzRead: whatever the command line, reading it ends, and what urfave/cli
// gets has the operands after "--" untouched.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"run start --name x", "log a=1 -- --step", "-fpx run", "log -1 -.5 --", "--home= -= --= -", "__complete -- run"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		e := newEnv(strings.NewReader(""), io.Discard, io.Discard, labCommands)
		in, err := e.read(args)
		if err == nil && !in.help && len(in.path) == 0 {
			t.Errorf("%q is neither help, nor a command, nor an error", args)
		}
		e.complete(args)
	})
}

func TestAnAddressIsWholeOnANarrowTerminal(t *testing.T) {
	const at = "http://127.0.0.1:5000"
	tab := newTable("SERVICE", "STATE", "URL", "PID", "MESSAGE")
	tab.row("airflow-dag-processor", good("ready"), "", 1234567, "")
	tab.row("mlflow", warn("starting"), at, 7654321, "no answer from 127.0.0.1:5000: dial tcp 127.0.0.1:5000: connect: connection refused")
	e := &env{stdout: io.Discard, terminal: func(io.Writer) bool { return false }}
	lines := strings.Split(tab.aligned(e.paint(io.Discard), 80), "\n")
	require.True(t, strings.HasSuffix(lines[0], "URL"), lines[0])
	require.True(t, strings.HasSuffix(lines[2], "  "+at), lines[2])
	require.LessOrEqual(t, len([]rune(lines[2])), 80)
	require.Contains(t, lines[2], "mlflow")
	require.Equal(t, "airflow-dag-processor", lines[1][:21])
	require.Equal(t, "SERVICE STATE URL", strings.Join(tab.header[:3], " "), "a pipe has the order that scripts know")
}

func TestATableFitsTheTerminal(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 2)
	for name, cells := range map[string][]any{
		"long names":     {id, strings.Repeat("a-name-", 20), good("FINISHED"), "3h2m1s ago"},
		"wide letters":   {id, strings.Repeat("名前", 40), bad("FAILED"), "1s ago"},
		"many columns":   {"p", "n", "12", "s3://bucket/folder/of/the/project", "lora-finetuning.", "mlops.lora-finetuning", "http://127.0.0.1:8001/lora-finetuning"},
		"one long word":  {strings.Repeat("x", 200)},
		"all are long":   {strings.Repeat("a", 90), strings.Repeat("b", 90), strings.Repeat("c", 90)},
		"it fits anyway": {id, "a", "FINISHED"},
	} {
		var out bytes.Buffer
		e := look(&out, io.Discard, map[string]string{"NO_COLOR": "1"})
		e.width = func(io.Writer) int { return 80 }
		var header []string
		for range cells {
			header = append(header, "HEADER")
		}
		tab := newTable(header...)
		tab.row(cells...)
		require.NoError(t, e.table(tab, nil))
		for l := range strings.Lines(out.String()) {
			require.LessOrEqual(t, lipgloss.Width(strings.TrimRight(l, "\n")), 80, "%s: %s", name, l)
		}
		if cells[0] == any(id) {
			require.Contains(t, out.String(), id, "an ID is there to be copied")
		}
	}
}

func TestErrorsAreJSONWithJSON(t *testing.T) {
	for line, code := range map[string]int{"run show --json": 2, "run list -p Bad_Name --json": 2, "--json import nothing": 3, "import nothing --json": 3, "nope --json": 2} {
		got, out, talk := call(t, line)
		require.Equal(t, code, got, line)
		require.Empty(t, out)
		var doc struct {
			Error string `json:"error"`
			Code  int    `json:"code"`
		}
		require.NoError(t, json.Unmarshal([]byte(talk), &doc), talk)
		require.Equal(t, code, doc.Code)
		require.NotEmpty(t, doc.Error)
	}
	_, _, talk := call(t, "run exec -p Bad_Name -- echo --json")
	require.Contains(t, talk, "mlopsctl: ", "the flag of another program")
}

func TestLogsAreJSONWithJSON(t *testing.T) {
	var out bytes.Buffer
	e := newEnv(strings.NewReader(""), &out, io.Discard, commands)
	w := &jsonLog{e: e}
	_, err := io.WriteString(w, "mlflow   | INFO \"x\" | y\npostgres | LO")
	require.NoError(t, err)
	_, err = io.WriteString(w, "G: ready\n")
	require.NoError(t, err)
	one := &jsonLog{e: e, service: "ray"}
	_, err = io.WriteString(one, "a | b\nlast")
	require.NoError(t, err)
	require.NoError(t, one.flush())
	require.Equal(t, `{"service":"mlflow","line":"INFO \"x\" | y"}
{"service":"postgres","line":"LOG: ready"}
{"service":"ray","line":"a | b"}
{"service":"ray","line":"last"}
`, out.String())
}
