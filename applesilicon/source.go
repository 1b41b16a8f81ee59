package applesilicon

import (
	"cmp"
	"encoding/binary"
	"errors"
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
	Sysctl     map[string][]byte `json:"sysctl"`               // as the kernel gives it
	Timebase   [2]uint64         `json:"timebase"`             // nanoseconds per tick, as a fraction
	KernelPage uint64            `json:"kernelPage,omitempty"` // bytes; the kernel's own
	Channels   []channel         `json:"channels"`             // in the order of frame.Counters
	DVFS       map[string][]byte `json:"dvfs,omitempty"`       // properties of the pmgr device
	Sensors    []string          `json:"sensors,omitempty"`    // keys of SMC, in the order of frame.Celsius
	GPUCores   int64             `json:"gpuCores,omitempty"`   // of AGXAccelerator
	GPUs       int               `json:"gpus"`                 // matches of AGXAccelerator
	ANEs       int               `json:"anes"`                 // matches of H11ANEIn
	Missing    map[string]string `json:"missing,omitempty"`    // what this system has not, and why
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
	Celsius  []float64         `json:"celsius,omitempty"`     // of facts.Sensors; 0: not read
	Fans     []float64         `json:"fans,omitempty"`        // SMC, turns a minute
	GPU      map[string]int64  `json:"gpu,omitempty"`         // PerformanceStatistics
	Process  process           `json:"process"`               // of the program that is watched
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

// process is what the system tells of one program.
type process struct {
	ID             int     `json:"id,omitempty"`
	GPUNanoseconds *uint64 `json:"gpuNanoseconds,omitempty"` // of its open connections to the GPU
	Footprint      *uint64 `json:"footprint,omitempty"`
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

// nanoseconds turns ticks of this program's clock into nanoseconds.
func (f *facts) nanoseconds(ticks uint64) uint64 { return scale(ticks, f.Timebase[0], f.Timebase[1]) }

// driverNanoseconds turns a driver's time into nanoseconds. Drivers count the
// kernel's ticks, which are this program's unless it is translated: Rosetta
// gives it a clock of its own.
func (f *facts) driverNanoseconds(ticks uint64) uint64 {
	if hz, _ := sysctl(f.Sysctl).Number("hw.tbfrequency"); f.translated() && hz > 0 {
		return scale(ticks, 1e9, hz)
	}
	return f.nanoseconds(ticks)
}

// scale is v·n/d without losing any.
func scale(v, n, d uint64) uint64 {
	if n == 0 || d == 0 {
		return v
	}
	return v/d*n + v%d*n/d
}

// translated reports whether Rosetta translates this program.
func (f *facts) translated() bool {
	v, _ := sysctl(f.Sysctl).Number("sysctl.proc_translated")
	return v == 1
}

// untimed is why drivers' times cannot be used, or empty.
func (f *facts) untimed() string {
	if hz, _ := sysctl(f.Sysctl).Number("hw.tbfrequency"); f.translated() && hz == 0 {
		return "translated by Rosetta, and no hw.tbfrequency: times cannot be compared"
	}
	return ""
}

// pageSize is that of the kernel, which counts memory by it. A translated
// program sees smaller pages.
func (f *facts) pageSize() (uint64, error) {
	if f.KernelPage > 0 {
		return f.KernelPage, nil
	}
	if f.translated() {
		return 0, errors.New("translated by Rosetta: the kernel's page size is not known: " + cmp.Or(f.Missing["page"], "no host_page_size"))
	}
	return sysctl(f.Sysctl).Number("hw.pagesize")
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
