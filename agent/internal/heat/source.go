package heat

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/internal/trust"
)

// limit is more than any source has to say.
const limit = 4096

// lowBattery is the charge, in percent, from which energy is short.
const lowBattery = 20

// Apple is what a Mac says of itself.
type Apple struct {
	Machine *applesilicon.Machine
}

// Read returns the thermal state, and whether the Mac saves power.
func (a Apple) Read(ctx context.Context) Reading {
	s, err := a.Machine.Read(ctx)
	if err != nil {
		return Reading{Reason: err.Error()}
	}
	return ofSample(s)
}

func ofSample(s applesilicon.Sample) Reading {
	r := Reading{Reason: s.Thermal.Reason}
	if s.Thermal.OK {
		r.State, r.Reason = s.Thermal.Value, "the Mac's thermal state"
	}
	if r.Watts = s.Power.SystemWatts.Value; !s.Power.SystemWatts.OK {
		r.Watts = s.Power.PackageWatts.Value // 0 if it is not OK either
	}
	empty := s.Battery.OnBattery.OK && s.Battery.OnBattery.Value && s.Battery.ChargePercent.OK && s.Battery.ChargePercent.Value < lowBattery
	switch {
	case s.PowerMode.OK && s.PowerMode.Value == applesilicon.PowerLow:
		r.Short, r.Reason = true, join(r.Reason, "low-power mode")
	case empty:
		r.Short, r.Reason = true, join(r.Reason, "the battery is nearly empty")
	}
	return r
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + ", " + b
}

// File is a file whose first word is the state: what another program measures.
type File struct {
	Path string
}

// Read returns the state that stands in the file.
func (f File) Read(context.Context) Reading {
	b, err := trust.ReadFile(f.Path, limit)
	if err != nil {
		return Reading{Reason: err.Error()}
	}
	return word(string(b), f.Path)
}

// Command is a program that prints the state.
type Command struct {
	Path    string
	Timeout time.Duration // 0: 5 s
}

// Read runs the program and returns the state that it prints.
func (c Command) Read(ctx context.Context) Reading {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Path)
	cmd.WaitDelay = time.Second // for its children, which may keep the pipe
	var out strings.Builder
	cmd.Stdout = &limited{w: &out, left: limit}
	if err := cmd.Run(); err != nil {
		return Reading{Reason: c.Path + ": " + err.Error()}
	}
	return word(out.String(), c.Path)
}

// limited takes so many bytes and no more.
type limited struct {
	w    *strings.Builder
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("it prints too much")
	}
	l.left -= len(p)
	return l.w.Write(p)
}
