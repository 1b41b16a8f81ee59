package applesilicon

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// machine describes a Mac for a recording: which channels it has and how fast
// its clusters can run. The layouts are Apple's, the figures are made up.
type machine struct {
	chip, model, os string
	levels          []PerformanceLevel
	cores           []string            // channels
	complexes       []string            // channels of what clusters had; M1 and M2 Ultra are recorded without
	states          map[string][]string // by tier
	dvfs            map[string][]byte
	gpuStates       int // named P1…; time is held in those that the table has
	rails           []channel
}

const tick = 24_000_000 // ticks in a second

// table writes a table of frequencies and millivolts, as unit counts them.
func table(unit float64, mhz ...float64) []byte {
	var b []byte
	for i, f := range mhz {
		b = binary.LittleEndian.AppendUint32(b, uint32(uint64(f*1e6/unit))) // wraps, as Apple's does
		b = binary.LittleEndian.AppendUint32(b, uint32(700+10*i))
	}
	return b
}

func speedStates(down bool, n int) []string {
	out := []string{"IDLE"}
	if down {
		out = []string{"DOWN", "IDLE"}
	}
	for i := range n {
		out = append(out, fmt.Sprintf("V%dP%d", i, n-1-i))
	}
	return out
}

func numbered(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

func steps(from, to float64, n int) []float64 {
	var out []float64
	for i := range n {
		out = append(out, from+float64(i)*(to-from)/float64(n-1))
	}
	return out
}

func energyRails(names ...string) []channel {
	var out []channel
	for _, n := range names {
		unit := "mJ"
		if n == "GPU Energy" {
			unit = "nJ"
		}
		out = append(out, channel{Group: "Energy Model", Name: n, Unit: unit})
	}
	return out
}

var machines = map[string]machine{
	"m1": {
		chip: "Apple M1", model: "MacBookPro17,1", os: "15.5", levels: []PerformanceLevel{{"Performance", 4}, {"Efficiency", 4}},
		cores:     append(numbered("ECPU", 4), numbered("PCPU", 4)...),
		states:    map[string][]string{"ECPU": speedStates(false, 5), "PCPU": speedStates(false, 15)},
		dvfs:      map[string][]byte{"voltage-states1-sram": table(1, 600, 972, 1332, 1704, 2064), "voltage-states5-sram": table(1, steps(600, 3200, 15)...), "voltage-states9": table(1, 0, 396, 528, 720, 924, 1128, 1278)},
		gpuStates: 15, rails: energyRails("CPU Energy", "GPU Energy", "ANE", "DRAM", "ECPU", "PCPU", "GPU0_0"),
	},
	"m2ultra": {
		chip: "Apple M2 Ultra", model: "Mac14,14", os: "15.5", levels: []PerformanceLevel{{"Performance", 16}, {"Efficiency", 8}},
		cores: func() (out []string) {
			for die := range 2 {
				out = append(out, numbered(fmt.Sprintf("DIE_%d_ECPU_CPU", die), 4)...)
				for cluster := range 2 {
					out = append(out, numbered(fmt.Sprintf("DIE_%d_PCPU%d_CPU", die, cluster), 4)...)
				}
			}
			return out
		}(),
		states:    map[string][]string{"ECPU": speedStates(false, 7), "PCPU": speedStates(false, 17)},
		dvfs:      map[string][]byte{"voltage-states1-sram": table(1, steps(600, 2424, 7)...), "voltage-states5-sram": table(1, 1, 2), "voltage-states13-sram": table(1, steps(660, 3696, 17)...), "voltage-states9": table(1, append([]float64{0}, steps(444, 1398, 8)...)...)},
		gpuStates: 15, rails: energyRails("DIE_0_CPU Energy", "DIE_1_CPU Energy", "GPU Energy", "ANE0_0", "ANE0_1", "DRAM0_0", "DRAM0_1", "GPU0_0", "DIE_0_PCPU0"),
	},
	"m3max": {
		chip: "Apple M3 Max", model: "Mac15,9", os: "26.4", levels: []PerformanceLevel{{"Performance", 12}, {"Efficiency", 4}},
		cores:     append(numbered("ECPU", 4), append(numbered("PCPU_CPU", 6), numbered("PCPU1_CPU", 6)...)...),
		complexes: []string{"ECPM", "PCPM", "PCPM1"},
		states:    map[string][]string{"ECPU": speedStates(true, 7), "PCPU": speedStates(true, 19)},
		dvfs:      map[string][]byte{"voltage-states1-sram": table(1, steps(744, 2748, 7)...), "voltage-states5-sram": table(1, steps(702, 4056, 19)...), "voltage-states9": table(1, append([]float64{0}, steps(444, 1380, 10)...)...)},
		gpuStates: 15, rails: energyRails("CPU Energy", "GPU Energy", "ANE0", "DRAM0"),
	},
	"m4": {
		chip: "Apple M4", model: "Mac16,10", os: "26.1", levels: []PerformanceLevel{{"Performance", 4}, {"Efficiency", 6}},
		cores:     append(numbered("ECPU", 6), append(numbered("PCPU", 4), "QCPU_ODD")...),
		complexes: []string{"ECPM", "PCPM"},
		states:    map[string][]string{"ECPU": speedStates(true, 9), "PCPU": speedStates(true, 20), "QCPU": speedStates(true, 3)},
		dvfs:      map[string][]byte{"voltage-states1-sram": table(1e3, steps(1020, 2892, 9)...), "voltage-states5-sram": table(1e3, steps(1260, 4464, 20)...), "voltage-states9": table(1e3, append([]float64{0}, steps(338, 1578, 12)...)...)},
		gpuStates: 12, rails: energyRails("CPU Energy", "GPU Energy", "ANE0", "DRAM0"),
	},
	"m5max": {
		chip: "Apple M5 Max", model: "Mac17,9", os: "27.0", levels: []PerformanceLevel{{"Super", 6}, {"Performance", 12}},
		cores:     append(numbered("MCPU0_", 6), append(numbered("MCPU1_", 6), numbered("PCPU_", 6)...)...),
		complexes: []string{"MCPM0", "MCPM1", "PCPM"},
		states:    map[string][]string{"MCPU": speedStates(true, 14), "PCPU": speedStates(true, 22)},
		dvfs: map[string][]byte{
			"acc-clusters":          {0x16, 0, 0, 0, 0, 0, 0, 0, 0x17, 1, 0, 0, 0, 0, 0, 0, 0x05, 2, 0, 0, 0, 0, 0, 0},
			"voltage-states22-sram": table(1e3, steps(1100, 4300, 14)...), "voltage-states23-sram": table(1e3, steps(1100, 4300, 14)...),
			"voltage-states5-sram": table(1e3, steps(1300, 4600, 22)...), "voltage-states1-sram": table(1e3, steps(900, 2000, 14)...),
			"voltage-states9": table(1e3, append([]float64{0}, steps(338, 1620, 13)...)...),
		},
		gpuStates: 13, rails: energyRails("CPU Energy", "GPU Energy", "ANE0", "DRAM0"),
	},
}

func number32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func number64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func (m machine) facts() *facts {
	f := &facts{
		Sysctl: map[string][]byte{
			"machdep.cpu.brand_string": []byte(m.chip + "\x00"), "hw.model": []byte(m.model + "\x00"), "hw.optional.arm64": number32(1),
			"kern.osproductversion": []byte(m.os + "\x00"), "kern.osversion": []byte("25E123\x00"), "hw.memsize": number64(64 << 30),
			"hw.pagesize": number64(16384), "hw.nperflevels": number32(uint32(len(m.levels))),
		},
		Timebase: [2]uint64{125, 3}, DVFS: m.dvfs, GPUs: 1, ANEs: 1, GPUCores: 10, Sensors: []string{"Te05", "Tg0D", "Tp01", "Tp09", "Ts0S"},
	}
	cores := 0
	for i, l := range m.levels {
		f.Sysctl[fmt.Sprintf("hw.perflevel%d.name", i)] = []byte(l.Name + "\x00")
		f.Sysctl[fmt.Sprintf("hw.perflevel%d.physicalcpu", i)] = number32(uint32(l.Cores))
		cores += l.Cores
	}
	f.Sysctl["hw.physicalcpu"], f.Sysctl["hw.logicalcpu"] = number32(uint32(cores)), number32(uint32(cores))
	for _, c := range m.cores {
		f.Channels = append(f.Channels, channel{Group: "CPU Stats", Subgroup: "CPU Core Performance States", Name: c, States: m.states[tier(c)]})
	}
	for _, c := range m.complexes {
		f.Channels = append(f.Channels, channel{Group: "CPU Stats", Subgroup: "CPU Complex Performance States", Name: c, States: m.states[strings.Replace(tier(c), "CPM", "CPU", 1)]})
	}
	f.Channels = append(f.Channels, channel{Group: "GPU Stats", Subgroup: "GPU Performance States", Name: "GPUPH",
		States: append([]string{"OFF"}, numbered("P", m.gpuStates+1)[1:]...)})
	f.Channels = append(f.Channels, m.rails...)
	if m.complexes != nil {
		f.Channels = append(f.Channels, channel{Group: "ANE", Subgroup: "IOP State", Name: "status", States: []string{"Off", "Running"}})
	}
	return f
}

// frames gives n frames a second apart in which the figures grow as a fixed
// row of random numbers says.
func (m machine) frames(n int) []frame {
	f := m.facts()
	r := rand.New(rand.NewPCG(1, uint64(len(m.chip))))
	counters := make([]counter, len(f.Channels))
	for i, c := range f.Channels {
		counters[i].States = make([]int64, len(c.States))
	}
	level, system := uint64(0), 60.5
	var out []frame
	for k := range n {
		now := frame{
			UnixNano: int64(1_790_000_000+k) * 1e9, Ticks: uint64(100+k) * tick, Load: []uint32{uint32(200 * k), uint32(100 * k), uint32(700 * k), 0},
			VM:      append(append(append(number32(1000), number32(1_500_000)...), number32(9)...), number32(500_000)...),
			Sysctl:  map[string][]byte{"vm.swapusage": append(append(number64(4<<30), number64(3<<30)...), append(number64(1<<30), number64(0)...)...), "kern.memorystatus_vm_pressure_level": number32(1)},
			Thermal: &level, System: &system, Celsius: []float64{40, 55, 70, 72, 33}, Fans: []float64{1200}, GPU: map[string]int64{"Device Utilization %": 80, "In use system memory": 2 << 30},
			Power: power{Providing: "AC Power", Prefs: map[string]map[string]int64{"AC Power": {}}},
		}
		for i, c := range f.Channels {
			old := counters[i]
			counters[i] = counter{Ticks: now.Ticks}
			rest, held := int64(tick), len(c.States)
			if c.Group == "GPU Stats" {
				held = len(m.dvfs["voltage-states9"]) / 8
			}
			for j := range c.States {
				d := rest
				if j < held-1 {
					d = r.Int64N(rest/3 + 1)
				}
				rest -= d
				counters[i].States = append(counters[i].States, old.States[j]+d)
			}
			switch c.Unit {
			case "mJ":
				counters[i].Value = old.Value + 10_000
			case "nJ":
				counters[i].Value = old.Value + 20_000_000_000
			}
		}
		now.Counters = append([]counter(nil), counters...)
		out = append(out, now)
	}
	return out
}
