package spool

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	sampleName = "sample-0123456789abcdef"
	sampleSeg  = "000001.seg"
)

// sample is a segment of about 64 KiB and where its frames lie: the first two
// are the heads.
type sample struct {
	bytes []byte
	seed  uint32
	at    []int64 // begin of each frame, and the end of the last
	data  [][]byte
}

func newSample(size int) sample {
	s := sample{seed: seedOf(sampleName, sampleSeg)}
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; len(s.bytes) < size; i++ {
		p := make([]byte, 40+r.IntN(900))
		for k := range p {
			p[k] = byte(r.Uint32())
		}
		switch {
		case i < 2:
			p = []byte("the head")
		case i%7 == 3: // what a journal of journals would hold
			p = bytes.Clone(s.bytes[s.at[i-1]:])
		case i%11 == 5:
			p = append(p, magic...)
		}
		s.at = append(s.at, int64(len(s.bytes)))
		s.data = append(s.data, p)
		s.bytes = appendFrame(s.bytes, s.seed, int64(len(s.bytes)), uint64(max(0, i-1)), p)
	}
	s.at = append(s.at, int64(len(s.bytes)))
	return s
}

func (s sample) last() uint64 { return uint64(len(s.data) - 2) }

// found is what a reader makes of a segment.
type found struct {
	seqs    []uint64
	head    bool
	skipped uint64 // numbers missing before, between, and as far as known behind
	torn    int64
}

func (f found) equal(o found) bool {
	return f.head == o.head && f.skipped == o.skipped && f.torn == o.torn && slices.Equal(f.seqs, o.seqs)
}

// read reads b as Open and Next do, and checks each record against the sample.
func (s sample) read(b []byte) (found, error) { return s.readInto(nil, nil, b) }

// readInto is read with the memory of the one before.
func (s sample) readInto(buf []byte, seqs []uint64, b []byte) (found, error) {
	out := found{seqs: seqs[:0]}
	scan := newScanner(bytes.NewReader(b), s.seed, int64(len(b)))
	scan.buf = buf[:0]
	var last, known uint64
	for f, ok := scan.next(); ok; f, ok = scan.next() {
		known = max(known, f.seq)
		switch {
		case !f.whole:
		case f.seq == 0:
			out.head = true
			if string(f.data) != "the head" {
				return out, fmt.Errorf("the head is %q", f.data)
			}
		case f.seq <= last || f.seq > s.last():
			return out, fmt.Errorf("record %d after %d", f.seq, last)
		case !bytes.Equal(f.data, s.data[f.seq+1]):
			return out, fmt.Errorf("record %d has other bytes", f.seq)
		default:
			out.skipped += f.seq - last - 1
			out.seqs, last = append(out.seqs, f.seq), f.seq
		}
	}
	out.skipped += max(known, last) - last
	out.torn = scan.bad
	return out, nil
}

// write makes it a journal on disk, with an ack file if last is not 0.
func (s sample) write(t testing.TB, b []byte, last uint64) string {
	dir := filepath.Join(t.TempDir(), sampleName)
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, lockName), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, sampleSeg), b, 0o600))
	if last > 0 {
		st := state{gen: 2, last: last}.encode(seedOf(sampleName, ackName))
		require.NoError(t, os.WriteFile(filepath.Join(dir, ackName), st, 0o600))
	}
	return dir
}

// checkFlip tells what is wrong with the reading of a sample with one bit
// turned: the frame that has it is lost, no other is, and the loss is told.
func (s sample) checkFlip(buf, b []byte, bit int) error {
	at := int64(bit / 8)
	frame := 0
	for s.at[frame+1] <= at {
		frame++
	}
	b[at] ^= 1 << (bit % 8)
	got, err := s.readInto(buf, make([]uint64, 0, s.last()), b)
	b[at] ^= 1 << (bit % 8)
	if err != nil {
		return err
	}
	want := found{head: true, torn: -1, seqs: make([]uint64, 0, s.last())}
	for seq := uint64(1); seq <= s.last(); seq++ {
		if frame < 2 || seq != uint64(frame-1) {
			want.seqs = append(want.seqs, seq)
		}
	}
	switch inHeader := at-s.at[frame] < headerSize; {
	case frame < 2: // there is another head
	case uint64(frame-1) < s.last() || !inHeader:
		want.skipped = 1
	default: // nothing but the offset tells of it
		want.torn = s.at[frame]
	}
	if !got.equal(want) {
		return fmt.Errorf("found %+v, due is %+v", got, want)
	}
	return nil
}

