package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestRefusedRecordsStay(t *testing.T) {
	dir := t.TempDir()
	j := Create(dir, "run", nil, Options{})
	appendAll(t, j, numbered(5)...)
	es := rest(j)
	before := time.Now()
	require.NoError(t, j.Refuse(es[1], "param x is already 1"))
	require.NoError(t, j.Refuse(es[3], ""))
	require.NoError(t, j.Refuse(es[1], "once more"))
	require.NoError(t, j.Ack(5))
	path := j.Path()
	require.NoError(t, j.Close())

	is := infos(t, dir)
	require.Len(t, is, 1, "a journal with refused records stays")
	require.Equal(t, 2, is[0].Refused)
	require.Zero(t, is[0].Waiting)
	j, err := Open(path, Options{})
	require.NoError(t, err)
	require.Empty(t, rest(j))
	appendAll(t, j, "six")
	require.NoError(t, j.Refuse(rest(j)[0], "why not"))
	require.NoError(t, j.Refuse(es[3], "known since before"))
	require.NoError(t, j.Ack(6))
	require.NoError(t, j.Close())

	got, err := mlops.Collect(Refusals(path))
	require.NoError(t, err)
	var what []string
	for _, r := range got {
		what = append(what, fmt.Sprintf("%d %s: %s", r.Seq, r.Data, r.Why))
		require.WithinRange(t, r.Time, before.Add(-time.Second), time.Now())
	}
	require.Equal(t, []string{"2 record 2: param x is already 1", "4 record 4: ", "6 six: why not"}, what)
	for range Refusals(path) {
		break
	}
	require.NoError(t, Discard(path))
	got, err = mlops.Collect(Refusals(path))
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestARefusalThatTheDiskDoesNotTakeIsCounted(t *testing.T) {
	d := &faulty{}
	j := Create(t.TempDir(), "run", nil, Options{fs: d})
	appendAll(t, j, numbered(2)...)
	es := rest(j)
	d.set(func() { d.full, d.room = true, 10 })
	require.ErrorIs(t, j.Refuse(es[0], "no"), syscall.ENOSPC)
	require.Equal(t, 1, j.Stats().Refused)
	d.set(func() { d.full = false })
	require.NoError(t, j.Refuse(es[1], "no"))
	got, err := mlops.Collect(Refusals(j.Path()))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.EqualValues(t, 2, got[0].Seq)
	require.NoError(t, j.Close())
}

func TestADamagedRefusalIsPassedOver(t *testing.T) {
	for _, f := range []frame{
		{data: make([]byte, 12)},
		{data: make([]byte, 11), whole: true},
		{data: bytes.Repeat([]byte{0xff}, 20), whole: true},
	} {
		_, ok := decodeRefusal(f)
		require.False(t, ok)
	}
}

func TestAttachedFiles(t *testing.T) {
	d := &faulty{}
	j := Create(t.TempDir(), "run", nil, Options{fs: d, MaxBytes: 1 << 20})
	a, err := j.AttachFile(strings.NewReader("one"))
	require.NoError(t, err)
	b, err := j.AttachFile(strings.NewReader("two"))
	require.NoError(t, err)
	require.NotEqual(t, a, b)
	require.NoError(t, j.Sync())
	d.set(func() {
		for _, name := range []string{"1", "2", filesName} {
			require.Contains(t, d.synced, name, "durable after Sync")
		}
	})

	f, err := j.OpenFile(a)
	require.NoError(t, err)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "one", string(got))

	before := j.Stats().Bytes
	require.NoError(t, j.RemoveFile(a))
	require.Equal(t, before-3, j.Stats().Bytes)
	_, err = j.OpenFile(a)
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.ErrorIs(t, j.RemoveFile(a), mlops.ErrNotFound)
	for _, bad := range []string{"", "lock", "../x", "files/../lock", "files/x", "files/", "/etc/passwd", "files/01"} {
		_, err := j.OpenFile(bad)
		require.ErrorIs(t, err, mlops.ErrInvalid, bad)
		require.ErrorIs(t, j.RemoveFile(bad), mlops.ErrInvalid, bad)
	}

	_, err = j.AttachFile(iotest.ErrReader(errors.New("the source broke")))
	require.ErrorContains(t, err, "the source broke")
	require.NotErrorIs(t, err, mlops.ErrUnavailable, "not the disk's fault")
	_, err = j.AttachFile(bytes.NewReader(make([]byte, 800<<10)))
	require.ErrorIs(t, err, mlops.ErrUnavailable, "a quarter is for records")
	appendAll(t, j, strings.Repeat("x", 200<<10))
	left, err := os.ReadDir(filepath.Join(j.Path(), filesName))
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing half written stays")

	c, err := j.AttachFile(strings.NewReader("three"))
	require.NoError(t, err)
	d.set(func() { d.sync = map[string]error{filepath.FromSlash(c): syscall.EIO} })
	require.ErrorIs(t, j.Sync(), syscall.EIO)
	d.set(func() { d.sync = nil })
	require.NoError(t, j.Sync(), "asked again")
	d.set(func() { require.Contains(t, d.synced, filepath.Base(c)) })
	path := j.Path()
	require.NoError(t, j.Close())
	_, err = j.OpenFile(b)
	require.ErrorIs(t, err, mlops.ErrUnavailable)

	j, err = Open(path, Options{})
	require.NoError(t, err)
	f, err = j.OpenFile(b)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	e, err := j.AttachFile(strings.NewReader("four"))
	require.NoError(t, err)
	require.NotContains(t, []string{a, b, c}, e)
	require.NoError(t, j.Close())
}

