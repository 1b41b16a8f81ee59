package applesilicon

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the recordings and goldens")

const fixtures = "../testdata/applesilicon"

// TestRecordingsDecodeAsTheirGoldens reads one recording of each generation.
// The busy share and the mean frequency of the first core are worked out a
// second time, from the recording's own numbers.
func TestRecordingsDecodeAsTheirGoldens(t *testing.T) {
	for name, mac := range machines {
		t.Run(name, func(t *testing.T) {
			file, golden := filepath.Join(fixtures, name+".ndjson"), filepath.Join(fixtures, name+".golden")
			if *update {
				var b bytes.Buffer
				rec := recorder{&b}
				require.NoError(t, rec.facts(mac.facts()))
				for _, now := range mac.frames(3) {
					require.NoError(t, rec.frame(&now))
				}
				require.NoError(t, os.MkdirAll(fixtures, 0o755))
				require.NoError(t, os.WriteFile(file, b.Bytes(), 0o644))
			}
			in, err := os.Open(file)
			require.NoError(t, err)
			defer in.Close()
			m, err := Open(t.Context(), Options{Replay: in})
			require.NoError(t, err)
			var out strings.Builder
			var s Sample
			for got, err := range m.Watch(t.Context(), time.Second) {
				require.NoError(t, err)
				s = got
				describe(&out, s)
			}
			require.NoError(t, m.Close())
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(out.String()), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), out.String())

			first := s.CPU.Clusters.Value[0].Cores[0]
			f, frames := mac.facts(), mac.frames(3)
			at := 0
			for f.Channels[at].Name != first.Name {
				at++
			}
			speeds := map[string][]float64{"m1": {600, 972, 1332, 1704, 2064}, "m2ultra": steps(600, 2424, 7), "m3max": steps(744, 2748, 7),
				"m4": steps(1020, 2892, 9), "m5max": steps(1100, 4300, 14)}[name]
			off := len(f.Channels[at].States) - len(speeds)
			all, busy, weighted := 0.0, 0.0, 0.0
			for i := range f.Channels[at].States {
				d := float64(frames[2].Counters[at].States[i] - frames[1].Counters[at].States[i])
				all += d
				if i >= off {
					busy += d
					weighted += d * speeds[i-off]
				}
			}
			require.InDelta(t, 100*busy/all, first.ActivePercent.Value, 1e-9)
			require.InDelta(t, weighted/busy, first.FrequencyMegahertz.Value, 0.001)
		})
	}
}

func describe(w io.Writer, s Sample) {
	fmt.Fprintf(w, "%s %s %s %v window %v\n", s.Chip.Name.Value, s.Host.Model, s.Host.OSVersion, s.Chip.Levels.Value, s.Window)
	show := func(name string, r Reading[float64]) {
		if r.OK {
			fmt.Fprintf(w, "  %s %.3f (%s)\n", name, r.Value, r.Source)
		} else {
			fmt.Fprintf(w, "  %s - %s\n", name, r.Reason)
		}
	}
	show("cpu %", s.CPU.Percent)
	for _, c := range s.CPU.Clusters.Value {
		show(c.Name+" %", c.ActivePercent)
		show(c.Name+" MHz", c.FrequencyMegahertz)
		show(c.Name+" MHz had", c.RealisedMegahertz)
		fmt.Fprintf(w, "    %d cores:", len(c.Cores))
		for _, core := range c.Cores {
			fmt.Fprintf(w, " %s=%.1f", core.Name, core.ActivePercent.Value)
		}
		fmt.Fprintln(w)
	}
	show("gpu %", s.GPU.ActivePercent)
	show("gpu MHz", s.GPU.FrequencyMegahertz)
	show("ane running %", s.ANE.RunningPercent)
	show("cpu °C", s.CPU.TemperatureCelsius)
	show("gpu °C", s.GPU.TemperatureCelsius)
	show("cpu W", s.Power.CPUWatts)
	show("gpu W", s.Power.GPUWatts)
	show("ane W", s.Power.ANEWatts)
	show("dram W", s.Power.DRAMWatts)
	show("package W", s.Power.PackageWatts)
	show("system W", s.Power.SystemWatts)
	show("package J", s.Energy.PackageJoules)
	show("system J", s.Energy.SystemJoules)
	fmt.Fprintf(w, "  thermal %v mode %v (%s) memory %d MPS %v ANE %v (%s)\n", s.Thermal.Value, s.PowerMode.Value, s.PowerMode.Source,
		s.Memory.UsedBytes.Value, s.Chip.MPS.Value, s.ANE.Present.Value, s.ANE.Present.Source)
}

