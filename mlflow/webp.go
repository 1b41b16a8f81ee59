package mlflow

import (
	"encoding/binary"
	"image"
	"math/bits"
)

// webp writes img, of at most 16384 × 16384, as a lossless WebP: without
// transforms, and with eight bits for each channel, so that it is as large as
// its pixels. That will do for a thumbnail.
//
// Form: RFC 9649, section 3.
func webp(img *image.NRGBA) []byte {
	w, h := img.Rect.Dx(), img.Rect.Dy()
	opaque := img.Opaque()
	var b bitWriter
	b.put(0x2f, 8)
	b.put(uint32(w-1), 14)
	b.put(uint32(h-1), 14)
	if opaque {
		b.put(0, 1)
	} else {
		b.put(1, 1)
	}
	b.put(0, 3) // version
	b.put(0, 1) // no transform
	b.put(0, 1) // no cache of colours
	b.put(0, 1) // one set of codes for the whole image
	b.bytesCode(24)
	b.bytesCode(0)
	b.bytesCode(0)
	if opaque {
		b.put(0b101, 3) // one symbol, of eight bits: alpha takes no bits
		b.put(255, 8)
	} else {
		b.bytesCode(0)
	}
	b.put(0b0001, 4) // distances: one symbol, 0; none is used
	for y := range h {
		for x := range w {
			p := img.Pix[y*img.Stride+4*x:]
			b.put(uint32(bits.Reverse8(p[1])), 8)
			b.put(uint32(bits.Reverse8(p[0])), 8)
			b.put(uint32(bits.Reverse8(p[2])), 8)
			if !opaque {
				b.put(uint32(bits.Reverse8(p[3])), 8)
			}
		}
	}
	data := b.done()
	size := len(data)
	if size%2 == 1 {
		data = append(data, 0)
	}
	out := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(12+len(data)))...)
	out = append(out, "WEBPVP8L"...)
	out = binary.LittleEndian.AppendUint32(out, uint32(size))
	return append(out, data...)
}

// bitWriter packs bits, the lowest first.
type bitWriter struct {
	out []byte
	acc uint64
	n   uint
}

func (b *bitWriter) put(v uint32, n uint) {
	b.acc |= uint64(v) << b.n
	for b.n += n; b.n >= 8; b.n -= 8 {
		b.out = append(b.out, byte(b.acc))
		b.acc >>= 8
	}
}

// bytesCode describes a code in which each byte has eight bits, and the unused
// symbols that follow have none.
func (b *bitWriter) bytesCode(unused uint32) {
	b.put(0, 1)    // described by its lengths
	b.put(12-4, 4) // twelve lengths of the code for lengths follow
	for i := range 12 {
		length := uint32(0)
		if i == 1 || i == 11 { // "many zeros" and "eight", in the form's order
			length = 1
		}
		b.put(length, 3)
	}
	b.put(0, 1) // lengths for all symbols
	for range 256 {
		b.put(0, 1) // eight
	}
	if unused > 0 {
		b.put(1, 1) // many zeros
		b.put(unused-11, 7)
	}
}

func (b *bitWriter) done() []byte {
	if b.n > 0 {
		b.out = append(b.out, byte(b.acc))
		b.acc, b.n = 0, 0
	}
	return b.out
}
