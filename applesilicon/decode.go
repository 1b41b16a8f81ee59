package applesilicon

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// decoder turns the raw figures of a Mac into samples. It keeps what a rate
// needs from the frame before. It calls nothing: tests feed it recordings.
type decoder struct {
	f     *facts
	base  Sample // what does not change
	rails *railSet
	cores processorStates
	gpu   *speeds
	ane   *speeds
	whole integral       // of the whole computer's power
	heat  [2]thermometer // of CPU and GPU

	load  [4]uint32
	loads bool
	ticks uint64
}

func newDecoder(f *facts) *decoder {
	d := &decoder{f: f, rails: newRails(f)}
	d.base.Host = Host{OS: "darwin", Arch: runtime.GOARCH}
	identify(f, &d.base)
	d.heat[0], d.heat[1] = thermometers(f, d.base.Chip.Name.Value)
	tables := newDVFS(f.DVFS)
	d.cores = newProcessorStates(f, tables)
	for i, c := range f.Channels {
		if c.Group+"/"+c.Subgroup == gpuGroup && c.Name == "GPUPH" {
			d.gpu = newSpeeds(i, c, tables)
		}
		if c.Group+"/"+c.Subgroup == aneGroup && slices.Contains(c.States, aneRunning) {
			d.ane = newSpeeds(i, c, nil)
			for j, state := range c.States {
				d.ane.active[j] = state == aneRunning
			}
		}
	}
	return d
}

// step takes a frame. The sample that comes of the first frame has no rates.
func (d *decoder) step(now *frame) Sample {
	s := d.base
	s.Time = time.Unix(0, now.UnixNano)
	if d.ticks != 0 && now.Ticks > d.ticks {
		s.Window = time.Duration(d.f.nanoseconds(now.Ticks - d.ticks))
	}
	d.ticks = now.Ticks

	clusters, cpuBusy := d.cores.step(d.f, now)
	s.CPU.Clusters = clusters
	s.CPU.Percent = d.processor(now)
	gpuBusy := d.graphics(now, &s.GPU)

	at := d.f.nanoseconds(now.Ticks)
	for i, m := range d.rails.all {
		if m == nil {
			continue
		}
		if c := now.counter(i); c.Gone {
			m.ok, m.reason = false, cmp.Or(now.Errors["ioreport"], noChannel)
		} else {
			m.step(c.Value, d.f.driverNanoseconds(c.Ticks), at)
		}
	}
	d.rails.judge(&s, at, cpuBusy, gpuBusy)
	s.Power.SystemWatts = systemPower(d.f, now)
	s.Energy.SystemJoules, s.Energy.SystemCovered = d.whole.step(s.Power.SystemWatts, at)

	s.Memory.UsedBytes, s.Memory.UsedPercent = memoryInUse(d.f, now, s.Memory.Bytes)
	s.Memory.SwapUsedBytes = swapInUse(now)
	s.Memory.PressureLevel = pressure(now)
	s.Thermal, s.ThermalLevel = thermal(d.f, now)
	s.PowerMode = powerMode(d.f, now)
	s.Battery = battery(d.f, now)
	s.CPU.TemperatureCelsius, s.GPU.TemperatureCelsius = d.heat[0].read(d.f, now), d.heat[1].read(d.f, now)
	s.Fans = fans(d.f, now)
	s.GPU.MemoryLimitBytes = wiredLimit(now)
	s.ANE.RunningPercent = d.neural(now)
	s.Process = watched(d.f, now)
	return s
}

// processor is psutil's cpu_percent on a Mac: all ticks but the idle ones.
// The counters are of 32 bits and begin again at 0.
func (d *decoder) processor(now *frame) Reading[float64] {
	const source = "host_statistics HOST_CPU_LOAD_INFO"
	if len(now.Load) < 4 {
		d.loads = false
		return lacking[float64](source, d.f.why(now, "load"))
	}
	load, had, before := [4]uint32(now.Load), d.loads, d.load
	d.load, d.loads = load, true
	if !had {
		return lacking[float64](source, "needs a second sample")
	}
	var all, idling float64
	for i := range load {
		grown := float64(load[i] - before[i])
		all += grown
		if i == 2 {
			idling = grown
		}
	}
	if all == 0 {
		return lacking[float64](source, "no time has passed since the sample before")
	}
	return read(100*(all-idling)/all, source)
}

// graphics reads the GPU and returns how busy it is, or -1. Its own states
// come first; the driver's percentage is often 0 on newer systems, so a 0 of
// it is not believed.
func (d *decoder) graphics(now *frame, g *GPU) float64 {
	const (
		states = "IOReport GPUPH"
		driver = "IORegistry AGXAccelerator PerformanceStatistics"
	)
	if d.gpu != nil {
		g.ActivePercent, g.FrequencyMegahertz = d.gpu.readings(states, now.counter(d.gpu.channel))
	} else {
		g.ActivePercent = lacking[float64](states, cmp.Or(d.f.Missing["gpu"], noChannel))
		g.FrequencyMegahertz = g.ActivePercent
	}
	if used, ok := now.GPU["In use system memory"]; ok && used >= 0 {
		g.MemoryUsedBytes = read(uint64(used), driver)
	} else {
		g.MemoryUsedBytes = lacking[uint64](driver, d.f.why(now, "gpuStatistics"))
	}
	if g.ActivePercent.OK {
		return g.ActivePercent.Value / 100
	}
	if p := now.GPU["Device Utilization %"]; p > 0 {
		g.ActivePercent = read(min(100, float64(p)), driver)
		return min(1, float64(p)/100)
	}
	return -1
}

