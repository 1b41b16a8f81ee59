package applesilicon

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPackageAndGatingAreJudgedByRail(t *testing.T) {
	t.Run("no ANE rail", func(t *testing.T) {
		tp := newTape("Apple M2 Pro", energyRails("CPU Energy", "GPU Energy", "DRAM")...).core()
		for s := range 5 {
			tp.at(float64(s), 10*float64(s), 5*float64(s), 2*float64(s))
		}
		s := tp.samples(t)[3]
		require.Equal(t, "IOReport Energy Model, no ANE rail", s.Power.PackageWatts.Source)
		require.InDelta(t, 15, s.Power.PackageWatts.Value, 1e-9)
		require.InDelta(t, 60, s.Energy.PackageJoules.Value, 1e-6)
		require.Equal(t, 60.0, s.Metrics()["system/apple_package_energy_joules"])
		require.Equal(t, noRail, s.Power.ANEWatts.Reason)
	})
	t.Run("an ANE rail that is gated", func(t *testing.T) {
		tp := newTape("Apple M3 Max", energyRails("CPU Energy", "GPU Energy", "ANE0")...).core()
		for s := range 16 {
			tp.at(float64(s), 0, 5*float64(s), 0)
		}
		s := tp.samples(t)[14]
		require.Equal(t, gated, s.Power.ANEWatts.Reason)
		require.Equal(t, gated, s.Power.CPUWatts.Reason)
		require.False(t, s.Power.PackageWatts.OK || s.Energy.PackageJoules.OK)
		require.InDelta(t, 5, s.Power.GPUWatts.Value, 1e-9)
	})
	t.Run("an ANE whose counter has no value beside a live processor", func(t *testing.T) {
		tp := newTape("Apple M3 Max", energyRails("CPU Energy", "GPU Energy", "ANE0")...).core()
		for s := range 5 {
			tp.at(float64(s), 10*float64(s), 5*float64(s), 0).Counters[2].Value = math.MinInt64
		}
		require.False(t, tp.samples(t)[3].Power.PackageWatts.OK, "a rail that is there and not read is not a rail that is not there")
	})
	t.Run("A18: the CPU's counter stays 0", func(t *testing.T) {
		tp := newTape("Apple A18 Pro", energyRails("CPU Energy", "GPU Energy", "ANE", "DRAM")...).core()
		for s := range 21 {
			tp.at(float64(s), 0, .09*float64(s), .04*float64(s), .06*float64(s))
		}
		for i, s := range tp.samples(t) {
			require.InDelta(t, .04, s.Power.ANEWatts.Value, 1e-9, "second %d: %s", i+1, s.Power.ANEWatts.Reason)
			require.InDelta(t, .06, s.Power.DRAMWatts.Value, 1e-9, "second %d: %s", i+1, s.Power.DRAMWatts.Reason)
			require.False(t, s.Power.CPUWatts.OK || s.Power.PackageWatts.OK)
			if i >= 14 {
				require.Equal(t, standing, s.Power.CPUWatts.Reason)
			}
		}
	})
	t.Run("a DRAM that moves alone", func(t *testing.T) {
		tp := newTape("Apple A18 Pro", energyRails("CPU Energy", "GPU Energy", "ANE", "DRAM")...).core()
		for s := range 21 {
			tp.at(float64(s), 0, .09*float64(s), 0, .06*float64(s))
		}
		s := tp.samples(t)[19]
		require.Equal(t, read(0.0, energySource), s.Power.ANEWatts, "idle: its neighbour is published")
		require.InDelta(t, .06, s.Power.DRAMWatts.Value, 1e-9)
	})
	for name, published := range map[string]bool{"published": true, "not published": false} {
		t.Run("an idle die of an Ultra, "+name, func(t *testing.T) {
			tp := newTape("Apple M2 Ultra", energyRails("DIE_0_CPU Energy", "DIE_1_CPU Energy", "GPU Energy", "ANE0_0", "ANE0_1")...).core()
			for s := range 16 {
				now := tp.at(float64(s), 10*float64(s), 0, 5*float64(s), 0, 1*float64(s))
				if !published {
					now.Counters[1].Ticks = 100 * tick
				}
			}
			samples := tp.samples(t)
			for i, s := range samples {
				if i < 3 || !published && i < 10 {
					continue
				}
				require.InDelta(t, 10, s.Power.CPUWatts.Value, 1e-9, "second %d: %s", i+1, s.Power.CPUWatts.Reason)
				require.InDelta(t, 1, s.Power.ANEWatts.Value, 1e-9)
				require.InDelta(t, 16, s.Power.PackageWatts.Value, 1e-9)
			}
			require.InDelta(t, 150, samples[14].Energy.CPUJoules.Value, 1e-6)
			require.Equal(t, 15*time.Second, samples[14].Energy.Covered)
		})
	}
}

