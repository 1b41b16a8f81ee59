//go:build linux && applefake

package applesilicon

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebitengine/purego"
	"github.com/stretchr/testify/require"
)

// The stub is compiled once; each test that changes it puts it back.
var compiled = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "apple-stub-")
	if err != nil {
		return "", err
	}
	object := filepath.Join(dir, "stub.o")
	if out, err := exec.Command("cc", "-fPIC", "-O1", "-c", "-o", object, "testdata/stub.c").CombinedOutput(); err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	return object, nil
})

// link makes a library of the stub, without the symbols named.
func link(t *testing.T, without string) string {
	t.Helper()
	object, err := compiled()
	require.NoError(t, err)
	dir := t.TempDir()
	script, lib := filepath.Join(dir, "hide"), filepath.Join(dir, "libstub.so")
	args := []string{"-shared", "-o", lib, object}
	if without != "" {
		require.NoError(t, os.WriteFile(script, []byte("{ local: "+without+"; };"), 0o600))
		args = append(args, "-Wl,--version-script="+script)
	}
	out, err := exec.Command("cc", args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return lib
}

// control is what a test may tell and ask the stub.
type control struct {
	live    func() int64
	time    func(uint64)
	extra   func(int64)
	lying   func(int32)
	thermal func(level, status int32)
	smc     func(fans, celsius int32)
	release func(uintptr)
	string  func(uintptr, string, uint32) uintptr
}

// useStub makes a fresh stub stand for Apple's libraries.
func useStub(t *testing.T, without string) control {
	t.Helper()
	stub = link(t, without)
	t.Cleanup(func() { stub = "" })
	h, err := purego.Dlopen(stub, purego.RTLD_NOW|purego.RTLD_LOCAL)
	require.NoError(t, err)
	var c control
	for name, to := range map[string]any{
		"stub_live": &c.live, "stub_time": &c.time, "stub_extra": &c.extra, "stub_lying": &c.lying, "stub_thermal": &c.thermal, "stub_smc": &c.smc,
	} {
		purego.RegisterLibFunc(to, h, name)
	}
	if without == "" {
		purego.RegisterLibFunc(&c.release, h, "CFRelease")
		purego.RegisterLibFunc(&c.string, h, "CFStringCreateWithCString")
	}
	return c
}

// second is one second in the stub's ticks.
const second = 24_000_000

func TestStubGivesAWholeSample(t *testing.T) {
	c := useStub(t, "")
	c.time(1000 * second)
	m, err := Open(t.Context(), Options{})
	require.NoError(t, err)
	c.time(1001 * second)
	s, err := m.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "Apple M3 Max", s.Chip.Name.Value)
	require.Equal(t, "26.4 (25E123)", s.Host.OSVersion)
	require.Equal(t, []PerformanceLevel{{"Performance", 12}, {"Efficiency", 4}}, s.Chip.Levels.Value)
	require.Equal(t, read(40, "IORegistry AGXAccelerator gpu-core-count"), s.Chip.GPUCores)
	require.Equal(t, read(true, "IORegistry H11ANEIn"), s.ANE.Present)
	require.Equal(t, time.Second, s.Window)
	require.Equal(t, 30.0, s.CPU.Percent.Value)
	require.Len(t, s.CPU.Clusters.Value, 2)
	for i, want := range []struct {
		name string
		mhz  float64
		n    int
	}{{"ECPU", 1275, 1}, {"PCPU", 2200, 2}} {
		got := s.CPU.Clusters.Value[i]
		require.Equal(t, want.name, got.Name)
		require.Len(t, got.Cores, want.n)
		require.InDelta(t, 40, got.ActivePercent.Value, 1e-9)
		require.InDelta(t, want.mhz, got.FrequencyMegahertz.Value, 1e-9)
	}
	require.InDelta(t, 75, s.GPU.ActivePercent.Value, 1e-9)
	require.InDelta(t, 800, s.GPU.FrequencyMegahertz.Value, 1e-9)
	require.Equal(t, uint64(3<<30), s.GPU.MemoryUsedBytes.Value)
	for name, r := range map[string]struct {
		got  Reading[float64]
		want float64
	}{
		"cpu": {s.Power.CPUWatts, 10}, "gpu": {s.Power.GPUWatts, 5}, "ane": {s.Power.ANEWatts, 1}, "dram": {s.Power.DRAMWatts, 2},
		"package": {s.Power.PackageWatts, 16}, "system": {s.Power.SystemWatts, 42.5}, "energy": {s.Energy.PackageJoules, 16},
	} {
		require.True(t, r.got.OK, "%s: %s", name, r.got.Reason)
		require.InDelta(t, r.want, r.got.Value, 0.002, name)
	}
	require.Equal(t, uint64(2_500_000)*16384, s.Memory.UsedBytes.Value)
	require.Equal(t, uint64(1<<30), s.Memory.SwapUsedBytes.Value)
	require.Equal(t, 1, s.Memory.PressureLevel.Value)
	require.Equal(t, read(PowerHigh, "IOPMCopyActivePMPreferences AC Power LowPowerMode"), s.PowerMode)
	require.Equal(t, read(false, "IOPSCopyPowerSourcesInfo"), s.Battery.OnBattery)
	require.InDelta(t, 80, s.Battery.ChargePercent.Value, 1e-9)
	require.Equal(t, ThermalNominal, s.Thermal.Value)
	require.InDelta(t, 1000, s.CPU.Clusters.Value[0].RealisedMegahertz.Value, 1e-9)
	require.InDelta(t, 1700, s.CPU.Clusters.Value[1].RealisedMegahertz.Value, 1e-9)
	require.InDelta(t, 60, s.CPU.TemperatureCelsius.Value, 1e-9, "40, 70, 70: not Ts0S, nor what is of another type")
	require.InDelta(t, 55, s.GPU.TemperatureCelsius.Value, 1e-9)
	require.Equal(t, read([]float64{1200, 1300}, "SMC F0Ac…"), s.Fans)
	require.Equal(t, uint64(96<<30), s.GPU.MemoryLimitBytes.Value)
	require.InDelta(t, 30, s.ANE.RunningPercent.Value, 1e-9)
	require.Equal(t, os.Getpid(), s.Process.ID)
	require.InDelta(t, 3, s.Process.GPUSeconds.Value, 1e-9, "two connections with two interfaces, and no other program's")
	require.Equal(t, uint64(46<<30), s.Process.FootprintBytes.Value)
	require.InDelta(t, 42.5, s.Energy.SystemJoules.Value, 1e-9)
	require.Equal(t, uint64(16384), m.d.f.KernelPage)

	c.thermal(2, 0)
	c.time(1002 * second)
	s, err = m.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, ThermalSerious, s.Thermal.Value)
	c.thermal(0, 6)
	s, err = m.Read(t.Context())
	require.NoError(t, err)
	require.False(t, s.Thermal.OK, "a source that fails is not nominal")
	require.Equal(t, ThermalUnknown, s.Thermal.Value)
	require.NoError(t, m.Close())
	require.Zero(t, c.live())
}

