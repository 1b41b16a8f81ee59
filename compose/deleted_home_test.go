package compose

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDatabasesOfADeletedHomeAreSetAsideNotUsedAndNotDeleted(t *testing.T) {
	home, root := t.TempDir(), t.TempDir()
	p := postgres{root: root}
	require.NoError(t, os.MkdirAll(p.data(), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(p.data(), "PG_VERSION"), []byte("15\n"), 0o600))
	var log bytes.Buffer
	s := &site{home: home, log: &log}

	_, _, err := s.secret("postgres")
	require.NoError(t, err)
	require.NoError(t, p.setAside(s))
	require.DirExists(t, p.data(), "the home knows the password: the databases are its own")

	require.NoError(t, os.RemoveAll(filepath.Join(home, "secrets")))
	require.NoError(t, p.setAside(s))
	require.NoDirExists(t, p.data())
	kept, err := filepath.Glob(p.data() + ".of-a-deleted-home-*/PG_VERSION")
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.Contains(t, log.String(), "moved to")
	require.NoError(t, p.setAside(s), "there is nothing left to move")
}
