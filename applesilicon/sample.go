package applesilicon

import "time"

// Sample is the machine at one moment. What is a rate or a power is the mean
// since the sample before.
type Sample struct {
	Time   time.Time     `json:"time"`
	Window time.Duration `json:"window_nanoseconds,omitzero"` // since the sample before; absent of the first

	Host    Host    `json:"host"`
	Chip    Chip    `json:"chip"`
	Memory  Memory  `json:"memory"`
	CPU     CPU     `json:"cpu"`
	GPU     GPU     `json:"gpu"`
	ANE     ANE     `json:"ane"`
	Power   Power   `json:"power"`
	Energy  Energy  `json:"energy"`
	Battery Battery `json:"battery"`
	Disk    Disk    `json:"disk"`
	Network Network `json:"network"`
	Process Process `json:"process"`

	Fans         Reading[[]float64]    `json:"fans_turns_per_minute"`
	Thermal      Reading[ThermalState] `json:"thermal"`
	ThermalLevel Reading[int]          `json:"thermal_level"` // 0 to 4, as macOS counts
	PowerMode    Reading[PowerMode]    `json:"power_mode"`
}

// Host is what every machine can tell of itself. What is empty is not known.
type Host struct {
	OS            string `json:"os"`                   // runtime.GOOS
	Arch          string `json:"arch"`                 // of the machine, even if this program is being translated
	Model         string `json:"model,omitempty"`      // "Mac15,9"; on Linux the processor's name
	OSVersion     string `json:"os_version,omitempty"` // "26.4 (25E123)"; on a Mac only
	LogicalCores  int    `json:"logical_cores,omitempty"`
	PhysicalCores int    `json:"physical_cores,omitempty"`
	Translated    bool   `json:"translated,omitempty"` // this program runs under Rosetta: build it for arm64
	Virtual       bool   `json:"virtual,omitempty"`    // a guest: it has no rails and another GPU
}

// Chip is what does not change.
type Chip struct {
	Name     Reading[string]             `json:"name"` // "Apple M3 Max"
	Levels   Reading[[]PerformanceLevel] `json:"levels"`
	GPUCores Reading[int]                `json:"gpu_cores"`
	MPS      Reading[bool]               `json:"mps"` // a GPU that Metal Performance Shaders can use; not whether a torch can
}

// PerformanceLevel is one sort of cores, the fastest first. The names are the
// system's: "Performance", "Efficiency", "Super".
type PerformanceLevel struct {
	Name  string `json:"name"`
	Cores int    `json:"cores"`
}

// Memory is shared by processor and GPU on Apple Silicon.
type Memory struct {
	Bytes         Reading[uint64]  `json:"bytes"`
	UsedBytes     Reading[uint64]  `json:"used_bytes"` // on a Mac active and wired, elsewhere what is not available
	UsedPercent   Reading[float64] `json:"used_percent"`
	SwapUsedBytes Reading[uint64]  `json:"swap_used_bytes"`
	PressureLevel Reading[int]     `json:"pressure_level"` // 1 normal, 2 warning, 4 critical
}

// CPU is how busy the processor is.
type CPU struct {
	Percent            Reading[float64]   `json:"percent"` // of all cores, 0 to 100
	Clusters           Reading[[]Cluster] `json:"clusters"`
	TemperatureCelsius Reading[float64]   `json:"temperature_celsius"` // mean of the cores' sensors
}

// Cluster is a group of cores with a clock of its own. FrequencyMegahertz is
// what was asked for while cores were active (powermetrics tells what was had);
// RealisedMegahertz is what was had: lower, if heat or power holds it down.
type Cluster struct {
	Name               string           `json:"name"`           // whole: "ECPU", "DIE_1_PCPU0", "MCPU1"
	ActivePercent      Reading[float64] `json:"active_percent"` // mean of the cores; time switched off counts as idle
	FrequencyMegahertz Reading[float64] `json:"frequency_megahertz"`
	RealisedMegahertz  Reading[float64] `json:"realised_megahertz"`
	Cores              []Core           `json:"cores"`
}

