package client

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/mlflow"
)

// MPSUtil is the metric that [Project.LogAppleSilicon] logs how busy the GPU
// was under, in percent: all that runs on it counts, Metal Performance Shaders
// (MPS) too. It is the same value as system/gpu_0_utilization_percentage, which
// StartRun's sampler logs, as MLflow calls it.
const MPSUtil = "mps_util"

// LogAppleSilicon logs what chip and machine do now as metrics of one step of
// a run, beside its loss: "mps_util" and the readings of
// [applesilicon.Sample.Metrics] without their "system/": "apple_gpu_power_watts",
// "apple_ane_power_watts", "apple_thermal_pressure_level" and so on. Rates are
// since the call before; the first call waits for about 100 ms. What cannot be
// read is not logged.
//
// The error matches [mlops.ErrUnsupported] on a machine that is not a Mac with
// Apple Silicon: leave the call out there, or ignore that error.
func (p *Project) LogAppleSilicon(ctx context.Context, run *mlflow.Run, step int64) error {
	m, err := p.chip(ctx)
	if err != nil {
		return err
	}
	s, err := m.Read(ctx)
	if err != nil {
		return err
	}
	if !s.Chip.Name.OK {
		return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "client", Op: "LogAppleSilicon", Message: cmp.Or(s.Chip.Name.Reason, "no chip")}
	}
	values := map[string]float64{}
	for key, v := range s.Metrics() {
		values[strings.TrimPrefix(key, "system/")] = v
	}
	if s.GPU.ActivePercent.OK {
		values[MPSUtil] = s.GPU.ActivePercent.Value
	}
	return run.LogMetrics(ctx, step, values)
}

// chip is the machine that LogAppleSilicon reads, opened once.
func (p *Project) chip(ctx context.Context) (*applesilicon.Machine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.machine != nil {
		return p.machine, nil
	}
	m, err := applesilicon.Open(ctx, p.reading())
	if err == nil {
		p.machine = m
	}
	return m, err
}

// reading is how this machine is read; tests read a recording.
func (p *Project) reading() applesilicon.Options {
	if p.recording == nil {
		return applesilicon.Options{}
	}
	return applesilicon.Options{Replay: p.recording()}
}

// beside reads the machine beside a run: metrics while it runs, the source of
// power as a tag, energy at its end.
type beside struct {
	r   *applesilicon.Recorder
	log *slog.Logger
	run atomic.Pointer[mlflow.Run]

	source atomic.Pointer[string] // the tag's value; nil: the caller has set it
}

// watch begins to read the machine for a run with options o, and returns them
// with sampler, tags and end. What the caller has tagged stands.
func (p *Project) watch(ctx context.Context, o mlflow.RunOptions) (mlflow.RunOptions, *beside) {
	b := &beside{r: applesilicon.NewRecorder(ctx, p.reading()), log: p.log}
	tags := b.r.Tags(ctx)
	for key, v := range tags {
		if _, given := o.Tags[key]; given {
			continue
		}
		o.Tags[key] = v
		if key == applesilicon.PowerSourceTag {
			b.source.Store(&v)
		}
	}
	o.Sampler = func(ctx context.Context) (map[string]float64, error) {
		values, err := b.r.Sample(ctx)
		return values, errors.Join(err, b.tell(ctx))
	}
	atEnd := o.AtEnd
	o.AtEnd = func(ctx context.Context, steps int64) map[string]float64 {
		last, err := b.r.Energy(ctx, steps)
		if err := errors.Join(err, b.tell(ctx), b.r.Close()); err != nil {
			b.log.Debug("machine of the run", "service", "applesilicon", "error", err)
		}
		if atEnd != nil {
			if last == nil {
				last = map[string]float64{}
			}
			maps.Copy(last, atEnd(ctx, steps))
		}
		return last
	}
	return o, b
}

// attach names the run, once it has been started, or ends the reading if it
// could not be.
func (b *beside) attach(run *mlflow.Run, err error) {
	switch {
	case b == nil:
	case err != nil:
		if err := b.r.Close(); err != nil {
			b.log.Debug("close", "service", "applesilicon", "error", err)
		}
	default:
		b.run.Store(run)
	}
}

// tell tags the run if the source of power is another one than at its start:
// that rails are gated shows after 10 s.
func (b *beside) tell(ctx context.Context) error {
	run, before, now := b.run.Load(), b.source.Load(), b.r.PowerSource()
	if run == nil || before == nil || now == "" || now == *before {
		return nil
	}
	b.source.Store(&now)
	return run.SetTag(ctx, applesilicon.PowerSourceTag, now)
}
