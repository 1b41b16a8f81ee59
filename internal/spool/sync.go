package spool

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// tick does what waits: records go from memory to disk, writes to the medium.
func (j *Journal) tick() {
	j.mu.Lock()
	j.armed = 0
	j.mu.Unlock()
	_ = j.sync(false)
	j.mu.Lock()
	if j.down != nil {
		j.arm(retryEvery)
	}
	j.mu.Unlock()
}

// Sync waits until everything that was appended before is on the medium. The
// error matches [mlops.ErrUnavailable] if it is not; it is tried again without
// being asked. In a journal that is in memory by request it does nothing.
func (j *Journal) Sync() error { return j.sync(false) }

func (j *Journal) sync(force bool) error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.reap()
	j.settle(force)

	j.mu.Lock()
	if j.closed || j.path == "" {
		defer j.mu.Unlock()
		return j.trouble("Sync")
	}
	var todo []*segment
	for _, s := range j.segs {
		if s.dirty {
			s.dirty = false
			todo = append(todo, s)
		}
	}
	names, attached, upto := j.newNames, j.newFiles, j.written
	j.newNames, j.newFiles = false, nil
	j.recent, j.syncing = j.syncing[:0], j.recent
	j.forgot, j.syncingForgot = false, j.forgot
	_ = j.saveState()
	j.mu.Unlock()

	err := j.syncNames(names, attached) // a record never outlives the file it names
	var werr error
	for _, s := range todo {
		werr = errors.Join(werr, s.f.Sync())
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil || werr != nil {
		j.failures++
	} else {
		j.failures = 0
	}
	if err != nil { // these can be asked again
		j.newNames = j.newNames || names
		j.newFiles = append(attached, j.newFiles...)
		j.arm(j.syncDelay())
	}
	if werr != nil {
		j.retire(todo, werr)
	} else {
		j.synced = max(j.synced, upto)
		if len(j.syncing) < cap(j.syncing)/4 && cap(j.syncing) > chunkSize {
			j.syncing = nil // it is quiet again
		}
		j.syncing, j.syncingForgot = j.syncing[:0], false
		for _, s := range j.segs {
			if s != j.cur && !s.dirty && s.f != nil {
				s.f.Close()
				s.f = nil
			}
		}
	}
	if j.unsynced = errors.Join(err, werr); j.unsynced == nil && len(j.held) == 0 {
		return nil
	}
	return j.trouble("Sync")
}

// syncNames makes the folder's entries and the attached files durable.
func (j *Journal) syncNames(names bool, attached []string) error {
	var err error
	for _, name := range attached {
		f, e := j.o.fs.OpenFile(filepath.Join(j.path, filepath.FromSlash(name)), os.O_RDWR, 0)
		if errors.Is(e, os.ErrNotExist) { // removed meanwhile
			continue
		}
		if e == nil {
			e = errors.Join(f.Sync(), f.Close())
		}
		err = errors.Join(err, e)
	}
	if len(attached) > 0 {
		err = errors.Join(err, j.o.fs.SyncDir(filepath.Join(j.path, filesName)))
	}
	if names {
		err = errors.Join(err, j.o.fs.SyncDir(j.path), j.o.fs.SyncDir(j.dir))
	}
	return err
}

// retire gives up the segments whose fsync went wrong: after an error the next
// fsync of the same file may tell that all is well although it is not. All
// records since the last good fsync are written again, with their numbers.
func (j *Journal) retire(todo []*segment, why error) {
	j.o.Logger.Warn("journal begins a new segment after a failed fsync", "path", j.path, "err", why)
	again := j.since(todo)
	var old []*segment
	for _, s := range j.segs {
		if s.f == nil || !s.dirty && !slices.Contains(todo, s) {
			continue
		}
		s.f.Close()
		s.f, s.dirty = nil, false
		s.until.Store(j.synced + 1)
		old = append(old, s)
	}
	j.cur, j.recent, j.syncing, j.forgot, j.syncingForgot = nil, nil, nil, false, false
	for i, r := range again {
		if err := j.write(r.seq, r.data); err != nil {
			j.stall(err)
			for _, s := range old {
				s.until.Store(r.seq) // the rest is in memory
			}
			j.held = slices.Concat(again[i:], j.held)
			for _, r := range again[i:] {
				j.heldBytes += int64(len(r.data)) + heldExtra
			}
			return
		}
	}
	// A segment whose every record now lies in the new one has no use.
	for _, s := range old {
		if s.first > j.synced && s.first != 0 {
			j.drop(s)
		}
	}
}

// since returns the records after the last good fsync: from memory, or from
// the files where there were too many to keep.
func (j *Journal) since(todo []*segment) []record {
	var out []record
	add := func(seq uint64, data []byte) {
		if seq > j.synced && seq > j.acked && (len(out) == 0 || seq > out[len(out)-1].seq) {
			out = append(out, record{seq, append([]byte(nil), data...)})
		}
	}
	if j.syncingForgot || j.forgot {
		for _, s := range j.segs {
			if s.f == nil || !s.dirty && !slices.Contains(todo, s) {
				continue
			}
			scan := newScanner(s.f, s.seed, s.size)
			for f, ok := scan.next(); ok; f, ok = scan.next() {
				if f.whole {
					add(f.seq, f.data)
				}
			}
		}
		return out
	}
	for _, b := range [][]byte{j.syncing, j.recent} {
		for len(b) > 0 {
			size := headerSize + binary.LittleEndian.Uint32(b[4:])
			add(binary.LittleEndian.Uint64(b[8:]), b[headerSize:size])
			b = b[size:]
		}
	}
	return out
}

// settle moves what is held in memory to disk, in order, at most once a second
// unless forced.
func (j *Journal) settle(force bool) {
	moved := false
	for {
		j.mu.Lock()
		if j.closed || j.dir == "" || j.down == nil && len(j.held) == 0 || j.down != nil && !force && time.Since(j.lastTry) < retryEvery {
			j.mu.Unlock()
			break
		}
		err := j.settleSome()
		done := len(j.held) == 0
		if err != nil {
			j.stall(err)
		} else if done {
			j.o.Logger.Info("journal is on disk again", "path", j.path)
			j.down = nil
			_ = j.saveState()
		} else {
			j.lastTry = time.Time{}
		}
		j.mu.Unlock()
		moved = true
		if err != nil || done {
			break
		}
	}
	if moved {
		j.nudge()
	}
}

func (j *Journal) settleSome() error {
	if j.cur == nil {
		if err := j.begin(); err != nil {
			return err
		}
	}
	for n := 0; len(j.held) > 0 && n < settleStep; {
		r := j.held[0]
		if err := j.write(r.seq, r.data); err != nil {
			return err
		}
		n += len(r.data) + headerSize
		j.unhold(1)
	}
	return nil
}

// unhold lets go of the first n held records.
func (j *Journal) unhold(n int) {
	for _, r := range j.held[:n] {
		j.heldBytes -= int64(len(r.data)) + heldExtra
	}
	clear(j.held[:n])
	if j.held = j.held[n:]; len(j.held) == 0 {
		j.held = nil
	}
}