func TestAnUnknownClusterIsShownUnderItsOwnName(t *testing.T) {
	for core, want := range map[string]string{
		"ECPU3": "ECPU", "PCPU12": "PCPU", "MCPU0_3": "MCPU0", "DIE_0_PCPU1_CPU2": "DIE_0_PCPU1", "DIE_1_ECPU0": "DIE_1_ECPU",
		"QCPU_ODD": "QCPU_ODD", "ZZTOP": "ZZTOP", "": "",
	} {
		require.Equal(t, want, clusterOf(core), core)
	}
	require.Equal(t, "PCPU", tier("DIE_1_PCPU0"))
	require.Equal(t, "MCPU", tier("MCPU1"))
}

func TestFrequenciesAreInHertzOrKilohertz(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []byte
		want []float64
	}{
		{"hertz", table(1, 600, 3200), []float64{600, 3200}},
		{"kilohertz", table(1e3, 1260, 4464), []float64{1260, 4464}},
		{"off first", table(1, 0, 396), []float64{396}},
		{"more than 32 bits of hertz", table(1, 3900, 4200, 4380, 4512), []float64{3900, 4200, 4380, 4512}},
		{"periods", table(1, 0.00001, 0.00002), nil},
		{"zeros", make([]byte, 16), nil},
		{"torn", make([]byte, 9), nil},
		{"empty", nil, nil},
		{"falling", table(1, 3000, 2000), nil},
	} {
		got, err := decodeTable(tt.in)
		require.Equal(t, tt.want == nil, err != nil, tt.name)
		require.InDeltaSlice(t, append([]float64{}, tt.want...), append([]float64{}, got...), 0.001, tt.name)
	}
}

func TestATableIsChosenByItsLength(t *testing.T) {
	d := newDVFS(map[string][]byte{"voltage-states1-sram": table(1, 600, 700), "voltage-states5-sram": table(1, 600, 700, 800)})
	require.Equal(t, []float64{600, 700}, d.of("ECPU", 2, false))
	require.Equal(t, []float64{600, 700, 800}, d.of("PCPU", 3, false))
	require.Nil(t, d.of("PCPU", 4, false), "no frequency is better than that of another table")
	require.Nil(t, d.of("PCPU", 0, false))
	require.Nil(t, d.of("GPUPH", 2, true), "a GPU does not run at a processor's speed")
	two := newDVFS(map[string][]byte{"voltage-states3-sram": table(1, 600, 700), "voltage-states4-sram": table(1, 600, 800)})
	require.Nil(t, two.of("QCPU", 2, false), "two tables that differ tell nothing")

	mac := machines["m1"]
	f := mac.facts()
	f.DVFS = nil
	s := decodeAll(f, mac.frames(2))
	require.True(t, s.CPU.Clusters.Value[0].ActivePercent.OK)
	require.Equal(t, "no one table of 5 frequencies", s.CPU.Clusters.Value[0].FrequencyMegahertz.Reason)
	require.Zero(t, s.CPU.Clusters.Value[0].FrequencyMegahertz.Value)
}

// decodeAll is the last sample of frames.
func decodeAll(f *facts, frames []frame) (s Sample) {
	d := newDecoder(f)
	for i := range frames {
		s = d.step(&frames[i])
	}
	return s
}

func TestThermalStates(t *testing.T) {
	for level, want := range map[uint64]ThermalState{
		0: ThermalNominal, 1: ThermalFair, 2: ThermalSerious, 3: ThermalCritical, 4: ThermalCritical,
		5: ThermalUnknown, 10: ThermalUnknown, 1 << 63: ThermalUnknown, math.MaxUint64: ThermalUnknown,
	} {
		s, raw := thermal(&facts{}, &frame{Thermal: &level})
		require.Equal(t, want, s.Value, level)
		require.Equal(t, want != ThermalUnknown, s.OK, level)
		require.Equal(t, s.OK, raw.OK)
		if !s.OK {
			require.Contains(t, s.Reason, "unknown level")
		}
	}
	s, raw := thermal(&facts{}, &frame{Errors: map[string]string{"thermal": "notify_get_state: status 6"}})
	require.Equal(t, ThermalUnknown, s.Value)
	require.Equal(t, "notify_get_state: status 6", s.Reason)
	require.False(t, s.OK || raw.OK)
}

