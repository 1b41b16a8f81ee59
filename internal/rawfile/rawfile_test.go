//go:build unix

package rawfile

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAFileIsWrittenAndReadAsByOS(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	text := strings.Repeat("0123456789", 10_000)
	f, err := Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o444)
	require.NoError(t, err)
	require.Equal(t, name, f.Name())
	n, err := f.Write([]byte(text))
	require.NoError(t, err)
	require.Equal(t, len(text), n)
	require.NoError(t, f.Sync())
	at, err := f.Seek(10, io.SeekStart)
	require.NoError(t, err)
	require.EqualValues(t, 10, at)
	rest, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Equal(t, text[10:], string(rest))
	_, err = f.Seek(0, io.SeekStart)
	require.NoError(t, err)
	require.NoError(t, iotest.TestReader(io.NewSectionReader(f, 0, 1000), []byte(text[:1000])))
	n, err = f.ReadAt(make([]byte, 20), int64(len(text)-5))
	require.Equal(t, 5, n)
	require.Equal(t, io.EOF, err)
	require.NoError(t, f.Chmod(0o640))
	var st unix.Stat_t
	require.NoError(t, f.Stat(&st))
	require.EqualValues(t, 0o640, st.Mode&0o777)
	require.EqualValues(t, len(text), st.Size)
	require.NoError(t, f.Close())
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

func TestAnUmaskIsMended(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	f, err := Open(filepath.Join(t.TempDir(), "a"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	require.NoError(t, err)
	mode := func() fs.FileMode {
		fi, err := os.Stat(f.Name())
		require.NoError(t, err)
		return fi.Mode()
	}
	require.EqualValues(t, 0o400, mode())
	for range 2 {
		require.NoError(t, f.Mode(0o444))
		require.EqualValues(t, 0o444, mode())
	}
	require.NoError(t, f.Close())
	require.Error(t, f.Mode(0o444))
}

func TestAFileInADirectoryThatIsOpen(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	f, err := OpenAt(int(dir.Fd()), "a", os.O_WRONLY|os.O_CREATE, 0o600)
	require.NoError(t, err)
	_, err = f.Read(make([]byte, 1))
	require.ErrorIs(t, err, unix.EBADF, "it is open for writing")
	require.NoError(t, f.Close())
	require.FileExists(t, filepath.Join(dir.Name(), "a"))
}

func TestErrorsAreOfTheKindsOfOS(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "none"), os.O_RDONLY, 0)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "none")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), nil, 0o600))
	_, err = Open(filepath.Join(dir, "a"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	require.ErrorIs(t, err, fs.ErrExist)

	f, err := Open(filepath.Join(dir, "a"), os.O_RDONLY, 0)
	require.NoError(t, err)
	n, err := f.Read(nil)
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = f.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	_, err = f.Write([]byte("a"))
	require.Error(t, err)
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Close(), os.ErrClosed, "and no other file's descriptor is closed")
	_, err = f.Read(make([]byte, 1))
	require.Error(t, err)
}
