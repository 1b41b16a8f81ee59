package applesilicon

import (
	"context"
	"strconv"
	"strings"
	"sync"
)

// Metrics returns the readings under MLflow's names where it has one, in its
// units (1 megabyte is 10⁶ bytes) and rounded as it rounds, to 1 decimal; the
// rest is called "system/apple_…", watts and joules with 3 decimals. What was
// not read is absent. The network's counters are absent, too: MLflow counts
// from the start of a run, which a [Recorder] does.
//
// Source: mlflow/system_metrics/metrics of MLflow 3.17, which has no metrics of
// Apple's GPU.
func (s Sample) Metrics() map[string]float64 {
	out := map[string]float64{}
	put(out, "system/cpu_utilization_percentage", s.CPU.Percent, 1, 1)
	put(out, "system/system_memory_usage_megabytes", s.Memory.UsedBytes, 1e6, 1)
	put(out, "system/system_memory_usage_percentage", s.Memory.UsedPercent, 1, 1)
	put(out, "system/disk_usage_percentage", s.Disk.UsedPercent, 1, 1)
	put(out, "system/disk_usage_megabytes", s.Disk.UsedBytes, 1e6, 1)
	put(out, "system/disk_available_megabytes", s.Disk.AvailableBytes, 1e6, 1)
	if !s.Chip.Name.OK {
		return out
	}
	put(out, "system/gpu_0_utilization_percentage", s.GPU.ActivePercent, 1, 1)
	put(out, "system/gpu_0_memory_usage_megabytes", s.GPU.MemoryUsedBytes, 1e6, 1)
	if used, all := s.GPU.MemoryUsedBytes, s.Memory.Bytes; used.OK && all.OK && all.Value > 0 {
		out["system/gpu_0_memory_usage_percentage"] = round(100*float64(used.Value)/float64(all.Value), 1)
	}
	put(out, "system/gpu_0_power_usage_watts", s.Power.GPUWatts, 1, 1)

	put(out, "system/apple_cpu_power_watts", s.Power.CPUWatts, 1, 3)
	put(out, "system/apple_gpu_power_watts", s.Power.GPUWatts, 1, 3)
	put(out, "system/apple_ane_power_watts", s.Power.ANEWatts, 1, 3)
	put(out, "system/apple_dram_power_watts", s.Power.DRAMWatts, 1, 3)
	put(out, "system/apple_package_power_watts", s.Power.PackageWatts, 1, 3)
	put(out, "system/apple_system_power_watts", s.Power.SystemWatts, 1, 3)
	put(out, "system/apple_package_energy_joules", s.Energy.PackageJoules, 1, 3)
	put(out, "system/apple_gpu_frequency_megahertz", s.GPU.FrequencyMegahertz, 1, 1)
	s.tiers(out)
	if s.ThermalLevel.OK {
		out["system/apple_thermal_pressure_level"] = float64(s.ThermalLevel.Value)
	}
	if s.PowerMode.OK {
		out["system/apple_power_mode"] = float64(s.PowerMode.Value - PowerAutomatic) // 0 automatic, 1 low, 2 high
	}
	if s.Battery.OnBattery.OK {
		out["system/apple_on_battery"] = map[bool]float64{true: 1}[s.Battery.OnBattery.Value]
	}
	put(out, "system/apple_swap_used_megabytes", s.Memory.SwapUsedBytes, 1e6, 1)
	if s.Memory.PressureLevel.OK {
		out["system/apple_memory_pressure_level"] = float64(s.Memory.PressureLevel.Value)
	}
	return out
}

// tiers puts the mean of all cores of a sort, as "apple_cpu_pcpu_…".
func (s Sample) tiers(out map[string]float64) {
	type sum struct{ active, cores, weighted, busy float64 }
	by := map[string]*sum{}
	for _, c := range s.CPU.Clusters.Value {
		t := by[tier(c.Name)]
		if t == nil {
			t = &sum{}
			by[tier(c.Name)] = t
		}
		for _, core := range c.Cores {
			if !core.ActivePercent.OK {
				continue
			}
			t.cores++
			t.active += core.ActivePercent.Value
			if core.FrequencyMegahertz.OK {
				t.busy += core.ActivePercent.Value
				t.weighted += core.ActivePercent.Value * core.FrequencyMegahertz.Value
			}
		}
	}
	for name, t := range by {
		key := "system/apple_cpu_" + strings.ToLower(name)
		if t.cores > 0 {
			out[key+"_active_percentage"] = round(t.active/t.cores, 1)
		}
		if t.busy > 0 {
			out[key+"_frequency_megahertz"] = round(t.weighted/t.busy, 1)
		}
	}
}

