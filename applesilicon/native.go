//go:build darwin || (linux && applefake)

package applesilicon

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// The names that a Mac is asked for. Those of levels are added to them.
var (
	factNames = []string{
		"machdep.cpu.brand_string", "hw.model", "hw.optional.arm64", "sysctl.proc_translated", "kern.hv_vmm_present",
		"kern.osproductversion", "kern.osversion", "hw.memsize", "hw.pagesize", "hw.tbfrequency", "hw.physicalcpu", "hw.logicalcpu", "hw.nperflevels",
	}
	frameNames = []string{"vm.swapusage", "kern.memorystatus_vm_pressure_level", "iogpu.wired_limit_mb"}
)

// native is the source that asks the system libraries.
type native struct {
	l *ffi
	f *facts

	subscription, channels ref
	shape                  []shape

	host    uintptr // the port; asked for once, because each answer is counted
	thermal int32   // token of notify; negative: none
	smc     smc
	process int    // whose use is read
	creator string // how the registry names it
	keys    keyRefs

	vm  [256]byte // more than the structure of any known system
	sys [64]byte
}

// keyRefs are strings used for every sample.
type keyRefs struct{ channels, elements ref }

// shape is what is known of a channel between two samples.
type shape struct {
	id     uint64
	states int
	trust  trust
}

// trust says whether the raw elements of a channel agree with the getters.
type trust int8

const (
	unproven trust = iota
	proven
	refuted
)

// newNative asks about a process, 0 for this one. A light source reads neither
// power nor sensors.
func newNative(l *ffi, process int, light bool) *native {
	n := &native{l: l, thermal: -1, process: process}
	if process == 0 {
		n.process = os.Getpid()
	}
	n.creator = "pid " + strconv.Itoa(n.process) + ","
	n.f = &facts{Sysctl: map[string][]byte{}, Missing: map[string]string{}, DVFS: map[string][]byte{}}
	n.area("sysctl", l.need(sysctlByName, sysctlByName))
	n.identify()
	n.clock()
	foundation := l.need(cfRelease, cfTypeArrayCallBacks)
	n.area("vm", l.need(machHostSelf, machHostSelf, hostStatistics64))
	n.area("load", n.f.Missing["vm"])
	n.host = uintptr(uint32(l.call(machHostSelf)))
	n.page()
	n.area("thermal", l.need(notifyRegisterCheck, notifyCancel))
	if n.f.Missing["thermal"] == "" {
		n.registerThermal()
	}
	n.area("footprint", l.need(procPIDRusage, procPIDRusage))
	supply := first(foundation, l.need(ioPSCopyPowerSourcesInfo, ioPSGetProvidingPowerSourceType))
	n.area("supply", supply)
	n.area("battery", supply)
	n.area("prefs", first(foundation, l.need(ioPMCopyActivePMPreferences, ioPMCopyActivePMPreferences)))
	if light {
		for _, a := range []string{"energy", "cores", "gpu", "complex", "ane", "smc", "celsius", "fans", "dvfs", "gpuCores", "gpuStatistics", "gpuTime"} {
			n.area(a, "not asked for")
		}
		return n
	}
	n.registry(foundation)
	if n.arm64() {
		n.subscribe(foundation)
		n.openSMC()
	} else {
		for _, a := range []string{"energy", "cores", "gpu", "complex", "ane", "smc"} {
			n.area(a, first(n.f.Missing["sysctl"], notSilicon))
		}
	}
	return n
}

func first(reasons ...string) string {
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return ""
}

func (n *native) area(name, why string) {
	if why != "" {
		n.f.Missing[name] = why
	}
}

func (n *native) facts() (*facts, error) { return n.f, nil }

func (n *native) arm64() bool {
	v, err := sysctl(n.f.Sysctl).Number("hw.optional.arm64")
	return err == nil && v == 1
}

func (n *native) identify() {
	for _, name := range factNames {
		n.sysctl(n.f.Sysctl, name)
	}
	count, _ := sysctl(n.f.Sysctl).Number("hw.nperflevels")
	for i := range min(count, 16) {
		prefix := "hw.perflevel" + strconv.FormatUint(i, 10) + "."
		n.sysctl(n.f.Sysctl, prefix+"name")
		n.sysctl(n.f.Sysctl, prefix+"physicalcpu")
	}
}

