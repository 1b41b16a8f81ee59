package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlops-integration/mlops"
)

// Options are the limits of a journal. The zero value is what fits most.
type Options struct {
	SegmentBytes int64         // a segment is full from here on; 0: 64 MiB
	SyncEvery    time.Duration // at most this long between a write and its fsync; 0: 1 s
	MaxBytes     int64         // of the whole journal on disk; beyond it records are held in memory, then refused; 0: 4 GiB
	MemoryBytes  int64         // what is held in memory while the disk refuses; 0: 16 MiB
	Logger       *slog.Logger  // nil: silent

	Context context.Context // ends what Open reads; nil: nothing does

	fs fsys // nil: the disk
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = time.Second
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 4 << 30
	}
	if o.MemoryBytes <= 0 {
		o.MemoryBytes = 16 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	if o.fs == nil {
		o.fs = disk{}
	}
	return o
}

const (
	recentMax  = 8 << 20     // of frames kept in memory until their fsync
	retryEvery = time.Second // at most so often a disk that refused is asked again
	syncAtMost = time.Minute // between two tries while fsync keeps failing
	heldExtra  = 64          // what a held record costs besides its bytes
	settleStep = 1 << 20     // so much is moved from memory to disk under one lock
)

// Journal is one journal. Its methods are safe for concurrent use; there is
// one reader.
type Journal struct {
	o    Options
	dir  string // "": in memory by request
	name string
	more chan struct{}

	// Locks are taken in this order.
	rmu    sync.Mutex // the reader's
	syncMu sync.Mutex // one fsync, one removal at a time
	mu     sync.Mutex // everything below; never held during an fsync

	head     []byte
	path     string // "" until there is a folder
	lock     *os.File
	root     *os.Root
	ack      file
	segs     []*segment
	cur      *segment // the one that is written to; nil: none
	next     int      // number of the next segment
	newNames bool     // names in the folder wait for their fsync
	newFiles []string // attached files that do
	lastFile int

	last, acked uint64
	written     uint64 // the latest number on disk
	synced      uint64 // the latest number that an fsync has covered
	state       state
	gaps        []span // lost numbers above acked
	dropped     uint64
	torn        int64
	bytes       int64 // on disk
	fileBytes   int64 // of them in attached files
	refused     map[refusedKey]struct{}
	refusedFile file
	refusedSize int64

	// Frames since the last good fsync, and those that a running fsync covers.
	recent, syncing       []byte
	forgot, syncingForgot bool // some are only in the files

	down      error // why the disk is not written to at present
	unsynced  error // why the last fsync went wrong
	lastTry   time.Time
	failures  int // of fsync, in a row
	held      []record
	heldBytes int64

	timer    *time.Timer   // runs tick while something is to be done
	armed    time.Duration // what it was set to; 0: it is not
	sealed   bool          // takes no more records
	closed   bool
	closeErr error

	reader reader
}

// record is one that is held in memory.
type record struct {
	seq  uint64
	data []byte
}

// span is a run of numbers, both ends included.
type span struct{ from, to uint64 }

// segment is one file of frames.
type segment struct {
	n           int
	path        string
	seed        uint32
	f           file   // open for writing; nil: not
	size        int64  // of good frames
	first, last uint64 // numbers in it; 0: none
	dirty       bool   // written to since its last fsync
	hurt        bool   // damage was found in it: it is kept
	runs        []span // what was found in it, by Open

	until atomic.Uint64 // from here on its numbers are written again in a later one; 0: all hold
}

// Entry is a record as it is read back.
type Entry struct {
	Seq  uint64
	Data []byte // the caller's own
	Lost uint64 // records missing between this one and the one before it
}

// Stats are the figures of a journal.
type Stats struct {
	Last    uint64 // number of the latest record
	Acked   uint64 // all up to here are settled
	Waiting uint64 // records that are there and not settled
	Lost    uint64 // records that damage took, as far as the numbers tell
	Dropped uint64 // records that were never kept: the disk refused and the memory was full
	Refused int    // records that the server refused
	Torn    int64  // offset of a torn tail in its segment; -1: none
	Bytes   int64  // on disk
}

// Create begins the journal dir/<name>-<16 hex digits>, locked. It cannot
// fail: if the disk refuses, the journal works in memory, tries again later,
// and Trouble tells why. With dir "" it stays in memory, as wanted.
//
// The head is a record that every segment carries; Head returns it.
func Create(dir, name string, head []byte, o Options) *Journal {
	j := newJournal(o)
	j.dir, j.name, j.head = dir, cleanName(name), append([]byte{}, head...)
	if dir != "" {
		j.mu.Lock()
		if err := j.begin(); err != nil {
			j.stall(err)
			j.arm(retryEvery)
		}
		j.mu.Unlock()
	}
	return j
}

