package cli

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

func TestEveryCommandHasAManualPage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	code, out, talk := call(t, "man "+dir)
	require.Equal(t, exitDone, code, talk)
	require.Empty(t, out)
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, commands)
	leaves("", e.app.Commands, func(name string, c *cli.Command) {
		b, err := os.ReadFile(filepath.Join(dir, program+"-"+strings.ReplaceAll(name, " ", "-")+".1"))
		require.NoError(t, err)
		page := string(b)
		require.Contains(t, page, ".SH NAME\n"+roff(program+"-"+strings.ReplaceAll(name, " ", "-"))+` \- `+roff(c.Usage))
		for _, f := range visible(c.Flags) {
			require.Contains(t, page, roff("--"+f.Names()[0]), name)
		}
	})
	_, page, _ := call(t, "man")
	require.Contains(t, page, "143 SIGTERM")
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not here: the pages are not formatted")
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	require.NoError(t, err)
	said, err := exec.Command(groff, append([]string{"-man", "-Tutf8", "-ww", "-z"}, pages...)...).CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(said))
}

func TestRoffKeepsWhatWouldBeACommand(t *testing.T) {
	require.Equal(t, `\&.x \(aqa\(aq \-\-b \e`, roff(`.x 'a' --b \`))
}

func TestREADMEHasTheExitCodes(t *testing.T) {
	b, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, row := range exitTable {
		if row[0] != "126" && row[0] != "127" { // in one cell
			require.Contains(t, string(b), "| "+row[0]+" |", "README's table of exit codes")
		}
	}
}
