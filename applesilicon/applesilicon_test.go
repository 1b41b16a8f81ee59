package applesilicon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// mac answers sysctls as a Mac would: texts and numbers by name.
type mac map[string]any

var errNoName = errors.New("no such file or directory")

func (m mac) Text(name string) (string, error) {
	if v, ok := m[name].(string); ok {
		return v, nil
	}
	return "", errNoName
}

func (m mac) Number(name string) (uint64, error) {
	if v, ok := m[name].(int); ok {
		return uint64(v), nil
	}
	return 0, errNoName
}

var m3Max = mac{
	"machdep.cpu.brand_string": "Apple M3 Max", "hw.model": "Mac15,9", "hw.optional.arm64": 1,
	"kern.osproductversion": "26.4", "kern.osversion": "25E123", "kern.hv_vmm_present": 0,
	"hw.memsize": 137438953472, "hw.physicalcpu": 16, "hw.logicalcpu": 16, "hw.nperflevels": 2,
	"hw.perflevel0.name": "Performance", "hw.perflevel0.physicalcpu": 12,
	"hw.perflevel1.name": "Efficiency", "hw.perflevel1.physicalcpu": 4,
}

// with is a copy of m with other answers; nil takes a name away.
func (m mac) with(other mac) mac {
	out := mac{}
	for _, from := range []mac{m, other} {
		for k, v := range from {
			out[k] = v
		}
	}
	return out
}

func TestAnAppleSiliconMacTellsWhoItIs(t *testing.T) {
	var s Sample
	identify(m3Max, &s)
	require.Equal(t, Host{Arch: "arm64", Model: "Mac15,9", OSVersion: "26.4 (25E123)", LogicalCores: 16, PhysicalCores: 16}, s.Host)
	require.Equal(t, read("Apple M3 Max", "sysctl machdep.cpu.brand_string"), s.Chip)
	require.Equal(t, read(uint64(128<<30), "sysctl hw.memsize"), s.MemoryBytes)
	require.Equal(t, []PerformanceLevel{{"Performance", 12}, {"Efficiency", 4}}, s.PerformanceLevels.Value)
	require.True(t, s.MPS.OK && s.MPS.Value)
	require.True(t, s.ANE.OK && s.ANE.Value)
	require.Equal(t, unread[ThermalState](notYet), s.Thermal)
	require.Equal(t, "unknown", s.Thermal.Value.String(), "what is not read is not nominal")
	require.Equal(t, unread[float64](notYet), s.PackagePowerWatts)
}

func TestOtherMacs(t *testing.T) {
	var intel Sample
	identify(mac{"hw.model": "MacBookPro16,1", "machdep.cpu.brand_string": "Intel(R) Core(TM) i9", "hw.memsize": 1 << 34, "hw.logicalcpu": 16}, &intel)
	require.Equal(t, unread[string](notSilicon), intel.Chip)
	require.Equal(t, unread[bool](notSilicon), intel.MPS)
	require.Equal(t, unread[bool](notSilicon), intel.ANE)
	require.True(t, intel.MemoryBytes.OK)

	var guest Sample
	identify(m3Max.with(mac{"machdep.cpu.brand_string": "Apple M2 (Virtual)", "kern.hv_vmm_present": 1}), &guest)
	require.Equal(t, "Apple M2 (Virtual)", guest.Chip.Value)
	require.Equal(t, unread[bool](virtual), guest.MPS, "a guest's GPU is another")
	require.Equal(t, unread[bool](virtual), guest.ANE)

	var translated Sample
	identify(m3Max.with(mac{"sysctl.proc_translated": 1}), &translated)
	require.True(t, translated.Host.Translated)
	require.Equal(t, "arm64", translated.Host.Arch, "of the machine, not of the program")

	var old Sample
	identify(m3Max.with(mac{"kern.osproductversion": "12.2.1"}), &old)
	require.Equal(t, read(false, "table, Apple M3 Max, macOS 12.2.1"), old.MPS)
	require.True(t, old.ANE.Value)

	var m5 Sample
	identify(m3Max.with(mac{"hw.nperflevels": 3, "hw.perflevel0.name": "Super", "hw.perflevel1.name": "Performance", "hw.perflevel2.physicalcpu": 2}), &m5)
	require.Equal(t, []PerformanceLevel{{"Super", 12}, {"Performance", 4}, {"level 2", 2}}, m5.PerformanceLevels.Value)

	var empty Sample
	identify(mac{"hw.optional.arm64": 1}, &empty)
	for _, r := range []string{empty.Chip.Reason, empty.MemoryBytes.Reason, empty.PerformanceLevels.Reason, empty.MPS.Reason, empty.ANE.Reason} {
		require.NotEmpty(t, r)
	}
	var torn Sample
	identify(m3Max.with(mac{"hw.perflevel1.physicalcpu": nil, "kern.osproductversion": "?"}), &torn)
	require.False(t, torn.PerformanceLevels.OK, "half a list is no list")
	require.False(t, torn.MPS.OK)
}