func TestAttachedFilesAreContained(t *testing.T) {
	j := Create(t.TempDir(), "run", nil, Options{})
	defer j.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("x"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(j.Path(), filesName), 0o700))
	require.NoError(t, os.Symlink(secret, filepath.Join(j.Path(), filesName, "7")))
	_, err := j.OpenFile("files/7")
	require.Error(t, err)
}

func TestManyWriteWhileOneReads(t *testing.T) {
	const writers, each = 8, 500
	j := Create(t.TempDir(), "run", nil, Options{SegmentBytes: 10 << 10, SyncEvery: time.Millisecond})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := j.Append(fmt.Appendf(nil, "%d %d", w, i)); err != nil {
					t.Error(err)
				}
				if i%100 == 0 {
					_ = j.Sync()
					_ = j.Stats()
				}
			}
		})
	}
	next := make([]int, writers)
	for n := uint64(0); n < writers*each; {
		e, ok := j.Next()
		if !ok {
			<-j.More()
			continue
		}
		n++
		require.Equal(t, n, e.Seq)
		require.Zero(t, e.Lost)
		var w, i int
		_, err := fmt.Sscan(string(e.Data), &w, &i)
		require.NoError(t, err)
		require.Equal(t, next[w], i, "each writer's records are in its order")
		next[w]++
		if n%50 == 0 {
			require.NoError(t, j.Ack(n))
		}
	}
	wg.Wait()
	require.NoError(t, j.Ack(writers*each))
	path := j.Path()
	require.NoError(t, j.Close())
	require.NoDirExists(t, path)
}

func TestJournalsAreListedOldestFirst(t *testing.T) {
	dir := t.TempDir()
	require.Empty(t, infos(t, filepath.Join(dir, "none")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "other"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "half-0123456789abcdef"), 0o700)) // a creation that was cut short
	want := []string{"c", "a", "b"}
	for i, name := range want {
		j := Create(dir, name, nil, Options{})
		appendAll(t, j, "x")
		at := time.Unix(int64(1e9+i), 0)
		require.NoError(t, os.Chtimes(filepath.Join(j.Path(), lockName), at, at))
		require.NoError(t, j.Close())
	}
	var got []string
	for _, i := range infos(t, dir) {
		got = append(got, i.Name)
		require.WithinDuration(t, time.Now(), i.Changed, time.Minute)
	}
	require.Equal(t, want, got)
	require.True(t, slices.IsSortedFunc(infos(t, dir), func(a, b Info) int { return a.Created.Compare(b.Created) }))

	// One that cannot be read is told after the others.
	is := infos(t, dir)
	require.NoError(t, os.Remove(filepath.Join(is[0].Path, sampleSeg)))
	require.NoError(t, os.Symlink(sampleSeg, filepath.Join(is[0].Path, sampleSeg))) // a loop
	n := 0
	for _, err := range List(dir) {
		if n++; n <= 2 {
			require.NoError(t, err)
		} else {
			require.Error(t, err)
		}
	}
	require.Equal(t, 3, n)
	_, err := Open(is[0].Path, Options{})
	require.Error(t, err)
	_, err = Open(is[0].Path, Options{})
	require.NotErrorIs(t, err, mlops.ErrConflict, "a failed Open gives up the lock")
}

func Example() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	j := Create(dir, "run", []byte("who writes"), Options{})
	for _, r := range []string{"one", "two", "three"} {
		if err := j.Append([]byte(r)); err != nil {
			fmt.Println(err)
		}
	}
	j.Close() // the sender did not get to it

	for info, err := range List(dir) {
		if err != nil || info.Held {
			continue
		}
		fmt.Println(info.Name, "has", info.Waiting, "waiting")
		left, err := Open(info.Path, Options{})
		if err != nil {
			fmt.Println(err)
			continue
		}
		for e, ok := left.Next(); ok; e, ok = left.Next() {
			fmt.Println(e.Seq, string(e.Data))
			_ = left.Ack(e.Seq)
		}
		left.Close()
	}
	// Output:
	// run has 3 waiting
	// 1 one
	// 2 two
	// 3 three
}