// sysctl puts an answer into out; a name that does not exist is left out.
func (n *native) sysctl(out map[string][]byte, name string) {
	l := n.l
	l.out[0] = uint64(len(n.sys))
	r := int32(l.cstring(sysctlByName, 0, name, 0, uintptr(unsafe.Pointer(&n.sys[0])), uintptr(unsafe.Pointer(&l.out[0])), 0, 0))
	if l.at[sysctlByName] == 0 || r != 0 || l.out[0] > uint64(len(n.sys)) {
		delete(out, name)
		return
	}
	out[name] = append(out[name][:0], n.sys[:l.out[0]]...)
}

// page reads the size of the kernel's own pages.
func (n *native) page() {
	why := first(n.f.Missing["vm"], n.l.need(hostPageSize, hostPageSize))
	n.area("page", why)
	if why != "" {
		return
	}
	n.l.out[0] = 0
	if r := int32(n.l.call(hostPageSize, n.host, uintptr(unsafe.Pointer(&n.l.out[0])))); r != 0 {
		n.area("page", fmt.Sprintf("host_page_size: error %d", r))
		return
	}
	n.f.KernelPage = n.l.out[0]
}

// clock reads the timebase. Without a clock of the machine, drivers' times
// mean nothing.
func (n *native) clock() {
	n.f.Timebase = [2]uint64{1, 1}
	if why := n.l.need(machAbsoluteTime, machTimebaseInfo); why != "" {
		n.area("clock", why)
		return
	}
	n.l.out[0] = 0
	n.l.call(machTimebaseInfo, uintptr(unsafe.Pointer(&n.l.out[0])))
	if numer, denom := n.l.out[0]&math.MaxUint32, n.l.out[0]>>32; numer != 0 && denom != 0 {
		n.f.Timebase = [2]uint64{numer, denom}
	}
}

var started = time.Now()

func (n *native) ticks() uint64 {
	if n.f.Missing["clock"] != "" {
		return uint64(time.Since(started)) + 1
	}
	return uint64(n.l.call(machAbsoluteTime))
}

// registry reads what the registry knows once.
func (n *native) registry(foundation string) {
	why := first(foundation, n.l.need(ioServiceMatching, ioRegistryEntryCreateCFProperty))
	for _, a := range []string{"dvfs", "gpuCores", "gpuStatistics", "gpuTime"} {
		n.area(a, why)
	}
	if why != "" {
		return
	}
	l := n.l
	l.services("AppleARMIODevice", func(entry uintptr, name string) {
		if name != "pmgr" {
			return
		}
		keep := func(key string) {
			l.property(entry, key, func(r ref) {
				if b := l.data(r); b != nil {
					n.f.DVFS[key] = append([]byte(nil), b...)
				}
			})
		}
		keep("acc-clusters")
		keep("voltage-states9")
		for i := range 64 {
			keep("voltage-states" + strconv.Itoa(i) + "-sram")
		}
	})
	n.f.GPUs = l.services("AGXAccelerator", func(entry uintptr, _ string) {
		l.property(entry, "gpu-core-count", func(r ref) {
			if v, ok := l.number(r); ok {
				n.f.GPUCores += v
			}
		})
	})
	n.f.ANEs = l.services("H11ANEIn", func(uintptr, string) {})
	n.area("gpuTime", l.need(ioRegistryEntryGetChildIterator, ioRegistryEntryGetChildIterator))
	if n.f.GPUs == 0 {
		n.area("gpuStatistics", "no AGX GPU")
		n.area("gpuTime", "no AGX GPU")
	}
}

// wanted lists the channels that are subscribed to.
var wanted = []struct{ area, group, subgroup string }{
	{"cores", "CPU Stats", "CPU Core Performance States"},
	{"complex", "CPU Stats", "CPU Complex Performance States"},
	{"gpu", "GPU Stats", "GPU Performance States"},
	{"energy", "Energy Model", ""},
	{"ane", "ANE", "IOP State"},
}

