//go:build unix

package trust

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// plant writes a file into a folder of its own, both with the modes given.
func plant(t *testing.T, folder, file fs.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "folder", "file")
	require.NoError(t, os.Mkdir(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte("text"), 0o600))
	require.NoError(t, os.Chmod(name, file))
	require.NoError(t, os.Chmod(filepath.Dir(name), folder))
	return name
}

func TestAFileThatOthersMayChangeIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name         string
		folder, file fs.FileMode
		reason, cure string // "" for a file that is taken
	}{
		{"private", 0o700, 0o600, "", ""},
		{"readable", 0o755, 0o644, "", ""},
		{"as an umask of 002 leaves it, in the user's own group", 0o775, 0o664, "", ""},
		{"writable by all", 0o755, 0o646, "/file may be changed by other users (mode 0646)", "chmod go-w "},
		{"in a folder writable by all", 0o777, 0o644, "/folder may be changed by other users (mode 0777)", "chmod go-w "},
		{"in a folder as /tmp", 0o777 | fs.ModeSticky, 0o600, "/folder is a folder of all users (mode 1777)", "a folder of your own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := plant(t, tt.folder, tt.file)
			err := Check(name)
			b, rerr := ReadFile(name, 10)
			if tt.reason == "" {
				require.NoError(t, err)
				require.NoError(t, rerr)
				require.Equal(t, "text", string(b))
				return
			}
			require.ErrorIs(t, err, mlops.ErrForbidden)
			require.ErrorContains(t, err, tt.reason)
			require.ErrorContains(t, err, tt.cure)
			require.Equal(t, err, rerr)
		})
	}
}

func TestAFileOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other users")
	}
	name := plant(t, 0o755, 0o600)
	require.NoError(t, os.Chown(name, 12345, -1))
	err := Check(name)
	require.ErrorContains(t, err, "belongs to the user 12345, not to you; run: sudo chown root "+name)
	r, ok := errors.AsType[*Refused](err)
	require.True(t, ok)
	require.Equal(t, name, r.Path)

	b, err := ReadAny(name, 10)
	require.NoError(t, err)
	require.Equal(t, "text", string(b))

	require.NoError(t, os.Chown(name, 0, -1))
	require.NoError(t, os.Chown(filepath.Dir(name), 12345, -1))
	require.ErrorContains(t, Check(name), "/folder belongs to the user 12345", "its owner can put another file in its place")

	shared := plant(t, 0o775, 0o664)
	require.NoError(t, os.Chown(shared, 0, 12345))
	require.ErrorContains(t, Check(shared), "/file may be changed by other users (mode 0664)", "the group is not root's")
}

func TestALinkCountsWithItsTarget(t *testing.T) {
	target := plant(t, 0o777, 0o644)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(target, link))
	require.ErrorContains(t, Check(link), filepath.Dir(target))

	good, open := plant(t, 0o755, 0o644), plant(t, 0o777, 0o644)
	link = filepath.Join(filepath.Dir(open), "link")
	require.NoError(t, os.Symlink(good, link))
	require.ErrorContains(t, Check(link), filepath.Dir(open), "others can point it elsewhere")
}

func TestAFolderIsJudgedByItself(t *testing.T) {
	dir := filepath.Dir(plant(t, 0o755, 0o644))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o777))
	require.NoError(t, Check(dir))
	require.NoError(t, os.Chmod(dir, 0o757))
	require.ErrorIs(t, Check(dir), mlops.ErrForbidden)
}

func TestALargeFileIsRefusedUnread(t *testing.T) {
	name := plant(t, 0o755, 0o644)
	require.NoError(t, os.Truncate(name, 200<<30))
	_, err := ReadFile(name, 1<<20)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "214748364800 bytes")
	_, err = ReadFile(filepath.Dir(name), 1<<20)
	require.ErrorContains(t, err, "is not a file")
	pipe := filepath.Join(filepath.Dir(name), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	_, err = ReadFile(pipe, 1)
	require.ErrorContains(t, err, "is not a file", "nothing waits for a writer")
	_, err = ReadFile(name+"-none", 1)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestACommandToCopyHoldsPathsAsWords(t *testing.T) {
	for in, want := range map[string]string{
		"/p/mlops.yaml": "/p/mlops.yaml", "": "''", "/a b": "'/a b'", "/$(x);y": "'/$(x);y'", "it's": `'it'\''s'`, "~root": "'~root'",
	} {
		require.Equal(t, want, Quote(in))
	}
}

func TestFoldersAreSplitAsPath(t *testing.T) {
	require.Equal(t, []string{"/a", "/b c"}, Folders(strings.Join([]string{"/a", "", "/b c"}, string(filepath.ListSeparator))))
	require.Empty(t, Folders(""))
}
