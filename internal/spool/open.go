package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// Open takes over the journal of a writer that is gone, to read and settle
// what is left, and to append in a new segment. It reads every record, until
// [Options].Context ends. The error matches [mlops.ErrConflict] if another
// process holds the journal, [mlops.ErrNotFound] if it is not there, or not any
// more, and [mlops.ErrUnsupported] if a newer program wrote it, in a form that
// this one does not know.
func Open(path string, o Options) (*Journal, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(path)
	if err != nil {
		return nil, err
	}
	j := newJournal(o)
	j.dir, j.path, j.lock = filepath.Dir(path), path, lock
	if err := j.load(); err != nil {
		j.release()
		return nil, fmt.Errorf("spool: Open: %w", err)
	}
	return j, nil
}

// release closes what the journal holds open and gives up the lock.
func (j *Journal) release() {
	j.reader.leave()
	for _, s := range j.segs {
		if s.f != nil {
			s.f.Close()
			s.f = nil
		}
	}
	for _, f := range []file{j.ack, j.refusedFile} {
		if f != nil {
			f.Close()
		}
	}
	if j.root != nil {
		j.root.Close()
	}
	if j.lock != nil {
		release(j.lock)
	}
}

// Lend returns an open file that holds the journal's lock beside the journal
// itself: as long as a process has it, also one that outlives this one, no
// other can open the journal. [Journal.Close] ends that. The caller closes the
// file; nil means that nothing is on disk.
func (j *Journal) Lend() (*os.File, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lock == nil || j.closed {
		return nil, nil
	}
	return lockfile.Share(j.lock)
}

func (j *Journal) load() error {
	if err := knownForm(j.path); err != nil {
		return err
	}
	s, err := examine(j.o.Context, j.path)
	if err != nil {
		return err
	}
	if j.root, err = os.OpenRoot(j.path); err != nil {
		return err
	}
	if j.ack, err = j.o.fs.OpenFile(filepath.Join(j.path, ackName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	j.name, j.head, j.segs, j.state, j.gaps, j.torn = s.name, s.head, s.segs, s.state, s.gaps, s.torn
	j.last, j.acked, j.dropped = s.last, s.state.acked, s.state.dropped
	j.written, j.synced = s.last, s.last
	j.refused, j.refusedSize, j.lastFile = s.refused, s.refusedSize, s.lastFile
	j.bytes, j.fileBytes = s.bytes, s.fileBytes
	for _, seg := range j.segs {
		j.next = seg.n + 1
	}
	j.reader.last = j.acked
	return nil
}

// contents is what a journal's folder holds.
type contents struct {
	name             string
	head             []byte
	segs             []*segment
	state            state
	last             uint64
	gaps             []span
	torn             int64
	bytes, fileBytes int64
	lastFile         int
	refused          map[refusedKey]struct{}
	refusedSize      int64
	changed          time.Time
}

// examine reads a journal's folder whole, without taking it over.
func examine(ctx context.Context, path string) (contents, error) {
	base := filepath.Base(path)
	c := contents{torn: -1, refused: map[refusedKey]struct{}{}, name: base}
	if m := folderName.FindStringSubmatch(base); m != nil {
		c.name = m[1]
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return c, err
	}
	for _, e := range entries {
		if n := segNumber(e.Name()); n > 0 {
			c.segs = append(c.segs, &segment{n: n, path: filepath.Join(path, e.Name()), seed: seedOf(base, e.Name())})
		}
	}
	slices.SortFunc(c.segs, func(a, b *segment) int { return cmp.Compare(a.n, b.n) })
	var known uint64 // the largest number that an unharmed header carries
	for _, s := range slices.Clone(c.segs) {
		top, err := c.scan(ctx, s)
		if errors.Is(err, fs.ErrNotExist) { // settled in the meantime
			c.segs = slices.DeleteFunc(c.segs, func(o *segment) bool { return o == s })
			continue
		}
		if err != nil {
			return c, err
		}
		known = max(known, top)
	}
	if err := c.readAck(filepath.Join(path, ackName), seedOf(base, ackName)); err != nil {
		return c, err
	}
	if err := c.readRefused(filepath.Join(path, refusedName), seedOf(base, refusedName)); err != nil {
		return c, err
	}
	c.readFiles(filepath.Join(path, filesName))
	c.findGaps(max(known, c.state.last, c.state.acked))
	return c, nil
}

// scan reads one segment and returns the largest number in it.
func (c *contents) scan(ctx context.Context, s *segment) (known uint64, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	s.size = info.Size()
	c.bytes += s.size
	if info.ModTime().After(c.changed) {
		c.changed = info.ModTime()
	}
	scan := newScanner(f, s.seed, s.size)
	for {
		if ctx.Err() != nil {
			return known, context.Cause(ctx)
		}
		fr, ok := scan.next()
		if !ok {
			break
		}
		known = max(known, fr.seq)
		switch {
		case !fr.whole:
		case fr.seq == 0:
			if c.head == nil {
				c.head = append([]byte{}, fr.data...)
			}
		default:
			if n := len(s.runs); n > 0 && s.runs[n-1].to+1 == fr.seq {
				s.runs[n-1].to = fr.seq
			} else {
				s.runs = append(s.runs, span{fr.seq, fr.seq})
			}
			if s.first == 0 {
				s.first = fr.seq
			}
			s.last = max(s.last, fr.seq)
		}
	}
	s.hurt = scan.hurt
	if scan.bad >= 0 {
		c.torn = scan.bad
	}
	return known, nil
}

// findGaps tells which numbers above the settled ones are in no segment.
func (c *contents) findGaps(last uint64) {
	var runs []span
	var later span // the numbers of the segments behind
	for _, s := range slices.Backward(c.segs) {
		if s.last <= later.to { // a copy that ends earlier replaces nothing
			s.until.Store(later.from)
		}
		if s.first != 0 {
			later = span{min(cmp.Or(later.from, s.first), s.first), max(later.to, s.last)}
		}
		runs = append(runs, s.runs...)
		s.runs = nil
	}
	slices.SortFunc(runs, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	at := c.state.acked
	for _, r := range runs {
		if r.from > at+1 {
			c.gaps = append(c.gaps, span{at + 1, r.from - 1})
		}
		at = max(at, r.to)
	}
	if c.last = max(at, last); c.last > at {
		c.gaps = append(c.gaps, span{at + 1, c.last})
	}
}

func (c *contents) readAck(path string, seed uint32) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	c.state = readState(f, seed)
	return nil
}

func (c *contents) readRefused(path string, seed uint32) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	c.refusedSize, err = f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	c.bytes += c.refusedSize
	scan := newScanner(f, seed, c.refusedSize)
	for fr, ok := scan.next(); ok; fr, ok = scan.next() {
		if r, ok := decodeRefusal(fr); ok {
			c.refused[refusedKey{r.Seq, crc32.Checksum(r.Data, castagnoli)}] = struct{}{}
		}
	}
	return nil
}

func (c *contents) readFiles(path string) {
	entries, _ := os.ReadDir(path)
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			c.lastFile = max(c.lastFile, n)
		}
		if info, err := e.Info(); err == nil {
			c.fileBytes += info.Size()
		}
	}
	c.bytes += c.fileBytes
}