func TestANumberHasFourOrEightBytes(t *testing.T) {
	for _, tt := range []struct {
		in   []byte
		want uint64
	}{{[]byte{1, 0, 0, 0}, 1}, {[]byte{0, 0, 0, 0, 32, 0, 0, 0}, 128 << 30}} {
		got, err := decodeNumber("x", tt.in)
		require.NoError(t, err)
		require.Equal(t, tt.want, got)
	}
	for _, in := range [][]byte{nil, {1}, make([]byte, 16)} {
		_, err := decodeNumber("hw.x", in)
		require.ErrorContains(t, err, "sysctl hw.x has")
	}
}

func TestStatesHaveAppleNames(t *testing.T) {
	for want, s := range map[string]fmt.Stringer{
		"unknown": ThermalUnknown, "nominal": ThermalNominal, "fair": ThermalFair, "serious": ThermalSerious, "critical": ThermalCritical,
		"automatic": PowerAutomatic, "low": PowerLow, "high": PowerHigh,
	} {
		require.Equal(t, want, s.String())
		b, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, `"`+want+`"`, string(b))
	}
	require.Equal(t, "unknown", ThermalState(-1).String())
	require.Equal(t, "unknown", ThermalState(99).String())
	require.Equal(t, "unknown", PowerMode(99).String())
}

func TestLoadIsTheShareOfTimeThatWasNotIdle(t *testing.T) {
	at := func(user, system, idle, iowait float64) times {
		return times{cpu.TimesStat{User: user, System: system, Idle: idle, Iowait: iowait, Guest: user}, nil}
	}
	require.Equal(t, 30.0, busy(at(10, 10, 100, 10), at(12, 11, 106, 11)).Value, "waiting for a disk is idle, guests are in user")
	require.Equal(t, 50.0, busy(at(10, 10, 100, 10), at(11, 9, 101, 9)).Value, "what ran backwards counts as still")
	none := busy(at(1, 1, 1, 1), at(1, 1, 1, 1))
	require.False(t, none.OK, "no time is not no load")
	require.NotEmpty(t, none.Reason)
	require.Equal(t, "boom", busy(at(1, 1, 1, 1), times{err: errors.New("boom")}).Reason)
	require.Equal(t, "boom", busy(times{err: errors.New("boom")}, at(1, 1, 1, 1)).Reason)
}

func TestWhatWasNotReadIsAbsentFromTheMetrics(t *testing.T) {
	require.Empty(t, Sample{}.Metrics(), "never 0")
	got := Sample{
		CPUPercent:         read(12.25, ""),
		MemoryUsedBytes:    read(uint64(1_234_567_890), ""),
		DiskAvailableBytes: read(uint64(950_000), ""),
		DiskUsedPercent:    read(0.05, ""),
		MemoryUsedPercent:  unread[float64]("gone"),
	}.Metrics()
	require.Equal(t, map[string]float64{
		"system/cpu_utilization_percentage":    12.2, // Python's round(12.25, 1)
		"system/system_memory_usage_megabytes": 1234.6,
		"system/disk_available_megabytes":      0.9, // 0.95 is a little less than 0.95
		"system/disk_usage_percentage":         0.1, // 0.05 is a little more than 0.05
	}, got)
}

func TestTrafficIsCountedSinceTheStart(t *testing.T) {
	out := map[string]float64{}
	traffic(out, "since", read(uint64(1_000_000), ""), read(uint64(3_500_001), ""))
	traffic(out, "gone", read(uint64(5), ""), read(uint64(4), ""))
	traffic(out, "unread", Reading[uint64]{}, read(uint64(4), ""))
	require.InDelta(t, 2.500001, out["since"], 1e-9, "not rounded")
	require.Len(t, out, 1)
}

