package applesilicon

import (
	"context"
	"slices"
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
	put(out, "system/apple_system_energy_joules", s.Energy.SystemJoules, 1, 3)
	put(out, "system/apple_cpu_temperature_celsius", s.CPU.TemperatureCelsius, 1, 1)
	put(out, "system/apple_gpu_temperature_celsius", s.GPU.TemperatureCelsius, 1, 1)
	for i, v := range s.Fans.Value {
		put(out, "system/apple_fan_"+strconv.Itoa(i)+"_turns_per_minute", Reading[float64]{Value: v, OK: s.Fans.OK}, 1, 1)
	}
	put(out, "system/apple_gpu_memory_limit_megabytes", s.GPU.MemoryLimitBytes, 1e6, 1)
	put(out, "system/apple_ane_running_percentage", s.ANE.RunningPercent, 1, 1)
	put(out, "system/apple_process_gpu_seconds", s.Process.GPUSeconds, 1, 3)
	put(out, "system/apple_process_footprint_megabytes", s.Process.FootprintBytes, 1e6, 1)
	put(out, "system/apple_gpu_frequency_megahertz", s.GPU.FrequencyMegahertz, 1, 1)
	s.levels(out)
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

// levels puts the mean of all cores of a sort, as "apple_cpu_performance_…":
// the sorts have the system's names for them, whichever source tells of them.
func (s Sample) levels(out map[string]float64) {
	type mean struct{ sum, weight float64 }
	active, asked, had := map[string]*mean{}, map[string]*mean{}, map[string]*mean{}
	add := func(to map[string]*mean, level string, r Reading[float64], weight float64) {
		if !r.OK || weight <= 0 {
			return
		}
		if to[level] == nil {
			to[level] = &mean{}
		}
		to[level].sum += weight * r.Value
		to[level].weight += weight
	}
	for _, c := range s.CPU.Clusters.Value {
		level, busy := s.levelOf(c.Name), 0.0
		for _, core := range c.Cores {
			add(active, level, core.ActivePercent, 1)
			add(asked, level, core.FrequencyMegahertz, core.ActivePercent.Value)
			busy += core.ActivePercent.Value
		}
		add(had, level, c.RealisedMegahertz, busy)
	}
	for suffix, of := range map[string]map[string]*mean{
		"_active_percentage": active, "_frequency_megahertz": asked, "_realised_frequency_megahertz": had,
	} {
		for level, m := range of {
			out["system/apple_cpu_"+level+suffix] = round(m.sum/m.weight, 1)
		}
	}
}

// levelOf is the sort of a cluster's cores: "performance", "efficiency", or
// "super", which is what P stands for on chips that have cores of that sort.
func (s Sample) levelOf(cluster string) string {
	sort := tier(cluster)
	switch sort {
	case "ECPU":
		return "efficiency"
	case "MCPU":
		return "performance"
	case "PCPU":
		isSuper := func(l PerformanceLevel) bool { return l.Name == "Super" }
		isMiddle := func(c Cluster) bool { return tier(c.Name) == "MCPU" }
		if slices.ContainsFunc(s.Chip.Levels.Value, isSuper) || slices.ContainsFunc(s.CPU.Clusters.Value, isMiddle) {
			return "super"
		}
		return "performance"
	}
	return strings.ToLower(sort)
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
// why there is none: see [Sample.PowerSource]. It may change while a run goes
// on, and is known for sure at its end.
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
	out[PowerSourceTag] = s.PowerSource()
	return out
}

// PowerSourceTag is the tag of a run that [Sample.PowerSource] is the value of.
const PowerSourceTag = "apple.power_source"

// PowerSource is where the processor's power comes from, "ioreport" or
// "powermetrics", or "none:" and the reason why it is not known. A rail that
// has not been read twice counts as one that will be.
func (s Sample) PowerSource() string {
	w := s.Power.CPUWatts
	switch {
	case !w.OK && w.Reason != warming:
		return "none:" + w.Reason
	case strings.HasPrefix(w.Source, "IOReport"):
		return "ioreport"
	}
	return pmSource
}

// PowerSource is [Sample.PowerSource] of the sample that was taken last; empty
// if there is none, or of a machine that is not Apple's.
func (r *Recorder) PowerSource() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.Chip.Name.OK {
		return ""
	}
	return r.last.PowerSource()
}

// Energy takes a last sample and gives what the run has used, as metrics to
// log at its end: "system/apple_package_energy_joules" and
// "system/apple_system_energy_joules" and, if steps is not 0, both with
// "_per_step". What is not known is absent.
func (r *Recorder) Energy(ctx context.Context, steps int64) (map[string]float64, error) {
	s, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for key, r := range map[string]Reading[float64]{
		"system/apple_package_energy_joules": s.Energy.PackageJoules, "system/apple_system_energy_joules": s.Energy.SystemJoules,
	} {
		put(out, key, r, 1, 3)
		if r.OK && steps > 0 {
			out[key+"_per_step"] = r.Value / float64(steps)
		}
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