// TestTheFirstSpanAfterAFreezeIsNotBelieved: a counter that stood still need
// not catch up with what was used meanwhile.
func TestTheFirstSpanAfterAFreezeIsNotBelieved(t *testing.T) {
	for name, stamps := range map[string]bool{"the driver's times freeze, too": false, "the driver's times go on": true} {
		t.Run(name, func(t *testing.T) {
			tp := newTape("Apple M3 Max", energyRails("CPU Energy", "GPU Energy", "ANE0", "DRAM0")...).core()
			for at := 0.0; at <= 30; at += 2 {
				moved := min(at, 4) + max(0, at-21) // it moves again from second 21 on
				now := tp.at(at, 10*moved, 5*at, moved, moved)
				if at > 4 && at <= 20 && !stamps {
					for _, i := range []int{0, 2, 3} {
						now.Counters[i].Ticks = 104 * tick
					}
				}
			}
			for i, s := range tp.samples(t) {
				at := 2 * (i + 1)
				require.False(t, s.Power.CPUWatts.OK && math.Abs(s.Power.CPUWatts.Value-10) > 1e-6, "%v W at %d s", s.Power.CPUWatts.Value, at)
				require.False(t, s.Power.DRAMWatts.OK && s.Power.DRAMWatts.Value != 0 && math.Abs(s.Power.DRAMWatts.Value-1) > 1e-6, "%v W at %d s", s.Power.DRAMWatts.Value, at)
				switch at {
				case 20:
					require.Equal(t, gated, s.Power.CPUWatts.Reason)
				case 22:
					require.Equal(t, thawed, s.Power.CPUWatts.Reason)
				case 30:
					require.InDelta(t, 120, s.Energy.CPUJoules.Value, 1e-6, "4 s before, 8 s after")
					require.Equal(t, 12*time.Second, s.Energy.Covered, "without the gap")
				}
			}
		})
	}
}

