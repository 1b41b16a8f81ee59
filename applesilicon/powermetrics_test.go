package applesilicon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(fixtures, name))
	require.NoError(t, err)
	return b
}

const (
	pmOld = "powermetrics-m1-macos12.plist"
	pmNew = "powermetrics-m5-macos27.plist"
)

func TestPowermetricsOfTwoGenerations(t *testing.T) {
	s, err := decodePowermetrics(fixture(t, pmOld))
	require.NoError(t, err)
	require.InDelta(t, 3.99978, s.cpu.Value, 1e-5)
	require.Equal(t, "powermetrics cpu_energy", s.cpu.Source)
	require.InDelta(t, 1.00069, s.gpu.Value, 1e-5)
	require.True(t, s.ane.OK)
	require.Zero(t, s.ane.Value)
	require.InDelta(t, 5.00047, s.pkg.Value, 1e-5)
	require.Equal(t, 720.0, s.gpuMHz.Value, "megahertz, in spite of the name freq_hz")
	require.Equal(t, 75.0, s.gpuActive.Value)
	require.Equal(t, ThermalNominal, s.thermal.Value)
	require.Len(t, s.clusters, 2)
	require.InDelta(t, 20, s.clusters[0].Cores[0].ActivePercent.Value, 1e-9)
	require.InDelta(t, 20, s.clusters[0].ActivePercent.Value, 1e-9, "of the cores: the cluster says 40 %")
	require.InDelta(t, 80, s.clusters[1].ActivePercent.Value, 1e-9)
	require.Equal(t, "ECPU", s.clusters[0].Name, "as IOReport calls it")
	require.Equal(t, 1100.0, s.clusters[0].RealisedMegahertz.Value)
	require.Equal(t, pmAsked, s.clusters[0].FrequencyMegahertz)

	s, err = decodePowermetrics(fixture(t, pmNew))
	require.NoError(t, err)
	require.Equal(t, 30.0, s.cpu.Value)
	require.Equal(t, 41.0005, s.gpu.Value)
	require.Equal(t, 71.0005, s.pkg.Value)
	require.Equal(t, ThermalSerious, s.thermal.Value)
	require.Equal(t, 1578.0, s.gpuMHz.Value)
	require.InDelta(t, 98, s.gpuActive.Value, 1e-9)
	require.Equal(t, "MCPU0", s.clusters[0].Name)
	require.InDelta(t, 70, s.clusters[0].Cores[0].ActivePercent.Value, 1e-9)
	require.Equal(t, "PCPU", s.clusters[1].Name)
	require.Empty(t, s.clusters[1].Cores)
	require.Equal(t, "no cores", s.clusters[1].ActivePercent.Reason)
	require.False(t, s.clusters[1].FrequencyMegahertz.OK)
}

