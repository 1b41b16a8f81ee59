package applesilicon

import "time"

// Reading is one value as the machine gave it, or the reason why it could not.
// The zero value is "not read"; Value means nothing unless OK.
type Reading[T any] struct {
	Value  T
	OK     bool
	Source string // "sysctl hw.memsize", "statfs /"
	Reason string // "not an Apple machine"; empty when OK
}

func read[T any](v T, source string) Reading[T] {
	return Reading[T]{Value: v, OK: true, Source: source}
}

func unread[T any](reason string) Reading[T] { return Reading[T]{Reason: reason} }

// readIf is v, or the error as the reason.
func readIf[T any](v T, source string, err error) Reading[T] {
	if err != nil {
		return Reading[T]{Source: source, Reason: err.Error()}
	}
	return read(v, source)
}

// The reasons that are not a system's own words.
const (
	notApple   = "not an Apple machine"
	notSilicon = "an Intel Mac, not Apple Silicon"
	notYet     = "not read by this version"
	virtual    = "in a virtual machine"
)

// Sample is the machine at one moment.
type Sample struct {
	Time time.Time
	Host Host

	Chip              Reading[string] // "Apple M3 Max"
	PerformanceLevels Reading[[]PerformanceLevel]
	MPS               Reading[bool] // a GPU that Metal Performance Shaders can use; not whether a torch can
	ANE               Reading[bool] // a neural engine; MLX and PyTorch do not use it
	Thermal           Reading[ThermalState]
	PowerMode         Reading[PowerMode]
	PackagePowerWatts Reading[float64]

	CPUPercent Reading[float64] // of all cores, 0 to 100, since the sample before

	MemoryBytes       Reading[uint64]
	MemoryUsedBytes   Reading[uint64] // on a Mac active and wired, elsewhere what is not available
	MemoryUsedPercent Reading[float64]

	// Of the file system of "/".
	DiskUsedBytes      Reading[uint64]
	DiskAvailableBytes Reading[uint64]  // to users other than root
	DiskUsedPercent    Reading[float64] // of what such users can have

	// Of all interfaces together, loopback included, since the machine started.
	NetworkReceivedBytes Reading[uint64]
	NetworkSentBytes     Reading[uint64]
}

// Host is what every machine can tell of itself. What is empty is not known.
type Host struct {
	OS            string // runtime.GOOS
	Arch          string // of the machine, even if this program is being translated
	Model         string // "Mac15,9"; on Linux the processor's name
	OSVersion     string // "26.4 (25E123)"; on a Mac only
	LogicalCores  int
	PhysicalCores int
	Translated    bool // this program runs under Rosetta: build it for arm64
}

// PerformanceLevel is one sort of cores, the fastest first. The names are the
// system's: "Performance", "Efficiency", "Super".
type PerformanceLevel struct {
	Name  string
	Cores int
}

// ThermalState is how far heat slows the machine down.
type ThermalState int

// The thermal states, as Apple names them.
const (
	ThermalUnknown ThermalState = iota
	ThermalNominal
	ThermalFair
	ThermalSerious
	ThermalCritical
)

func (s ThermalState) String() string {
	return name(int(s), "unknown", "nominal", "fair", "serious", "critical")
}

// MarshalText writes the state's name.
func (s ThermalState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// PowerMode is the user's choice between quiet and fast.
type PowerMode int

// The power modes.
const (
	PowerUnknown PowerMode = iota
	PowerAutomatic
	PowerLow
	PowerHigh
)

func (m PowerMode) String() string {
	return name(int(m), "unknown", "automatic", "low", "high")
}

// MarshalText writes the mode's name.
func (m PowerMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func name(i int, names ...string) string {
	if i < 0 || i >= len(names) {
		return names[0]
	}
	return names[i]
}
