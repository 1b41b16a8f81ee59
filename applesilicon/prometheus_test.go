package applesilicon

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASumOfPowerCountsNothingTwice(t *testing.T) {
	mac := machines["m3max"]
	var b strings.Builder
	require.NoError(t, decodeAll(mac.facts(), mac.frames(3)).WritePrometheus(&b))
	require.Equal(t, 4, strings.Count(b.String(), "\nmachine_power_watts{"), "cpu, gpu, ane, dram")
	require.Equal(t, 4, strings.Count(b.String(), "\nmachine_energy_joules_total{"))
	require.NotContains(t, b.String(), `rail="package"`)
	require.NotContains(t, b.String(), `rail="system"`)
	require.Contains(t, b.String(), "\nmachine_package_power_watts 40\n")
	require.Contains(t, b.String(), "\nmachine_system_power_watts 60.5\n")
	require.Contains(t, b.String(), "\nmachine_system_energy_joules_total 121\n")
	require.Contains(t, b.String(), "\nmachine_fan_turns_per_minute{fan=\"0\"} 1200\n")
}