// TestStubSensorsAndProcessesHaveReasons asks for what is not there.
func TestStubSensorsAndProcessesHaveReasons(t *testing.T) {
	c := useStub(t, "")
	c.smc(0, 5)
	m, err := Open(t.Context(), Options{Process: os.Getpid() + 100_000})
	require.NoError(t, err)
	s, err := m.sample(t.Context())
	require.NoError(t, err)
	require.Equal(t, noFans, s.Fans.Reason)
	require.Contains(t, s.CPU.TemperatureCelsius.Reason, "says 5 °C")
	require.Contains(t, s.GPU.TemperatureCelsius.Reason, "Tg0D says 5 °C")
	require.Contains(t, s.Process.GPUSeconds.Reason, "does not use the GPU")
	require.Contains(t, s.Process.FootprintBytes.Reason, "no process")
	c.smc(1, 200)
	s, err = m.sample(t.Context())
	require.NoError(t, err)
	require.Contains(t, s.CPU.TemperatureCelsius.Reason, "says 200 °C")
	require.NoError(t, m.Close())
	require.Zero(t, c.live())
}

// TestStubARecordingNamesNobody: the stub answers for the serial number, the
// host's name and the names of programs with SECRET.
func TestStubARecordingNamesNobody(t *testing.T) {
	c := useStub(t, "")
	var b bytes.Buffer
	m, err := Open(t.Context(), Options{Record: &b})
	require.NoError(t, err)
	_, err = m.Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Close())
	require.Zero(t, c.live())
	text := b.String()
	var first line
	require.NoError(t, json.NewDecoder(strings.NewReader(text)).Decode(&first))
	require.Contains(t, string(first.Facts.Sysctl["hw.model"]), "Mac15,9", "as bytes, which are base64 in the text")
	for name, v := range first.Facts.Sysctl {
		require.NotContains(t, string(v), "SECRET", name)
		require.NotContains(t, name, "host")
		require.NotContains(t, name, "uuid")
	}
	host, err := os.Hostname()
	require.NoError(t, err)
	for _, secret := range []string{"SECRET", "SerialNumber", "hostname", host, os.Getenv("HOME")} {
		if len(secret) > 3 { // a short one is in it by chance
			require.NotContains(t, text, secret)
		}
	}
}

