package applesilicon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// Finding is one thing that [Machine.Diagnose] looked at.
type Finding struct {
	State   string `json:"state"` // "ok", "warn", "fail"
	Check   string `json:"check"`
	Message string `json:"message"`
}

// Diagnose reads once a second for a while, 12 s to tell a rail that is gated
// from one that is slow, and says what can be read, what cannot and why, and
// whether sources agree that ought to. A recording is read to its end.
//
// The error matches [mlops.ErrUnsupported] on a machine that is not a Mac with
// Apple Silicon.
func (m *Machine) Diagnose(ctx context.Context, during time.Duration) ([]Finding, error) {
	if m.src == nil {
		return nil, unsupported("Diagnose", notApple)
	}
	if !m.replay {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, during)
		defer cancel()
	}
	var s Sample
	n := 0
	for got, err := range m.Watch(ctx, time.Second) {
		if err != nil {
			return nil, err
		}
		s = got
		n++
	}
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return nil, context.Cause(ctx)
	case n == 0:
		return nil, fmt.Errorf("applesilicon: Diagnose: %w", io.ErrUnexpectedEOF)
	case !s.Chip.Name.OK:
		return nil, unsupported("Diagnose", s.Chip.Name.Reason)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.d.diagnose(s, &m.now), nil
}

func (d *decoder) diagnose(s Sample, now *frame) []Finding {
	var out []Finding
	say := func(ok bool, check, message string, args ...any) {
		state := "ok"
		if !ok {
			state = "warn"
		}
		out = append(out, Finding{state, check, fmt.Sprintf(message, args...)})
	}
	say(true, "chip", "%s, %s, macOS %s", s.Chip.Name.Value, s.Host.Model, s.Host.OSVersion)
	if s.Host.Translated {
		say(false, "program", "runs under Rosetta: run the arm64 build")
	}
	if s.Host.Virtual {
		say(false, "machine", "a virtual machine has no rails, and another GPU")
	}
	if why := d.f.Missing["clock"]; why != "" {
		say(false, "clock", "%s: drivers' times are not used", why)
	}
	reading := func(check, unit string, r Reading[float64]) {
		if r.OK {
			say(true, check, "%.3f %s from %s", r.Value, unit, r.Source)
		} else {
			say(false, check, "%s", r.Reason)
		}
	}
	reading("processor", "%", s.CPU.Percent)
	if !s.CPU.Clusters.OK {
		say(false, "clusters", "%s", s.CPU.Clusters.Reason)
	}
	for _, c := range s.CPU.Clusters.Value {
		reading("cluster "+c.Name, "%", c.ActivePercent)
		if c.ActivePercent.OK && c.ActivePercent.Value > 0 {
			reading("frequency of "+c.Name, "MHz", c.FrequencyMegahertz)
			reading("realised frequency of "+c.Name, "MHz", c.RealisedMegahertz)
		}
	}
	reading("GPU", "%", s.GPU.ActivePercent)
	if s.GPU.FrequencyMegahertz.OK || !s.GPU.ActivePercent.OK || s.GPU.ActivePercent.Value > 0 {
		reading("frequency of GPU", "MHz", s.GPU.FrequencyMegahertz)
	}
	for _, r := range []struct {
		name string
		r    Reading[float64]
	}{{"CPU", s.Power.CPUWatts}, {"GPU", s.Power.GPUWatts}, {"ANE", s.Power.ANEWatts}, {"DRAM", s.Power.DRAMWatts}, {"package", s.Power.PackageWatts}, {"system", s.Power.SystemWatts}} {
		reading("power of "+r.name, "W", r.r)
	}
	reading("energy of system", "J", s.Energy.SystemJoules)
	reading("temperature of CPU", "°C", s.CPU.TemperatureCelsius)
	reading("temperature of GPU", "°C", s.GPU.TemperatureCelsius)
	if s.Fans.OK {
		say(true, "fans", "%.0f turns a minute", s.Fans.Value)
	} else {
		say(strings.Contains(s.Fans.Reason, noFans), "fans", "%s", s.Fans.Reason)
	}
	reading("ANE running", "%", s.ANE.RunningPercent)
	if s.Thermal.OK {
		say(true, "thermal state", "%v", s.Thermal.Value)
	} else {
		say(false, "thermal state", "%s", s.Thermal.Reason)
	}
	if s.PowerMode.OK {
		say(true, "power mode", "%v from %s", s.PowerMode.Value, s.PowerMode.Source)
	} else {
		say(false, "power mode", "%s", s.PowerMode.Reason)
	}
	if s.Memory.UsedBytes.OK {
		say(true, "memory", "%d MB of %d MB", s.Memory.UsedBytes.Value/1e6, s.Memory.Bytes.Value/1e6)
	} else {
		say(false, "memory", "%s", s.Memory.UsedBytes.Reason)
	}
	d.agree(s, now, say)
	return out
}

// agree compares what two sources say of the same.
func (d *decoder) agree(s Sample, now *frame, say func(bool, string, string, ...any)) {
	if len(d.cores.cores) > 0 && s.Window > 0 {
		core := d.cores.cores[0][0]
		held, window := core.total/24e6, s.Window.Seconds()
		say(math.Abs(held-window) <= 0.05*window, "time in states", "%s held its states for %.3f s of %.3f s", core.name, held, window)
	}
	if p, w := s.Power.PackageWatts, s.Power.SystemWatts; p.OK && w.OK {
		say(w.Value >= 0.8*p.Value, "power of the whole", "system %.1f W, package %.1f W", w.Value, p.Value)
	}
	if u, ok := now.GPU["Device Utilization %"]; ok && u > 0 && s.GPU.ActivePercent.OK {
		say(math.Abs(float64(u)-s.GPU.ActivePercent.Value) <= 25, "GPU by two sources", "states %.0f %%, driver %d %%", s.GPU.ActivePercent.Value, u)
	}
}