func (c *contents) stats() Stats {
	ahead := total(c.gaps)
	return Stats{
		Last: c.last, Acked: c.state.acked, Waiting: c.last - c.state.acked - ahead,
		Lost: c.state.lost + ahead, Dropped: c.state.dropped, Refused: len(c.refused),
		Torn: c.torn, Bytes: c.bytes,
	}
}

// Info is a journal as [List] finds it.
type Info struct {
	Path string
	Name string // as it was given to Create
	Held bool   // its writer, or one that took it over, is at work

	Label    string // see [Journal.SetLabel]
	Archived bool   // see [Journal.Archive]
	Created  time.Time
	Changed  time.Time // when the latest record was written
	Head     []byte    // the head record; nil if every copy is lost
	Stats
}

var folderName = regexp.MustCompile(`^(.+)-[0-9a-f]{16}$`)

// idOf is what [folderID] put into the name of a journal's folder.
func idOf(path string) string { return path[max(0, len(path)-16):] }

// List returns the journals in a folder, the oldest first, without taking them
// over. One that vanishes meanwhile is left out; the others come before the
// error for one that cannot be read. It reads every record.
func List(dir string) iter.Seq2[Info, error] {
	ctx := context.Background()
	return list(ctx, dir, "", func(i *Info) error {
		c, err := examine(ctx, i.Path)
		i.Changed, i.Head, i.Stats = c.changed, c.head, c.stats()
		if i.Held {
			i.Torn = -1 // it is being written
		}
		return err
	})
}

// Peek is List without Stats, and with the time of the latest change of any
// file: it reads the heads alone. With a name it looks only at the journals that
// were given it. It ends when ctx does.
func Peek(ctx context.Context, dir, name string) iter.Seq2[Info, error] {
	return list(ctx, dir, name, func(i *Info) error {
		i.Torn = -1
		return i.glance()
	})
}

