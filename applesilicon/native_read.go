//go:build darwin || (linux && applefake)

package applesilicon

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"
)

// read fills a frame. What fails leaves its reason in Errors; the rest is read.
func (n *native) read(now *frame) error {
	now.UnixNano, now.Ticks = time.Now().UnixNano(), n.ticks()
	now.Errors = nil
	n.counters(now)
	now.Ticks = max(now.Ticks, n.ticks()) // drivers wrote before this
	n.statistics(now)
	n.notify(now)
	n.power(now)
	n.sensors(now)
	n.graphics(now)
	n.watched(now)
	if now.Sysctl == nil {
		now.Sysctl = map[string][]byte{}
	}
	for _, name := range frameNames {
		n.sysctl(now.Sysctl, name)
	}
	return nil
}

func (f *frame) fail(area, format string, args ...any) {
	if f.Errors == nil {
		f.Errors = map[string]string{}
	}
	f.Errors[area] = fmt.Sprintf(format, args...)
}

// counters reads all channels, with one sample.
func (n *native) counters(now *frame) {
	if len(now.Counters) != len(n.f.Channels) {
		now.Counters = make([]counter, len(n.f.Channels))
		for i := range now.Counters {
			now.Counters[i].States = make([]int64, n.shape[i].states)
		}
	}
	for i := range now.Counters {
		now.Counters[i].Gone = true
	}
	if n.subscription == 0 || len(n.f.Channels) == 0 {
		return
	}
	l := n.l
	sample := l.call(ioReportCreateSamples, n.subscription, n.channels, 0)
	if sample == 0 {
		now.fail("ioreport", "IOReport gave no samples")
		return
	}
	list := l.call(cfDictionaryGetValue, sample, n.keys.channels)
	if !l.is(list, cfArrayGetTypeID) {
		now.fail("ioreport", "IOReport's sample has no channels")
	} else {
		for i := range min(int(l.call(cfArrayGetCount, list)), len(n.shape)) {
			n.counter(&now.Counters[i], i, l.call(cfArrayGetValueAtIndex, list, uintptr(i)))
		}
	}
	l.release(sample)
}

// counter reads one channel: its raw elements at once, after these have been
// seen to agree with the getters, else by the getters.
func (n *native) counter(c *counter, i int, from ref) {
	l, sh := n.l, &n.shape[i]
	var raw []byte
	if data := l.call(cfDictionaryGetValue, from, n.keys.elements); data != 0 && (sh.trust == proven || l.is(data, cfDataGetTypeID)) {
		raw = l.bytes(data)
	}
	id, ticks, ok := elementTime(raw)
	if ok && id != sh.id {
		return // another channel stands in this place
	}
	c.Gone = false
	c.Ticks = 0
	if ok && n.f.Missing["clock"] == "" {
		c.Ticks = ticks
	}
	if sh.states == 0 {
		if v, ok := elementValue(raw); ok && sh.trust == proven {
			c.Value = v
			return
		}
		c.Value = int64(l.call(ioReportSimpleGetIntegerValue, from, 0))
		if v, ok := elementValue(raw); sh.trust == unproven && c.Value > 0 {
			sh.prove(ok && v == c.Value)
		}
		return
	}
	if sh.trust == proven && elementStates(c.States, raw) {
		return
	}
	held := 0 // in one state alone, values in another order would look the same
	for j := range c.States {
		c.States[j] = int64(l.call(ioReportStateGetResidency, from, uintptr(j)))
		if c.States[j] > 0 {
			held++
		}
	}
	if sh.trust == unproven && held > 1 {
		same := len(raw) >= elementSize*len(c.States)
		for j := 0; same && j < len(c.States); j++ {
			same = int64(binary.LittleEndian.Uint64(raw[j*elementSize+48:])) == c.States[j]
		}
		sh.prove(same)
	}
}

func (s *shape) prove(same bool) {
	s.trust = refuted
	if same {
		s.trust = proven
	}
}

// The flavours of host_statistics64.
const (
	cpuLoadInfo = 3
	vmInfo64    = 4
)

// host reads memory and load. The count is what the buffer has room for, and
// afterwards what the system filled: its structure grows with its version.
func (n *native) statistics(now *frame) {
	now.VM, now.Load = now.VM[:0], now.Load[:0]
	if n.f.Missing["vm"] != "" {
		return
	}
	l := n.l
	ask := func(flavour uintptr, area string) []byte {
		l.out[0] = uint64(len(n.vm) / 4)
		if flavour == cpuLoadInfo {
			l.out[0] = 4
		}
		r := int32(l.call(hostStatistics64, n.host, flavour, uintptr(unsafe.Pointer(&n.vm[0])), uintptr(unsafe.Pointer(&l.out[0]))))
		filled := int(uint32(l.out[0])) * 4
		if r != 0 || filled > len(n.vm) {
			now.fail(area, "host_statistics64: error %d", r)
			return nil
		}
		return n.vm[:filled]
	}
	now.VM = append(now.VM, ask(vmInfo64, "vm")...)
	if b := ask(cpuLoadInfo, "load"); len(b) >= 16 {
		for i := range 4 {
			now.Load = append(now.Load, binary.LittleEndian.Uint32(b[4*i:]))
		}
	}
}

