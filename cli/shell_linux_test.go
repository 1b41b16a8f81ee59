package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal of 30 columns: what is written to tty is
// read from screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { screen.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { tty.Close() })
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 9, Col: 30}))
	return screen, tty
}

func TestARealTerminalGetsColumnsColourAndARedrawnLine(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	screen, tty := terminal(t)
	e := newEnv(strings.NewReader(""), tty, tty, labCommands)
	require.Equal(t, 30, columns(tty))
	require.NoError(t, e.run(t.Context(), []string{"list", "a"}))
	in := bufio.NewReader(screen)
	for _, want := range []string{
		eraseLine + "counting" + eraseLine + "counted <1>" + eraseLine + "\x1b[1mNAME\x1b[0m  \x1b[1mSTATE\x1b[0m    \x1b[1mN\x1b[0m\r\n",
		"a     \x1b[32mhealthy\x1b[0m  0\r\n",
	} {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, line)
	}
}