func put[T uint64 | float64](out map[string]float64, key string, r Reading[T], unit float64, decimals int) {
	if r.OK {
		out[key] = round(float64(r.Value)/unit, decimals)
	}
}

// round is Python's round(v, decimals): to the nearest of the exact binary
// value.
func round(v float64, decimals int) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'f', decimals, 64), 64)
	if err != nil {
		return v
	}
	return r
}

// Recorder reads this machine beside a run: metrics while it goes on, tags at
// its start, energy at its end. Its methods are safe for concurrent use.
type Recorder struct {
	m     *Machine
	err   error
	first Network
	mu    sync.Mutex
	last  Sample
}

// NewRecorder begins to count: the run's network traffic and energy are those
// since now. If the machine cannot be opened, Sample tells.
func NewRecorder(ctx context.Context, o Options) *Recorder {
	r := &Recorder{}
	if r.m, r.err = Open(ctx, o); r.err != nil {
		return r
	}
	if r.m.replay {
		return r
	}
	var s Sample
	network(ctx, &s)
	r.first = s.Network
	return r
}

// NewSampler is the Sample method of a [Recorder] that is never closed.
func NewSampler() func(context.Context) (map[string]float64, error) {
	return NewRecorder(context.Background(), Options{}).Sample
}

// Sample gives the metrics of [Sample.Metrics] and the network traffic since
// NewRecorder, which MLflow does not round. Rates are since the call before.
// It does not wait. Its type is that of an mlflow.Sampler.
func (r *Recorder) Sample(ctx context.Context) (map[string]float64, error) {
	s, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	out := s.Metrics()
	traffic(out, "system/network_receive_megabytes", r.first.ReceivedBytes, s.Network.ReceivedBytes)
	traffic(out, "system/network_transmit_megabytes", r.first.SentBytes, s.Network.SentBytes)
	return out, nil
}

func (r *Recorder) read(ctx context.Context) (Sample, error) {
	if r.err != nil {
		return Sample{}, r.err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.m.sample(ctx)
	if err == nil {
		r.last = s
	}
	return s, err
}

// Tags describe the machine for a run: "apple.chip", "apple.model",
// "apple.memory_bytes", "apple.os_build", "apple.power_mode",
// "apple.thermal_state" and "apple.power_source". There are none on other
// machines. What could not be read has no tag, but the source of power tells
// why there is none.
func (r *Recorder) Tags(ctx context.Context) map[string]string {
	r.mu.Lock()
	s := r.last
	r.mu.Unlock()
	if s.Time.IsZero() {
		s, _ = r.read(ctx)
	}
	return s.Tags()
}

// Tags are those of [Recorder.Tags].
func (s Sample) Tags() map[string]string {
	if !s.Chip.Name.OK {
		return nil
	}
	out := map[string]string{"apple.chip": s.Chip.Name.Value}
	tag := func(key, v string, ok bool) {
		if ok && v != "" {
			out[key] = v
		}
	}
	tag("apple.model", s.Host.Model, true)
	tag("apple.os_build", s.Host.OSVersion, true)
	tag("apple.memory_bytes", strconv.FormatUint(s.Memory.Bytes.Value, 10), s.Memory.Bytes.OK)
	tag("apple.power_mode", s.PowerMode.Value.String(), s.PowerMode.OK)
	tag("apple.thermal_state", s.Thermal.Value.String(), s.Thermal.OK)
	switch w := s.Power.CPUWatts; {
	case w.Reason == warming: // not known yet
	case !w.OK:
		out["apple.power_source"] = "none:" + w.Reason
	case strings.HasPrefix(w.Source, "IOReport"):
		out["apple.power_source"] = "ioreport"
	default:
		out["apple.power_source"] = w.Source
	}
	return out
}

// Energy takes a last sample and gives what the run has used, as metrics to
// log at its end: "system/apple_package_energy_joules" and, if steps is not
// 0, "system/apple_package_energy_joules_per_step". It gives none if the
// energy is not known.
func (r *Recorder) Energy(ctx context.Context, steps int64) (map[string]float64, error) {
	s, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	put(out, "system/apple_package_energy_joules", s.Energy.PackageJoules, 1, 3)
	if s.Energy.PackageJoules.OK && steps > 0 {
		out["system/apple_package_energy_joules_per_step"] = s.Energy.PackageJoules.Value / float64(steps)
	}
	return out, nil
}

// Close closes the machine.
func (r *Recorder) Close() error {
	if r.m == nil {
		return nil
	}
	return r.m.Close()
}

// traffic is what went through since first. A counter that ran backwards, of
// an interface that went away, tells nothing.
func traffic(out map[string]float64, key string, first, now Reading[uint64]) {
	if first.OK && now.OK && now.Value >= first.Value {
		out[key] = float64(now.Value)/1e6 - float64(first.Value)/1e6
	}
}
