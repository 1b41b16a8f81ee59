package applesilicon

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var sentinels = map[string]int64{"INT64_MIN": math.MinInt64, "-1": -1, "another negative": -77}

func TestNoValueIsNotTakenForAValue(t *testing.T) {
	for name, none := range sentinels {
		t.Run("in the middle, "+name, func(t *testing.T) {
			tp := newTape("Apple M3", energyRails("CPU Energy")...)
			for s := range 6 {
				now := tp.at(float64(s), 10*float64(s))
				if s == 2 {
					now.Counters[0].Value = none
				}
			}
			samples := tp.samples(t)
			require.Equal(t, noValue, samples[1].Power.CPUWatts.Reason)
			for i, s := range samples {
				if i != 1 {
					require.InDelta(t, 10, s.Power.CPUWatts.Value, 1e-9, "second %d: %s", i+1, s.Power.CPUWatts.Reason)
				}
			}
			require.InDelta(t, 50, samples[4].Energy.CPUJoules.Value, 0.001)
			require.Equal(t, 5*time.Second, samples[4].Energy.Covered)
		})
		t.Run("first, "+name, func(t *testing.T) {
			tp := newTape("Apple M3", energyRails("CPU Energy")...)
			for s := range 5 {
				now := tp.at(float64(s), 10*float64(s))
				if s == 0 {
					now.Counters[0].Value = none
				}
			}
			samples := tp.samples(t)
			require.Equal(t, warming, samples[0].Power.CPUWatts.Reason)
			require.InDelta(t, 30, samples[3].Energy.CPUJoules.Value, 0.001)
		})
		t.Run("always, "+name, func(t *testing.T) {
			tp := newTape("Apple M3", energyRails("CPU Energy", "GPU Energy", "ANE0")...)
			for s := range 15 {
				now := tp.at(float64(s), 0, 5*float64(s), 0)
				now.Counters[0].Value, now.Counters[2].Value = none, none
			}
			for _, s := range tp.samples(t) {
				require.Equal(t, noValue, s.Power.CPUWatts.Reason)
				require.False(t, s.Power.PackageWatts.OK || s.Energy.CPUJoules.OK)
				require.InDelta(t, 5, s.Power.GPUWatts.Value, 1e-9)
			}
		})
		t.Run("on one die of an Ultra, "+name, func(t *testing.T) {
			tp := newTape("Apple M2 Ultra", energyRails("DIE_0_CPU Energy", "DIE_1_CPU Energy")...)
			for s := range 6 {
				now := tp.at(float64(s), 7*float64(s), 5*float64(s))
				if s == 3 {
					now.Counters[1].Value = none
				}
			}
			for i, s := range tp.samples(t) {
				if i == 2 {
					require.False(t, s.Power.CPUWatts.OK)
					continue
				}
				require.InDelta(t, 12, s.Power.CPUWatts.Value, 1e-9)
				if i == 4 {
					require.InDelta(t, 60, s.Energy.CPUJoules.Value, 0.001)
				}
			}
		})
		t.Run("on a state, "+name, func(t *testing.T) {
			f := &facts{Sysctl: map[string][]byte{"hw.optional.arm64": number32(1)}, Timebase: [2]uint64{125, 3},
				Channels: []channel{{Group: "CPU Stats", Subgroup: "CPU Core Performance States", Name: "PCPU0", States: []string{"IDLE", "V0P1", "V1P0"}}},
				DVFS:     map[string][]byte{"voltage-states5-sram": table(1, 600, 3228)}}
			d := newDecoder(f)
			for s := range int64(5) {
				states := []int64{s * tick / 2, 0, s * tick / 2}
				if s == 2 {
					states[1] = none
				}
				got := d.step(&frame{Ticks: uint64(100+s) * tick, Counters: []counter{{States: states}}})
				c := got.CPU.Clusters.Value[0]
				switch s {
				case 0:
				case 2:
					require.Equal(t, noValue, c.ActivePercent.Reason)
				default:
					require.Equal(t, 50.0, c.ActivePercent.Value)
					require.Equal(t, 3228.0, c.FrequencyMegahertz.Value)
				}
			}
		})
	}
	t.Run("what no Mac can use", func(t *testing.T) {
		tp := newTape("Apple M3", energyRails("CPU Energy")...)
		for s := range 6 {
			now := tp.at(float64(s), 10*float64(s))
			if s == 2 {
				now.Counters[0].Value = math.MaxInt64 // a sentinel that we have not heard of
			}
		}
		samples := tp.samples(t)
		require.Equal(t, absurd, samples[1].Power.CPUWatts.Reason)
		require.Equal(t, wasReset, samples[2].Power.CPUWatts.Reason)
		require.InDelta(t, 30, samples[4].Energy.CPUJoules.Value, 0.001, "of what was measured")
		require.Equal(t, 3*time.Second, samples[4].Energy.Covered)
	})
}
