package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// rest reads what is there now.
func rest(j *Journal) (out []Entry) {
	for e, ok := j.Next(); ok; e, ok = j.Next() {
		out = append(out, e)
	}
	return out
}

func payloads(es []Entry) (out []string) {
	for _, e := range es {
		out = append(out, string(e.Data))
	}
	return out
}

func appendAll(t *testing.T, j *Journal, records ...string) {
	t.Helper()
	for _, r := range records {
		require.NoError(t, j.Append([]byte(r)))
	}
}

func numbered(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("record %d", i+1))
	}
	return out
}

func infos(t *testing.T, dir string) []Info {
	t.Helper()
	out, err := mlops.Collect(List(dir))
	require.NoError(t, err)
	return out
}

func TestRecordsComeBackInOrderAfterTheWriterIsGone(t *testing.T) {
	dir := t.TempDir()
	j := Create(dir, "run", []byte("head"), Options{SegmentBytes: 300})
	require.NoError(t, j.Trouble())
	want := numbered(100)
	want[50] = ""
	appendAll(t, j, want...)
	require.Equal(t, []byte("head"), j.Head())
	require.NoError(t, j.Close())

	is := infos(t, dir)
	require.Len(t, is, 1)
	require.Equal(t, "run", is[0].Name)
	require.False(t, is[0].Held)
	require.EqualValues(t, 100, is[0].Waiting)

	j, err := Open(is[0].Path, Options{})
	require.NoError(t, err)
	require.Equal(t, "head", string(j.Head()))
	got := rest(j)
	require.Equal(t, want, payloads(got))
	for i, e := range got {
		require.EqualValues(t, i+1, e.Seq)
		require.Zero(t, e.Lost)
	}
	require.NoError(t, j.Ack(60))
	appendAll(t, j, "later")
	require.NoError(t, j.Close())

	j, err = Open(is[0].Path, Options{})
	require.NoError(t, err)
	require.Equal(t, append(slices.Clone(want[60:]), "later"), payloads(rest(j)), "settled records are not read again, unsettled ones are")
	require.NoError(t, j.Ack(101))
	require.NoError(t, j.Close())
	require.NoDirExists(t, is[0].Path, "a journal with nothing left goes")
	_, err = Open(is[0].Path, Options{})
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func TestTheReaderFollowsTheWriter(t *testing.T) {
	j := Create(t.TempDir(), "run", nil, Options{SegmentBytes: 200})
	defer j.Close()
	_, ok := j.Next()
	require.False(t, ok)
	for i, r := range numbered(50) {
		appendAll(t, j, r)
		<-j.More()
		e, ok := j.Next()
		require.True(t, ok)
		require.Equal(t, r, string(e.Data))
		require.EqualValues(t, i+1, e.Seq)
		_, ok = j.Next()
		require.False(t, ok)
		require.NoError(t, j.Ack(e.Seq))
	}
	segs, err := filepath.Glob(filepath.Join(j.Path(), "*.seg"))
	require.NoError(t, err)
	require.Len(t, segs, 1, "settled segments are deleted")
	require.ErrorIs(t, j.Ack(51), mlops.ErrInvalid)
}

func TestOneWriterAtATime(t *testing.T) {
	dir := t.TempDir()
	j := Create(dir, "run", nil, Options{})
	appendAll(t, j, "a")
	_, err := Open(j.Path(), Options{})
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorIs(t, Discard(j.Path()), mlops.ErrConflict)
	require.True(t, infos(t, dir)[0].Held)
	require.NoError(t, j.Close())
	require.NoError(t, j.Close())
	require.NoError(t, Discard(j.Path()))
	require.NoDirExists(t, j.Path())
	require.ErrorIs(t, Discard(j.Path()), mlops.ErrNotFound)
	require.ErrorIs(t, j.Append(nil), mlops.ErrUnavailable)
}

func TestOnlyTheOwnerMayLook(t *testing.T) {
	j := Create(filepath.Join(t.TempDir(), "spool"), "../odd name/é", nil, Options{})
	appendAll(t, j, "a")
	defer j.Close()
	require.NoError(t, filepath.Walk(filepath.Dir(j.Path()), func(p string, i os.FileInfo, err error) error {
		require.NoError(t, err)
		require.Zero(t, i.Mode().Perm()&0o077, p)
		return nil
	}))
	require.Equal(t, "_odd_name__", infos(t, filepath.Dir(j.Path()))[0].Name)
}

func TestInMemoryByWish(t *testing.T) {
	j := Create("", "run", []byte("h"), Options{MemoryBytes: 3 * (heldExtra + 8)})
	appendAll(t, j, numbered(3)...)
	require.ErrorIs(t, j.Append([]byte("too much")), mlops.ErrUnavailable)
	require.NoError(t, j.Trouble())
	require.NoError(t, j.Sync())
	require.Empty(t, j.Path())
	require.Equal(t, numbered(3), payloads(rest(j)))
	require.Equal(t, Stats{Last: 3, Waiting: 3, Dropped: 1, Torn: -1}, j.Stats())
	require.NoError(t, j.Ack(2))
	appendAll(t, j, "four")
	require.Equal(t, []string{"four"}, payloads(rest(j)))
	_, err := j.AttachFile(nil)
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorIs(t, j.Refuse(Entry{Seq: 3}, "no"), mlops.ErrUnavailable)
	require.Equal(t, 1, j.Stats().Refused)
	require.ErrorContains(t, j.Close(), "2 records")
}