func TestPowerModeIsAutomaticOnlyIfTheDictionaryWasRead(t *testing.T) {
	mode := func(supply string, prefs map[string]map[string]int64) Reading[PowerMode] {
		return powerMode(&facts{Missing: map[string]string{"prefs": "IOPMCopyActivePMPreferences is not in this system"}},
			&frame{Power: power{Providing: supply, Prefs: prefs}})
	}
	ac := func(key string, v int64) map[string]map[string]int64 {
		return map[string]map[string]int64{"AC Power": {key: v}, "Battery Power": {"LowPowerMode": 1}}
	}
	got := mode("AC Power", ac("DisplaySleep", 10))
	require.True(t, got.OK)
	require.Equal(t, PowerAutomatic, got.Value)
	require.Equal(t, "IOPMCopyActivePMPreferences AC Power, no key: never changed", got.Source)
	for _, key := range []string{"LowPowerMode", "powermode", "lowpowermode"} {
		for v, want := range []PowerMode{PowerAutomatic, PowerLow, PowerHigh, PowerUnknown} {
			got := mode("AC Power", ac(key, int64(v)))
			require.Equal(t, want, got.Value, key)
			require.Equal(t, want != PowerUnknown, got.OK)
		}
	}
	require.Equal(t, PowerLow, mode("Battery Power", ac("powermode", 2)).Value, "of the supply in use")
	unread := mode("AC Power", nil)
	require.False(t, unread.OK, "a dictionary that was not read says nothing")
	require.Equal(t, PowerUnknown, unread.Value)
	require.Contains(t, unread.Reason, "is not in this system")
	require.False(t, mode("", ac("powermode", 2)).OK)
}

func TestBattery(t *testing.T) {
	b := battery(&facts{}, &frame{Power: power{Providing: "Battery Power", Battery: map[string]int64{"Current Capacity": 40, "Max Capacity": 80}}})
	require.True(t, b.OnBattery.Value)
	require.Equal(t, 50.0, b.ChargePercent.Value)
	b = battery(&facts{}, &frame{Power: power{Providing: "AC Power"}})
	require.True(t, b.OnBattery.OK)
	require.Equal(t, "no battery", b.ChargePercent.Reason)
	require.False(t, battery(&facts{}, &frame{Power: power{Battery: map[string]int64{}}}).ChargePercent.OK)
}

func TestTheSystemsPowerIsNeverZero(t *testing.T) {
	zero, inf, w := 0.0, math.Inf(1), 12.5
	require.False(t, systemPower(&facts{}, &frame{System: &zero}).OK)
	require.False(t, systemPower(&facts{}, &frame{System: &inf}).OK)
	require.False(t, systemPower(&facts{}, &frame{}).OK)
	require.Equal(t, 12.5, systemPower(&facts{}, &frame{System: &w}).Value)
}

func TestTheGPUHasTwoSources(t *testing.T) {
	mac := machines["m3max"]
	s := decodeAll(mac.facts(), mac.frames(2))
	require.Equal(t, "IOReport GPUPH", s.GPU.ActivePercent.Source)
	f, frames := mac.facts(), mac.frames(2)
	for i := range f.Channels {
		if f.Channels[i].Name == "GPUPH" {
			frames[1].Counters[i].Gone = true
		}
	}
	s = decodeAll(f, frames)
	require.Equal(t, read(80.0, "IORegistry AGXAccelerator PerformanceStatistics"), s.GPU.ActivePercent)
	frames[1].GPU["Device Utilization %"] = 104
	require.Equal(t, 100.0, decodeAll(f, frames).GPU.ActivePercent.Value)
	frames[1].GPU["Device Utilization %"] = 0
	require.False(t, decodeAll(f, frames).GPU.ActivePercent.OK, "it is 0 often when the GPU is at work")
}

