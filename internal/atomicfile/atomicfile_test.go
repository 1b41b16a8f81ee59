package atomicfile

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAReaderSeesOneContentWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	contents := map[string]bool{}
	for i := range 20 {
		contents[string(bytes.Repeat(fmt.Append(nil, i%10), 1<<16+i))] = true
	}
	var writers sync.WaitGroup
	for c := range contents {
		writers.Go(func() {
			if err := Write(path, []byte(c), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		if b, err := os.ReadFile(path); err == nil && !contents[string(b)] {
			t.Fatalf("a reader saw %d bytes that no writer wrote", len(b))
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
}

func TestOfSeveralCreatorsOneWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	won := make(chan string, 20)
	var creators sync.WaitGroup
	for i := range 20 {
		creators.Go(func() {
			c := fmt.Sprint("content of ", i)
			switch err := Create(path, []byte(c), 0o600); {
			case err == nil:
				won <- c
			default:
				if !os.IsExist(err) {
					t.Error(err)
				}
			}
		})
	}
	creators.Wait()
	require.Len(t, won, 1)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, <-won, string(b))
	require.ErrorIs(t, Create(path, nil, 0o600), fs.ErrExist)
}

func TestTheModeIsWhatWasAsked(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o666} {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, nil, 0o640))
		require.NoError(t, Write(path, []byte("x"), mode))
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, fi.Mode())
	}
}

func TestALinkIsReplacedAndNotFollowed(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	require.NoError(t, os.WriteFile(other, []byte("theirs"), 0o600))
	require.NoError(t, os.Symlink(other, filepath.Join(dir, "file")))
	require.NoError(t, Write(filepath.Join(dir, "file"), []byte("ours"), 0o600))
	b, err := os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, "theirs", string(b))
}

func TestAFailureLeavesTheOldContentAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "folder")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "x"), 0o700))
	require.Error(t, Write(path, []byte("x"), 0o600), "a folder is not replaced by a file")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.ErrorIs(t, Write(filepath.Join(dir, "none", "file"), nil, 0o600), fs.ErrNotExist)
}