func TestStubHelpers(t *testing.T) {
	c := useStub(t, "")
	n, err := PerformanceCores(t.Context())
	require.NoError(t, err)
	require.Equal(t, 12, n)
	hot, err := IsThrottled(t.Context())
	require.NoError(t, err)
	require.False(t, hot)
	c.thermal(3, 0)
	hot, err = IsThrottled(t.Context())
	require.NoError(t, err)
	require.True(t, hot)
	require.Zero(t, c.live())
}

func TestStubLosesNothingIn10000Samples(t *testing.T) {
	c := useStub(t, "")
	now := uint64(1000 * second)
	c.time(now)
	n := newNative(openFFI(func(string) string { return stub }), 0, false)
	f, err := n.facts()
	require.NoError(t, err)
	d := newDecoder(f)
	before := c.live()
	var raw frame
	for i := range 10_000 {
		require.NoError(t, n.read(&raw))
		s := d.step(&raw)
		if i > 0 {
			require.InDelta(t, 10, s.Power.CPUWatts.Value, 0.01, "sample %d: %s", i, s.Power.CPUWatts.Reason)
			require.InDelta(t, 40, s.CPU.Clusters.Value[1].ActivePercent.Value, 1e-6)
		}
		now += second / 2
		c.time(now)
	}
	kept := c.live()
	require.Less(t, kept-before, int64(20), "strings that are used for every sample, and no more")
	require.NoError(t, n.close())
	require.Zero(t, c.live(), "after Close")
	t.Logf("10,000 samples: %d objects live before the first, %d after the last, %d after Close", before, kept, c.live())
}

func TestStubRawElementsAreUsedOnlyIfTheyAgree(t *testing.T) {
	c := useStub(t, "")
	c.lying(1)
	c.time(1000 * second)
	n := newNative(openFFI(func(string) string { return stub }), 0, false)
	d := newDecoder(n.f)
	var raw frame
	for range 3 {
		require.NoError(t, n.read(&raw))
		s := d.step(&raw)
		if s.Window > 0 {
			require.InDelta(t, 10, s.Power.CPUWatts.Value, 0.01)
			require.InDelta(t, 75, s.GPU.ActivePercent.Value, 1e-9)
		}
		c.time(raw.Ticks + second)
	}
	for i, sh := range n.shape {
		require.Equal(t, refuted, sh.trust, n.f.Channels[i].Name)
	}
	require.NoError(t, n.close())
	require.Zero(t, c.live())
}

