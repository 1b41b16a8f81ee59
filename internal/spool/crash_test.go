package spool

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// A test binary with this variable set writes a journal there until it is
// killed, and tells on stdout each number that was acknowledged.
const writerVar = "SPOOL_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerVar); dir != "" {
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

// recordOf is the record that the writing process gives a number.
func recordOf(seq uint64) []byte {
	b := fmt.Appendf(nil, "%d:", seq)
	return append(b, bytes.Repeat([]byte{byte(seq)}, int(seq*7919%700))...)
}

func writeForEver(dir string) {
	j := Create(dir, "victim", []byte("head"), Options{SegmentBytes: 64 << 10, SyncEvery: 5 * time.Millisecond})
	if err := j.Trouble(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() { // a sender that settles some of it
		for range j.More() {
			for e, ok := j.Next(); ok; e, ok = j.Next() {
				if e.Seq%100 == 0 {
					_ = j.Ack(e.Seq - 50)
				}
			}
		}
	}()
	for seq := uint64(1); ; seq++ {
		if err := j.Append(recordOf(seq)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Stdout.Write(append(strconv.AppendUint(nil, seq, 10), '\n'))
	}
}

// writer starts a writing process; what it acknowledges comes from the reader.
func writer(t *testing.T, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), writerVar+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewReaderSize(out, 1<<20)
}

func TestAKilledWriterLosesNothingItAcknowledged(t *testing.T) {
	kills, seed := 20, uint64(1)
	if v := os.Getenv("MLOPS_SOAK_KILLS"); v != "" {
		n, err := strconv.Atoi(v)
		require.NoError(t, err)
		kills, seed = n, rand.Uint64()
	}
	t.Logf("%d kills, seed %d", kills, seed)
	r := rand.New(rand.NewPCG(seed, 0))
	torn, records := 0, uint64(0)
	for kill := range kills {
		dir := t.TempDir()
		cmd, out := writer(t, dir)
		var line []byte
		for range 1 + r.IntN(3000) {
			var err error
			line, err = out.ReadSlice('\n')
			require.NoError(t, err)
		}
		line = bytes.Clone(line)
		require.NoError(t, cmd.Process.Kill())
		told, err := io.ReadAll(out) // what it still told
		require.NoError(t, err)
		_ = cmd.Wait()
		lines := bytes.Fields(append(line, told[:bytes.LastIndexByte(told, '\n')+1]...))
		last, err := strconv.ParseUint(string(lines[len(lines)-1]), 10, 64)
		require.NoError(t, err)

		is := infos(t, dir)
		require.Len(t, is, 1, "kill %d", kill)
		require.False(t, is[0].Held, "the lock goes with the process")
		j, err := Open(is[0].Path, Options{})
		require.NoError(t, err)
		require.Equal(t, "head", string(j.Head()))
		at := j.Stats().Acked
		for e, ok := j.Next(); ok; e, ok = j.Next() {
			at++
			require.Equal(t, at, e.Seq)
			require.Equal(t, recordOf(e.Seq), e.Data)
		}
		st := j.Stats()
		require.Zero(t, st.Lost)
		require.Equal(t, at, st.Last)
		if st.Torn >= 0 {
			torn++
		}
		require.GreaterOrEqual(t, at, last, "kill %d: record %d was acknowledged", kill, last)
		require.LessOrEqual(t, at, last+2, "kill %d", kill) // one on its way, one half told
		records += at
		require.NoError(t, j.Ack(at))
		require.NoError(t, j.Close())
		require.NoDirExists(t, is[0].Path)
	}
	t.Logf("%d records, %d torn tails", records, torn)
}

func TestAnotherProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	cmd, out := writer(t, dir)
	_, err := out.ReadString('\n')
	require.NoError(t, err)
	go io.Copy(io.Discard, out)
	is := infos(t, dir)
	require.Len(t, is, 1)
	require.True(t, is[0].Held)
	require.Equal(t, "victim", is[0].Name)
	_, err = Open(is[0].Path, Options{})
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorIs(t, Discard(is[0].Path), mlops.ErrConflict)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	j, err := Open(is[0].Path, Options{})
	require.NoError(t, err)
	defer j.Close()
	require.FileExists(t, filepath.Join(j.Path(), lockName))
	require.NotZero(t, j.Stats().Last)
}
