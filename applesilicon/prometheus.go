package applesilicon

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// WritePrometheus writes the sample in Prometheus' text format, version 0.0.4,
// in base units: watts, joules, bytes, hertz and ratios from 0 to 1. What was
// not read is absent.
func (s Sample) WritePrometheus(w io.Writer) error {
	var b bytes.Buffer
	family := func(name, kind, help string, rows ...row) {
		head := false
		for _, r := range rows {
			if !r.ok {
				continue
			}
			if !head {
				fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
				head = true
			}
			fmt.Fprintf(&b, "%s%s %s\n", name, r.labels, strconv.FormatFloat(r.v, 'g', -1, 64))
		}
	}
	p, e := s.Power, s.Energy
	family("machine_power_watts", "gauge", "Mean power of a rail. What holds several of them has a name of its own.",
		of(`{rail="cpu"}`, p.CPUWatts, 1), of(`{rail="gpu"}`, p.GPUWatts, 1), of(`{rail="ane"}`, p.ANEWatts, 1), of(`{rail="dram"}`, p.DRAMWatts, 1))
	family("machine_package_power_watts", "gauge", "Mean power of CPU, GPU and ANE together.", of("", p.PackageWatts, 1))
	family("machine_system_power_watts", "gauge", "Power of the whole computer.", of("", p.SystemWatts, 1))
	family("machine_energy_joules_total", "counter", "Energy of a rail since sampling began.",
		of(`{rail="cpu"}`, e.CPUJoules, 1), of(`{rail="gpu"}`, e.GPUJoules, 1), of(`{rail="ane"}`, e.ANEJoules, 1), of(`{rail="dram"}`, e.DRAMJoules, 1))
	family("machine_package_energy_joules_total", "counter", "Energy of CPU, GPU and ANE together since sampling began.", of("", e.PackageJoules, 1))
	family("machine_system_energy_joules_total", "counter", "Energy of the whole computer since sampling began.", of("", e.SystemJoules, 1))
	family("machine_cpu_active_ratio", "gauge", "Share of time that all cores together were busy.", of("", s.CPU.Percent, 100))
	var active, hertz, had []row
	for _, c := range s.CPU.Clusters.Value {
		labels := fmt.Sprintf("{cluster=%q}", c.Name)
		active = append(active, of(labels, c.ActivePercent, 100))
		hertz = append(hertz, of(labels, c.FrequencyMegahertz, 1e-6))
		had = append(had, of(labels, c.RealisedMegahertz, 1e-6))
	}
	family("machine_cpu_cluster_active_ratio", "gauge", "Share of time that the cores of a cluster were busy.", active...)
	family("machine_cpu_cluster_frequency_hertz", "gauge", "Mean frequency that a cluster's cores asked for while busy.", hertz...)
	family("machine_cpu_cluster_realised_frequency_hertz", "gauge", "Mean frequency that a cluster had while busy.", had...)
	family("machine_cpu_temperature_celsius", "gauge", "Mean of the processor's sensors.", of("", s.CPU.TemperatureCelsius, 1))
	family("machine_gpu_temperature_celsius", "gauge", "Mean of the GPU's sensors.", of("", s.GPU.TemperatureCelsius, 1))
	var fans []row
	for i, v := range s.Fans.Value {
		fans = append(fans, row{fmt.Sprintf("{fan=\"%d\"}", i), v, s.Fans.OK})
	}
	family("machine_fan_turns_per_minute", "gauge", "Speed of a fan.", fans...)
	family("machine_gpu_active_ratio", "gauge", "Share of time that the GPU was busy.", of("", s.GPU.ActivePercent, 100))
	family("machine_gpu_frequency_hertz", "gauge", "Mean frequency of the GPU while busy.", of("", s.GPU.FrequencyMegahertz, 1e-6))
	family("machine_gpu_memory_used_bytes", "gauge", "Memory that the GPU uses.", of("", s.GPU.MemoryUsedBytes, 1))
	family("machine_gpu_memory_limit_bytes", "gauge", "Memory that the GPU may use.", of("", s.GPU.MemoryLimitBytes, 1))
	family("machine_ane_running_ratio", "gauge", "Share of time that the neural engine was switched on.", of("", s.ANE.RunningPercent, 100))
	family("machine_memory_bytes", "gauge", "Memory of the machine.", of("", s.Memory.Bytes, 1))
	family("machine_memory_used_bytes", "gauge", "Memory in use.", of("", s.Memory.UsedBytes, 1))
	family("machine_memory_pressure_level", "gauge", "1 normal, 2 warning, 4 critical.", row{v: float64(s.Memory.PressureLevel.Value), ok: s.Memory.PressureLevel.OK})
	family("machine_swap_used_bytes", "gauge", "Swap in use.", of("", s.Memory.SwapUsedBytes, 1))
	family("machine_disk_available_bytes", "gauge", "Available on the file system of /.", of("", s.Disk.AvailableBytes, 1))
	family("machine_thermal_pressure_level", "gauge", "0 nominal to 4 sleeping.", row{v: float64(s.ThermalLevel.Value), ok: s.ThermalLevel.OK})
	family("machine_battery_charge_ratio", "gauge", "Charge of the battery.", of("", s.Battery.ChargePercent, 100))
	_, err := w.Write(b.Bytes())
	return err
}

type row struct {
	labels string
	v      float64
	ok     bool
}

func of[T uint64 | float64](labels string, r Reading[T], unit float64) row {
	return row{labels, float64(r.Value) / unit, r.OK}
}
