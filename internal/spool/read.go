package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/mlops-integration/mlops"
)

// reader is how far Next has come.
type reader struct {
	last uint64 // the latest number returned
	seg  *segment
	f    file // nil: seg has nothing more to give
	scan *scanner
}

// Next returns the next record after the last one it returned, the first time
// after the last settled one; false: there is none now. The data is the
// caller's own. Damage is passed over, and counted in the entry behind it;
// what is missing at the very end is in Stats alone.
func (j *Journal) Next() (Entry, bool) {
	j.rmu.Lock()
	defer j.rmu.Unlock()
	r := &j.reader
	for {
		if r.f != nil {
			if f, ok := r.scan.next(); ok {
				until := r.seg.until.Load()
				if f.whole && f.seq > r.last && (until == 0 || f.seq < until) {
					return j.entry(f.seq, append([]byte{}, f.data...)), true
				}
				continue
			}
		}
		e, more, ok := j.advance()
		if ok {
			return e, true
		}
		if !more {
			return Entry{}, false
		}
	}
}

// advance lets the reader go on where its segment ends: in what was added to
// it, in the next segment, in memory.
func (j *Journal) advance() (e Entry, more, ok bool) {
	r := &j.reader
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return Entry{}, false, false
	}
	r.last = max(r.last, j.acked)
	if r.f != nil {
		r.seg.hurt = r.seg.hurt || r.scan.hurt
		if r.seg.size > r.scan.end {
			r.scan.end = r.seg.size
			j.mu.Unlock()
			return Entry{}, true, false
		}
	}
	var seg *segment
	for _, s := range j.segs {
		if (r.seg == nil || s.n > r.seg.n) && (s == j.cur || s.last > r.last) {
			seg = s
			break
		}
	}
	if seg == nil {
		if len(j.held) == 0 || j.held[len(j.held)-1].seq <= r.last {
			j.mu.Unlock()
			return Entry{}, false, false
		}
		i := 0
		if first := j.held[0].seq; r.last >= first {
			i = int(r.last - first + 1)
		}
		h := j.held[i]
		j.mu.Unlock()
		return j.entry(h.seq, append([]byte{}, h.data...)), true, true
	}
	end := seg.size
	j.mu.Unlock()

	f, err := j.o.fs.OpenFile(seg.path, os.O_RDONLY, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.o.Logger.Warn("journal cannot be read", "path", seg.path, "err", err)
		return Entry{}, false, false // asked again by the next call
	}
	r.leave()
	r.seg, r.f = seg, f
	if err != nil {
		r.f = nil
		return Entry{}, true, false
	}
	r.scan = newScanner(f, seg.seed, end)
	return Entry{}, true, false
}

func (r *reader) leave() {
	if r.f != nil {
		r.f.Close()
	}
	r.f, r.scan = nil, nil
}

// entry is what Next returns; rmu is held.
func (j *Journal) entry(seq uint64, data []byte) Entry {
	r := &j.reader
	e := Entry{Seq: seq, Data: data, Lost: seq - r.last - 1}
	if e.Lost > 0 {
		j.mu.Lock()
		j.addGap(span{r.last + 1, seq - 1})
		j.mu.Unlock()
	}
	r.last = seq
	return e
}

// addGap notes lost numbers, once.
func (j *Journal) addGap(g span) {
	if g.from = max(g.from, j.acked+1); g.from > g.to {
		return
	}
	j.gaps = slices.DeleteFunc(j.gaps, func(o span) bool { return o.from >= g.from && o.to <= g.to })
	j.gaps = append(j.gaps, g)
}

// Ack settles all records up to seq: no reader gets them again, and
// segments that hold no others are deleted. An error tells that this could not
// be written down, so that a later reader gets them once more.
func (j *Journal) Ack(seq uint64) error {
	j.mu.Lock()
	if seq > j.last {
		j.mu.Unlock()
		return &mlops.Error{Kind: mlops.ErrInvalid, Service: "spool", Op: "Ack", Message: fmt.Sprintf("record %d is not in the journal; %d is the last", seq, j.last)}
	}
	if seq <= j.acked || j.closed {
		j.mu.Unlock()
		return nil
	}
	j.acked = seq
	n := 0
	for n < len(j.held) && j.held[n].seq <= seq {
		n++
	}
	j.unhold(n)
	var ahead []span
	for _, g := range j.gaps {
		if g.from <= seq {
			j.state.lost += min(g.to, seq) - g.from + 1
			g.from = seq + 1
		}
		if g.from <= g.to {
			ahead = append(ahead, g)
		}
	}
	j.gaps = ahead
	err := j.saveState()
	reap := j.down == errFull || slices.ContainsFunc(j.segs, j.settled)
	j.mu.Unlock()
	if reap {
		j.syncMu.Lock()
		j.reap()
		j.settle(false)
		j.syncMu.Unlock()
	}
	if err != nil {
		return unavailable("Ack", err.Error(), err)
	}
	return nil
}

// settled reports whether a segment can go. One with damage is kept, and the
// latest, for the head in it.
func (j *Journal) settled(s *segment) bool {
	return s != j.cur && s != j.segs[len(j.segs)-1] && !s.hurt && s.last <= j.acked
}

// reap deletes the segments that hold settled records only. It is called with
// syncMu held.
func (j *Journal) reap() {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return
	}
	if c := j.cur; j.down == errFull && c != nil && c.first != 0 && c.last <= j.acked {
		_ = j.begin() // so that this one can go
	}
	var gone []*segment
	for _, s := range j.segs {
		if j.settled(s) {
			gone = append(gone, s)
		}
	}
	if len(gone) == 0 {
		j.mu.Unlock()
		return
	}
	// After a power cut the numbers of what is deleted must not look lost:
	// both copies of the state are on the medium first.
	err := errors.Join(j.saveState(), j.saveState())
	j.mu.Unlock()
	if err == nil {
		err = j.ack.Sync()
	}
	if err != nil {
		j.o.Logger.Warn("journal keeps settled segments", "path", j.path, "err", err)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range gone {
		j.drop(s)
	}
}

// drop deletes a segment.
func (j *Journal) drop(s *segment) {
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.o.Logger.Warn("journal segment is left behind", "path", s.path, "err", err)
		return
	}
	s.dirty = false
	j.bytes -= s.size
	j.segs = slices.DeleteFunc(j.segs, func(o *segment) bool { return o == s })
}
