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
type Judge struct {
	Home    string // whose order of a person stands above what is measured
	Sources []Source
}

// Read returns the hottest state that a source tells, whether energy is short by
// any of them, and the power that is drawn. Of the state a person's order decides
// alone while it holds.
func (j Judge) Read(ctx context.Context, now time.Time) Reading {
	out := Reading{Reason: "not measured"}
	order, err := fairfile.ReadHeat(j.Home)
	if err != nil {
		out.Reason += ": " + err.Error()
	}
	var short string
	for _, s := range j.Sources {
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
	if state, ok := Parse(order.State); ok && order.Holds(now) {
		return Reading{State: state, Watts: out.Watts, Reason: fmt.Sprintf("set by hand until %s", order.Until.Local().Format("15:04"))}
	}
	return out
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
