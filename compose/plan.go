package compose

import (
	"fmt"

	"github.com/mlops-integration/mlops"
)

// Plan is what has to be done so that what is wanted runs, in order.
type Plan struct {
	Steps []Step `json:"steps"`
}

// Step is what has to be done for one service.
type Step struct {
	Action  string `json:"action"` // "start", "keep", "restart" or "adopt"
	Service string `json:"service"`
	Reason  string `json:"reason,omitempty"`
}

// Changes reports whether the plan starts or restarts anything.
func (p Plan) Changes() bool {
	for _, s := range p.Steps {
		if s.Action != "keep" {
			return true
		}
	}
	return false
}

// plan compares what is wanted with what was seen. It decides and does
// nothing, so that any runtime can carry it out.
func plan(desired []service, observed Status) Plan {
	seen := map[string]ServiceStatus{}
	for _, v := range observed.Services {
		seen[v.Name] = v
	}
	var p Plan
	for _, d := range desired {
		o := seen[d.name]
		step := Step{Service: d.name}
		switch o.State {
		case StateReady, StateStarting, StateWaiting, StatePreparing:
			step.Action, step.Reason = "keep", fmt.Sprintf("%s, pid %d", o.State, o.PID)
			if o.PID == 0 {
				step.Reason = string(o.State)
			}
			if observed.Runtime != DockerRuntime && observed.Supervisor.PID == 0 { // the engine watches containers
				step.Action, step.Reason = "adopt", fmt.Sprintf("runs as pid %d and no supervisor watches it", o.PID)
			}
		case StateUnhealthy:
			step.Action, step.Reason = "restart", fmt.Sprintf("pid %d does not answer: %s", o.PID, o.Message)
		case StateBackoff, StateFailed:
			step.Action, step.Reason = "start", o.Message
		default:
			step.Action, step.Reason = "start", "not running"
		}
		p.Steps = append(p.Steps, step)
	}
	return p
}

// modeConflict refuses to mix the light and the whole stack: their MLflow
// keeps its records in different databases.
func modeConflict(st Status, light bool) error {
	if st.State == StateStopped || st.State == "" || st.Light == light {
		return nil
	}
	mode := "whole stack, on PostgreSQL,"
	if st.Light {
		mode = "light stack, on SQLite,"
	}
	return &mlops.Error{Kind: mlops.ErrConflict, Service: "compose", Op: "start", Message: "the " + mode + " runs; run: mlopsctl stop"}
}
