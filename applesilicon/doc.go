// Package applesilicon reads the machine: its chip, its memory, how busy it
// is, and what it can do. A value that could not be read says why, and is never
// shown as 0.
//
//	s, err := applesilicon.Read(ctx)
//	if s.Chip.OK {
//		fmt.Println(s.Chip.Value, s.MemoryBytes.Value>>30, "GiB")
//	} else {
//		fmt.Println(s.Host.Model, "-", s.Chip.Reason)
//	}
//
//	sample := applesilicon.NewSampler() // beside a run
//	metrics, err := sample(ctx)         // "system/cpu_utilization_percentage": 12.5, …
//
// It uses no cgo. What has an MLflow name is measured as MLflow's own Python
// sampler measures it (mlflow/system_metrics on psutil 7.2).
//
//	reading               Apple Silicon                   elsewhere       verified on hardware
//	Chip, MemoryBytes     sysctl                          memory only     Linux
//	PerformanceLevels     sysctl hw.perflevelN            reason          none yet
//	MPS, ANE              table by chip and macOS         reason          none yet
//	CPU, memory in use    host statistics (gopsutil)      same            Linux
//	disk available        statfs                          same            Linux
//	disk in use           not read by this version        statfs          Linux
//	network               interface counters (gopsutil)   same            Linux
//	Thermal, PowerMode    not read by this version        reason          none yet
//	PackagePowerWatts     not read by this version        reason          none yet
package applesilicon
