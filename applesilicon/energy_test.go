package applesilicon

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// supply is a chip that uses 10 W on each rail, whose counters are published
// by at: the time of the last publication at a time, both in seconds.
type supply struct {
	published func(t float64) float64
	stamp     func(t float64) float64 // what the driver says that was; nil: the truth
	value     func(t float64) float64 // joules at a publication; nil: 10 W
	busy      float64
	gpu       float64 // watts of the GPU, which publishes at once
	from, to  float64
	every     float64
}

// batches of 2.1 s, each followed by a tail 15 ms later.
func batches(t float64) float64 {
	at := math.Floor(t/2.1) * 2.1
	if t-at >= 0.015 {
		at += 0.015
	}
	return at
}

func now(t float64) float64 { return t }

var supplyFacts = &facts{
	Sysctl:   map[string][]byte{"hw.optional.arm64": number32(1), "machdep.cpu.brand_string": []byte("Apple M5 Max\x00")},
	Timebase: [2]uint64{125, 3},
	Channels: []channel{
		{Group: "Energy Model", Name: "CPU Energy", Unit: "mJ"}, {Group: "Energy Model", Name: "ANE0", Unit: "mJ      "},
		{Group: "Energy Model", Name: "DRAM0", Unit: "mJ"}, {Group: "Energy Model", Name: "GPU Energy", Unit: "nJ"},
		{Group: "CPU Stats", Subgroup: "CPU Core Performance States", Name: "PCPU0", States: []string{"IDLE", "V0P0"}},
		{Group: "GPU Stats", Subgroup: "GPU Performance States", Name: "GPUPH", States: []string{"OFF", "P1"}},
	},
}

// replayed writes a recording of s, and reads it back.
func (s supply) replayed(t *testing.T) []Sample {
	t.Helper()
	var b bytes.Buffer
	rec := recorder{&b}
	require.NoError(t, rec.facts(supplyFacts))
	ticks := func(seconds float64) uint64 { return uint64((seconds + 1000) * tick) }
	if s.stamp == nil {
		s.stamp = now
	}
	if s.value == nil {
		s.value = func(t float64) float64 { return 10 * (t + 1000) }
	}
	for at := s.from; at <= s.to+1e-9; at += s.every {
		p := s.published(at)
		mj := counter{Ticks: ticks(s.stamp(p)), Value: int64(math.Round(s.value(p) * 1e3))}
		require.NoError(t, rec.frame(&frame{
			UnixNano: int64(at * 1e9), Ticks: ticks(at),
			Counters: []counter{mj, mj, mj, {Ticks: ticks(at), Value: int64((at + 1000) * s.gpu * 1e9)},
				{States: []int64{int64((1 - s.busy) * (at + 1000) * tick), int64(s.busy * (at + 1000) * tick)}},
				{States: []int64{int64(.5 * (at + 1000) * tick), int64(.5 * (at + 1000) * tick)}}},
		}))
	}
	m, err := Open(t.Context(), Options{Replay: &b})
	require.NoError(t, err)
	var out []Sample
	for s, err := range m.Watch(t.Context(), time.Second) {
		require.NoError(t, err)
		out = append(out, s)
	}
	require.NotEmpty(t, out)
	return out
}

