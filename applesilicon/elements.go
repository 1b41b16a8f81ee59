package applesilicon

import "encoding/binary"

// A channel's raw elements are 64 bytes each, little endian: provider 8,
// channel 8, type 8, time 8, four values of 8. A plain counter has one, its
// value first; a channel of states has one for each, its residency third.
//
// Source: IOReportElement of xnu's IOReportTypes.h.
const elementSize = 64

// elementTime is the channel's number and when its driver wrote it.
func elementTime(b []byte) (channel, ticks uint64, ok bool) {
	if len(b) < elementSize {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[24:]), true
}

// elementValue is the value of a plain counter.
func elementValue(b []byte) (int64, bool) {
	if len(b) < elementSize {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(b[32:])), true
}

// elementStates fills in the residencies, one for each of dst.
func elementStates(dst []int64, b []byte) bool {
	if len(b) < elementSize*len(dst) {
		return false
	}
	for i := range dst {
		dst[i] = int64(binary.LittleEndian.Uint64(b[i*elementSize+48:]))
	}
	return true
}
