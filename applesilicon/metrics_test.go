package applesilicon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestAMacsMetrics(t *testing.T) {
	mac := machines["m3max"]
	s := decodeAll(mac.facts(), mac.frames(3))
	got := s.Metrics()
	for key, want := range map[string]float64{
		"system/gpu_0_power_usage_watts":                  20,
		"system/gpu_0_memory_usage_megabytes":             2147.5,
		"system/gpu_0_memory_usage_percentage":            3.1,
		"system/gpu_0_utilization_percentage":             round(s.GPU.ActivePercent.Value, 1),
		"system/cpu_utilization_percentage":               30,
		"system/system_memory_usage_megabytes":            32768,
		"system/apple_cpu_power_watts":                    10,
		"system/apple_ane_power_watts":                    10,
		"system/apple_dram_power_watts":                   10,
		"system/apple_package_power_watts":                40,
		"system/apple_system_power_watts":                 60.5,
		"system/apple_package_energy_joules":              80,
		"system/apple_thermal_pressure_level":             0,
		"system/apple_power_mode":                         0,
		"system/apple_on_battery":                         0,
		"system/apple_swap_used_megabytes":                1073.7,
		"system/apple_memory_pressure_level":              1,
		"system/apple_cpu_efficiency_active_percentage":   round(s.CPU.Clusters.Value[0].ActivePercent.Value, 1),
		"system/apple_cpu_efficiency_frequency_megahertz": round(s.CPU.Clusters.Value[0].FrequencyMegahertz.Value, 1),
		"system/apple_gpu_frequency_megahertz":            round(s.GPU.FrequencyMegahertz.Value, 1),
	} {
		require.Contains(t, got, key)
		require.InDelta(t, want, got[key], 1e-9, key)
	}
	require.Contains(t, got, "system/apple_cpu_performance_active_percentage")
	require.NotContains(t, got, "system/disk_usage_megabytes")
	require.Equal(t, map[string]string{
		"apple.chip": "Apple M3 Max", "apple.model": "Mac15,9", "apple.os_build": "26.4 (25E123)", "apple.memory_bytes": "68719476736",
		"apple.power_mode": "automatic", "apple.thermal_state": "nominal", "apple.power_source": "ioreport",
	}, s.Tags())
	require.Equal(t, "ioreport", decodeAll(mac.facts(), mac.frames(1)).Tags()["apple.power_source"], "a rail that warms up is one that will be read")
	for key := range decodeAll(mac.facts(), mac.frames(1)).Metrics() {
		require.False(t, strings.Contains(key, "cpu_power") || strings.Contains(key, "gpu_0_power"), "%s of a single frame", key)
	}
}

func TestARecorderTellsARunsEnergy(t *testing.T) {
	in, err := os.ReadFile(filepath.Join(fixtures, "m1.ndjson"))
	require.NoError(t, err)
	r := NewRecorder(t.Context(), Options{Replay: bytes.NewReader(in)})
	m, err := r.Sample(t.Context())
	require.NoError(t, err)
	require.Equal(t, 40.0, m["system/apple_package_energy_joules"])
	require.Equal(t, "Apple M1", r.Tags(t.Context())["apple.chip"])
	e, err := r.Energy(t.Context(), 40)
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"system/apple_package_energy_joules": 80, "system/apple_package_energy_joules_per_step": 2,
		"system/apple_system_energy_joules": 121, "system/apple_system_energy_joules_per_step": 3.025}, e)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, err = r.Sample(t.Context())
	require.ErrorIs(t, err, mlops.ErrInvalid)

	r = NewRecorder(t.Context(), Options{Replay: strings.NewReader("{")})
	_, err = r.Sample(t.Context())
	require.ErrorContains(t, err, "recording")
	require.NoError(t, r.Close())
	require.Nil(t, r.Tags(t.Context()))

	r = NewRecorder(t.Context(), Options{})
	e, err = r.Energy(t.Context(), 10)
	require.NoError(t, err)
	if !r.last.Chip.Name.OK {
		require.Empty(t, e, "no energy is not 0 J")
	}
	require.NoError(t, r.Close())
}

func TestPrometheusText(t *testing.T) {
	mac := machines["m3max"]
	s := decodeAll(mac.facts(), mac.frames(3))
	s.Power.ANEWatts = unread[float64](gated)
	var b strings.Builder
	require.NoError(t, s.WritePrometheus(&b))
	require.Contains(t, b.String(), "# HELP machine_power_watts Mean power of a rail. What holds several of them has a name of its own.\n# TYPE machine_power_watts gauge\nmachine_power_watts{rail=\"cpu\"} 10\nmachine_power_watts{rail=\"gpu\"} 20\nmachine_power_watts{rail=\"dram\"} 10\n")
	require.NotContains(t, b.String(), `power_watts{rail="ane"}`)
	require.Contains(t, b.String(), "machine_package_energy_joules_total 80\n")
	require.Contains(t, b.String(), "machine_cpu_active_ratio 0.3\n")
}

func TestAGateHasHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, failure := read(ThermalNominal, ""), error(nil)
		g := gate(func(context.Context) (Sample, error) {
			return Sample{Thermal: state, ThermalLevel: read(2, "")}, failure
		},
			func(Sample) (ThermalState, ThermalState) { return ThermalSerious, ThermalFair })
		at := func(s ThermalState) error { state = read(s, ""); return g(t.Context()) }
		require.NoError(t, at(ThermalFair))
		err := at(ThermalSerious)
		require.ErrorIs(t, err, mlops.ErrUnavailable)
		require.ErrorContains(t, err, "thermal state serious (pressure level 2)")
		require.ErrorIs(t, at(ThermalNominal), mlops.ErrUnavailable, "just now it was hot")
		<-time.After(30 * time.Second)
		require.Error(t, at(ThermalCritical))
		<-time.After(59 * time.Second)
		require.Error(t, at(ThermalFair))
		<-time.After(59 * time.Second)
		require.Error(t, at(ThermalFair))
		<-time.After(time.Second)
		require.NoError(t, at(ThermalFair))
		require.Error(t, at(ThermalSerious))
		state = unread[ThermalState]("gone")
		require.NoError(t, g(t.Context()), "unknown is not hot")
		failure = errors.New("boom")
		require.ErrorIs(t, g(t.Context()), failure)
	})
	m, err := Open(t.Context(), Options{})
	require.NoError(t, err)
	require.NoError(t, m.Gate()(t.Context()))
	require.NoError(t, m.Close())
	require.ErrorIs(t, m.Gate()(t.Context()), mlops.ErrInvalid)
}

// hot is a machine of which heat and fans are known.
type hot struct {
	fans  Reading[[]float64]
	state ThermalState
}

func (h *hot) at(s ThermalState) { h.state = s }
func (h *hot) sample(context.Context) (Sample, error) {
	return Sample{Thermal: read(h.state, ""), ThermalLevel: read(int(h.state)-1, ""), Fans: h.fans}, nil
}

// TestAGateLetsAFanlessMachineWork: an Air sits at Heavy for hours.
func TestAGateLetsAFanlessMachineWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			fans    Reading[[]float64]
			at      ThermalState // it closes
			opensAt ThermalState
		}{
			"no fans":        {unread[[]float64](noFans), ThermalCritical, ThermalSerious},
			"fans not known": {unread[[]float64]("SMC: error 0x1"), ThermalCritical, ThermalSerious},
			"fans":           {read([]float64{1200}, ""), ThermalSerious, ThermalFair},
		} {
			s := &hot{fans: tt.fans}
			g := gate(s.sample, fanThresholds)
			for range 3 { // what it is built for
				s.at(tt.at - 1)
				require.NoError(t, g(t.Context()), name)
				<-time.After(time.Hour)
			}
			s.at(tt.at)
			require.ErrorContains(t, g(t.Context()), "pressure level", name)
			s.at(tt.opensAt)
			require.Error(t, g(t.Context()), name)
			<-time.After(time.Minute)
			require.NoError(t, g(t.Context()), name)
		}
		s := &hot{fans: unread[[]float64](noFans)}
		g := gate(s.sample, func(Sample) (ThermalState, ThermalState) { return ThermalCritical, ThermalFair })
		s.at(ThermalCritical)
		require.Error(t, g(t.Context()))
		s.at(ThermalSerious)
		for range 3 {
			require.Error(t, g(t.Context()), "between the two it stays closed")
			<-time.After(time.Hour)
		}
		s.at(ThermalFair)
		require.Error(t, g(t.Context()))
		<-time.After(time.Minute)
		require.NoError(t, g(t.Context()))
	})
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for s, err := range Watch(ctx, time.Millisecond) {
		require.NoError(t, err)
		require.GreaterOrEqual(t, s.Window, 90*time.Millisecond)
		if n++; n == 2 {
			cancel()
		}
	}
	require.Equal(t, 2, n)
	m, err := Open(t.Context(), Options{})
	require.NoError(t, err)
	require.NoError(t, m.Close())
	for _, err := range m.Watch(t.Context(), time.Second) {
		require.ErrorIs(t, err, mlops.ErrInvalid)
		n++
	}
	require.Equal(t, 3, n)
}
