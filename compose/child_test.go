package compose

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

func TestAChildIsReapedOnceHoweverOftenItIsCleared(t *testing.T) {
	s, err := New(Options{Home: t.TempDir(), Command: os.Args[0]})
	require.NoError(t, err)
	s.timing = testTiming
	require.NoError(t, makeHome(s.home))
	sup := newSupervisor(s, slog.New(slog.NewTextHandler(io.Discard, nil)))
	u := &unit{service: fake{Name: "app"}.recipe(), sup: sup}
	u.stop = syscall.SIGCONT // does not end it
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{roleVariable + "=sleep/app"}
	u.child, err = startChild(cmd)
	require.NoError(t, err)
	i, err := proc.Inspect(cmd.Process.Pid)
	require.NoError(t, err)
	u.rec.Main = i.ID

	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, u.clear(over), context.Canceled, "its processes still run")
	require.NotNil(t, u.child)
	u.stop = syscall.SIGKILL
	require.NoError(t, u.clear(t.Context()))
	require.Nil(t, u.child)
	require.NotNil(t, cmd.ProcessState, "it was waited for")
	require.Zero(t, u.rec.Main)
}

func TestAnEndedChildIsSeenUntilItIsLetGo(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{roleVariable + "=exit/app"}
	c, err := startChild(cmd)
	require.NoError(t, err)
	pid := cmd.Process.Pid
	eventually(t, "it is a zombie", func() bool {
		i, err := proc.Inspect(pid)
		return err == nil && i.Zombie
	})
	require.Equal(t, 3, c.wait().ExitCode())
	require.Equal(t, 3, c.wait().ExitCode(), "a second question gets the same answer")
	_, err = proc.Inspect(pid)
	require.ErrorIs(t, err, proc.ErrNone)
}
