package spool

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// state is what the ack file keeps: the little that is written in place, so
// that a full disk takes it as well.
type state struct {
	gen     uint64 // of two copies the one with the larger number holds
	acked   uint64
	last    uint64 // the latest number given, held in memory or on disk
	dropped uint64
	lost    uint64 // by damage, up to acked
}

const (
	stateSize = 4 + 5*8
	slotSize  = 64 // the two copies lie at 0 and 64 and are written in turn
)

func (s state) encode(seed uint32) []byte {
	b := make([]byte, 4, stateSize)
	for _, v := range []uint64{s.gen, s.acked, s.last, s.dropped, s.lost} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	binary.LittleEndian.PutUint32(b, crc32.Update(seed, castagnoli, b[4:]))
	return b
}

func decodeState(b []byte, seed uint32) (state, bool) {
	if binary.LittleEndian.Uint32(b) != crc32.Update(seed, castagnoli, b[4:]) {
		return state{}, false
	}
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[4+8*i:]) }
	return state{v(0), v(1), v(2), v(3), v(4)}, true
}

// readState returns the newest unharmed copy; the zero state if there is none:
// then everything is sent again, which is harmless.
func readState(r io.ReaderAt, seed uint32) state {
	var newest state
	b := make([]byte, stateSize)
	for _, off := range []int64{0, slotSize} {
		if n, _ := r.ReadAt(b, off); n < stateSize {
			continue
		}
		if s, ok := decodeState(b, seed); ok && s.gen >= newest.gen {
			newest = s
		}
	}
	return newest
}