// subscribe chooses channels and begins to read them.
func (n *native) subscribe(foundation string) {
	why := first(foundation, n.l.need(ioReportCopyChannelsInGroup, ioReportStateGetResidency))
	fail := func(why string) {
		for _, w := range wanted {
			if n.f.Missing[w.area] == "" {
				n.area(w.area, why)
			}
		}
	}
	if why != "" {
		fail(why)
		return
	}
	l := n.l
	n.keys = keyRefs{l.str("IOReportChannels"), l.str("RawElements")}
	chosen := l.call(cfArrayCreateMutable, 0, 0, l.at[cfTypeArrayCallBacks])
	var model ref
	for _, w := range wanted {
		var sub ref
		if w.subgroup != "" {
			sub = l.str(w.subgroup)
		}
		group := l.call(ioReportCopyChannelsInGroup, l.str(w.group), sub, 0, 0, 0)
		if group == 0 {
			n.area(w.area, "IOReport has no group "+strings.TrimSuffix(w.group+", "+w.subgroup, ", "))
			continue
		}
		n.choose(group, chosen, w.area)
		if model == 0 {
			model = l.call(cfDictionaryCreateMutableCopy, 0, 0, group)
		}
		l.release(group)
	}
	defer l.release(chosen)
	if model == 0 {
		return
	}
	l.call(cfDictionarySetValue, model, n.keys.channels, chosen)
	l.out[0] = 0
	n.subscription = l.call(ioReportCreateSubscription, 0, model, uintptr(unsafe.Pointer(&l.out[0])), 0, 0)
	n.channels = ref(l.out[0])
	if n.subscription == 0 {
		l.release(model)
		l.release(n.channels)
		n.channels = 0
		fail("IOReport gave no subscription")
		return
	}
	if n.channels == 0 {
		n.channels = model
	} else {
		l.release(model)
	}
	sample := l.call(ioReportCreateSamples, n.subscription, n.channels, 0)
	if sample == 0 {
		fail("IOReport gave no samples")
		return
	}
	n.describe(sample)
	l.release(sample)
}

// choose appends to chosen what we read of a group: of energy, the rails only.
func (n *native) choose(group, chosen ref, area string) {
	l := n.l
	list := l.get(group, "IOReportChannels")
	whole := false
	l.array(list, func(c ref) {
		whole = whole || l.goString(l.call(ioReportChannelGetChannelName, c)) == "GPU Energy"
	})
	l.array(list, func(c ref) {
		channel := l.goString(l.call(ioReportChannelGetChannelName, c))
		wanted := true
		switch area {
		case "energy":
			wanted = railOf(channel, whole) != otherRail
		case "gpu":
			wanted = channel == "GPUPH"
		case "complex":
			wanted = complexName.MatchString(channel)
		}
		if wanted {
			l.call(cfArrayAppendValue, chosen, c)
		}
	})
}

const (
	simpleFormat = 1
	stateFormat  = 2
)

// describe notes the names of all channels of a sample, in its order.
func (n *native) describe(sample ref) {
	l := n.l
	l.array(l.get(sample, "IOReportChannels"), func(c ref) {
		ch := channel{
			Group: l.goString(l.call(ioReportChannelGetGroup, c)), Subgroup: l.goString(l.call(ioReportChannelGetSubGroup, c)),
			Name: l.goString(l.call(ioReportChannelGetChannelName, c)), Unit: strings.TrimRight(l.goString(l.call(ioReportChannelGetUnitLabel, c)), " "),
		}
		var sh shape
		sh.id, _, _ = elementTime(l.data(l.get(c, "RawElements")))
		switch int32(l.call(ioReportChannelGetFormat, c)) {
		case stateFormat:
			ch.Unit = ""
			sh.states = max(0, min(1024, int(int32(l.call(ioReportStateGetCount, c)))))
			for i := range sh.states {
				ch.States = append(ch.States, l.goString(l.call(ioReportStateGetNameForIndex, c, uintptr(i))))
			}
		case simpleFormat:
		default:
			sh.trust = refuted
			ch.Unit += " (in a format we do not know)"
		}
		n.f.Channels, n.shape = append(n.f.Channels, ch), append(n.shape, sh)
	})
}

func (n *native) registerThermal() {
	l := n.l
	l.out[0] = 0
	status := uint32(l.cstring(notifyRegisterCheck, 0, "com.apple.system.thermalpressurelevel", 0, uintptr(unsafe.Pointer(&l.out[0]))))
	if status != 0 {
		n.area("thermal", fmt.Sprintf("notify_register_check: status %d", status))
		return
	}
	n.thermal = int32(l.out[0])
}

// close releases what this source holds. It must not be used afterwards.
func (n *native) close() error {
	l := n.l
	if n.thermal >= 0 {
		l.call(notifyCancel, uintptr(n.thermal))
		n.thermal = -1
	}
	if n.smc.port != 0 {
		l.call(ioServiceClose, n.smc.port)
		n.smc.port = 0
	}
	l.release(n.channels)
	l.release(n.subscription)
	n.channels, n.subscription = 0, 0
	l.close()
	return nil
}
