package applesilicon

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// gpuOnly is a GPU of some states and a table; held is the time that each state
// holds of a second.
func gpuOnly(t *testing.T, states int, table []byte, held map[string]float64) GPU {
	t.Helper()
	f := &facts{Sysctl: map[string][]byte{"hw.optional.arm64": number32(1)}, Timebase: [2]uint64{125, 3}, DVFS: map[string][]byte{"voltage-states9": table},
		Channels: []channel{{Group: "GPU Stats", Subgroup: "GPU Performance States", Name: "GPUPH", States: append([]string{"OFF"}, numbered("P", states+1)[1:]...)}}}
	d := newDecoder(f)
	var s Sample
	for second := range 2 {
		now := frame{Ticks: uint64(100+second) * tick, Counters: []counter{{}}}
		for _, name := range f.Channels[0].States {
			now.Counters[0].States = append(now.Counters[0].States, int64(math.Round(float64(second)*held[name]*tick)))
		}
		s = d.step(&now)
	}
	return s.GPU
}

func TestAGPUsStatesMayOutnumberItsTable(t *testing.T) {
	pro := table(1, 0, 389, 486, 648, 778, 972, 1296)
	g := gpuOnly(t, 15, pro, map[string]float64{"OFF": .25, "P1": .25, "P6": .5})
	require.InDelta(t, 75, g.ActivePercent.Value, 1e-4)
	require.InDelta(t, 993.667, g.FrequencyMegahertz.Value, 0.001)

	g = gpuOnly(t, 15, pro, map[string]float64{"OFF": .25, "P1": .25, "P9": .5})
	require.InDelta(t, 75, g.ActivePercent.Value, 1e-4, "how busy it was is known")
	require.False(t, g.FrequencyMegahertz.OK)
	require.Equal(t, "P9 held time, the table has 6", g.FrequencyMegahertz.Reason)

	a18 := table(1, 0, 338, 492, 618, 796, 928, 952, 1056, 1053, 1170, 1152, 1278, 1204, 1338, 1326, 1470)
	require.Equal(t, 1470.0, gpuOnly(t, 15, a18, map[string]float64{"P15": 1}).FrequencyMegahertz.Value)
	require.Equal(t, 1053.0, gpuOnly(t, 15, a18, map[string]float64{"P8": 1}).FrequencyMegahertz.Value, "state i is entry i, where the table falls, too")

	g = gpuOnly(t, 4, pro, map[string]float64{"P1": 1})
	require.Equal(t, "no one table of 4 frequencies", g.FrequencyMegahertz.Reason, "which of more entries is meant is not known")
	require.Equal(t, "no one table of 15 frequencies", gpuOnly(t, 15, nil, map[string]float64{"P1": 1}).FrequencyMegahertz.Reason)
	require.Equal(t, "no one table of 15 frequencies", gpuOnly(t, 15, table(1, 0, 1296, 972, 486), map[string]float64{"P1": 1}).FrequencyMegahertz.Reason, "a table of periods falls as a whole")
	for _, mac := range []string{"m1", "m2ultra", "m3max"} {
		require.Equal(t, 15, machines[mac].gpuStates, "as dumps of these chips show")
	}
}