func TestPowermetricsNumbersMayBeOfEitherType(t *testing.T) {
	swap := strings.NewReplacer("<integer>", "<real>", "</integer>", "</real>", "<real>", "<integer>", "</real>", "</integer>")
	for _, name := range []string{pmOld, pmNew} {
		want, err := decodePowermetrics(fixture(t, name))
		require.NoError(t, err)
		got, err := decodePowermetrics([]byte(swap.Replace(string(fixture(t, name)))))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	hertz := strings.Replace(string(fixture(t, pmOld)), "<real>720.0</real>", "<integer>720000000</integer>", 1)
	s, err := decodePowermetrics([]byte(hertz))
	require.NoError(t, err)
	require.Equal(t, 720.0, s.gpuMHz.Value, "should it ever be hertz")
}

func TestPowermetricsZeroOfAProcessorIsNotBelieved(t *testing.T) {
	beta := strings.Replace(string(fixture(t, pmNew)), "<integer>30000</integer>", "<integer>0</integer>", 1)
	s, err := decodePowermetrics([]byte(beta))
	require.NoError(t, err)
	require.False(t, s.cpu.OK || s.ane.OK || s.pkg.OK)
	require.True(t, s.gpu.OK)
	for _, bad := range []string{"-nan", "nan", "inf", "", "x", "99999999999999999999e999", "-5"} {
		s, err := decodePowermetrics([]byte(strings.Replace(string(fixture(t, pmNew)), "<integer>30000</integer>", "<real>"+bad+"</real>", 1)))
		require.NoError(t, err, bad)
		require.False(t, s.cpu.OK, bad)
		require.Equal(t, "no cpu_power", s.cpu.Reason, bad)
	}
}

func TestPlistsMayBeUntidy(t *testing.T) {
	for in, want := range map[string]any{
		"<string>a & b &lt;c&gt; &amp;lt;</string>": "a & b <c> &lt;",
		"<string>\x01\xff</string>":                 "\x01\uFFFD",
		"<string/>":                                 "",
		"<real/>":                                   nil,
		"<integer> 7 </integer>":                    7.0,
		"<true/>":                                   true,
		"<false></false>":                           false,
		"<array/>":                                  []any(nil),
		"<array><!-- <x> --><true/></array>":        []any{true},
		"<dict><key>a</key><integer>1</integer><key>a</key><integer>2</integer></dict>": map[string]any{"a": 2.0},
		"<date>2026-10-09T10:35:00Z</date>":                                             "2026-10-09T10:35:00Z",
	} {
		got, err := parsePlist([]byte("<?xml version=\"1.0\"?><!DOCTYPE plist PUBLIC \"x\" \"y\"><plist version=\"1.0\">" + in + "</plist>"))
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{
		"", "x", "<plist>", "<plist/>", "<html></html>", "<plist><dict></plist>", "<plist><dict><true/></dict></plist>", "<plist><true/>", "<plist><what/></plist>",
		"<plist><true/><true/></plist>", "<plist><string>a</key></plist>", "<plist><dict><key>a</key></dict></plist>", "<plist><!-- x",
		"<plist>" + strings.Repeat("<array>", 100), "<plist><string>x", "<plist><dict><key>a",
	} {
		_, err := parsePlist([]byte(in))
		require.Error(t, err, in)
	}
}

// read all documents of a stream that can be decoded.
func decoded(t testing.TB, r io.Reader) (out []pmSample, last error) {
	for b, err := range documents(r) {
		if err != nil {
			return out, err
		}
		if s, err := decodePowermetrics(b); err == nil {
			out = append(out, s)
		}
	}
	return out, nil
}

func TestATruncatedStreamGivesTheWholeDocumentsOnly(t *testing.T) {
	docs := [][]byte{fixture(t, pmOld), fixture(t, pmNew), fixture(t, pmOld)}
	stream := bytes.Join(docs, []byte{0})
	ends := []int{}
	for i, at := 0, 0; i < len(docs); i++ {
		ends = append(ends, at+bytes.LastIndex(docs[i], []byte("</plist>"))+len("</plist>"))
		at += len(docs[i]) + 1
	}
	var want []pmSample
	for _, d := range docs {
		s, err := decodePowermetrics(d)
		require.NoError(t, err)
		want = append(want, s)
	}
	for n := range len(stream) + 1 {
		whole := 0
		for _, end := range ends {
			if n >= end {
				whole++
			}
		}
		got, err := decoded(t, bytes.NewReader(stream[:n]))
		require.NoError(t, err)
		require.Equal(t, whole, len(got), "of the first %d bytes", n)
		require.Equal(t, want[:whole], append([]pmSample{}, got...), "of the first %d bytes", n)
	}
	got, err := decoded(t, io.MultiReader(strings.NewReader("\n\x00<?xml torn"), bytes.NewReader(stream)))
	require.NoError(t, err)
	require.Len(t, got, 3, "what was cut off before <?xml is left out")
}

// endless gives n bytes without a NUL.
type endless struct{ left, given int }

func (e *endless) Read(b []byte) (int, error) {
	n := min(len(b), e.left)
	if n == 0 {
		return 0, io.EOF
	}
	for i := range b[:n] {
		b[i] = 'x'
	}
	e.left, e.given = e.left-n, e.given+n
	return n, nil
}

func TestAStreamWithoutEndStopsAt8MiB(t *testing.T) {
	e := &endless{left: 1 << 30}
	got, err := decoded(t, e)
	require.ErrorContains(t, err, "powermetrics: ")
	require.Empty(t, got)
	require.LessOrEqual(t, e.given, maxDocument)
}

// TestMain lets this test program stand for powermetrics.
func TestMain(m *testing.M) {
	switch os.Getenv("MLOPS_APPLE_CHILD") {
	case "":
		os.Exit(m.Run())
	case "refused":
		fmt.Fprintln(os.Stderr, "sudo: a password is required")
		os.Exit(1)
	case "deaf": // does not mind that its output is not read
		signal.Ignore(syscall.SIGPIPE)
		for {
			os.Stdout.WriteString(os.Getenv("MLOPS_APPLE_DOCUMENT") + "\x00")
			<-time.After(5 * time.Millisecond)
		}
	case "minute":
		for range 3 {
			os.Stdout.WriteString(os.Getenv("MLOPS_APPLE_DOCUMENT") + "\x00")
		}
		os.Exit(0)
	case "stream":
		for {
			if _, err := os.Stdout.WriteString(os.Getenv("MLOPS_APPLE_DOCUMENT") + "\x00"); err != nil {
				os.Exit(1)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
}

func child(t *testing.T, kind string, started chan<- struct{}) func() *exec.Cmd {
	exe, err := os.Executable()
	require.NoError(t, err)
	document := string(fixture(t, pmNew))
	return func() *exec.Cmd {
		started <- struct{}{}
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), "MLOPS_APPLE_CHILD="+kind, "MLOPS_APPLE_DOCUMENT="+document)
		return cmd
	}
}

func TestPowermetricsFillsWhatIsGated(t *testing.T) {
	started := make(chan struct{}, 10)
	p := startPowermetrics(child(t, "stream", started), (*os.Process).Kill)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var s Sample
	for tick := time.NewTicker(time.Millisecond); !s.Power.CPUWatts.OK; {
		select {
		case <-ctx.Done():
			t.Fatal(s.Power.CPUWatts.Reason)
		case <-tick.C:
		}
		s = Sample{Power: Power{CPUWatts: unread[float64](gated), GPUWatts: read(40.0, energySource), ANEWatts: unread[float64](gated)}}
		p.fill(&s)
	}
	require.Equal(t, read(30.0, "powermetrics cpu_power"), s.Power.CPUWatts)
	require.Equal(t, read(40.0, energySource), s.Power.GPUWatts, "what is known stays")
	require.True(t, s.Power.PackageWatts.OK)
	require.Greater(t, s.Energy.PackageJoules.Value, 71.0)
	require.Equal(t, ThermalSerious, s.Thermal.Value)
	require.NoError(t, p.close())
	require.Len(t, started, 1)
}

func TestPowermetricsIsBegunFourTimesAtMostAndNeverAsks(t *testing.T) {
	started := make(chan struct{}, 10)
	p := startPowermetrics(child(t, "refused", started), (*os.Process).Kill)
	<-p.done
	require.Len(t, started, 4)
	var s Sample
	s.Power.CPUWatts = unread[float64](gated)
	p.fill(&s)
	require.Equal(t, gated+"; powermetrics: sudo: a password is required", s.Power.CPUWatts.Reason)
	require.False(t, s.Power.CPUWatts.OK)
	require.NoError(t, p.close())
	require.Equal(t, []string{"sudo", "-n", "powermetrics"}, powermetricsCommand().Args[:3])
}

// document is one of powermetrics, of a second's length, by watts of the CPU.
func document(t *testing.T, watts float64, more string) pmSample {
	t.Helper()
	s, err := decodePowermetrics(fmt.Appendf(nil, `<?xml version="1.0"?><plist version="1.0"><dict><key>elapsed_ns</key><integer>1000000000</integer>
<key>thermal_pressure</key><string>Heavy</string><key>processor</key><dict><key>cpu_power</key><real>%v</real><key>gpu_power</key><integer>0</integer><key>ane_power</key><integer>0</integer>
<key>clusters</key><array><dict><key>name</key><string>P0-Cluster</string><key>freq_hz</key><real>%v</real><key>cpus</key><array><dict><key>cpu</key><integer>4</integer>
<key>idle_ratio</key><real>%v</real></dict></array></dict></array></dict>%s</dict></plist>`, 1e3*watts, 1e7*watts, 1-watts/100, more))
	require.NoError(t, err)
	return s
}

func TestPowermetricsIsTheMeanSinceTheSampleBefore(t *testing.T) {
	p := &powermetrics{reason: warming}
	fill := func() Sample {
		s := Sample{Power: Power{CPUWatts: unread[float64](gated), ANEWatts: unread[float64](gated), GPUWatts: unread[float64](gated)},
			Thermal: unread[ThermalState]("x"), ThermalLevel: unread[int]("x")}
		p.fill(&s)
		return s
	}
	for range 9 {
		p.take(document(t, 10, ""))
	}
	p.take(document(t, 100, ""))
	s := fill()
	require.InDelta(t, 19, s.Power.CPUWatts.Value, 0.01)
	require.InDelta(t, 19, s.Power.PackageWatts.Value, 0.01)
	require.InDelta(t, 190, s.Energy.PackageJoules.Value, 0.01)
	require.Equal(t, 10*time.Second, s.Energy.Covered)
	c := s.CPU.Clusters.Value[0]
	require.InDelta(t, 19, c.ActivePercent.Value, 0.01)
	require.InDelta(t, 19, c.Cores[0].ActivePercent.Value, 0.01)
	require.InDelta(t, (9*.1*100+1*1000)/1.9, c.RealisedMegahertz.Value, 0.01, "of the time that it was active")
	require.Equal(t, "PCPU0", c.Name)
	require.Equal(t, ThermalSerious, s.Thermal.Value)
	require.Equal(t, read(2, pmSource), s.ThermalLevel, "the level, too")

	require.InDelta(t, 19, fill().Power.CPUWatts.Value, 0.01, "no document since: the mean before")
	p.take(document(t, 30, ""))
	require.InDelta(t, 30, fill().Power.CPUWatts.Value, 0.01, "what was told before does not count again")
	broken := document(t, 50, "")
	broken.cpu, broken.clusters = lacking[float64](pmSource, doubtful), nil
	p.take(broken)
	p.take(document(t, 70, ""))
	require.InDelta(t, 70, fill().Power.CPUWatts.Value, 0.01, "of those that tell it")
	require.Equal(t, absurd, document(t, 1e7, "").cpu.Reason)
}

func TestPackageEnergyNeverFallsWhenItsSourceChanges(t *testing.T) {
	p := &powermetrics{}
	p.take(document(t, 10, ""))
	s := Sample{Power: Power{CPUWatts: unread[float64](gated)}, Energy: Energy{PackageJoules: unread[float64](gated)}}
	p.fill(&s)
	require.Equal(t, read(10.0, pmSource), s.Energy.PackageJoules)
	live := read(1.0, energySource)
	s = Sample{Power: Power{live, live, live, live, live, live}, Energy: Energy{PackageJoules: read(3.0, energySource)}}
	p.fill(&s)
	require.Equal(t, read(10.0, pmSource), s.Energy.PackageJoules)
}

// TestCloseEndsAChildThatCannotBeKilled has children whose end is refused, as
// that of sudo is to a user: the signal never arrives.
func TestCloseEndsAChildThatCannotBeKilled(t *testing.T) {
	for _, tt := range []struct {
		kind string
		gone bool
	}{{"stream", true}, {"deaf", false}} {
		t.Run(tt.kind, func(t *testing.T) {
			var cmd *exec.Cmd
			command := child(t, tt.kind, make(chan struct{}, 10))
			p := startPowermetrics(func() *exec.Cmd { cmd = command(); return cmd }, func(*os.Process) error { return syscall.EPERM })
			require.Eventually(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.span > 0 }, 30*time.Second, time.Millisecond)
			pid := cmd.Process.Pid
			begin := time.Now()
			err := p.close()
			took := time.Since(begin)
			gone := errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
			if !gone {
				require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
				<-p.done
			}
			require.Less(t, took, 3*time.Second)
			require.Equal(t, tt.gone, gone, "whether the child has ended")
			if tt.gone {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "ends by itself within a minute")
			}
			t.Logf("closed in %v", took)
		})
	}
}

func TestPowermetricsIsStartedAgainWhenItsMinuteIsOver(t *testing.T) {
	started := make(chan struct{}, 1000)
	p := startPowermetrics(child(t, "minute", started), (*os.Process).Kill)
	require.Eventually(t, func() bool { return len(started) > pmTries+1 }, 60*time.Second, time.Millisecond, "its end is no failure")
	require.NoError(t, p.close())
	args := powermetricsCommand().Args
	require.Equal(t, []string{"-n", "60"}, args[len(args)-2:], "what this program leaves behind ends by itself")
}

func FuzzPowermetrics(f *testing.F) {
	f.Add(fixture(f, pmOld))
	f.Add(append(append(fixture(f, pmNew), 0), fixture(f, pmOld)...))
	f.Add([]byte("<?xml?><plist><dict><key>elapsed_ns</key><integer>1</integer></dict></plist>\x00\x00<"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _ := decoded(t, bytes.NewReader(b))
		for _, s := range got {
			for _, r := range []Reading[float64]{s.cpu, s.gpu, s.ane, s.pkg, s.gpuActive, s.gpuMHz} {
				require.True(t, r.OK || r.Reason != "" && r.Value == 0)
				require.False(t, r.OK && (r.Value != r.Value || r.Value < 0))
			}
		}
	})
}
