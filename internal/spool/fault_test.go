package spool

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// faulty is a disk with faults. The zero value has none.
type faulty struct {
	disk
	mu      sync.Mutex
	room    int64            // bytes that segments take before ENOSPC, if full is set
	full    bool             // there is an end to the room
	readAt  error            // what opening for reading answers
	make    error            // what making folders and files answers
	sync    map[string]error // what fsync of a file answers, by the end of its name
	cut     error            // what truncating answers
	synced  []string         // names that were fsynced well, in order
	refused int              // writes that failed
}

func (d *faulty) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *faulty) MkdirAll(p string, m fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.make, d.disk.MkdirAll(p, m))
}

func (d *faulty) SyncDir(p string) error {
	return d.fsync(p, func() error { return d.disk.SyncDir(p) })
}

func (d *faulty) fsync(name string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for end, err := range d.sync {
		if strings.HasSuffix(name, end) && err != nil {
			return err
		}
	}
	d.synced = append(d.synced, filepath.Base(name))
	return do()
}

func (d *faulty) OpenFile(p string, flag int, m fs.FileMode) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if flag&os.O_CREATE != 0 && d.make != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: d.make}
	}
	if flag == os.O_RDONLY && d.readAt != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: d.readAt}
	}
	f, err := d.disk.OpenFile(p, flag, m)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d, p}, nil
}

type faultyFile struct {
	file
	d    *faulty
	name string
}

func (f *faultyFile) Sync() error { return f.d.fsync(f.name, f.file.Sync) }

func (f *faultyFile) Truncate(n int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.cut != nil {
		return f.d.cut
	}
	return f.file.Truncate(n)
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.d.full || !strings.HasSuffix(f.name, segSuffix) && !strings.HasSuffix(f.name, refusedName) {
		return f.file.WriteAt(b, off)
	}
	if n := f.d.room; n < int64(len(b)) { // a part of it, as a real disk does
		f.d.refused++
		k, _ := f.file.WriteAt(b[:n], off)
		return k, syscall.ENOSPC
	}
	f.d.room -= int64(len(b))
	return f.file.WriteAt(b, off)
}

// pass lets the bubble's time go on.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// onDisk reads a journal's folder as one does who finds it after a kill.
func onDisk(t *testing.T, path string) (contents, []string) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), filepath.Base(path))
	require.NoError(t, os.CopyFS(copied, os.DirFS(path)))
	c, err := examine(t.Context(), copied)
	require.NoError(t, err)
	j, err := Open(copied, Options{})
	require.NoError(t, err)
	defer j.Close()
	return c, payloads(rest(j))
}

func TestAFullDiskStopsNobodyAndLosesNothingThatFits(t *testing.T) {
	for _, cut := range []error{nil, syscall.EIO} { // the half written record can be cut off, or not
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			d := &faulty{}
			j := Create(t.TempDir(), "run", nil, Options{fs: d, MemoryBytes: 20 * 100, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			want := numbered(60)
			appendAll(t, j, want[:10]...)
			d.set(func() { d.full, d.room, d.cut = true, 500, cut })
			n := 10
			for ; j.Trouble() == nil; n++ {
				appendAll(t, j, want[n])
			}
			c, there := onDisk(t, j.Path())
			require.Equal(t, want[:n-1], there)
			require.EqualValues(t, 1, c.stats().Lost, "one is held in memory; a kill at once is known to lose it")
			var err error
			for ; err == nil && n < len(want); n++ {
				err = j.Append([]byte(want[n]))
			}
			n-- // this one was refused
			require.ErrorIs(t, err, mlops.ErrUnavailable)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.Greater(t, n, 30)
			require.ErrorIs(t, j.Trouble(), syscall.ENOSPC)
			require.ErrorIs(t, j.Sync(), mlops.ErrUnavailable)
			require.Contains(t, log.String(), "held in memory")
			require.EqualValues(t, 1, j.Stats().Dropped)
			require.EqualValues(t, n, j.Stats().Waiting)

			c, there = onDisk(t, j.Path())
			require.Equal(t, want[:len(there)], there)
			require.Less(t, len(there), n)
			require.EqualValues(t, n, c.stats().Last, "a kill now is known to lose what is held")
			require.EqualValues(t, n-len(there), c.stats().Lost)
			require.EqualValues(t, 1, c.stats().Dropped)

			require.Equal(t, want[:15], payloads(rest(j)[:15]), "the reader sees disk and memory as one")
			require.NoError(t, j.Ack(uint64(n-5)), "what was sent from memory needs no disk")
			appendAll(t, j, want[n:n+3]...)

			d.mu.Lock()
			asked := d.refused
			d.mu.Unlock()
			pass(10 * time.Second)
			d.set(func() {
				require.LessOrEqual(t, d.refused-asked, 11, "the disk is asked once a second")
				require.Greater(t, d.refused, asked)
			})

			d.set(func() { d.full, d.cut = false, nil })
			for len(j.More()) > 0 {
				<-j.More()
			}
			pass(2 * time.Second)
			require.NoError(t, j.Trouble())
			require.Len(t, j.More(), 1, "the reader is told")
			require.Contains(t, log.String(), "on disk again")
			appendAll(t, j, "at last")
			_, there = onDisk(t, j.Path())
			require.Equal(t, append(slices.Clone(want[n-5:n+3]), "at last"), there)
			require.Equal(t, append(slices.Clone(want[n:n+3]), "at last"), payloads(rest(j)), "each once, in order")
			require.NoError(t, j.Ack(j.Stats().Last))
			require.Zero(t, j.Stats().Lost)
			require.NoError(t, j.Close())
		})
	}
}

