package applesilicon

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tape is a recording that is made frame by frame, a second apart, of a Mac of
// which energy alone is known. Values are joules by rail.
type tape struct {
	f      *facts
	units  []float64 // counts in a joule
	frames []frame
}

func newTape(chip string, rails ...channel) *tape {
	tp := &tape{f: &facts{
		Sysctl:   map[string][]byte{"hw.optional.arm64": number32(1), "machdep.cpu.brand_string": []byte(chip + "\x00")},
		Timebase: [2]uint64{125, 3}, Channels: rails,
	}}
	for _, c := range rails {
		unit, err := joulesPer(c.Unit)
		if err != nil {
			panic(err)
		}
		tp.units = append(tp.units, 1/unit)
	}
	return tp
}

// core adds a core that is busy for a share of the time.
func (tp *tape) core() *tape {
	tp.f.Channels = append(tp.f.Channels, channel{Group: "CPU Stats", Subgroup: "CPU Core Performance States", Name: "PCPU0", States: []string{"IDLE", "V0P0"}})
	return tp
}

// at adds a frame of second s, in which the driver published just now.
func (tp *tape) at(s float64, joules ...float64) *frame {
	now := frame{UnixNano: int64(s * 1e9), Ticks: uint64((s + 100) * tick)}
	for i, j := range joules {
		now.Counters = append(now.Counters, counter{Ticks: now.Ticks, Value: int64(math.Round((j + 1000) * tp.units[i]))})
	}
	if len(tp.f.Channels) > len(joules) {
		now.Counters = append(now.Counters, counter{States: []int64{int64(.4 * (s + 100) * tick), int64(.6 * (s + 100) * tick)}})
	}
	tp.frames = append(tp.frames, now)
	return &tp.frames[len(tp.frames)-1]
}

// samples are what Read gives of the tape, through a recording.
func (tp *tape) samples(t *testing.T) []Sample {
	t.Helper()
	var b bytes.Buffer
	rec := recorder{&b}
	require.NoError(t, rec.facts(tp.f))
	for i := range tp.frames {
		require.NoError(t, rec.frame(&tp.frames[i]))
	}
	m, err := Open(t.Context(), Options{Replay: &b})
	require.NoError(t, err)
	var out []Sample
	for s, err := range m.Watch(t.Context(), time.Second) {
		require.NoError(t, err)
		plausible(t, s)
		out = append(out, s)
	}
	require.NotEmpty(t, out)
	return out
}

// plausible is what holds of every sample of every Mac.
func plausible(t testing.TB, s Sample) {
	t.Helper()
	for name, r := range map[string]Reading[float64]{
		"cpu": s.Power.CPUWatts, "gpu": s.Power.GPUWatts, "ane": s.Power.ANEWatts, "dram": s.Power.DRAMWatts,
		"package": s.Power.PackageWatts, "system": s.Power.SystemWatts,
	} {
		require.False(t, r.OK && (r.Value < 0 || r.Value > 1e4 || math.IsNaN(r.Value)), "%s: %v W", name, r.Value)
	}
	for name, r := range map[string]Reading[float64]{
		"cpu": s.CPU.Percent, "gpu": s.GPU.ActivePercent, "gpu MHz": s.GPU.FrequencyMegahertz, "°C": s.CPU.TemperatureCelsius, "ANE": s.ANE.RunningPercent,
		"J": s.Energy.CPUJoules, "package J": s.Energy.PackageJoules,
	} {
		require.False(t, r.OK && (r.Value < 0 || math.IsNaN(r.Value) || math.IsInf(r.Value, 0)), "%s: %v", name, r.Value)
	}
	for _, c := range s.CPU.Clusters.Value {
		for _, r := range []Reading[float64]{c.ActivePercent, c.FrequencyMegahertz, c.RealisedMegahertz} {
			require.False(t, r.OK && (r.Value < 0 || r.Value > 1e4), "%s: %v", c.Name, r.Value)
		}
	}
}

// joulesOf are the energies of a sample that must never fall.
func joulesOf(s Sample) map[string]Reading[float64] {
	e := s.Energy
	return map[string]Reading[float64]{"cpu": e.CPUJoules, "gpu": e.GPUJoules, "ane": e.ANEJoules, "dram": e.DRAMJoules, "package": e.PackageJoules, "system": e.SystemJoules}
}
