package applesilicon

import (
	"fmt"
	"strconv"
	"strings"
)

// sysctls is where a Mac tells who it is. An error means that the name does
// not exist there.
type sysctls interface {
	Text(name string) (string, error)
	Number(name string) (uint64, error)
}

// identify fills in what a Mac tells by sysctl.
func identify(sys sysctls, s *Sample) {
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
	s.MemoryBytes = readIf(memory, "sysctl hw.memsize", err)

	s.Thermal, s.PowerMode, s.PackagePowerWatts = unread[ThermalState](notYet), unread[PowerMode](notYet), unread[float64](notYet)
	if number("hw.optional.arm64") != 1 {
		s.appleOnly(notSilicon)
		return
	}
	s.Host.Arch = "arm64"
	s.Host.Translated = number("sysctl.proc_translated") == 1
	chip, err := sys.Text("machdep.cpu.brand_string")
	s.Chip = readIf(chip, "sysctl machdep.cpu.brand_string", err)
	s.PerformanceLevels = levels(sys)
	s.MPS, s.ANE = abilities(chip, text("kern.osproductversion"), number("kern.hv_vmm_present") == 1)
}

// appleOnly gives all readings that only Apple Silicon has the same reason.
func (s *Sample) appleOnly(reason string) {
	s.Chip = unread[string](reason)
	s.PerformanceLevels = unread[[]PerformanceLevel](reason)
	s.MPS, s.ANE = unread[bool](reason), unread[bool](reason)
	s.Thermal = unread[ThermalState](reason)
	s.PowerMode = unread[PowerMode](reason)
	s.PackagePowerWatts = unread[float64](reason)
}

// levels lists the sorts of cores. M1 to M4 have two; an M5 may have three.
func levels(sys sysctls) Reading[[]PerformanceLevel] {
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
	case guest || strings.Contains(chip, "Virtual"):
		return unread[bool](virtual), unread[bool](virtual)
	case !strings.HasPrefix(chip, "Apple "):
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