func TestRosettaHasAClockAndPagesOfItsOwn(t *testing.T) {
	recorded := func(sysctl map[string][]byte, page uint64) Sample {
		f := &facts{Timebase: [2]uint64{1, 1}, KernelPage: page, Channels: energyRails("CPU Energy", "GPU Energy", "ANE0"), GPUs: 1,
			Sysctl: map[string][]byte{"hw.optional.arm64": number32(1), "sysctl.proc_translated": number32(1), "hw.memsize": number64(64 << 30), "hw.pagesize": number64(4096),
				"machdep.cpu.brand_string": []byte("VirtualApple @ 2.50GHz processor\x00"), "kern.osproductversion": []byte("26.1\x00")}}
		for k, v := range sysctl {
			f.Sysctl[k] = v
		}
		d := newDecoder(f)
		var s Sample
		for second := range uint64(7) {
			batch := second / 2 * 2
			now := frame{Ticks: (100 + second) * 1e9, VM: append(append(append(number32(0), number32(1_500_000)...), number32(0)...), number32(500_000)...)}
			for _, watts := range []int64{10_000, 5_000_000_000, 1000} {
				now.Counters = append(now.Counters, counter{Ticks: (100 + batch) * 24_000_000, Value: watts * int64(batch)})
			}
			s = d.step(&now)
			plausible(t, s)
		}
		return s
	}
	s := recorded(map[string][]byte{"hw.tbfrequency": number64(24_000_000)}, 16384)
	require.InDelta(t, 10, s.Power.CPUWatts.Value, 0.05, s.Power.CPUWatts.Reason)
	require.InDelta(t, 5, s.Power.GPUWatts.Value, 0.05)
	require.InDelta(t, 1, s.Power.ANEWatts.Value, 0.05)
	require.InDelta(t, 6, s.Energy.Covered.Seconds(), 0.001)
	require.Equal(t, uint64(32_768_000_000), s.Memory.UsedBytes.Value)
	require.True(t, s.Host.Translated)
	require.False(t, s.Host.Virtual, "VirtualApple is what Rosetta calls the processor")
	require.Equal(t, "IORegistry AGXAccelerator", s.Chip.MPS.Source)

	s = recorded(nil, 0)
	for _, r := range []Reading[float64]{s.Power.CPUWatts, s.Power.GPUWatts, s.Power.ANEWatts, s.Power.PackageWatts, s.Energy.PackageJoules} {
		require.False(t, r.OK)
		require.Contains(t, r.Reason, "translated by Rosetta")
	}
	require.False(t, s.Memory.UsedBytes.OK)
	require.Contains(t, s.Memory.UsedBytes.Reason, "translated by Rosetta")

	for chip, want := range map[string]bool{"Apple M2 (Virtual)": true, "VirtualApple @ 2.50GHz processor": false, "Apple M2": false} {
		s := Sample{}
		identify(&facts{Sysctl: map[string][]byte{"hw.optional.arm64": number32(1), "machdep.cpu.brand_string": []byte(chip)}}, &s)
		require.Equal(t, want, s.Host.Virtual, chip)
	}
	s = Sample{}
	identify(&facts{Sysctl: map[string][]byte{"hw.optional.arm64": number32(1), "machdep.cpu.brand_string": []byte("VirtualApple"), "kern.hv_vmm_present": number32(1)}}, &s)
	require.True(t, s.Host.Virtual, "the kernel knows")
}

func TestTheSystemsEnergyIsPowerTimesTheMachinesTime(t *testing.T) {
	w := 60.5
	step := func(d *decoder, tick24 uint64, unix float64, watts *float64) Sample {
		s := d.step(&frame{UnixNano: int64(unix * 1e9), Ticks: tick24, System: watts})
		plausible(t, s)
		return s
	}
	fresh := func() *decoder { return newDecoder(newTape("Apple M4").f) }

	d, s := fresh(), Sample{}
	for i := range uint64(10) {
		s = step(d, (100+i)*tick, float64(i), &w)
	}
	require.InDelta(t, 544.5, s.Energy.SystemJoules.Value, 0.1)
	require.Equal(t, 9*time.Second, s.Energy.SystemCovered)
	require.Equal(t, 544.5, s.Metrics()["system/apple_system_energy_joules"])

	before := s.Energy.SystemJoules.Value // eight hours later by the wall clock, the machine's has moved by a second
	s = step(d, 110*tick, 9+8*3600, &w)
	require.LessOrEqual(t, s.Energy.SystemJoules.Value-before, 60.5+1e-9)
	before = s.Energy.SystemJoules.Value // should its clock go on while it sleeps
	s = step(d, (110+8*3600)*tick, 10+16*3600, &w)
	require.LessOrEqual(t, s.Energy.SystemJoules.Value-before, 60.5)

	d = fresh()
	for i := range uint64(10) {
		read := &w
		if i == 5 {
			read = nil
		}
		s = step(d, (100+i)*tick, float64(i), read)
	}
	require.InDelta(t, 7*60.5, s.Energy.SystemJoules.Value, 0.1, "nothing is known of the two seconds around it")
	require.Equal(t, 7*time.Second, s.Energy.SystemCovered)

	s = step(fresh(), 100*tick, 0, &w)
	require.False(t, s.Energy.SystemJoules.OK)
	require.Zero(t, s.Energy.SystemJoules.Value)
	for _, bad := range []float64{0, -3, 1e5, math.MaxFloat64} {
		d = fresh()
		step(d, 100*tick, 0, &bad)
		s = step(d, 101*tick, 1, &bad)
		require.False(t, s.Energy.SystemJoules.OK || s.Power.SystemWatts.OK, "%v W", bad)
	}
}
