package spool

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// MaxRecord is the length of the longest record that a journal takes.
const MaxRecord = 64 << 20

const (
	headerSize = 24        // magic 4, length 4, number 8, CRC of the payload 4, CRC of the header 4
	chunkSize  = 256 << 10 // how much is read at once
	blockSize  = 4 << 10   // what is given up when the disk cannot read it
)

var (
	magic      = []byte{0x9e, 'J', 'r', 0x1b}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// seedOf starts the checksums of one file of one journal, so that the bytes of
// another, inside a payload, are never taken for frames.
func seedOf(journal, file string) uint32 {
	return crc32.Checksum([]byte(journal+"/"+file), castagnoli)
}

// headerSum is the checksum of a header that lies at off: a copy of a frame
// elsewhere in the same file does not match.
func headerSum(seed uint32, off int64, header []byte) uint32 {
	return crc32.Update(seed^uint32(off), castagnoli, header[:headerSize-4])
}

// appendFrame appends to dst the frame of a record that will lie at off.
func appendFrame(dst []byte, seed uint32, off int64, seq uint64, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Update(seed, castagnoli, payload))
	dst = binary.LittleEndian.AppendUint32(dst, headerSum(seed, off, dst[start:]))
	return append(dst, payload...)
}

// frame is one record as it was found. The data is valid until the next one is
// looked for.
type frame struct {
	seq   uint64
	data  []byte
	whole bool // false: the header is unharmed, the payload is not
}

// scanner finds the frames of one file in their order and gets over damage.
type scanner struct {
	r    io.ReaderAt
	seed uint32
	end  int64 // nothing is read from here on; may grow between two calls
	off  int64 // where the next frame is due
	bad  int64 // where the damage begins that is being passed; -1: none
	hurt bool  // damage was found that is no torn tail

	buf []byte // bytes of the file from at
	at  int64
}

func newScanner(r io.ReaderAt, seed uint32, end int64) *scanner {
	return &scanner{r: r, seed: seed, end: end, bad: -1}
}

// next returns the next frame with an unharmed header; false: none below end.
// If bad is not -1 then, it is where the torn tail begins.
func (s *scanner) next() (frame, bool) {
	for {
		h := s.peek(s.off, headerSize)
		if h == nil {
			if s.off < s.end {
				s.damage()
			}
			return frame{}, false
		}
		if !bytes.Equal(h[:4], magic) || binary.LittleEndian.Uint32(h[20:]) != headerSum(s.seed, s.off, h) {
			s.damage()
			s.off = s.find(s.off + 1)
			continue
		}
		size := int64(binary.LittleEndian.Uint32(h[4:]))
		seq := binary.LittleEndian.Uint64(h[8:])
		sum := binary.LittleEndian.Uint32(h[16:])
		data := s.peek(s.off+headerSize, size)
		if data == nil && size > 0 { // it ends beyond the end: torn
			s.damage()
			return frame{}, false
		}
		whole := crc32.Update(s.seed, castagnoli, data) == sum
		s.hurt = s.hurt || !whole || s.bad >= 0
		s.bad = -1
		s.off += headerSize + size
		return frame{seq: seq, data: data, whole: whole}, true
	}
}

func (s *scanner) damage() {
	if s.bad < 0 {
		s.bad = s.off
	}
}

// find returns where from off on the next frame may begin.
func (s *scanner) find(off int64) int64 {
	for s.end-off >= int64(len(magic)) {
		w := s.peek(off, min(chunkSize, s.end-off))
		if i := bytes.Index(w, magic); i >= 0 {
			return off + int64(i)
		}
		off += int64(len(w) - len(magic) + 1)
	}
	return off
}

// peek returns n bytes from off; nil if they do not lie below end. They are
// valid until the next peek.
func (s *scanner) peek(off, n int64) []byte {
	if n > s.end-off {
		return nil
	}
	if off < s.at || off+n > s.at+int64(len(s.buf)) {
		want := min(max(n, chunkSize), s.end-off)
		if c := int64(cap(s.buf)); c < want || c > 4*chunkSize && want <= chunkSize {
			s.buf = make([]byte, want)
		}
		s.buf, s.at = s.buf[:want], off
		s.read()
	}
	return s.buf[off-s.at:][:n]
}

// read fills the buffer. A block that the disk cannot read is left empty: its
// records are lost, the ones around it are not.
func (s *scanner) read() {
	p, at := s.buf, s.at
	for len(p) > 0 {
		n, err := s.r.ReadAt(p, at)
		p, at = p[n:], at+int64(n)
		switch {
		case err == io.EOF: // shorter than it was told to be
			clear(p)
			return
		case err != nil && len(p) > 0:
			skip := min(blockSize-at%blockSize, int64(len(p)))
			clear(p[:skip])
			p, at = p[skip:], at+skip
		}
	}
}