// memoryInUse is psutil's: active and wired pages. The system's structure may
// grow; only what is needed of its beginning is read.
func memoryInUse(f *facts, now *frame, total Reading[uint64]) (Reading[uint64], Reading[float64]) {
	const source = "host_statistics64 HOST_VM_INFO64"
	fail := func(why string) (Reading[uint64], Reading[float64]) {
		return lacking[uint64](source, why), lacking[float64](source, why)
	}
	if len(now.VM) < 16 {
		return fail(f.why(now, "vm"))
	}
	page, err := f.pageSize()
	if err != nil {
		return fail(err.Error())
	}
	used := (uint64(binary.LittleEndian.Uint32(now.VM[4:])) + uint64(binary.LittleEndian.Uint32(now.VM[12:]))) * page
	if !total.OK || total.Value == 0 {
		return read(used, source), lacking[float64](source, total.Reason)
	}
	return read(used, source), read(100*float64(used)/float64(total.Value), source)
}

func swapInUse(now *frame) Reading[uint64] {
	const source = "sysctl vm.swapusage"
	b := now.Sysctl["vm.swapusage"]
	if len(b) < 24 {
		return lacking[uint64](source, fmt.Sprintf("%d bytes, not 32", len(b)))
	}
	return read(binary.LittleEndian.Uint64(b[16:]), source)
}

func pressure(now *frame) Reading[int] {
	const name = "kern.memorystatus_vm_pressure_level"
	v, err := sysctl(now.Sysctl).Number(name)
	return readIf(int(v), "sysctl "+name, err)
}

func systemPower(f *facts, now *frame) Reading[float64] {
	const source = "SMC PSTR"
	if now.System == nil {
		return lacking[float64](source, f.why(now, "smc"))
	}
	if w := *now.System; w > 0 && w <= mostWatts {
		return read(w, source)
	}
	return lacking[float64](source, fmt.Sprintf("says %v W", *now.System))
}

// thermal reads the pressure level. Source: OSThermalNotification.h, the
// levels of macOS.
func thermal(f *facts, now *frame) (Reading[ThermalState], Reading[int]) {
	const source = "notify com.apple.system.thermalpressurelevel"
	if now.Thermal == nil {
		why := f.why(now, "thermal")
		return lacking[ThermalState](source, why), lacking[int](source, why)
	}
	states := [...]ThermalState{ThermalNominal, ThermalFair, ThermalSerious, ThermalCritical, ThermalCritical}
	level := *now.Thermal
	if level >= uint64(len(states)) {
		why := fmt.Sprintf("unknown level %d", level)
		return lacking[ThermalState](source, why), lacking[int](source, why)
	}
	return read(states[level], source), read(int(level), source)
}

// powerMode reads the preferences for the supply in use. A Mac writes no key
// until the user has chosen; that is automatic only if the dictionary itself
// was read.
func powerMode(f *facts, now *frame) Reading[PowerMode] {
	const source = "IOPMCopyActivePMPreferences"
	supply := now.Power.Providing
	if supply == "" {
		return lacking[PowerMode](source, f.why(now, "supply"))
	}
	prefs, ok := now.Power.Prefs[supply]
	if !ok {
		return lacking[PowerMode](source+" "+supply, f.why(now, "prefs"))
	}
	for _, key := range []string{"LowPowerMode", "powermode", "lowpowermode"} {
		v, ok := prefs[key]
		if !ok {
			continue
		}
		from := source + " " + supply + " " + key
		switch v {
		case 0:
			return read(PowerAutomatic, from)
		case 1:
			return read(PowerLow, from)
		case 2:
			return read(PowerHigh, from)
		}
		return lacking[PowerMode](from, fmt.Sprintf("unknown mode %d", v))
	}
	return read(PowerAutomatic, source+" "+supply+", no key: never changed")
}

func battery(f *facts, now *frame) Battery {
	const source = "IOPSCopyPowerSourcesInfo"
	var b Battery
	switch now.Power.Providing {
	case "AC Power":
		b.OnBattery = read(false, source)
	case "Battery Power", "UPS Power":
		b.OnBattery = read(true, source)
	default:
		b.OnBattery = lacking[bool](source, f.why(now, "supply"))
	}
	at, top := now.Power.Battery["Current Capacity"], now.Power.Battery["Max Capacity"]
	switch {
	case now.Power.Battery == nil:
		b.ChargePercent = lacking[float64](source, cmp.Or(now.Errors["battery"], f.Missing["battery"], "no battery"))
	case top <= 0 || at < 0:
		b.ChargePercent = lacking[float64](source, "tells no capacity")
	default:
		b.ChargePercent = read(min(100, 100*float64(at)/float64(top)), source)
	}
	return b
}
