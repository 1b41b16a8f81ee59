package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/mlops-integration/mlops/fair"
)

// Record is one event of what Run simulates.
type Record struct {
	T       float64 `json:"t"` // seconds since the trace began
	Project string  `json:"project"`
	Event   string  `json:"event"` // "ready", "start", "end"
	Slots   int     `json:"slots"`
}

func (w *world) tell(p *project, event string, slots int) {
	if w.Each != nil {
		w.Each(&Record{T: w.at.Seconds(), Project: p.name, Event: event, Slots: slots})
	}
}

// Replay decides the looks of a trace again, one JSON document a line as
// [fair.Look] is written, and returns how many there were. It ends at the first
// that comes out otherwise.
func Replay(trace io.Reader) (int, error) {
	var turns fair.Turns
	lines := json.NewDecoder(trace)
	for n := 0; ; n++ {
		var l fair.Look
		switch err := lines.Decode(&l); {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, fmt.Errorf("look %d: %w", n+1, err)
		}
		var slots []int
		for _, s := range turns.Divide(l.At, l.Budget, l.Projects, l.Demand, l.Rules) {
			slots = append(slots, s.Slots)
		}
		if !slices.Equal(slots, l.Slots) {
			return n, fmt.Errorf("look %d at %s: decided %v, the trace has %v", n+1, l.At.Format("15:04:05.000"), slots, l.Slots)
		}
	}
}