func list(ctx context.Context, dir, name string, look func(*Info) error) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		var all []Info
		for _, e := range entries {
			m := folderName.FindStringSubmatch(e.Name())
			if m == nil || !e.IsDir() || name != "" && m[1] != cleanName(name) {
				continue
			}
			if ctx.Err() != nil {
				return
			}
			path := filepath.Join(dir, e.Name())
			if at, e := os.Stat(filepath.Join(path, lockName)); e == nil {
				all = append(all, Info{Path: path, Name: m[1], Created: at.ModTime()})
			} else if !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		slices.SortFunc(all, func(a, b Info) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(idOf(a.Path), idOf(b.Path)))
		})
		for _, i := range all {
			if ctx.Err() != nil {
				return
			}
			is, e := held(i.Path)
			if e == nil {
				i.Held = is
				i.Archived = exists(filepath.Join(i.Path, archivedName))
				i.Label = readShort(filepath.Join(i.Path, labelName))
				e = look(&i)
			}
			if errors.Is(e, fs.ErrNotExist) {
				continue
			}
			if e != nil {
				err = errors.Join(err, e)
				continue
			}
			if !yield(i, nil) {
				return
			}
		}
		if err != nil {
			yield(Info{}, fmt.Errorf("spool: List: %w", err))
		}
	}
}

// glance reads the head and the times of a journal.
func (i *Info) glance() error {
	entries, err := os.ReadDir(i.Path)
	if err != nil {
		return err
	}
	i.Changed = i.Created
	for _, e := range entries { // by name: the segments in their order
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(i.Changed) {
			i.Changed = info.ModTime()
		}
		if i.Head != nil || segNumber(e.Name()) <= 0 {
			continue
		}
		f, err := os.Open(filepath.Join(i.Path, e.Name()))
		if err != nil {
			return err
		}
		scan := newScanner(f, seedOf(filepath.Base(i.Path), e.Name()), info.Size())
		for fr, ok := scan.next(); ok && fr.seq == 0; fr, ok = scan.next() {
			if fr.whole {
				i.Head = append([]byte{}, fr.data...)
				break
			}
		}
		f.Close()
	}
	return nil
}

const (
	archivedName = "archived"
	labelName    = "label"
	formName     = "form"
)

// form is the form of journals that this program writes. A journal that has no
// file of that name has form 1, the first.
const form = 1

// knownForm returns an error for a journal whose form is newer than this program.
func knownForm(path string) error {
	text := readShort(filepath.Join(path, formName))
	if n, err := strconv.Atoi(strings.TrimSpace(text)); text == "" || err == nil && n <= form {
		return nil
	}
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "spool", Op: "Open",
		Message: fmt.Sprintf("a newer program wrote the journal %s, in form %.20q; this one knows form %d and leaves it alone", path, strings.TrimSpace(text), form)}
}

// readShort returns the text of a small file, "" if there is none.
func readShort(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 1<<10))
	return string(b)
}

// SetLabel keeps a short text that [Peek] and [List] return with the journal. It
// is not needed to read the journal, and may be gone after a power cut.
func (j *Journal) SetLabel(text string) error {
	if text == "" {
		return nil
	}
	return j.note(labelName, text)
}

// note writes a small file into the journal's folder.
func (j *Journal) note(name, text string) error {
	j.mu.Lock()
	path, closed := j.path, j.closed
	j.mu.Unlock()
	if path == "" || closed {
		return nil
	}
	f, err := j.o.fs.OpenFile(filepath.Join(path, name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return unavailable("note", err.Error(), err)
	}
	_, err = f.WriteAt([]byte(text), 0)
	return errors.Join(err, f.Close())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Archive marks a journal whose records are all settled as one that needs no
// more sending: it stays for what it tells of refused and lost records, until
// [Discard].
func (j *Journal) Archive() error { return j.note(archivedName, "") }

// Discard deletes a journal that no process holds, with all that was not sent. The
// errors are those of [Open].
func Discard(path string) error {
	lock, err := lockFolder(path)
	if err != nil {
		return err
	}
	return removeFolder(path, lock)
}

// Close syncs, gives up the lock, and deletes the folder if every record was
// settled and none was lost, dropped or refused. The error matches
// [mlops.ErrUnavailable] if records that were held in memory are gone with it.
// Further calls return what the first did.
func (j *Journal) Close() error {
	if !j.done() {
		_ = j.sync(true)
	}
	j.rmu.Lock()
	defer j.rmu.Unlock()
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return j.closeErr
	}
	j.closed = true
	j.timer.Stop()
	if n := len(j.held); n > 0 {
		j.closeErr = unavailable("Close", fmt.Sprintf("%d records that were held in memory are gone", n), j.down)
	} else {
		j.closeErr = j.trouble("Close")
	}
	if j.path != "" && j.finished() {
		lock := j.lock
		j.lock = nil
		j.release()
		if err := removeFolder(j.path, lock); err != nil {
			j.closeErr = errors.Join(j.closeErr, fmt.Errorf("spool: Close: %w", err))
		}
		return j.closeErr
	}
	j.release()
	return j.closeErr
}

// done reports whether nothing is left to be made durable.
func (j *Journal) done() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closed || j.finished()
}

func (j *Journal) finished() bool {
	return j.acked == j.last && j.state.lost == 0 && j.dropped == 0 && len(j.refused) == 0
}
