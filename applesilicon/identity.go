package applesilicon

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// identify fills in what a Mac tells of itself, once.
func identify(f *facts, s *Sample) {
	sys := sysctl(f.Sysctl)
	text := func(name string) string {
		v, _ := sys.Text(name) // unknown is empty
		return v
	}
	number := func(name string) uint64 {
		v, _ := sys.Number(name) // no such name: 0, as Apple says of these flags
		return v
	}
	s.Host.Model = text("hw.model")
	s.Host.OSVersion = text("kern.osproductversion")
	if build := text("kern.osversion"); build != "" {
		s.Host.OSVersion += " (" + build + ")"
	}
	s.Host.LogicalCores = int(number("hw.logicalcpu"))
	s.Host.PhysicalCores = int(number("hw.physicalcpu"))
	memory, err := sys.Number("hw.memsize")
	s.Memory.Bytes = readIf(memory, "sysctl hw.memsize", err)
	if number("hw.optional.arm64") != 1 {
		s.appleOnly(cmp.Or(f.Missing["sysctl"], notSilicon))
		return
	}
	s.Host.Arch = "arm64"
	s.Host.Translated = number("sysctl.proc_translated") == 1
	chip, err := sys.Text("machdep.cpu.brand_string")
	s.Host.Virtual = number("kern.hv_vmm_present") == 1 || strings.HasPrefix(chip, "Apple ") && strings.Contains(chip, "Virtual")
	s.Chip.Name = readIf(chip, "sysctl machdep.cpu.brand_string", err)
	s.Chip.Levels = levels(sys)
	if f.GPUCores > 0 {
		s.Chip.GPUCores = read(int(f.GPUCores), "IORegistry AGXAccelerator gpu-core-count")
	} else {
		s.Chip.GPUCores = lacking[int]("IORegistry AGXAccelerator", cmp.Or(f.Missing["gpuCores"], "no gpu-core-count"))
	}
	s.Chip.MPS, s.ANE.Present = abilities(chip, text("kern.osproductversion"), s.Host.Virtual)
	if f.ANEs > 0 {
		s.ANE.Present = read(true, "IORegistry H11ANEIn")
	}
	if f.GPUs > 0 && s.Chip.MPS.OK && s.Chip.MPS.Value {
		s.Chip.MPS.Source = "IORegistry AGXAccelerator"
	}
}

// appleOnly gives all readings that only Apple Silicon has the same reason.
func (s *Sample) appleOnly(why string) {
	no := unread[float64](why)
	s.Chip = Chip{unread[string](why), unread[[]PerformanceLevel](why), unread[int](why), unread[bool](why)}
	s.GPU = GPU{no, no, unread[uint64](why), unread[uint64](why), no}
	s.ANE = ANE{unread[bool](why), no}
	s.CPU.Clusters, s.CPU.TemperatureCelsius = unread[[]Cluster](why), no
	s.Fans = unread[[]float64](why)
	s.Process = Process{GPUSeconds: no, FootprintBytes: unread[uint64](why)}
	s.Power = Power{no, no, no, no, no, no}
	s.Energy = Energy{CPUJoules: no, GPUJoules: no, ANEJoules: no, DRAMJoules: no, PackageJoules: no, SystemJoules: no}
	s.Thermal, s.ThermalLevel = unread[ThermalState](why), unread[int](why)
	s.PowerMode = unread[PowerMode](why)
	s.Battery = Battery{unread[bool](why), no}
	s.Memory.PressureLevel = unread[int](why)
}

// levels lists the sorts of cores. M1 to M4 have two; an M5 may have three.
func levels(sys sysctl) Reading[[]PerformanceLevel] {
	n, err := sys.Number("hw.nperflevels")
	if err != nil || n == 0 || n > 16 {
		return Reading[[]PerformanceLevel]{Source: "sysctl hw.nperflevels", Reason: fmt.Sprintf("%d levels, %v", n, err)}
	}
	var out []PerformanceLevel
	for i := range n {
		prefix := "hw.perflevel" + strconv.FormatUint(i, 10) + "."
		cores, err := sys.Number(prefix + "physicalcpu")
		if err != nil {
			return Reading[[]PerformanceLevel]{Source: "sysctl " + prefix + "physicalcpu", Reason: err.Error()}
		}
		name, err := sys.Text(prefix + "name")
		if err != nil {
			name = "level " + strconv.FormatUint(i, 10)
		}
		out = append(out, PerformanceLevel{name, int(cores)})
	}
	return read(out, "sysctl hw.perflevelN")
}

// abilities says what chip and system together offer: every Apple Silicon Mac
// has a GPU and a neural engine, and Metal Performance Shaders reach the GPU
// from macOS 12.3 on. It is a table, not a look at the hardware; a guest sees
// other hardware than its host's.
func abilities(chip, macOS string, guest bool) (mps, ane Reading[bool]) {
	switch {
	case guest:
		return unread[bool](virtual), unread[bool](virtual)
	case !strings.HasPrefix(chip, "Apple ") && !strings.HasPrefix(chip, "VirtualApple"): // what Rosetta shows to old programs
		why := fmt.Sprintf("no entry for chip %q", chip)
		return unread[bool](why), unread[bool](why)
	}
	ane = read(true, "table, "+chip)
	major, rest, _ := strings.Cut(macOS, ".")
	minor, _, _ := strings.Cut(rest, ".")
	x, err := strconv.Atoi(major)
	y, _ := strconv.Atoi(minor) // "26" has none
	if err != nil {
		return unread[bool](fmt.Sprintf("macOS version %q", macOS)), ane
	}
	return read(x > 12 || x == 12 && y >= 3, "table, "+chip+", macOS "+macOS), ane
}