func TestBatchedEnergyIsMeasuredByTheDriversTime(t *testing.T) {
	base := supply{published: batches, busy: 0.6, gpu: 10, from: 0.3, to: 120.3, every: 1}
	for _, tt := range []struct {
		name  string
		alter func(*supply)
		ok    int // readings at least
	}{
		{"batches with tails", func(*supply) {}, 110},
		{"polled in the tail", func(s *supply) { s.from, s.every = 0.005, 0.7 }, 150},
		{"polled every 10 s", func(s *supply) { s.every, s.to = 10, 600.3 }, 55},
		{"set back at 60 s", func(s *supply) {
			s.value = func(t float64) float64 {
				if t < 60 {
					return 10 * (t + 1000)
				}
				return 10 * (t - 60)
			}
		}, 105},
		{"the driver's time is in the future", func(s *supply) { s.published, s.stamp = now, func(t float64) float64 { return t + 5 } }, 110},
		{"the driver's time stands still", func(s *supply) { s.published, s.stamp = now, func(float64) float64 { return -3 } }, 110},
		{"it stands still from 30 s on", func(s *supply) { s.published, s.stamp = now, func(t float64) float64 { return min(t, 30.3) } }, 105},
		{"batches, and a time that stands still", func(s *supply) { s.stamp = func(float64) float64 { return -3 } }, 0},
		{"batches, and a time in the future", func(s *supply) { s.stamp = func(t float64) float64 { return t + 5 } }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := base
			tt.alter(&s)
			if s.value == nil {
				s.value = func(t float64) float64 { return 10 * (t + 1000) }
			}
			samples := s.replayed(t)
			ok := 0
			worst := 0.0
			for _, got := range samples {
				for _, w := range []Reading[float64]{got.Power.CPUWatts, got.Power.ANEWatts, got.Power.DRAMWatts, got.Power.GPUWatts} {
					if w.OK {
						worst = max(worst, math.Abs(w.Value-10))
						require.InDelta(t, 10, w.Value, 0.05)
					} else {
						require.NotEmpty(t, w.Reason)
						require.Zero(t, w.Value)
					}
				}
				if got.Power.CPUWatts.OK {
					ok++
					require.InDelta(t, 30, got.Power.PackageWatts.Value, 0.15)
				}
			}
			require.GreaterOrEqual(t, ok, tt.ok, "of %d", len(samples))
			last := samples[len(samples)-1].Energy
			require.True(t, last.CPUJoules.OK, last.CPUJoules.Reason)
			per := last.CPUJoules.Value / last.Covered.Seconds()
			t.Logf("%d of %d readings, within %.4f W; %.3f J over %v: %.4f %% off", ok, len(samples), worst, last.CPUJoules.Value, last.Covered, 100*math.Abs(per-10)/10)
			require.InEpsilon(t, published(s), last.CPUJoules.Value, 0.001)
			if tt.ok > 0 { // else the time of what was published is not known
				require.InEpsilon(t, 10, per, 0.001)
			}
			require.InDelta(t, s.to-s.from, last.Covered.Seconds(), 4.3, "all but a batch at each end, or at a reset")
		})
	}
}

// published is the energy that the counter told of: what was published last
// before it was set back, and before the end.
func published(s supply) float64 {
	joules, last := 0.0, s.value(s.published(s.from))
	for at := s.from; at <= s.to+1e-9; at += s.every {
		v := s.value(s.published(at))
		joules += max(0, v-last)
		last = v
	}
	return joules
}

// TestGatedRailsSayWhy freezes the power manager's rails at 20 s, as macOS 27
// does for ordinary users, while the processor works on.
func TestGatedRailsSayWhy(t *testing.T) {
	for name, alter := range map[string]func(*supply){
		"times frozen, too": func(*supply) {},
		"times go on":       func(s *supply) { s.stamp = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := supply{published: func(t float64) float64 { return min(batches(t), 20) }, busy: 0.6, gpu: 10, from: 0.3, to: 60.3, every: 1}
			if name == "times go on" {
				s.published = batches
				s.value = func(t float64) float64 { return 10 * (min(t, 18.9) + 1000) }
			}
			alter(&s)
			live := 0
			for i, got := range s.replayed(t) {
				at := 1.3 + float64(i)
				require.True(t, got.Power.GPUWatts.OK, "the GPU's own driver goes on: %s", got.Power.GPUWatts.Reason)
				for key, v := range got.Metrics() {
					require.False(t, v == 0 && strings.Contains(key, "power"), "%s is 0 at %.1f s", key, at)
				}
				for _, w := range []Reading[float64]{got.Power.CPUWatts, got.Power.ANEWatts, got.Power.PackageWatts, got.Power.DRAMWatts, got.Energy.PackageJoules} {
					if w.OK {
						live++
						require.NotZero(t, w.Value, "at %.1f s", at)
						require.Less(t, at, 31.5, "a reading outlives its rail")
					} else {
						require.NotEmpty(t, w.Reason)
					}
					if at > 32 {
						require.Contains(t, w.Reason, gated)
					}
				}
			}
			require.Greater(t, live, 50)
		})
	}
	t.Run("frozen from the start", func(t *testing.T) {
		s := supply{published: func(float64) float64 { return 0 }, busy: 0.6, gpu: 10, from: 0.3, to: 20.3, every: 1}
		for i, got := range s.replayed(t) {
			require.False(t, got.Power.CPUWatts.OK || got.Power.PackageWatts.OK || got.Energy.CPUJoules.OK)
			if i >= 9 { // 10 s after the first frame
				require.Equal(t, gated, got.Power.CPUWatts.Reason)
				require.Equal(t, "none:"+gated, got.Tags()["apple.power_source"])
			}
		}
	})
	t.Run("an idle processor proves nothing", func(t *testing.T) {
		s := supply{published: func(float64) float64 { return 0 }, busy: 0.001, gpu: 10, from: 0.3, to: 30.3, every: 1}
		samples := s.replayed(t)
		require.Equal(t, stale, samples[len(samples)-1].Power.CPUWatts.Reason)
	})
}

