package applesilicon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

// PerformanceCores is the number of cores that are not efficiency cores: what a
// program that should leave the others to the system gives to GOMAXPROCS.
//
// The error matches [mlops.ErrUnsupported] on a machine whose cores are not
// known to differ; runtime.NumCPU is right there.
func PerformanceCores(ctx context.Context) (int, error) {
	s, err := quick(ctx)
	if err != nil {
		return 0, err
	}
	return performanceCores(s)
}

func performanceCores(s Sample) (int, error) {
	n := 0
	for _, l := range s.Chip.Levels.Value {
		if s.Chip.Levels.OK && l.Name != "Efficiency" {
			n += l.Cores
		}
	}
	if n <= 0 {
		return 0, unsupported("PerformanceCores", "sorts of cores: "+cmp.Or(s.Chip.Levels.Reason, "efficiency cores only"))
	}
	return n, nil
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

// quick reads once what costs little: neither power nor sensors.
func quick(ctx context.Context) (Sample, error) {
	src, err := openNative(0, true)
	if errors.Is(err, mlops.ErrUnsupported) {
		var s Sample
		s.appleOnly(notApple)
		return s, context.Cause(ctx)
	}
	if err != nil {
		return Sample{}, err
	}
	m, err := openSource(src, Options{})
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
// machine is hot. It has two thresholds. Where there are fans, it closes when
// the thermal state is serious and opens when that has been fair or better for
// a minute. A machine without fans (an Air), or of which that is not known,
// works at serious for hours, as it is built to: there it closes at critical
// and opens at serious. [Machine.GateAt] has thresholds of your own.
//
// A machine whose state cannot be read is never hot. The function is safe for
// concurrent use.
func (m *Machine) Gate() func(context.Context) error {
	return gate(m.sample, fanThresholds)
}

// fanThresholds are those of Gate.
func fanThresholds(s Sample) (closeAt, openAt ThermalState) {
	if s.Fans.OK && len(s.Fans.Value) > 0 {
		return ThermalSerious, ThermalFair
	}
	return ThermalCritical, ThermalSerious
}

// GateAt is [Machine.Gate] that closes at one state and opens when the machine
// has been at another one, or cooler, for a minute.
func (m *Machine) GateAt(closeAt, openAt ThermalState) func(context.Context) error {
	return gate(m.sample, func(Sample) (ThermalState, ThermalState) { return closeAt, min(openAt, closeAt-1) })
}

func gate(sample func(context.Context) (Sample, error), thresholds func(Sample) (closeAt, openAt ThermalState)) func(context.Context) error {
	var mu sync.Mutex
	var closed bool
	var cool time.Time // since when; zero: it is not
	return func(ctx context.Context) error {
		s, err := sample(ctx)
		if err != nil {
			return err
		}
		r := s.Thermal
		closeAt, openAt := thresholds(s)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !r.OK:
			return nil
		case r.Value >= closeAt:
			closed, cool = true, time.Time{}
		case r.Value > openAt:
			cool = time.Time{} // between the two it stays as it is
		case closed && cool.IsZero():
			cool = time.Now()
		case closed && time.Since(cool) >= calm:
			closed = false
		}
		if !closed {
			return nil
		}
		level := ""
		if s.ThermalLevel.OK {
			level = fmt.Sprintf(" (pressure level %d)", s.ThermalLevel.Value)
		}
		message := fmt.Sprintf("the machine is hot: thermal state %v%s; it takes work when that has been %v for a minute", r.Value, level, openAt)
		if !cool.IsZero() {
			message = "the machine was hot less than a minute ago"
		}
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "applesilicon", Op: "Gate", Message: message}
	}
}