// TestTheFrequencyThatWasHadIsTheComplexs: a hot M4 asks for 4464 MHz and has
// 3936.
func TestTheFrequencyThatWasHadIsTheComplexs(t *testing.T) {
	steps := table(1e3, 1260, 3936, 4464)
	f := &facts{Sysctl: map[string][]byte{"hw.optional.arm64": number32(1), "machdep.cpu.brand_string": []byte("Apple M4\x00")}, Timebase: [2]uint64{125, 3},
		DVFS: map[string][]byte{"voltage-states5-sram": steps}}
	states := []string{"DOWN", "IDLE", "V0P2", "V1P1", "V2P0"}
	for _, c := range []channel{{Subgroup: "CPU Core Performance States", Name: "PCPU0"}, {Subgroup: "CPU Complex Performance States", Name: "PCPM"},
		{Subgroup: "CPU Complex Performance States", Name: "PCPM_IDLE"}, {Subgroup: "CPU Complex Performance States", Name: "PCPU"},
		{Subgroup: "CPU Core Performance States", Name: "ECPU0"}} {
		c.Group, c.States = "CPU Stats", states
		f.Channels = append(f.Channels, c)
	}
	d := newDecoder(f)
	var s Sample
	for second := range int64(2) {
		top, middle := counter{States: []int64{0, 0, 0, 0, second * tick}}, counter{States: []int64{0, 0, 0, second * tick, 0}}
		s = d.step(&frame{Ticks: uint64(100+second) * tick, Counters: []counter{top, middle, top, top, {States: []int64{0, second * tick, 0, 0, 0}}}})
	}
	p := s.CPU.Clusters.Value[0]
	require.Equal(t, 100.0, p.ActivePercent.Value)
	require.Equal(t, 4464.0, p.FrequencyMegahertz.Value)
	require.Contains(t, p.FrequencyMegahertz.Source, "requested")
	require.Equal(t, read(3936.0, complexSource), p.RealisedMegahertz)
	require.Equal(t, "no channel ECPM", s.CPU.Clusters.Value[1].RealisedMegahertz.Reason)
	m := s.Metrics()
	require.Equal(t, 4464.0, m["system/apple_cpu_performance_frequency_megahertz"])
	require.Equal(t, 3936.0, m["system/apple_cpu_performance_realised_frequency_megahertz"])
	for cluster, want := range map[string]string{"PCPU": "PCPM", "PCPU1": "PCPM1", "DIE_1_PCPU0": "DIE_1_PCPM0", "MCPU1": "MCPM1", "QQ": ""} {
		require.Equal(t, want, complexOf(cluster))
		require.Equal(t, want != "", complexName.MatchString(complexOf(cluster)))
	}
}

func TestPerformanceCoresAreAllButEfficiency(t *testing.T) {
	for _, tt := range []struct {
		levels []PerformanceLevel
		want   int
	}{
		{[]PerformanceLevel{{"Super", 6}, {"Performance", 12}}, 18},
		{[]PerformanceLevel{{"Performance", 12}, {"Efficiency", 4}}, 12},
		{[]PerformanceLevel{{"Super", 4}, {"Efficiency", 6}}, 4},
		{[]PerformanceLevel{{"level 0", 8}}, 8},
		{[]PerformanceLevel{{"Efficiency", 4}}, 0},
	} {
		n, err := performanceCores(Sample{Chip: Chip{Levels: read(tt.levels, "")}})
		require.Equal(t, tt.want, n, "%v", tt.levels)
		require.Equal(t, tt.want == 0, err != nil)
	}
}

func TestMetricNamesAreThoseOfTheSystemsSortsOfCores(t *testing.T) {
	names := func(s Sample) (out []string) {
		for key := range s.Metrics() {
			if strings.HasPrefix(key, "system/apple_cpu_") && strings.HasSuffix(key, "_active_percentage") {
				out = append(out, strings.TrimSuffix(strings.TrimPrefix(key, "system/apple_cpu_"), "_active_percentage"))
			}
		}
		return out
	}
	for mac, want := range map[string][]string{"m1": {"performance", "efficiency"}, "m2ultra": {"performance", "efficiency"}, "m5max": {"super", "performance"}} {
		require.ElementsMatch(t, want, names(decodeAll(machines[mac].facts(), machines[mac].frames(2))), mac)
	}
	s, err := decodePowermetrics(fixture(t, pmOld))
	require.NoError(t, err)
	chip := Chip{Name: read("Apple M1", ""), Levels: read([]PerformanceLevel{{"Performance", 4}, {"Efficiency", 4}}, "")}
	require.ElementsMatch(t, []string{"performance", "efficiency"}, names(Sample{Chip: chip, CPU: CPU{Clusters: read(s.clusters, "")}}), "of powermetrics, too")
}