func TestARealFullDisk(t *testing.T) {
	dir := smallDisk(t, 256<<10)
	j := Create(dir, "run", nil, Options{SegmentBytes: 40 << 10})
	require.NoError(t, j.Trouble())
	record := bytes.Repeat([]byte("x"), 1000)
	for n := 0; j.Trouble() == nil; n++ {
		require.Less(t, n, 1000, "the disk takes more than it has")
		require.NoError(t, j.Append(record))
	}
	require.ErrorIs(t, j.Trouble(), syscall.ENOSPC)
	_, err := j.AttachFile(bytes.NewReader(make([]byte, 64<<10)))
	require.ErrorIs(t, err, syscall.ENOSPC)
	for range 50 {
		require.NoError(t, j.Append(record))
	}
	n := j.Stats().Last
	es := rest(j)
	require.Len(t, es, int(n))
	require.NoError(t, j.Ack(n-60)) // segments go, there is room
	ctx := t.Context()
	for tick := time.NewTicker(20 * time.Millisecond); j.Trouble() != nil; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(j.Trouble())
		}
	}
	require.NoError(t, j.Sync())
	path := j.Path()
	require.NoError(t, j.Close())
	j, err = Open(path, Options{})
	require.NoError(t, err)
	require.Len(t, rest(j), 60)
	require.Zero(t, j.Stats().Lost)
	require.NoError(t, j.Ack(n))
	require.NoError(t, j.Close())
}

func TestAReadOnlyHomeIsTold(t *testing.T) {
	for name, dir := range map[string]func(d *faulty) string{
		"injected": func(d *faulty) string { d.make = syscall.EROFS; return t.TempDir() },
		"a file in its place": func(*faulty) string {
			p := filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(p, nil, 0o600))
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := &faulty{}
			j := Create(dir(d), "run", []byte("h"), Options{fs: d})
			require.ErrorIs(t, j.Trouble(), mlops.ErrUnavailable)
			appendAll(t, j, numbered(3)...)
			require.Empty(t, j.Path())
			require.Equal(t, numbered(3), payloads(rest(j)))
			require.Error(t, j.Sync())
			_, err := j.AttachFile(strings.NewReader("x"))
			require.ErrorIs(t, err, mlops.ErrUnavailable)
			if d.make != nil { // it is writable again
				d.set(func() { d.make = nil })
				synced := j.sync(true)
				require.NoError(t, synced)
				_, there := onDisk(t, j.Path())
				require.Equal(t, numbered(3), there)
				require.NoError(t, j.Close())
				return
			}
			require.ErrorContains(t, j.Close(), "3 records")
		})
	}
}

