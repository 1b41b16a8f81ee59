package cli

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCtrlCAtATerminalReachesTheCommandOnce(t *testing.T) {
	screen, tty := terminal(t)
	s := startExec(t, &syscall.SysProcAttr{Setsid: true, Setctty: true}, tty, nil,
		"trap 'n=x$n; echo typed' INT; trap 'echo $n; exit 0' USR1; echo ready; while :; do sleep 0.05; done")
	require.Equal(t, "ready", s.line(t))
	_, err := screen.Write([]byte{3})
	require.NoError(t, err)
	require.Equal(t, "typed", s.line(t))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGUSR1)) // it comes after whatever was handed on before
	require.Equal(t, "x", s.line(t), "a second SIGINT breaks the clean-up that the first one began")
	code, _ := s.end(t)
	require.Equal(t, 0, code)
}

func TestACommandIsStoppedAndContinuedWithUs(t *testing.T) {
	// It never forks: a shell waits for a child that was stopped within vfork
	// and is not stopped itself, and a child that has not reset its parent's traps
	// yet loses a signal.
	s := startExec(t, &syscall.SysProcAttr{Setpgid: true}, nil, nil, "trap 'echo over; exit 0' TERM; echo $$; while :; do :; done")
	child := s.line(t)
	state := func(pid string) string {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(stat), ") ")
		return rest[:1]
	}
	become := func(want string) {
		t.Helper()
		for _, pid := range []string{child, fmt.Sprint(s.cmd.Process.Pid)} {
			require.Eventually(t, func() bool { return (state(pid) == "T") == (want == "T") }, time.Minute, time.Millisecond, "process %s does not become %s", pid, want)
		}
	}
	for range 2 {
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGTSTP))
		become("T")
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
		become("running")
	}
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	code, rest := s.end(t)
	require.Equal(t, 0, code)
	require.Equal(t, "over\n", rest)
}