func TestAnyBitFlipLosesOneRecordAndTells(t *testing.T) {
	s := newSample(64 << 10)
	stride := 1
	if testing.Short() || raceDetector {
		stride = 97
	}
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			b, buf := bytes.Clone(s.bytes), make([]byte, len(s.bytes))
			for bit := w * stride; bit < 8*len(b); bit += workers * stride {
				if err := s.checkFlip(buf, b, bit); err != nil {
					t.Errorf("bit %d: %v", bit, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAnyTruncationKeepsWhatIsWhole(t *testing.T) {
	s := newSample(64 << 10)
	stride := 1
	if testing.Short() || raceDetector {
		stride = 13
	}
	for n := 0; n <= len(s.bytes); n += stride {
		got, err := s.read(s.bytes[:n])
		require.NoError(t, err, n)
		want := found{torn: -1}
		for i := range s.data {
			switch {
			case s.at[i+1] <= int64(n) && i < 2:
				want.head = true
			case s.at[i+1] <= int64(n):
				want.seqs = append(want.seqs, uint64(i-1))
			case s.at[i] < int64(n):
				want.torn = s.at[i]
			}
		}
		if !got.equal(want) {
			t.Fatalf("cut at %d: found %+v, due is %+v", n, got, want)
		}
	}
}

// The same through Open and Next, for a part of all bits and lengths.
func TestDamageIsToldByTheJournal(t *testing.T) {
	s := newSample(8 << 10)
	check := func(what string, b []byte, last uint64) {
		dir := s.write(t, b, last)
		direct, err := s.read(b)
		require.NoError(t, err)
		j, err := Open(dir, Options{})
		require.NoError(t, err)
		before := j.Stats()
		var seqs []uint64
		var prev uint64
		for e, ok := j.Next(); ok; e, ok = j.Next() {
			require.Equal(t, e.Seq-prev-1, e.Lost, what)
			require.Equal(t, s.data[e.Seq+1], e.Data, what)
			seqs, prev = append(seqs, e.Seq), e.Seq
		}
		require.Equal(t, direct.seqs, seqs, what)
		after := j.Stats()
		require.Equal(t, before, after, "%s: reading changes no figure", what)
		require.Equal(t, direct.torn, after.Torn, what)
		lost := direct.skipped
		if last > 0 { // the ack file knows how many there were
			lost = last - uint64(len(seqs))
		}
		require.Equal(t, lost, after.Lost, what)
		require.EqualValues(t, len(seqs), after.Waiting, what)
		if direct.head {
			require.Equal(t, "the head", string(j.Head()), what)
		} else {
			require.Nil(t, j.Head(), what)
		}
		require.NoError(t, j.Ack(after.Last))
		require.Zero(t, j.Stats().Waiting)
		require.Equal(t, lost, j.Stats().Lost, "%s: settling does not make a loss unseen", what)
		require.NoError(t, j.Close())
		if lost > 0 {
			require.DirExists(t, dir, "%s: a journal with losses stays for people to look at", what)
		} else {
			require.NoDirExists(t, dir, what)
		}
	}
	for _, last := range []uint64{0, s.last()} {
		for bit := 0; bit < 8*len(s.bytes); bit += 1009 {
			b := bytes.Clone(s.bytes)
			b[bit/8] ^= 1 << (bit % 8)
			check(fmt.Sprintf("bit %d, last %d", bit, last), b, last)
		}
		for n := 0; n <= len(s.bytes); n += 157 {
			check(fmt.Sprintf("cut at %d, last %d", n, last), s.bytes[:n], last)
		}
	}
}

func TestRecordsBehindADamagedTailGetNewNumbers(t *testing.T) {
	s := newSample(4 << 10)
	for _, last := range []uint64{0, s.last() + 3} {
		dir := s.write(t, s.bytes[:len(s.bytes)-5], last)
		j, err := Open(dir, Options{})
		require.NoError(t, err)
		require.Equal(t, s.at[len(s.at)-2], j.Stats().Torn)
		n := j.Stats().Last
		appendAll(t, j, "new")
		es := rest(j)
		e := es[len(es)-1]
		require.Equal(t, "new", string(e.Data))
		require.Equal(t, n+1, e.Seq)
		require.Equal(t, n-(s.last()-1), e.Lost, "between two records the loss is exact")
		require.Equal(t, e.Lost, j.Stats().Lost, "and counted once")
		require.NoError(t, j.Close())

		j, err = Open(dir, Options{})
		require.NoError(t, err)
		require.Equal(t, es, rest(j), "another reader finds the same")
		require.NoError(t, j.Close())
	}
}

// badDisk cannot read some of its blocks.
type badDisk struct {
	io.ReaderAt
	from, to int64
}

func (d badDisk) ReadAt(p []byte, off int64) (int, error) {
	if off >= d.to || off+int64(len(p)) <= d.from {
		return d.ReaderAt.ReadAt(p, off)
	}
	if off >= d.from {
		return 0, os.ErrInvalid
	}
	n, _ := d.ReaderAt.ReadAt(p[:d.from-off], off)
	return n, os.ErrInvalid
}

func TestAnUnreadableBlockCostsItsOwnRecordsOnly(t *testing.T) {
	s := newSample(64 << 10)
	from, to := int64(8<<10), int64(16<<10)
	scan := newScanner(badDisk{bytes.NewReader(s.bytes), from, to}, s.seed, int64(len(s.bytes)))
	var got, want []uint64
	for f, ok := scan.next(); ok; f, ok = scan.next() {
		if f.whole && f.seq > 0 {
			got = append(got, f.seq)
		}
	}
	for i := 2; i < len(s.data); i++ {
		if s.at[i+1] <= from || s.at[i] >= to {
			want = append(want, uint64(i-1))
		}
	}
	require.Equal(t, want, got)
}

func TestRecordsLongerThanAChunkAreRead(t *testing.T) {
	j := Create(t.TempDir(), "run", nil, Options{SegmentBytes: 1 << 20})
	want := []string{"a", strings.Repeat("b", 3*chunkSize), "c", strings.Repeat("d", 6*chunkSize), "e"}
	appendAll(t, j, want...)
	require.Equal(t, want, payloads(rest(j)))
	require.ErrorContains(t, j.Append(make([]byte, MaxRecord+1)), "is the most")
	require.NoError(t, j.Close())
}

func TestAHeadSurvivesTheLossOfASegment(t *testing.T) {
	j := Create(t.TempDir(), "run", []byte("head"), Options{SegmentBytes: 100})
	appendAll(t, j, numbered(20)...)
	path := j.Path()
	require.NoError(t, j.Close())
	require.NoError(t, os.Truncate(filepath.Join(path, sampleSeg), 3))
	require.NoError(t, os.Remove(filepath.Join(path, ackName)))
	j, err := Open(path, Options{})
	require.NoError(t, err)
	require.Equal(t, "head", string(j.Head()))
	es := rest(j)
	require.NotEmpty(t, es)
	require.Equal(t, es[0].Seq-1, es[0].Lost)
	require.Equal(t, es[0].Lost, j.Stats().Lost)
	require.NoError(t, j.Close())
}

func TestADamagedAckFileMeansReadingAgain(t *testing.T) {
	dir := t.TempDir()
	j := Create(dir, "run", nil, Options{})
	appendAll(t, j, numbered(10)...)
	require.NoError(t, j.Ack(4))
	require.NoError(t, j.Ack(7))
	path := j.Path()
	require.NoError(t, j.Close())
	good, err := os.ReadFile(filepath.Join(path, ackName))
	require.NoError(t, err)
	for bit := range 8 * len(good) {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		st := readState(bytes.NewReader(b), seedOf(filepath.Base(path), ackName))
		require.Contains(t, []uint64{4, 7}, st.acked, "bit %d", bit)
	}
	require.NoError(t, os.WriteFile(filepath.Join(path, ackName), []byte("rubbish"), 0o600))
	j, err = Open(path, Options{})
	require.NoError(t, err)
	require.Len(t, rest(j), 10, "sent again, never lost")
	require.NoError(t, j.Close())
}

func FuzzReader(f *testing.F) {
	s := newSample(4 << 10)
	f.Add([]byte{}, uint16(0), byte(0))
	f.Add(s.bytes[:1000], uint16(100), byte(1))
	f.Add(magic, uint16(4000), byte(0x80))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, with byte) {
		scan := newScanner(bytes.NewReader(data), s.seed, int64(len(data)))
		for off := int64(-1); ; off = scan.off {
			if _, ok := scan.next(); !ok {
				break
			}
			if scan.off <= off {
				t.Fatalf("no way ahead at %d", off)
			}
		}
		if cap(scan.buf) > len(data) {
			t.Fatalf("%d bytes taken to read %d", cap(scan.buf), len(data))
		}
		// Into a good segment: what is read is what was written.
		b := bytes.Clone(s.bytes)
		if n := copy(b[int(at)%len(b):], data); n < len(b) {
			b[(int(at)+n)%len(b)] ^= with
		}
		if _, err := s.read(b); err != nil {
			t.Fatal(err)
		}
	})
}