func TestCountersThatBeginAgain(t *testing.T) {
	d := &decoder{f: &facts{}}
	d.processor(&frame{Load: []uint32{math.MaxUint32 - 9, 0, math.MaxUint32 - 69, 0}})
	require.InDelta(t, 30, d.processor(&frame{Load: []uint32{10, 10, 0, 0}}).Value, 30)
	require.Equal(t, "no time has passed since the sample before", d.processor(&frame{Load: []uint32{10, 10, 0, 0}}).Reason)
	require.False(t, d.processor(&frame{}).OK)

	s := newSpeeds(0, channel{Name: "ECPU0", States: []string{"IDLE", "V0"}}, dvfs{})
	s.step(counter{States: []int64{100, 100}})
	_, _, _, why := s.step(counter{States: []int64{50, 200}})
	require.Equal(t, warming, why, "set back")
	active, _, _, why := s.step(counter{States: []int64{150, 300}})
	require.Empty(t, why)
	require.Equal(t, 0.5, active)
	_, _, _, why = s.step(counter{States: []int64{150, 300}})
	require.NotEmpty(t, why, "no time is not idle")
	_, _, _, why = s.step(counter{States: []int64{150}})
	require.Equal(t, noChannel, why)
}

func TestElementsHaveXNUsLayout(t *testing.T) {
	b := make([]byte, 128)
	for i := range b {
		b[i] = byte(i)
	}
	id, ticks, ok := elementTime(b)
	require.True(t, ok)
	require.Equal(t, uint64(0x0f0e0d0c0b0a0908), id)
	require.Equal(t, uint64(0x1f1e1d1c1b1a1918), ticks)
	v, ok := elementValue(b)
	require.True(t, ok)
	require.Equal(t, int64(0x2726252423222120), v)
	states := make([]int64, 2)
	require.True(t, elementStates(states, b))
	require.Equal(t, []int64{0x3736353433323130, 0x7776757473727170}, states)
	_, _, ok = elementTime(b[:63])
	require.False(t, ok)
	_, ok = elementValue(nil)
	require.False(t, ok)
	require.False(t, elementStates(states, b[:127]))
}

func TestRecordingsThatAreBroken(t *testing.T) {
	open := func(in string) error {
		m, err := Open(t.Context(), Options{Replay: strings.NewReader(in)})
		if err == nil {
			_, err = m.Read(t.Context())
		}
		return err
	}
	const facts = `{"facts":{"sysctl":{},"timebase":[125,3],"channels":[]}}` + "\n"
	require.ErrorIs(t, open(""), io.ErrUnexpectedEOF)
	require.ErrorContains(t, open("{"), "line 1")
	require.ErrorContains(t, open(`{"frame":{}}`), "no facts")
	require.ErrorContains(t, open(facts+"{}"), "line 2 has no frame")
	require.ErrorIs(t, open(facts), io.EOF)
	require.ErrorIs(t, open(facts+`{"frame":{}}`+"\n"), io.EOF)
	require.NoError(t, open(facts+`{"frame":{}}`+"\n\n"+`{"frame":{"ticks":5}}`))
}

func FuzzReplay(f *testing.F) {
	for name := range machines {
		if b, err := os.ReadFile(filepath.Join(fixtures, name+".ndjson")); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte(`{"facts":{"timebase":[0,0],"channels":[{"group":"Energy Model","name":"CPU Energy","unit":"mJ"}]}}` + "\n" + `{"frame":{"counters":[{"value":1}]}}`))
	f.Add([]byte(`{"facts":{"timebase":[1,1],"channels":[{"group":"Energy Model","name":"CPU Energy","unit":"mJ"}]}}` + "\n" +
		`{"frame":{"ticks":1,"counters":[{"ticks":1,"value":-9223372036854775808}]}}` + "\n" + `{"frame":{"ticks":1000000000,"counters":[{"ticks":1000000000,"value":1000}]}}` + "\n" +
		`{"frame":{"ticks":2000000000,"systemWatts":1e300,"counters":[{"ticks":2000000000,"value":9223372036854775807}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Open(t.Context(), Options{Replay: bytes.NewReader(b)})
		if err != nil {
			return
		}
		most := map[string]float64{}
		for range 20 {
			s, err := m.Read(t.Context())
			if err != nil {
				return
			}
			plausible(t, s)
			for rail, r := range joulesOf(s) {
				if r.OK {
					require.GreaterOrEqual(t, r.Value, most[rail], "the joules of %s fell", rail)
					most[rail] = r.Value
				}
			}
			for k, v := range s.Metrics() {
				require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "%s is %v", k, v)
			}
		}
	})
}
