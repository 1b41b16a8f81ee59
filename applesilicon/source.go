package applesilicon

import (
	"encoding/binary"
	"fmt"
)

// source is where a Mac's raw figures come from: its system libraries
// (native.go), or a recording of them (record.go). All decoding comes after.
type source interface {
	facts() (*facts, error) // once, before the first frame
	read(*frame) error      // fills a frame, whose slices may be used again
	close() error
}

// facts is what does not change while a machine runs. It is the first line of
// a recording, so it must never hold a serial number or a user's name.
type facts struct {
	Sysctl   map[string][]byte `json:"sysctl"`             // as the kernel gives it
	Timebase [2]uint64         `json:"timebase"`           // nanoseconds per tick, as a fraction
	Channels []channel         `json:"channels"`           // in the order of frame.Counters
	DVFS     map[string][]byte `json:"dvfs,omitempty"`     // properties of the pmgr device
	GPUCores int64             `json:"gpuCores,omitempty"` // of AGXAccelerator
	GPUs     int               `json:"gpus"`               // matches of AGXAccelerator
	ANEs     int               `json:"anes"`               // matches of H11ANEIn
	Missing  map[string]string `json:"missing,omitempty"`  // what this system has not, and why
}

// channel is one counter of IOReport.
type channel struct {
	Group    string   `json:"group"`
	Subgroup string   `json:"subgroup,omitempty"`
	Name     string   `json:"name"`
	Unit     string   `json:"unit,omitempty"`   // of a plain counter
	States   []string `json:"states,omitempty"` // names, of a channel of states
}

// frame is all that moves, at one moment.
type frame struct {
	UnixNano int64             `json:"unixNano"`
	Ticks    uint64            `json:"ticks"` // mach_absolute_time
	Counters []counter         `json:"counters"`
	VM       []byte            `json:"vm,omitempty"`   // HOST_VM_INFO64
	Load     []uint32          `json:"load,omitempty"` // HOST_CPU_LOAD_INFO
	Sysctl   map[string][]byte `json:"sysctl,omitempty"`
	Thermal  *uint64           `json:"thermal,omitempty"`
	System   *float64          `json:"systemWatts,omitempty"` // SMC PSTR
	GPU      map[string]int64  `json:"gpu,omitempty"`         // PerformanceStatistics
	Power    power             `json:"power"`
	Errors   map[string]string `json:"errors,omitempty"` // what could not be read this time
}

// counter is what one channel holds: its value, or the residency of each of
// its states. Ticks is when the driver wrote it; 0 if it does not tell.
type counter struct {
	Ticks  uint64  `json:"ticks,omitempty"`
	Value  int64   `json:"value,omitempty"`
	States []int64 `json:"states,omitempty"`
	Gone   bool    `json:"gone,omitempty"` // the channel was not in this sample
}

// power is what IOKit tells of the power supply.
type power struct {
	Providing string                      `json:"providing,omitempty"` // "AC Power"
	Prefs     map[string]map[string]int64 `json:"prefs,omitempty"`     // a dictionary that was read is there, if empty
	Battery   map[string]int64            `json:"battery,omitempty"`
}

// why is the reason for what an area ("thermal", "smc") does not give.
func (f *facts) why(now *frame, area string) string {
	if r := now.Errors[area]; r != "" {
		return r
	}
	if r := f.Missing[area]; r != "" {
		return r
	}
	return "not told by this system"
}

// nanoseconds turns ticks into nanoseconds without losing any.
func (f *facts) nanoseconds(ticks uint64) uint64 {
	n, d := f.Timebase[0], f.Timebase[1]
	if n == 0 || d == 0 {
		return ticks
	}
	return ticks/d*n + ticks%d*n/d
}

// sysctl answers from what a Mac said.
type sysctl map[string][]byte

func (s sysctl) Text(name string) (string, error) {
	b, ok := s[name]
	if !ok {
		return "", fmt.Errorf("sysctl %s: no such name", name)
	}
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), nil
		}
	}
	return string(b), nil
}

// Number reads an integer of 4 or 8 bytes, little endian on every Mac; which
// of them a name has differs.
func (s sysctl) Number(name string) (uint64, error) {
	b, ok := s[name]
	if !ok {
		return 0, fmt.Errorf("sysctl %s: no such name", name)
	}
	return decodeNumber(name, b)
}

func decodeNumber(name string, b []byte) (uint64, error) {
	switch len(b) {
	case 4:
		return uint64(binary.LittleEndian.Uint32(b)), nil
	case 8:
		return binary.LittleEndian.Uint64(b), nil
	}
	return 0, fmt.Errorf("sysctl %s has %d bytes, not the 4 or 8 of a number", name, len(b))
}
