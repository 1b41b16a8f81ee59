package applesilicon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
		CPU:    CPU{Percent: read(12.25, "")},
		Memory: Memory{UsedBytes: read(uint64(1_234_567_890), ""), UsedPercent: unread[float64]("gone")},
		Disk:   Disk{AvailableBytes: read(uint64(950_000), ""), UsedPercent: read(0.05, "")},
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
	require.True(t, s.Memory.Bytes.OK, s.Memory.Bytes.Reason)
	require.Less(t, s.Memory.UsedBytes.Value, s.Memory.Bytes.Value)
	require.True(t, s.CPU.Percent.OK, s.CPU.Percent.Reason)
	require.LessOrEqual(t, s.CPU.Percent.Value, 100.0)
	if runtime.GOOS != "linux" {
		return
	}
	for name, reason := range map[string]string{
		"chip": s.Chip.Name.Reason, "MPS": s.Chip.MPS.Reason, "ANE": s.ANE.Present.Reason, "thermal": s.Thermal.Reason, "level": s.ThermalLevel.Reason,
		"power mode": s.PowerMode.Reason, "power": s.Power.PackageWatts.Reason, "energy": s.Energy.PackageJoules.Reason,
		"levels": s.Chip.Levels.Reason, "GPU": s.GPU.ActivePercent.Reason, "battery": s.Battery.OnBattery.Reason, "clusters": s.CPU.Clusters.Reason,
	} {
		require.Equal(t, notApple, reason, name)
	}
	for key := range s.Metrics() {
		require.NotContains(t, key, "apple_")
		require.NotContains(t, key, "gpu_")
	}
	require.Nil(t, s.Tags())
	_, err = PerformanceCores(t.Context())
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	_, err = IsThrottled(t.Context())
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	_, err = Open(t.Context(), Options{Record: io.Discard})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
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