func newJournal(o Options) *Journal {
	j := &Journal{o: o.withDefaults(), more: make(chan struct{}, 1), next: 1, torn: -1, refused: map[refusedKey]struct{}{}}
	j.timer = time.AfterFunc(time.Hour, j.tick)
	j.timer.Stop()
	return j
}

// cleanName makes a name that every file system takes.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, s)
	s = strings.TrimLeft(s, ".")
	if s == "" {
		return "journal"
	}
	return s[:min(len(s), 100)]
}

// Path is the journal's folder; "" while it is in memory only.
func (j *Journal) Path() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.path
}

// Head is the head record; after Open as it was read from disk, nil if every
// copy is lost. It must not be changed.
func (j *Journal) Head() []byte { return j.head }

// More is nudged when records were appended.
func (j *Journal) More() <-chan struct{} { return j.more }

func (j *Journal) nudge() {
	select {
	case j.more <- struct{}{}:
	default:
	}
}

// Append adds a record. When it returns nil the record is written to the
// kernel, or held in memory while the disk refuses. Otherwise it is neither:
// the error matches [mlops.ErrUnavailable] and the record is counted as
// dropped; or [mlops.ErrInvalid]: it is longer than [MaxRecord]. Append waits
// for no fsync and keeps nothing of b.
func (j *Journal) Append(b []byte) error {
	if len(b) > MaxRecord {
		return &mlops.Error{Kind: mlops.ErrInvalid, Service: "spool", Op: "Append", Message: fmt.Sprintf("a record of %d bytes; %d is the most", len(b), MaxRecord)}
	}
	j.mu.Lock()
	err := j.append(b)
	j.mu.Unlock()
	if err == nil {
		j.nudge()
	}
	return err
}

// ErrSealed is the cause of an Append that came after [Journal.Seal].
var ErrSealed = errors.New("the journal is sealed")

// Seal adds a last record, none if b is nil, and ends the journal: an Append
// either came before, and its record stands before this one, or fails with
// [ErrSealed], as a second Seal with a record does. It returns the number of the
// latest record that is not its own.
func (j *Journal) Seal(b []byte) (before uint64, err error) {
	j.mu.Lock()
	before = j.last
	if b != nil {
		err = j.append(b)
	}
	j.sealed = true
	j.mu.Unlock()
	j.nudge()
	return before, err
}

func (j *Journal) append(b []byte) error {
	if j.sealed {
		return &mlops.Error{Kind: mlops.ErrInvalid, Service: "spool", Op: "Append", Message: ErrSealed.Error(), Cause: ErrSealed}
	}
	if j.closed {
		j.dropped++
		return unavailable("Append", "the journal is closed", nil)
	}
	if j.dir != "" && j.down == nil && len(j.held) == 0 {
		err := j.write(j.last+1, b)
		if err == nil {
			j.last++
			return nil
		}
		j.stall(err)
	}
	cost := int64(len(b)) + heldExtra
	if j.heldBytes+cost > j.o.MemoryBytes {
		j.dropped++
		_ = j.saveState()
		return unavailable("Append", fmt.Sprintf("no room for a record: %d are held in memory", len(j.held)), j.down)
	}
	j.last++
	j.held = append(j.held, record{j.last, append([]byte(nil), b...)})
	j.heldBytes += cost
	if j.dir != "" {
		_ = j.saveState() // a kill now loses it, and the number tells
		j.arm(retryEvery)
	}
	return nil
}

// write puts a record into the current segment, or the next one.
func (j *Journal) write(seq uint64, b []byte) error {
	if j.cur == nil || j.cur.size >= j.o.SegmentBytes {
		if err := j.begin(); err != nil {
			return err
		}
	}
	n := int64(headerSize + len(b))
	if j.bytes+n > j.o.MaxBytes {
		return errFull
	}
	s, start := j.cur, len(j.recent)
	j.recent = appendFrame(j.recent, s.seed, s.size, seq, b)
	if _, err := s.f.WriteAt(j.recent[start:], s.size); err != nil {
		j.recent = j.recent[:start]
		if s.f.Truncate(s.size) != nil {
			j.cur = nil // what is half written stays behind as a torn tail
		}
		return err
	}
	s.size, s.last, s.dirty = s.size+n, seq, true
	if s.first == 0 {
		s.first = seq
	}
	j.bytes, j.written = j.bytes+n, seq
	switch {
	case len(j.recent) > recentMax:
		j.recent, j.forgot = j.recent[:0], true
	case len(j.recent) > recentMax/2 && j.failures == 0:
		j.arm(1)
	}
	j.arm(j.syncDelay())
	return nil
}

var errFull = errors.New("the journal has reached its largest size")

