package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/client"
)

// keyboard is a terminal that people type on.
type keyboard struct{ *bytes.Buffer }

func TestRegisterOffersTheProjectsFile(t *testing.T) {
	t.Setenv("MLOPS_NAMESPACE", "team-a")
	for _, tt := range []struct {
		name            string
		terminal, write bool
		typed, talk     string
		written         bool
	}{
		{"a script is told how", false, false, "y\n", "register demo --write", false},
		{"--write does it", false, true, "", "wrote ", true},
		{"enter is yes", true, false, "\n", "[Y/n]", true},
		{"yes", true, false, "Yes\n", "[Y/n]", true},
		{"no", true, false, "n\n", "[Y/n]", false},
		{"the end of input is no", true, false, "", "[Y/n]", false},
		{"anything else is no", true, false, "maybe\n", "[Y/n]", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			var talk bytes.Buffer
			e := newEnv(keyboard{bytes.NewBufferString(tt.typed)}, io.Discard, &talk, commands)
			e.terminal = func(io.Writer) bool { return tt.terminal }
			p, err := client.FromProject(t.Context(), "demo", client.In(dir), client.WithHome(t.TempDir()))
			require.NoError(t, err)
			defer p.Close()
			require.NoError(t, e.offerFile(p, tt.write))
			require.Contains(t, talk.String(), tt.talk)
			b, err := os.ReadFile(filepath.Join(dir, client.FileName))
			if !tt.written {
				require.ErrorIs(t, err, os.ErrNotExist)
				return
			}
			require.Equal(t, "project: demo\nnamespace: team-a\n", string(b))
			again, err := client.FromProject(t.Context(), "", client.In(dir), client.WithHome(t.TempDir()))
			require.NoError(t, err)
			require.Equal(t, "demo", again.Name)
			require.NoError(t, again.Close())

			talk.Reset()
			require.NoError(t, e.offerFile(p, true), "what is there is left alone")
			require.Empty(t, talk.String())
			_, err = p.WriteFile()
			require.ErrorContains(t, err, "is there already")
		})
	}
}
