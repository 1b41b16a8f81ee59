package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/mlflow"
)

func TestTheEndOfACommandIsTheEndOfItsRun(t *testing.T) {
	signalsAreNotIgnored()
	for script, want := range map[string]struct {
		status mlflow.RunStatus
		code   int
	}{
		"exit 0":                              {mlflow.RunFinished, 0},
		"exit 7":                              {mlflow.RunFailed, 7},
		"kill -TERM $$":                       {mlflow.RunKilled, 143},
		"kill -INT $$":                        {mlflow.RunKilled, 130},
		"kill -HUP $$":                        {mlflow.RunKilled, 129},
		"kill -QUIT $$":                       {mlflow.RunKilled, 131},
		"kill -KILL $$":                       {mlflow.RunKilled, 137},
		"kill -SEGV $$":                       {mlflow.RunFailed, 139},
		"kill -USR1 $$":                       {mlflow.RunFailed, 138},
		"exit 143":                            {mlflow.RunKilled, 143},
		"exit 255":                            {mlflow.RunFailed, 255},
		"trap '' TERM\nkill -TERM $$\nexit 0": {mlflow.RunFinished, 0},
	} {
		r := newRelay(t.Context(), 0)
		status, err := r.run(exec.Command("sh", "-c", script), nil)
		r.close()
		require.Equal(t, want.status, status, script)
		require.Equal(t, want.code, codeIf(err), script)
	}
}

func codeIf(err error) int {
	if err == nil {
		return exitDone
	}
	return codeOf(err)
}

func TestWhatCannotBeRunHasAShellsCode(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(plain, []byte("text"), 0o644))
	script := filepath.Join(dir, "script")
	require.NoError(t, os.WriteFile(script, []byte("no interpreter is named"), 0o755))
	for name, want := range map[string]int{"no-such-program": exitNoCommand, "./no/such": exitNoCommand, plain: exitNoExec, dir: exitNoExec} {
		_, err := lookProgram(name)
		require.Equal(t, want, codeIf(err), name)
	}
	r := newRelay(t.Context(), 0)
	defer r.close()
	_, err := r.run(exec.Command(script), nil)
	require.Equal(t, exitNoExec, codeIf(err))
}

// signalsAreNotIgnored undoes what a shell does to programs in its background,
// and nohup: they and all that they start ignore these signals. This program
// goes on ignoring the end of its session.
var signalsAreNotIgnored = sync.OnceFunc(func() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	go func() {
		for sig := range ch {
			if sig != syscall.SIGHUP {
				os.Exit(exitSignal + int(sig.(syscall.Signal)))
			}
		}
	}()
})

// started is mlopsctl run exec in a session of its own, with MLflow away.
type started struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	talk io.Reader
	home string
}

func startExec(t *testing.T, attr *syscall.SysProcAttr, tty *os.File, flags []string, script string) *started {
	t.Helper()
	signalsAreNotIgnored()
	s := &started{home: t.TempDir()}
	s.cmd = exec.Command(program, append(append([]string{"run", "exec", "-p", "demo"}, flags...), "--", "sh", "-c", script)...)
	s.cmd.Env = append(os.Environ(), "MLOPS_HOME="+s.home, "MLFLOW_TRACKING_URI=http://127.0.0.1:9", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false")
	s.cmd.Dir, s.cmd.SysProcAttr = t.TempDir(), attr
	if tty != nil {
		s.cmd.Stdin = tty
	}
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	s.out = bufio.NewReader(out)
	s.talk, err = s.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	return s
}

func (s *started) line(t *testing.T) string {
	t.Helper()
	l, err := s.out.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(l)
}

// end waits for mlopsctl and returns its code and the rest of stdout.
func (s *started) end(t *testing.T) (int, string) {
	t.Helper()
	rest, err := io.ReadAll(s.out)
	require.NoError(t, err)
	err = s.cmd.Wait()
	if x, ok := errors.AsType[*exec.ExitError](err); ok {
		require.False(t, x.Sys().(syscall.WaitStatus).Signaled(), "mlopsctl itself died by a signal: %v", err)
		return x.ExitCode(), string(rest)
	}
	require.NoError(t, err)
	return 0, string(rest)
}

// ending is what the journal says of the run's end.
func (s *started) ending(t *testing.T) mlflow.RunStatus {
	t.Helper()
	for _, status := range []mlflow.RunStatus{mlflow.RunFinished, mlflow.RunFailed, mlflow.RunKilled} {
		files, err := filepath.Glob(filepath.Join(s.home, "spool", "mlflow", "*", "*"))
		require.NoError(t, err)
		for _, f := range files {
			if b, _ := os.ReadFile(f); bytes.Contains(b, []byte(status)) {
				return status
			}
		}
	}
	return ""
}

func TestACommandGetsTheSignalThatWeGot(t *testing.T) {
	own := &syscall.SysProcAttr{Setsid: true}
	for sig, name := range map[syscall.Signal]string{
		syscall.SIGTERM: "TERM", syscall.SIGINT: "INT", syscall.SIGHUP: "HUP", syscall.SIGQUIT: "QUIT", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := ""
			for _, n := range []string{"TERM", "INT", "HUP", "QUIT", "USR1", "USR2"} {
				all += "trap 'echo got " + n + "; n=$((n+1)); [ -n \"$n\" ] && exit 3' " + n + "\n"
			}
			s := startExec(t, own, nil, nil, all+"echo ready\nwhile :; do sleep 0.05; done")
			require.Equal(t, "ready", s.line(t))
			require.NoError(t, s.cmd.Process.Signal(sig))
			code, rest := s.end(t)
			require.Equal(t, 3, code)
			require.Equal(t, "got "+name+"\n", rest, "once, and as it came")
			require.Equal(t, mlflow.RunFailed, s.ending(t), "it ended in its own way, with an error")
		})
	}
}