// begin starts a new segment, and the folder first if there is none.
func (j *Journal) begin() error {
	if j.path == "" {
		if err := j.place(); err != nil {
			return err
		}
	}
	name := fmt.Sprintf("%06d"+segSuffix, j.next)
	s := &segment{n: j.next, path: filepath.Join(j.path, name), seed: seedOf(filepath.Base(j.path), name), dirty: true}
	f, err := j.o.fs.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			j.next++
		}
		return err
	}
	heads := appendFrame(nil, s.seed, 0, 0, j.head)
	heads = appendFrame(heads, s.seed, int64(len(heads)), 0, j.head)
	if _, err := f.WriteAt(heads, 0); err != nil {
		f.Close()
		os.Remove(s.path)
		return err
	}
	s.f, s.size = f, int64(len(heads))
	j.next, j.cur, j.segs = j.next+1, s, append(j.segs, s)
	j.bytes += s.size
	j.newNames = true
	j.arm(j.syncDelay())
	return nil
}

// place makes the folder, its lock and its ack file.
func (j *Journal) place() error {
	if err := j.o.fs.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	for try := 0; ; try++ {
		path, lock, err := j.makeFolder()
		if err != nil && try < 2 && (errors.Is(err, mlops.ErrConflict) || errors.Is(err, mlops.ErrNotFound)) {
			continue // another process found it empty and took it
		}
		if err != nil {
			return err
		}
		ack, err := j.o.fs.OpenFile(filepath.Join(path, ackName), os.O_RDWR|os.O_CREATE, 0o600)
		var root *os.Root
		if err == nil {
			if root, err = os.OpenRoot(path); err != nil {
				ack.Close()
			}
		}
		if err != nil {
			return errors.Join(err, removeFolder(path, lock))
		}
		j.path, j.lock, j.ack, j.root = path, lock, ack, root
		return j.saveState()
	}
}

// folderID is the end of a new folder's name, which has 16 hex digits. IDs are in the
// order in which they are made: file systems give one time to all that is made in a
// tick of some milliseconds.
func folderID() string {
	for {
		before := latestID.Load()
		now := max(time.Now().UnixNano(), before+1)
		if latestID.CompareAndSwap(before, now) {
			return fmt.Sprintf("%016x", now)
		}
	}
}

var latestID atomic.Int64

func (j *Journal) makeFolder() (path string, lock *os.File, err error) {
	for err = fs.ErrExist; errors.Is(err, fs.ErrExist); { // another program's, of the same nanosecond
		path = filepath.Join(j.dir, j.name+"-"+folderID())
		err = j.o.fs.Mkdir(path, 0o700)
	}
	if err != nil {
		return "", nil, err
	}
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		os.Remove(path)
		return "", nil, err
	}
	f.Close()
	lock, err = lockFolder(path)
	return path, lock, err
}

// saveState writes the ack file.
func (j *Journal) saveState() error {
	if j.ack == nil {
		return nil
	}
	j.state = state{j.state.gen + 1, j.acked, j.last, j.dropped, j.state.lost}
	_, err := j.ack.WriteAt(j.state.encode(seedOf(filepath.Base(j.path), ackName)), int64(j.state.gen%2)*slotSize)
	return err
}

// stall notes that the disk took no record.
func (j *Journal) stall(err error) {
	if j.down == nil {
		j.o.Logger.Warn("journal is held in memory", "path", j.path, "err", err)
	}
	j.down, j.lastTry = err, time.Now()
}

// syncDelay is how long the next fsync waits: longer after each that failed.
func (j *Journal) syncDelay() time.Duration {
	return min(j.o.SyncEvery<<min(j.failures, 16), max(syncAtMost, j.o.SyncEvery))
}

// arm sees to it that tick runs within d.
func (j *Journal) arm(d time.Duration) {
	if !j.closed && (j.armed == 0 || d < j.armed) {
		j.armed = d
		j.timer.Reset(d)
	}
}

// Trouble is nil, or why records are held in memory at present or why the
// latest may not survive a power cut. It matches [mlops.ErrUnavailable].
func (j *Journal) Trouble() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.trouble("Trouble")
}

func (j *Journal) trouble(op string) error {
	switch {
	case j.down != nil:
		return unavailable(op, fmt.Sprintf("%d records are held in memory: %v", len(j.held), j.down), j.down)
	case j.unsynced != nil:
		return unavailable(op, "the latest records may not survive a power cut: "+j.unsynced.Error(), j.unsynced)
	}
	return nil
}

func unavailable(op, msg string, cause error) error {
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "spool", Op: op, Message: msg, Cause: cause}
}

// Stats returns the figures as they are now.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	ahead := total(j.gaps)
	return Stats{
		Last: j.last, Acked: j.acked, Waiting: j.last - j.acked - ahead,
		Lost: j.state.lost + ahead, Dropped: j.dropped, Refused: len(j.refused),
		Torn: j.torn, Bytes: j.bytes,
	}
}

func total(gaps []span) uint64 {
	var n uint64
	for _, g := range gaps {
		n += g.to - g.from + 1
	}
	return n
}
