// Package applesilicon reads the machine: its chip, its memory, how busy it
// is, the power it takes and how hot it is. A value that could not be read says
// why, and is never shown as 0.
//
//	m, err := applesilicon.Open(ctx, applesilicon.Options{})
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	for s, err := range m.Watch(ctx, time.Second) {
//		if err != nil {
//			return err
//		}
//		if w := s.Power.PackageWatts; w.OK {
//			fmt.Println(s.Chip.Name.Value, w.Value, "W")
//		} else {
//			fmt.Println("no power:", w.Reason) // "CPU: gated by the system"
//		}
//	}
//
//	r := applesilicon.NewRecorder(ctx, applesilicon.Options{}) // beside a run
//	metrics, err := r.Sample(ctx) // "system/cpu_utilization_percentage": 12.5, …
//
// It uses no cgo. What has an MLflow name is measured as MLflow's own Python
// sampler measures it (mlflow/system_metrics on psutil 7.2).
//
// # Fields
//
// None of this is verified on hardware yet. Decoders are tested on recordings
// of Apple's layouts with made-up figures; the calls into system libraries on a
// library that stands for Apple's. "Decoded" names the generations of which
// there is such a recording; "stub" that the call has run on that library.
//
//	field                  source on a Mac                         unit          decoded            hardware
//	Host                   sysctl hw, kern                         -             M1–M5, stub        none yet
//	Chip.Name, Levels      sysctl machdep.cpu, hw.perflevelN       -             M1–M5, stub        none yet
//	Chip.GPUCores          IORegistry AGXAccelerator               cores         stub               none yet
//	Chip.MPS               AGXAccelerator matched, macOS ≥ 12.3    -             M1–M5, stub        none yet
//	ANE.Present            H11ANEIn matched, else table by chip    -             M1–M5, stub        none yet
//	Memory.Bytes           sysctl hw.memsize                       bytes         M1–M5, stub        none yet
//	Memory.Used…           host_statistics64, active and wired     bytes, %      M1–M5, stub        none yet
//	Memory.SwapUsedBytes   sysctl vm.swapusage                     bytes         M1–M5, stub        none yet
//	Memory.PressureLevel   sysctl kern.memorystatus_…              1, 2 or 4     M1–M5, stub        none yet
//	CPU.Percent            host_statistics64 HOST_CPU_LOAD_INFO    %             M1–M5, stub        none yet
//	CPU.Clusters           IOReport CPU Core Performance States    %             M1–M5, stub        none yet
//	  …FrequencyMegahertz  + IORegistry pmgr voltage-states        MHz           M1–M5, stub        none yet
//	  …RealisedMegahertz   IOReport CPU Complex Performance States MHz           M3–M5, stub        none yet
//	CPU, GPU …Celsius      SMC Tp…, Te…, Ts… (M5), Tg…             °C            M1–M5, stub        none yet
//	Fans                   SMC FNum, F0Ac…                         1/min         M1–M5, stub        none yet
//	GPU.ActivePercent      IOReport GPUPH, else AGXAccelerator     %             M1–M5, stub        none yet
//	GPU.FrequencyMegahertz + IORegistry pmgr voltage-states9       MHz           M1–M5, stub        none yet
//	GPU.MemoryUsedBytes    AGXAccelerator PerformanceStatistics    bytes         M1–M5, stub        none yet
//	GPU.MemoryLimitBytes   sysctl iogpu.wired_limit_mb             bytes         stub               none yet
//	ANE.RunningPercent     IOReport ANE IOP State, state Running   %             M3–M5, stub        none yet
//	Process.GPUSeconds     IORegistry AGXDeviceUserClient AppUsage s             stub               none yet
//	Process.Footprint…     proc_pid_rusage                         bytes         stub               none yet
//	Power.CPU…DRAMWatts    IOReport Energy Model, or powermetrics  W             M1–M5, stub        none yet
//	Power.PackageWatts     CPU, GPU and, if it has a rail, ANE     W             M1–M5, stub        none yet
//	Power.SystemWatts      SMC PSTR                                W             stub               none yet
//	Energy                 as Power                                J             M1–M5, stub        none yet
//	Energy.SystemJoules    SMC PSTR times the machine's clock      J             M1–M5, stub        none yet
//	Thermal, ThermalLevel  notify …thermalpressurelevel            state, 0–4    levels 0–4, stub   none yet
//	PowerMode              IOPMCopyActivePMPreferences             mode          three keys, stub   none yet
//	Battery                IOPSCopyPowerSourcesInfo                %             stub               none yet
//	Disk.AvailableBytes    statfs /                                bytes         -                  Linux
//	Disk.Used…             no source yet                           bytes, %      -                  Linux
//	Network                interface counters (gopsutil)           bytes         -                  Linux
//	powermetrics           sudo -n powermetrics, property lists    mW, mJ, MHz   M1 (12), M5 (27)   none yet
//
// Elsewhere, memory, load, disk and network come from gopsutil, and all that
// only Apple Silicon has carries a reason.
//
// # What only a Mac can prove
//
// That Apple's functions have the signatures and ownership that the stub has;
// that a sample's channels keep their order, hold RawElements in xnu's layout
// (these are compared with the getters, and not used if they differ) and count
// absolutely, not since the sample before; the names of channels and rails of
// each generation; which table of frequencies is which; that the levels of the
// thermal notification and the keys of the power mode are as read; when rails
// are gated. Owners of a Mac can help:
//
//	mlopsctl doctor --apple --record mac.ndjson
//
// The file has a line of JSON for what does not change and one for each second:
// answers of sysctl, names of channels, counters, sensors, all undecoded. It
// holds no serial number, no name of a host, user or other program.
//
// # Power
//
// macOS 27 freezes the rails of CPU, ANE and DRAM for ordinary users in some
// cases, and publishes them every 2 s or so where it does not. So power is
// measured between two publications, by the driver's own time; a rail that
// stands still for 10 s beside a busy processor is "gated by the system", and a
// 0 is believed only if another rail moved meanwhile. When a rail moves again,
// its first span is not believed. Energy is exact for what was published; the
// last 2 s of a run may be missing, and Energy.Covered is the time that was
// really measured. The energy of the whole computer is there in any case.
//
// IOReport's marks for "no value" (INT64_MIN, and -1 on states) lose one sample
// and nothing else. A program under Rosetta gets power only if hw.tbfrequency
// tells how the kernel counts time.
//
// # Frequency
//
// What cores ask for is not what they have: a hot or fanless Mac asks for the
// highest step and runs at a lower one. FrequencyMegahertz is the first,
// RealisedMegahertz the second.
//
// # The neural engine
//
// How busy the ANE is no source tells. ANE.RunningPercent is how long its
// controller was switched on, ANEWatts what it used. MLX and PyTorch do not use
// it.
package applesilicon