// Core is one core. Its frequency is the mean that was asked for while it was
// active.
type Core struct {
	Name               string           `json:"name"` // "DIE_0_PCPU1_CPU2"
	ActivePercent      Reading[float64] `json:"active_percent"`
	FrequencyMegahertz Reading[float64] `json:"frequency_megahertz"`
}

// GPU is the chip's own GPU.
type GPU struct {
	ActivePercent      Reading[float64] `json:"active_percent"` // Source tells by which of two ways
	FrequencyMegahertz Reading[float64] `json:"frequency_megahertz"`
	MemoryUsedBytes    Reading[uint64]  `json:"memory_used_bytes"`  // of the shared memory
	MemoryLimitBytes   Reading[uint64]  `json:"memory_limit_bytes"` // of that, what the GPU may have
	TemperatureCelsius Reading[float64] `json:"temperature_celsius"`
}

// ANE is the neural engine. How busy it is no Mac tells, only how long it was
// switched on: see also Power.ANEWatts. MLX and PyTorch do not use it, so 0 W
// is what training shows.
type ANE struct {
	Present        Reading[bool]    `json:"present"`
	RunningPercent Reading[float64] `json:"running_percent"` // of the time its controller was running
}

// Power is the mean power of each rail.
type Power struct {
	CPUWatts     Reading[float64] `json:"cpu_watts"`
	GPUWatts     Reading[float64] `json:"gpu_watts"`
	ANEWatts     Reading[float64] `json:"ane_watts"`
	DRAMWatts    Reading[float64] `json:"dram_watts"`
	PackageWatts Reading[float64] `json:"package_watts"` // CPU, GPU and ANE; only if all are OK. Source says if the chip has no ANE rail
	SystemWatts  Reading[float64] `json:"system_watts"`  // the whole computer
}

// Energy is what each rail has used since the machine was opened, as far as
// it was published: the last 2 s may be missing.
type Energy struct {
	CPUJoules     Reading[float64] `json:"cpu_joules"`
	GPUJoules     Reading[float64] `json:"gpu_joules"`
	ANEJoules     Reading[float64] `json:"ane_joules"`
	DRAMJoules    Reading[float64] `json:"dram_joules"`
	PackageJoules Reading[float64] `json:"package_joules"`

	// SystemJoules is SystemWatts times the time of the machine's clock: sleep
	// adds nothing. It is the one energy that macOS 27 gives to every user.
	SystemJoules Reading[float64] `json:"system_joules"`

	// The times that the joules of the CPU's rail, and of the system, were
	// measured in: gaps are not in it.
	Covered       time.Duration `json:"covered_nanoseconds,omitzero"`
	SystemCovered time.Duration `json:"system_covered_nanoseconds,omitzero"`
}

// Process is what one program uses, this one if no other is named: see
// [Options].
type Process struct {
	ID             int              `json:"id,omitempty"`
	GPUSeconds     Reading[float64] `json:"gpu_seconds"`     // by its connections to the GPU that are open
	FootprintBytes Reading[uint64]  `json:"footprint_bytes"` // memory, the GPU's share included, as Activity Monitor counts
}

// Battery is empty of readings on a desktop.
type Battery struct {
	OnBattery     Reading[bool]    `json:"on_battery"`
	ChargePercent Reading[float64] `json:"charge_percent"`
}

// Disk is the file system of "/".
type Disk struct {
	UsedBytes      Reading[uint64]  `json:"used_bytes"`
	AvailableBytes Reading[uint64]  `json:"available_bytes"` // to users other than root
	UsedPercent    Reading[float64] `json:"used_percent"`    // of what such users can have
}

// Network is all interfaces together, loopback included, since the machine
// started.
type Network struct {
	ReceivedBytes Reading[uint64] `json:"received_bytes"`
	SentBytes     Reading[uint64] `json:"sent_bytes"`
}
