package mlflow

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// Sampler reads the machine once: "system/cpu_utilization_percentage" and the
// like, under the names that MLflow's page of system metrics shows. What it
// could read counts even if it returns an error.
type Sampler func(context.Context) (map[string]float64, error)

// sample logs what s reads, at once, then every so often, and at the end, with
// steps 0, 1, 2…: how busy a short run was is known at its end only.
func (r *Run) sample(s Sampler, every time.Duration) {
	every = max(cmp.Or(every, 10*time.Second), time.Second)
	ctx, cancel := context.WithCancel(r.s.ctx)
	r.stopSampling = cancel
	r.sampling.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for step := int64(0); ; step++ {
			now, over := ctx, ctx.Err() != nil
			if over {
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				now = last
			}
			values, err := s(now)
			if now.Err() == nil {
				err = errors.Join(err, r.logMetrics(step, values))
			}
			if err != nil {
				r.s.c.log.Debug("sample", "service", "mlflow", "run_uid", r.UID, "error", err)
			}
			if over {
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
}
