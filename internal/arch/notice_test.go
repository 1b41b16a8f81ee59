package arch

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNOTICENamesEveryModuleThatIsLinked(t *testing.T) {
	b, err := os.ReadFile("../../NOTICE")
	require.NoError(t, err)
	notice := map[string]bool{}
	for l := range strings.Lines(string(b)) {
		notice[strings.TrimSpace(l)] = true
	}
	for _, target := range []string{"linux/amd64", "darwin/arm64"} {
		system, machine, _ := strings.Cut(target, "/")
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/mlopsctl")
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "GOOS="+system, "GOARCH="+machine, "CGO_ENABLED=0")
		out, err := cmd.Output()
		require.NoError(t, err)
		for _, module := range strings.Fields(strings.ReplaceAll(string(out), " ", "@")) {
			module = strings.ReplaceAll(module, "@", " ")
			require.True(t, notice[module], "NOTICE does not name %s: run scripts/notice.sh", module)
		}
	}
	require.Contains(t, string(b), "Mozilla Public License, version 2.0")
}
