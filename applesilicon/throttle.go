package applesilicon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

// PerformanceCores is the number of cores of the fastest sort: what a program
// that should leave the other cores to the system gives to GOMAXPROCS.
//
// The error matches [mlops.ErrUnsupported] on a machine whose cores are not
// known to differ; runtime.NumCPU is right there.
func PerformanceCores(ctx context.Context) (int, error) {
	s, err := quick(ctx)
	if err != nil {
		return 0, err
	}
	if !s.Chip.Levels.OK || len(s.Chip.Levels.Value) == 0 || s.Chip.Levels.Value[0].Cores <= 0 {
		return 0, unsupported("PerformanceCores", "sorts of cores: "+s.Chip.Levels.Reason)
	}
	return s.Chip.Levels.Value[0].Cores, nil
}

// IsThrottled reports whether heat slows this machine down: its thermal state
// is serious or critical.
//
// The error matches [mlops.ErrUnsupported] where the state cannot be read.
func IsThrottled(ctx context.Context) (bool, error) {
	s, err := quick(ctx)
	if err != nil {
		return false, err
	}
	if !s.Thermal.OK {
		return false, unsupported("IsThrottled", "thermal state: "+s.Thermal.Reason)
	}
	return s.Thermal.Value >= ThermalSerious, nil
}

// quick reads once, without waiting for a window.
func quick(ctx context.Context) (Sample, error) {
	m, err := Open(ctx, Options{})
	if err != nil {
		return Sample{}, err
	}
	defer m.Close()
	return m.sample(ctx)
}

// calm is how long a machine must have been cool before work may begin again:
// the state lags behind the heat.
const calm = time.Minute

// Gate returns a function for schedulers that says whether new work may begin:
// nil if it may, and an error that matches [mlops.ErrUnavailable] while the
// machine is hot. It closes when the thermal state is serious, and opens when
// that has been fair or better for a minute. A machine whose state cannot be
// read is never hot. The function is safe for concurrent use.
func (m *Machine) Gate() func(context.Context) error {
	return gate(func(ctx context.Context) (Reading[ThermalState], error) {
		s, err := m.sample(ctx)
		return s.Thermal, err
	})
}

func gate(read func(context.Context) (Reading[ThermalState], error)) func(context.Context) error {
	var mu sync.Mutex
	var closed bool
	var cool time.Time // since when; zero: it is not
	return func(ctx context.Context) error {
		r, err := read(ctx)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !r.OK:
			return nil
		case r.Value >= ThermalSerious:
			closed, cool = true, time.Time{}
		case closed && cool.IsZero():
			cool = time.Now()
		case closed && time.Since(cool) >= calm:
			closed = false
		}
		if !closed {
			return nil
		}
		message := fmt.Sprintf("the machine is hot: thermal state %v", r.Value)
		if !cool.IsZero() {
			message = "the machine was hot less than a minute ago"
		}
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "applesilicon", Op: "Gate", Message: message}
	}
}
