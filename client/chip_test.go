package client

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/mlflow"
)

// gatedMac is a recording of a Mac of which the system holds the processor's
// rail back: it says the same value in all frames, which are 6 s apart, while
// the processor works. Its GPU is busy for three quarters of the time.
func gatedMac() io.Reader {
	const second = 24_000_000
	var b strings.Builder
	line := func(v any) {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		b.Write(append(text, '\n'))
	}
	type object = map[string]any
	line(object{"facts": object{
		"sysctl":   map[string][]byte{"hw.optional.arm64": binary.LittleEndian.AppendUint32(nil, 1), "machdep.cpu.brand_string": []byte("Apple M3\x00")},
		"timebase": []int{125, 3},
		"channels": []object{
			{"group": "Energy Model", "name": "CPU Energy", "unit": "mJ"},
			{"group": "CPU Stats", "subgroup": "CPU Core Performance States", "name": "PCPU0", "states": []string{"IDLE", "V0P0"}},
			{"group": "GPU Stats", "subgroup": "GPU Performance States", "name": "GPUPH", "states": []string{"OFF", "P1"}},
		},
	}})
	for i := range 60 {
		ticks := (100 + 6*i) * second
		line(object{"frame": object{"unixNano": 6e9 * i, "ticks": ticks, "systemWatts": 60.5, "counters": []object{
			{"ticks": 100 * second, "value": 1000}, {"states": []int{ticks / 2, ticks / 2}}, {"states": []int{ticks / 4, 3 * ticks / 4}},
		}}})
	}
	return strings.NewReader(b.String())
}

func TestARunIsTaggedWithItsPowerSourceFromTheStart(t *testing.T) {
	home, dir := alone(t)
	p := open(t, home, dir)
	p.recording = gatedMac
	o, _, machine := p.runOptions(t.Context(), mlflow.RunOptions{})
	require.Equal(t, "ioreport", o.Tags["apple.power_source"], "warming up is no answer")
	require.Equal(t, "Apple M3", o.Tags["apple.chip"])
	machine.attach(nil, io.EOF)

	o, _, machine = p.runOptions(t.Context(), mlflow.RunOptions{Tags: map[string]string{"apple.power_source": "mine"}})
	require.Equal(t, "mine", o.Tags["apple.power_source"])
	require.Nil(t, machine.source.Load(), "what the caller says stands to the end")
	machine.attach(nil, io.EOF)
	_, err := o.Sampler(t.Context())
	require.ErrorIs(t, err, mlops.ErrInvalid, "a run that did not start reads no machine")

	p.recording = nil // this machine
	o, _, machine = p.runOptions(t.Context(), mlflow.RunOptions{Tags: map[string]string{"a": "b"}})
	require.Equal(t, "b", o.Tags["a"])
	machine.attach(nil, io.EOF)
	_, _, machine = p.runOptions(t.Context(), mlflow.RunOptions{SampleEvery: -1})
	machine.attach(nil, nil) // nothing is read
}

// TestAGatedRunOnMLflow is what the server shows of a run whose power is held
// back from its user.
func TestAGatedRunOnMLflow(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: the run is on a real MLflow (make test)")
	}
	ctx := t.Context()
	p, err := FromProject(ctx, fmt.Sprintf("gated-%08x", rand.Uint32()), In(t.TempDir()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	p.recording = gatedMac

	run, err := p.StartRun(ctx, mlflow.RunOptions{})
	require.NoError(t, err)
	require.NoError(t, p.LogAppleSilicon(ctx, run, 3))
	require.NoError(t, run.LogMetric(ctx, 9, "loss", 0.5))
	require.NoError(t, run.End(ctx, nil))
	id, err := run.ID(ctx)
	require.NoError(t, err)
	info, err := p.MLflow.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Equal(t, mlflow.RunFinished, info.Status)
	require.Equal(t, "none:gated by the system", info.Tags["apple.power_source"])

	history, err := mlops.Collect(p.MLflow.MetricHistory(ctx, id, "mps_util"))
	require.NoError(t, err)
	require.Len(t, history, 1)
	require.Equal(t, int64(3), history[0].Step)
	require.InDelta(t, 75, float64(history[0].Value), 1e-9)
	gpu, ok := info.Metric("system/gpu_0_utilization_percentage")
	require.True(t, ok, "the sampler's name of the same value")
	require.InDelta(t, 75, gpu.Value, 1e-9)
	joules, ok := info.Metric("system/apple_system_energy_joules")
	require.True(t, ok)
	perStep, ok := info.Metric("system/apple_system_energy_joules_per_step")
	require.True(t, ok)
	require.InDelta(t, joules.Value/10, perStep.Value, 1e-3, "steps 0 to 9")
	for _, m := range info.Metrics {
		require.NotContains(t, m.Key, "cpu_power", "held back is not 0 W")
		require.NotContains(t, m.Key, "package_")
	}
	t.Logf("apple.power_source=%s, mps_util=%v at step %d, %v J, %v J a step", info.Tags["apple.power_source"], history[0].Value, history[0].Step, joules.Value, perStep.Value)

	require.NoError(t, p.machine.Close())
	p.machine, p.recording = nil, nil // this machine
	if err := p.LogAppleSilicon(ctx, run, 4); err != nil {
		require.ErrorIs(t, err, mlops.ErrUnsupported)
	}
}
