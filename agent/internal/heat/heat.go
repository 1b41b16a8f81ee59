// Package heat reads how hot this machine is, and whether its energy is short,
// from all that can tell: the hottest word counts.
package heat

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// Reading is what one source says. The zero value is "not measured".
type Reading struct {
	State  applesilicon.ThermalState
	Short  bool    // of energy: low-power mode, or a battery that is nearly empty
	Watts  float64 // that the machine draws; 0: not measured
	Reason string  // what was read, or why nothing was
}

// Source reads one sign of heat or of energy.
type Source interface {
	Read(ctx context.Context) Reading
}

// Judge is all sources of a machine.
type Judge []Source

// Read returns the hottest state that a source tells, whether energy is short by
// any of them, and the power that is drawn.
func (j Judge) Read(ctx context.Context) Reading {
	out := Reading{Reason: "not measured"}
	var short string
	for _, s := range j {
		r := s.Read(ctx)
		out.Watts = max(out.Watts, r.Watts)
		if r.Short && short == "" {
			short = r.Reason
		}
		if r.State > out.State {
			out.State, out.Reason = r.State, r.Reason
		}
	}
	if short != "" {
		out.Short = true
		if short != out.Reason {
			out.Reason += ", " + short
		}
	}
	return out
}

// Ordered is what was read, or the state that a person ordered: while the order
// holds it decides alone, but for the power that is drawn.
func Ordered(home string, now time.Time, r Reading) Reading {
	order, err := fairfile.ReadHeat(home)
	if err != nil {
		r.Reason += "; " + err.Error()
		return r
	}
	if state, ok := Parse(order.State); ok && order.Holds(now) {
		return Reading{State: state, Watts: r.Watts, Reason: fmt.Sprintf("set by hand until %s", order.Until.Local().Format("15:04"))}
	}
	return r
}

// Parse returns the state of that name.
func Parse(name string) (applesilicon.ThermalState, bool) {
	for s := applesilicon.ThermalNominal; s <= applesilicon.ThermalCritical; s++ {
		if s.String() == name {
			return s, true
		}
	}
	return applesilicon.ThermalUnknown, false
}

// word is the reading of a text whose first word is a state.
func word(text, of string) Reading {
	if first := strings.Fields(text); len(first) > 0 {
		if state, ok := Parse(strings.ToLower(first[0])); ok {
			return Reading{State: state, Reason: of}
		}
	}
	return Reading{Reason: of + " says none of nominal, fair, serious, critical"}
}