func TestASegmentWhoseFsyncFailsIsRetired(t *testing.T) {
	for name, many := range map[string]int{"from memory": 10, "from the file": recentMax/1000 + 200} {
		t.Run(name, func(t *testing.T) {
			d := &faulty{sync: map[string]error{}}
			j := Create(t.TempDir(), "run", nil, Options{fs: d, SyncEvery: time.Hour})
			appendAll(t, j, "safe 1", "safe 2")
			require.NoError(t, j.Sync())
			d.set(func() { d.sync["000001.seg"] = syscall.EIO })
			want := []string{"safe 1", "safe 2"}
			j.syncMu.Lock() // no fsync before all is written
			for _, r := range numbered(many) {
				if many > 10 {
					r = strings.Repeat(r, 1000/len(r))
				}
				want = append(want, r)
				appendAll(t, j, r)
			}
			j.syncMu.Unlock()
			err := j.Sync()
			if many == 10 {
				require.ErrorIs(t, err, syscall.EIO)
				require.ErrorIs(t, j.Trouble(), mlops.ErrUnavailable)
			}
			require.NoError(t, j.Sync(), "the new segment is well")
			require.NoError(t, j.Trouble())
			d.set(func() {
				last := slices.Index(d.synced, "000002.seg")
				require.Positive(t, last)
				require.NotContains(t, d.synced[last:], "000001.seg", "it is never fsynced again")
			})
			// What the medium has of the retired segment may be nothing of all
			// since, or some.
			first := filepath.Join(j.Path(), sampleSeg)
			b, err := os.ReadFile(first)
			require.NoError(t, err)
			safe := newScanner(bytes.NewReader(b), seedOf(filepath.Base(j.Path()), sampleSeg), int64(len(b)))
			for range 4 { // two heads, two records
				safe.next()
			}
			clear(b[safe.off : len(b)-40])
			require.NoError(t, os.WriteFile(first, b, 0o600))
			require.Equal(t, want, payloads(rest(j)))
			require.Zero(t, j.Stats().Lost)
			c, there := onDisk(t, j.Path())
			require.Equal(t, want, there, "all are in the new segment")
			require.Zero(t, c.stats().Lost)
			require.NoError(t, j.Close())
		})
	}
}

func TestADiskThatNeverSyncsKeepsOneCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &faulty{sync: map[string]error{segSuffix: syscall.EIO}}
		j := Create(t.TempDir(), "run", nil, Options{fs: d})
		for i := range 300 {
			appendAll(t, j, numbered(300)[i])
			pass(time.Second)
		}
		require.ErrorIs(t, j.Trouble(), syscall.EIO)
		segs, err := filepath.Glob(filepath.Join(j.Path(), "*.seg"))
		require.NoError(t, err)
		require.Len(t, segs, 1, "retired copies are removed")
		require.Less(t, j.next, 20, "and it is asked less and less often")
		_, there := onDisk(t, j.Path())
		require.Equal(t, numbered(300), there)
		d.set(func() { clear(d.sync) })
		pass(2 * syncAtMost)
		require.NoError(t, j.Trouble())
		require.Equal(t, numbered(300), payloads(rest(j)))
		require.NoError(t, j.Close())
	})
}

func TestAFailedFsyncAfterAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &faulty{}
		j := Create(t.TempDir(), "run", nil, Options{fs: d, SyncEvery: time.Hour})
		appendAll(t, j, numbered(20)[:5]...)
		d.set(func() { d.full, d.room, d.sync = true, 20, map[string]error{segSuffix: syscall.EIO} })
		appendAll(t, j, numbered(20)[5:]...) // the first finds the disk full
		require.Error(t, j.Sync())
		d.set(func() { d.full = false; clear(d.sync) })
		pass(3 * time.Second)
		require.NoError(t, j.Sync())
		_, there := onDisk(t, j.Path())
		require.Equal(t, numbered(20), there)
		seen := map[uint64]int{}
		for _, s := range j.segs {
			f, err := os.Open(s.path)
			require.NoError(t, err)
			scan := newScanner(f, s.seed, s.size)
			for fr, ok := scan.next(); ok; fr, ok = scan.next() {
				seen[fr.seq]++
			}
			require.NoError(t, f.Close())
		}
		require.Equal(t, 1, seen[6], "what was in memory is written once")
		require.NoError(t, j.Close())
	})
}