func TestASignalThatEndsACommandEndsItsRunAsKilled(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGHUP: 129, syscall.SIGQUIT: 131, syscall.SIGINT: 130} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			// What a shell started ends with it: it would keep stdout open. It
			// says itself that it is there: a child that its shell is forking
			// right now may not get a signal of the group.
			s := startExec(t, &syscall.SysProcAttr{Setsid: true}, nil, nil, "sh -c 'echo ready; exec sleep 600'; echo never")
			require.Equal(t, "ready", s.line(t))
			require.NoError(t, s.cmd.Process.Signal(sig))
			got, rest := s.end(t)
			require.Equal(t, code, got)
			require.Empty(t, rest)
			require.Equal(t, mlflow.RunKilled, s.ending(t))
		})
	}
}

func TestACommandThatSavesItsWorkAtSIGTERMFinishes(t *testing.T) {
	s := startExec(t, &syscall.SysProcAttr{Setsid: true}, nil, nil, "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
	require.Equal(t, "ready", s.line(t))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	code, rest := s.end(t)
	require.Equal(t, 0, code)
	require.Equal(t, "saved\n", rest)
	require.Equal(t, mlflow.RunFinished, s.ending(t))
}

func TestGraceKillsACommandThatStays(t *testing.T) {
	s := startExec(t, &syscall.SysProcAttr{Setsid: true}, nil, []string{"--grace", "100ms"}, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
	require.Equal(t, "ready", s.line(t))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	code, _ := s.end(t)
	require.Equal(t, 137, code)
	require.Equal(t, mlflow.RunKilled, s.ending(t))
}

func TestARunIsNotKilledWhileItsCommandLivesOn(t *testing.T) {
	own := &syscall.SysProcAttr{Setsid: true}
	s := startExec(t, own, nil, nil, "trap 'echo over; exit 0' TERM; echo $$; while :; do sleep 0.05; done")
	pid, err := strconv.Atoi(s.line(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	state := func() string {
		var out bytes.Buffer
		e := newEnv(strings.NewReader(""), &out, io.Discard, commands)
		require.NoError(t, e.run(t.Context(), []string{"sync", "--status", "--home", s.home}))
		return out.String()
	}
	require.NoError(t, s.cmd.Process.Kill()) // mlopsctl alone
	_, err = s.cmd.Process.Wait()
	require.NoError(t, err)
	require.Contains(t, state(), "being written", "others would end the run as KILLED")
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Equal(t, "over", s.line(t))
	_, err = io.ReadAll(s.out) // it has ended
	require.NoError(t, err)
	require.NotContains(t, state(), "being written")
}

func TestASignalBeforeTheCommandRunsKeepsItFromRunning(t *testing.T) {
	s := startExec(t, &syscall.SysProcAttr{Setsid: true}, nil, []string{"--wait", "10m"}, "echo it ran")
	buf := make([]byte, 1)
	_, err := s.talk.Read(buf) // it waits for MLflow
	require.NoError(t, err)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	_, err = io.Copy(io.Discard, s.talk)
	require.NoError(t, err)
	code, rest := s.end(t)
	require.Equal(t, 129, code)
	require.Empty(t, rest)
	require.Equal(t, mlflow.RunKilled, s.ending(t))
}

func TestWithoutMLflowTheCommandKnowsTheRunByOurNameOnly(t *testing.T) {
	t.Setenv("MLFLOW_RUN_ID", "of-a-run-around-this-one")
	s := startExec(t, &syscall.SysProcAttr{Setsid: true}, nil, nil, `echo "$MLOPS_TRACKED_RUN ${MLFLOW_RUN_ID-none}"; mlopsctl metric log loss=1`)
	require.Regexp(t, "^[0-9a-f]{32} none$", s.line(t))
	talk, err := io.ReadAll(s.talk)
	require.NoError(t, err)
	code, _ := s.end(t)
	require.Equal(t, 0, code, string(talk))
	require.Contains(t, string(talk), "sh runs without MLFLOW_RUN_ID")

	s = startExec(t, &syscall.SysProcAttr{Setsid: true}, nil, []string{"--require-sent"}, "echo it ran")
	_, err = io.ReadAll(s.talk)
	require.NoError(t, err)
	code, rest := s.end(t)
	require.Equal(t, exitNotSent, code)
	require.Empty(t, rest)
}