func TestStubAnOverReleaseEndsTheProgram(t *testing.T) {
	if os.Getenv("MLOPS_APPLE_OVER_RELEASE") == "1" {
		c := useStub(t, "")
		o := c.string(0, "x", utf8Encoding)
		c.release(o)
		c.release(o)
		return
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "MLOPS_APPLE_OVER_RELEASE=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "a stub that does not mind proves nothing")
	require.Contains(t, string(out), "an object that is gone is used")
}

func TestStubWithoutASymbol(t *testing.T) {
	for s := range symbols {
		name := symbolNames[s]
		t.Run(name, func(t *testing.T) {
			c := useStub(t, name)
			m, err := Open(t.Context(), Options{})
			require.NoError(t, err)
			sample, err := m.sample(t.Context())
			require.NoError(t, err)
			text, err := json.Marshal([]any{m.d.f.Missing, sample})
			require.NoError(t, err)
			require.Contains(t, string(text), name+" is not in this system")
			for of, reason := range map[string]string{
				"IORegistryEntryGetChildIterator": sample.Process.GPUSeconds.Reason, "proc_pid_rusage": sample.Process.FootprintBytes.Reason,
				"sysctlbyname": sample.Chip.Name.Reason, "IOReportCreateSamples": sample.ANE.RunningPercent.Reason,
				"IOReportStateGetResidency": sample.ANE.RunningPercent.Reason, "IOConnectCallStructMethod": sample.Fans.Reason,
				"IOServiceOpen": sample.CPU.TemperatureCelsius.Reason, "mach_task_self_": sample.GPU.TemperatureCelsius.Reason,
				"IORegistryEntryCreateCFProperty": sample.Process.GPUSeconds.Reason, "IOServiceClose": sample.Energy.SystemJoules.Reason,
			} {
				if of == name {
					require.Contains(t, reason, name+" is not in this system")
				}
			}
			for key, v := range sample.Metrics() {
				require.False(t, v == 0 && key == "system/apple_cpu_power_watts", "a made-up zero")
			}
			require.NoError(t, m.Close())
			require.Zero(t, c.live())
		})
	}
	t.Run("no library at all", func(t *testing.T) {
		n := newNative(openFFI(func(library string) string { return filepath.Join(t.TempDir(), library) }), 0, false)
		var raw frame
		require.NoError(t, n.read(&raw))
		s := newDecoder(n.f).step(&raw)
		require.Equal(t, "library libSystem.B.dylib is not in this system", s.Chip.Name.Reason)
		require.False(t, s.Power.CPUWatts.OK || s.Thermal.OK || s.Memory.Bytes.OK || s.PowerMode.OK)
		require.NoError(t, n.close())
	})
}

// many opens a stub of which 400 channels are read.
func many(t testing.TB, c control) *Machine {
	c.extra(389)
	m, err := Open(t.Context(), Options{})
	require.NoError(t, err)
	require.Len(t, m.d.f.Channels, 400)
	return m
}

func TestStubOf400ChannelsIsCheap(t *testing.T) {
	c := useStub(t, "")
	m := many(t, c)
	read := func() {
		if _, err := m.frame(); err != nil {
			t.Fatal(err)
		}
	}
	allocs := testing.AllocsPerRun(50, read)
	t.Logf("400 channels: %.0f allocations a sample", allocs)
	if !raceEnabled { // the detector allocates
		require.Less(t, allocs, 50.0)
	}
	require.NoError(t, m.Close())
	require.Zero(t, c.live())
}

// TestStubWatchedForTwoMinutes is the cost of a watch at 1 Hz, in time of the
// processor, of this whole program and thread by thread of the system.
func TestStubWatchedForTwoMinutes(t *testing.T) {
	if os.Getenv("MLOPS_SOAK") == "" {
		t.Skip("takes two minutes: set MLOPS_SOAK=1")
	}
	c := useStub(t, "")
	m := many(t, c)
	runtime.GC()
	used := func() time.Duration {
		var u syscall.Rusage
		require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	from, begin, n := used(), time.Now(), 0
	for _, err := range m.Watch(t.Context(), time.Second) {
		require.NoError(t, err)
		if n++; time.Since(begin) >= 2*time.Minute {
			break
		}
	}
	spent, took := used()-from, time.Since(begin)
	share := 100 * float64(spent) / float64(took)
	t.Logf("%d samples in %v: %v of processor time, %.3f %% of a core", n, took.Round(time.Millisecond), spent, share)
	require.GreaterOrEqual(t, n, 115)
	require.Less(t, share, 0.5)
	require.NoError(t, m.Close())
}

// The aim is less than 2 ms a sample.
func BenchmarkStubOf400Channels(b *testing.B) {
	object, err := compiled()
	require.NoError(b, err)
	stub = filepath.Join(b.TempDir(), "libstub.so")
	require.NoError(b, exec.Command("cc", "-shared", "-o", stub, object).Run())
	h, err := purego.Dlopen(stub, purego.RTLD_NOW)
	require.NoError(b, err)
	var c control
	purego.RegisterLibFunc(&c.extra, h, "stub_extra")
	m := many(b, c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.frame(); err != nil {
			b.Fatal(err)
		}
	}
}