func TestWhatIsSettledIsDurableBeforeSegmentsGo(t *testing.T) {
	d := &faulty{sync: map[string]error{ackName: syscall.EIO}}
	j := Create(t.TempDir(), "run", nil, Options{fs: d, SegmentBytes: 200})
	appendAll(t, j, numbered(50)...)
	rest(j)
	segs := func() int {
		all, err := filepath.Glob(filepath.Join(j.Path(), "*.seg"))
		require.NoError(t, err)
		return len(all)
	}
	many := segs()
	require.Greater(t, many, 5)
	require.NoError(t, j.Ack(40))
	require.Equal(t, many, segs(), "the ack file is not on the medium: nothing goes")
	d.set(func() { clear(d.sync) })
	require.NoError(t, j.Ack(45))
	require.Less(t, segs(), many)
	b, err := os.ReadFile(filepath.Join(j.Path(), ackName))
	require.NoError(t, err)
	for _, off := range []int{0, slotSize} {
		st, ok := decodeState(b[off:off+stateSize], seedOf(filepath.Base(j.Path()), ackName))
		require.True(t, ok)
		require.EqualValues(t, 45, st.acked, "either copy alone tells that nothing was lost")
	}
	require.NoError(t, j.Close())
}

func TestAFailedFsyncOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &faulty{sync: map[string]error{segSuffix: syscall.EIO}}
		j := Create(t.TempDir(), "run", nil, Options{fs: d, SyncEvery: time.Hour})
		appendAll(t, j, numbered(20)...)
		d.set(func() { d.full, d.room = true, 300 })
		require.Error(t, j.Sync())
		require.ErrorIs(t, j.Trouble(), syscall.ENOSPC)
		appendAll(t, j, "more")
		want := append(numbered(20), "more")
		_, there := onDisk(t, j.Path())
		require.Equal(t, want[:20], there)
		require.Equal(t, want, payloads(rest(j)))
		d.set(func() { d.full = false; clear(d.sync) })
		pass(3 * time.Second)
		require.NoError(t, j.Sync())
		require.NoError(t, j.Trouble())
		_, there = onDisk(t, j.Path())
		require.Equal(t, want, there)
		require.NoError(t, j.Close())
	})
}

func TestFsyncIsGroupedAndEndsWithTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &faulty{}
		j := Create(t.TempDir(), "run", nil, Options{fs: d, SyncEvery: time.Second})
		pass(time.Minute)
		d.set(func() {
			require.Contains(t, d.synced, filepath.Base(j.path), "the folder's names are durable")
			d.synced = nil
		})
		for range 500 { // five seconds of it
			appendAll(t, j, "x")
			pass(10 * time.Millisecond)
		}
		pass(time.Minute)
		d.set(func() {
			require.LessOrEqual(t, len(d.synced), 6)
			require.GreaterOrEqual(t, len(d.synced), 5)
		})
		require.EqualValues(t, 500, j.synced)
		require.NoError(t, j.Close())
	})
}

func TestTheLargestSizeHoldsUntilRecordsAreSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := Create(t.TempDir(), "run", nil, Options{MaxBytes: 4000, SegmentBytes: 1 << 20, MemoryBytes: 2000})
		n := 0
		for ; j.Append([]byte("a record of some length")) == nil; n++ {
		}
		require.ErrorContains(t, j.Trouble(), "largest size")
		require.LessOrEqual(t, j.Stats().Bytes, int64(4000))
		require.Len(t, rest(j), n)
		require.NoError(t, j.Ack(uint64(n)))
		pass(2 * time.Second)
		require.NoError(t, j.Trouble())
		require.Less(t, j.Stats().Bytes, int64(1000))
		appendAll(t, j, "again")
		require.Equal(t, []string{"again"}, payloads(rest(j)))
		require.EqualValues(t, 1, j.Stats().Dropped)
		require.NoError(t, j.Close())
	})
}

func TestASegmentThatCannotBeOpenedIsNotLost(t *testing.T) {
	d := &faulty{readAt: syscall.EMFILE}
	j := Create(t.TempDir(), "run", nil, Options{fs: d})
	appendAll(t, j, "a")
	require.Empty(t, rest(j))
	d.set(func() { d.readAt = nil })
	require.Equal(t, []string{"a"}, payloads(rest(j)))
	require.Zero(t, j.Stats().Lost)
	require.NoError(t, j.Close())
}