func (n *native) notify(now *frame) {
	if n.thermal < 0 {
		now.Thermal = nil
		return
	}
	if status := uint32(n.l.call(notifyGetState, uintptr(n.thermal), uintptr(unsafe.Pointer(&n.l.out[0])))); status != 0 {
		now.Thermal = nil
		now.fail("thermal", "notify_get_state: status %d", status)
		return
	}
	if now.Thermal == nil {
		now.Thermal = new(uint64)
	}
	*now.Thermal = n.l.out[0]
}

// gpuKeys are the figures of the GPU's driver that are read.
var gpuKeys = []string{"Device Utilization %", "In use system memory"}

func (n *native) graphics(now *frame) {
	clear(now.GPU)
	if n.f.Missing["gpuStatistics"] != "" {
		return
	}
	l := n.l
	l.services("AGXAccelerator", func(entry uintptr, _ string) {
		l.property(entry, "PerformanceStatistics", func(dict ref) {
			for _, key := range gpuKeys {
				if v, ok := l.number(l.get(dict, key)); ok {
					if now.GPU == nil {
						now.GPU = map[string]int64{}
					}
					now.GPU[key] += v
				}
			}
		})
	})
}

var (
	prefKeys    = []string{"LowPowerMode", "powermode", "lowpowermode"}
	batteryKeys = []string{"Current Capacity", "Max Capacity"}
	supplies    = []string{"AC Power", "Battery Power", "UPS Power"}
)

// power reads supply, battery and preferences.
func (n *native) power(now *frame) {
	l := n.l
	p := &now.Power
	p.Providing, p.Battery = "", nil
	clear(p.Prefs)
	if n.f.Missing["supply"] == "" {
		n.supply(now)
	}
	if n.f.Missing["prefs"] != "" {
		return
	}
	prefs := l.call(ioPMCopyActivePMPreferences)
	if prefs == 0 {
		now.fail("prefs", "IOPMCopyActivePMPreferences gave nothing")
		return
	}
	for _, supply := range supplies {
		dict := l.get(prefs, supply)
		if !l.is(dict, cfDictionaryGetTypeID) {
			continue
		}
		values := map[string]int64{}
		for _, key := range prefKeys {
			if v, ok := l.number(l.get(dict, key)); ok {
				values[key] = v
			}
		}
		if p.Prefs == nil {
			p.Prefs = map[string]map[string]int64{}
		}
		p.Prefs[supply] = values
	}
	l.release(prefs)
}

func (n *native) supply(now *frame) {
	l, p := n.l, &now.Power
	info := l.call(ioPSCopyPowerSourcesInfo)
	if info == 0 {
		now.fail("supply", "IOPSCopyPowerSourcesInfo gave nothing")
		return
	}
	kind := l.call(ioPSGetProvidingPowerSourceType, info)
	for _, s := range supplies {
		if l.goString(kind) == s {
			p.Providing = s // a constant: nothing to allocate
		}
	}
	if p.Providing == "" {
		now.fail("supply", "unknown power source %q", l.goString(kind))
	}
	if list := l.call(ioPSCopyPowerSourcesList, info); list != 0 {
		l.array(list, func(source ref) {
			dict := l.call(ioPSGetPowerSourceDescription, info, source)
			for _, key := range batteryKeys {
				if v, ok := l.number(l.get(dict, key)); ok {
					if p.Battery == nil {
						p.Battery = map[string]int64{}
					}
					p.Battery[key] = v
				}
			}
		})
		l.release(list)
	}
	l.release(info)
}

// The flavour of proc_pid_rusage whose structure all systems have, and where
// the footprint stands in it.
//
// Source: rusage_info_v0 of xnu's resource.h.
const (
	rusageV0    = 0
	footprintAt = 72
)

// watched reads what the watched process uses of memory and GPU.
func (n *native) watched(now *frame) {
	l, p := n.l, &now.Process
	gpu, footprint := p.GPUNanoseconds, p.Footprint
	*p = process{ID: n.process}
	if n.f.Missing["footprint"] == "" {
		if r := int32(l.call(procPIDRusage, uintptr(n.process), rusageV0, uintptr(unsafe.Pointer(&n.vm[0])))); r != 0 {
			now.fail("footprint", "no process %d that may be read", n.process)
		} else {
			if footprint == nil {
				footprint = new(uint64)
			}
			*footprint = binary.LittleEndian.Uint64(n.vm[footprintAt:])
			p.Footprint = footprint
		}
	}
	if n.f.Missing["gpuTime"] != "" {
		return
	}
	used, clients := uint64(0), 0
	app := func(app ref) {
		if v, ok := l.number(l.get(app, "accumulatedGPUTime")); ok && v > 0 {
			used += uint64(v)
		}
	}
	usage := func(list ref) { l.array(list, app) }
	l.services("AGXAccelerator", func(gpu uintptr, _ string) {
		l.children(gpu, func(client uintptr) {
			ours := false
			l.property(client, "IOUserClientCreator", func(r ref) { ours = l.startsWith(r, n.creator) })
			if ours {
				clients++
				l.property(client, "AppUsage", usage)
			}
		})
	})
	if clients == 0 {
		now.fail("gpuTime", "process %d does not use the GPU", n.process)
		return
	}
	if gpu == nil {
		gpu = new(uint64)
	}
	*gpu, p.GPUNanoseconds = used, gpu
}
