package applesilicon

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSensorsThatCannotBeRightAreNotRead(t *testing.T) {
	keys := []string{"Te05", "Tg0D", "Tp01", "Ts0S"}
	read := func(chip string, celsius ...float64) (cpu, gpu Reading[float64]) {
		f := &facts{Sensors: keys}
		c, g := thermometers(f, chip)
		return c.read(f, &frame{Celsius: celsius}), g.read(f, &frame{Celsius: celsius})
	}
	cpu, gpu := read("Apple M3", 40, 55, 70, 33)
	require.Equal(t, 55.0, cpu.Value, "Ts… is of other places before M5")
	require.Equal(t, 55.0, gpu.Value)
	cpu, _ = read("Apple M5 Max", 40, 55, 70, 34)
	require.Equal(t, 48.0, cpu.Value)
	for _, bad := range []float64{5, 200, -40, 1e9} {
		cpu, gpu = read("Apple M3", bad, bad, bad, bad)
		require.False(t, cpu.OK || gpu.OK, "%v °C", bad)
		require.Contains(t, gpu.Reason, "Tg0D says")
		require.Zero(t, cpu.Value)
		cpu, _ = read("Apple M3", bad, 55, 70, 33)
		require.Equal(t, 70.0, cpu.Value, "the others stand")
	}
	cpu, _ = read("Apple M3")
	require.Equal(t, "no such sensor", cpu.Reason)
	for chip, want := range map[string]int{"Apple M5 Max": 5, "Apple M12": 12, "Apple M1": 1, "Apple A18 Pro": 0, "VirtualApple": 0, "": 0} {
		require.Equal(t, want, generation(chip), chip)
	}

	limit := func(v []byte) Reading[uint64] {
		return wiredLimit(&frame{Sysctl: map[string][]byte{"iogpu.wired_limit_mb": v}})
	}
	require.Equal(t, uint64(96<<30), limit(number32(98304)).Value)
	require.Contains(t, limit(number32(0)).Reason, "own choice")
	require.Contains(t, limit(nil).Reason, "sysctl")
	require.False(t, fans(&facts{}, &frame{Fans: []float64{1e6}}).OK)
	require.Equal(t, noFans, fans(&facts{Missing: map[string]string{"fans": noFans}}, &frame{}).Reason)
}