func TestThisMachineIsReadOrSaysWhyNot(t *testing.T) {
	s, err := Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, runtime.GOOS, s.Host.OS)
	require.NotZero(t, s.Host.LogicalCores)
	require.True(t, s.MemoryBytes.OK, s.MemoryBytes.Reason)
	require.Less(t, s.MemoryUsedBytes.Value, s.MemoryBytes.Value)
	require.True(t, s.CPUPercent.OK, s.CPUPercent.Reason)
	require.LessOrEqual(t, s.CPUPercent.Value, 100.0)
	if runtime.GOOS == "linux" {
		for name, reason := range map[string]string{
			"chip": s.Chip.Reason, "MPS": s.MPS.Reason, "ANE": s.ANE.Reason, "thermal": s.Thermal.Reason,
			"power mode": s.PowerMode.Reason, "power": s.PackagePowerWatts.Reason, "levels": s.PerformanceLevels.Reason,
		} {
			require.Equal(t, notApple, reason, name)
		}
		require.False(t, s.Chip.OK || s.MPS.OK || s.ANE.OK || s.Thermal.OK || s.PowerMode.OK || s.PackagePowerWatts.OK)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Read(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = NewSampler()(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// TestTheMetricsAreThoseOfMLflowsSampler runs MLflow's own monitors on psutil
// beside ours. MLflow need not be importable: only its monitors are loaded.
func TestTheMetricsAreThoseOfMLflowsSampler(t *testing.T) {
	home, err := mlops.Home()
	require.NoError(t, err)
	site := func(module string) string {
		found, _ := filepath.Glob(filepath.Join(home, "venvs", "*", "lib", "python3*", "site-packages", module))
		if len(found) == 0 {
			if os.Getenv("MLOPS_LIVE") != "" {
				t.Fatalf("no environment under %s has %s: run mlopsctl setup", home, module)
			}
			t.Skipf("no environment under %s has %s: our metrics are not compared with MLflow's", home, module)
		}
		return found[0]
	}
	mlflow, psutil := site("mlflow"), site("psutil")
	sample := NewSampler()
	cmd := exec.Command(filepath.Join(filepath.Dir(psutil), "..", "..", "..", "bin", "python"), "-I", "-c", `
import json, sys, time, types
root = sys.argv[1]
for name in ("mlflow", "mlflow.system_metrics", "mlflow.system_metrics.metrics"):
    package = types.ModuleType(name)
    package.__path__ = [root + name.removeprefix("mlflow").replace(".", "/")]
    sys.modules[name] = package
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
print("started", flush=True)
sys.stdin.readline()
out = {}
for m in monitors:
    m.collect_metrics()
    out.update(m.aggregate_metrics())
print(json.dumps({"system/" + k: v for k, v in out.items()}))`, mlflow)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	require.NoError(t, cmd.Start())
	_, err = in.Write([]byte("\n"))
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	ours, err := sample(t.Context())
	require.NoError(t, err)
	_, last, _ := strings.Cut(out.String(), "started\n")
	var theirs map[string]float64
	require.NoError(t, json.Unmarshal([]byte(last), &theirs))

	keys := func(m map[string]float64) []string {
		var out []string
		for k := range m {
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	require.Equal(t, keys(theirs), keys(ours))
	t.Logf("theirs %v", theirs)
	t.Logf("ours   %v", ours)
	for key, within := range map[string]float64{
		"system/system_memory_usage_megabytes":  2000,
		"system/system_memory_usage_percentage": 10,
		"system/disk_usage_percentage":          1,
		"system/disk_usage_megabytes":           1000,
		"system/disk_available_megabytes":       1000,
		"system/network_receive_megabytes":      100,
		"system/network_transmit_megabytes":     100,
	} {
		require.InDelta(t, theirs[key], ours[key], within, key)
	}
}

func Example() {
	sample := NewSampler()
	metrics, err := sample(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(metrics["system/system_memory_usage_megabytes"] > 0)
	// Output: true
}

func FuzzDecodeNumber(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0})
	f.Add(make([]byte, 8))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeNumber("x", b)
		require.Equal(t, len(b) == 4 || len(b) == 8, err == nil)
		if err != nil {
			require.Zero(t, v)
		}
	})
}