// TestAnIdleNeuralEngineIs0WOnlyBesideALiveProcessor tells the 0 that is true
// from the one that is not.
func TestAnIdleNeuralEngineIs0WOnlyBesideALiveProcessor(t *testing.T) {
	r := newRails(supplyFacts)
	cpu, ane, gpu := r.of[cpuRail][0], r.of[aneRail][0], r.of[gpuRail][0]
	step := func(second, cpuMJ int64, gpuBusy float64) (s Sample) {
		at := uint64(100+second) * 1e9
		cpu.step(cpuMJ, at, at)
		ane.step(7, at, at)
		gpu.step(9, at, at)
		r.judge(&s, at, 0.5, gpuBusy)
		return s
	}
	step(0, 1000, 0)
	s := step(1, 11_000, 0)
	require.Equal(t, read(0.0, energySource), s.Power.ANEWatts)
	require.Equal(t, read(0.0, energySource), s.Power.GPUWatts, "off, and it says so")
	require.InDelta(t, 10, s.Power.PackageWatts.Value, 1e-9)
	s = step(2, 11_000, 0.5)
	require.Equal(t, doubtful, s.Power.CPUWatts.Reason)
	require.Equal(t, doubtful, s.Power.ANEWatts.Reason)
	require.Equal(t, doubtful, s.Power.GPUWatts.Reason, "busy, and 0 W")
	require.False(t, s.Power.PackageWatts.OK)
	require.NotContains(t, s.Metrics(), "system/apple_ane_power_watts")
}

func TestRailsAreKnownByTheirWholeName(t *testing.T) {
	for name, want := range map[string]rail{
		"CPU Energy": cpuRail, "DIE_1_CPU Energy": cpuRail, "GPU Energy": gpuRail, "ANE": aneRail, "ANE0": aneRail, "ANE0_1": aneRail,
		"DRAM": dramRail, "DRAM0_1": dramRail, "PCPU": otherRail, "ECPU0": otherRail, "PCPU0_SRAM": otherRail, "GPU SRAM": otherRail,
		"GPU0_0": otherRail, "DRAM0DTL": otherRail, "ANE_CPM": otherRail, "XCPU Energy": otherRail, "CPU Energy 2": otherRail, "": otherRail,
	} {
		require.Equal(t, want, railOf(name, true), name)
	}
	require.Equal(t, gpuRail, railOf("GPU0_0", false))
	for label, want := range map[string]float64{"mJ": 1e-3, "mJ      ": 1e-3, "uJ": 1e-6, "nJ\x00": 1e-9, "pJ": 1e-12} {
		got, err := joulesPer(label)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f := *supplyFacts
	f.Channels = append([]channel(nil), f.Channels...)
	f.Channels[0].Unit = "kWh"
	r := newRails(&f)
	r.of[cpuRail][0].step(1, 1, 1)
	r.of[cpuRail][0].step(2e9, 2e9, 2e9)
	var s Sample
	r.judge(&s, 2e9, 1, 1)
	require.Equal(t, `unknown unit "kWh"`, s.Power.CPUWatts.Reason)
	require.Contains(t, s.Power.PackageWatts.Reason, "CPU: ")
}

func ExampleOpen() {
	recording := strings.NewReader(`{"facts":{"sysctl":{},"timebase":[125,3],"channels":[]}}
{"frame":{"ticks":24000000}}
{"frame":{"ticks":48000000,"thermal":2}}`)
	m, err := Open(context.Background(), Options{Replay: recording})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	s, err := m.Read(context.Background())
	fmt.Println(s.Window, s.Thermal.Value, err)
	// Output: 1s serious <nil>
}
