package mlflow

import (
	"cmp"
	"context"
	"time"
)

// Sampler reads the machine once: "system/cpu_utilization_percentage" and the
// like, under the names that MLflow's page of system metrics shows. What it
// could read counts even if it returns an error.
type Sampler func(context.Context) (map[string]float64, error)

// sample logs what s reads, at once and then every so often, with steps 0, 1, 2…
func (r *Run) sample(s Sampler, every time.Duration) {
	every = max(cmp.Or(every, 10*time.Second), time.Second)
	ctx, cancel := context.WithCancel(r.s.ctx)
	r.stopSampling = cancel
	r.sampling.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for step := int64(0); ; step++ {
			values, err := s(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r.s.c.log.Debug("sample", "service", "mlflow", "run_uid", r.UID, "error", err)
			}
			if err := r.logMetrics(step, values); err != nil {
				r.s.c.log.Debug("sample", "service", "mlflow", "run_uid", r.UID, "error", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}
