package compose

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestAPlanDoesWhatIsMissingAndNoMore(t *testing.T) {
	supervisor := SupervisorStatus{PID: 7}
	for _, tt := range []struct {
		name     string
		observed Status
		want     Step
		changes  bool
	}{
		{"nothing runs", Status{}, Step{"start", "app", "not running"}, true},
		{"it runs", Status{Supervisor: supervisor, Services: []ServiceStatus{{Name: "app", State: StateReady, PID: 42}}}, Step{"keep", "app", "ready, pid 42"}, false},
		{"it is on its way", Status{Supervisor: supervisor, Services: []ServiceStatus{{Name: "app", State: StateWaiting}}}, Step{"keep", "app", "waiting"}, false},
		{"nobody watches it", Status{Services: []ServiceStatus{{Name: "app", State: StateReady, PID: 42}}}, Step{"adopt", "app", "runs as pid 42 and no supervisor watches it"}, true},
		{"it hangs", Status{Supervisor: supervisor, Services: []ServiceStatus{{Name: "app", State: StateUnhealthy, PID: 42, Message: "answered 500"}}}, Step{"restart", "app", "pid 42 does not answer: answered 500"}, true},
		{"it was given up", Status{Supervisor: supervisor, Services: []ServiceStatus{{Name: "app", State: StateFailed, Message: "gave up"}}}, Step{"start", "app", "gave up"}, true},
		{"it is stopped", Status{Supervisor: supervisor, Services: []ServiceStatus{{Name: "app", State: StateStopped}}}, Step{"start", "app", "not running"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := plan([]service{{name: "app"}}, tt.observed)
			require.Equal(t, []Step{tt.want}, p.Steps)
			require.Equal(t, tt.changes, p.Changes())
		})
	}
}

func TestTheStateOfTheStackIsThatOfItsWorstService(t *testing.T) {
	for _, tt := range []struct {
		services []State
		want     State
	}{
		{nil, StateStopped},
		{[]State{StateStopped, StateStopped}, StateStopped},
		{[]State{StateReady, StateStopped}, StateHealthy},
		{[]State{StateReady, StateWaiting, StateReady}, StateStarting},
		{[]State{StateStarting, StateFailed, StatePreparing}, StateDegraded},
		{[]State{StateReady, StateBackoff}, StateDegraded},
		{[]State{StateUnhealthy}, StateDegraded},
	} {
		var s []ServiceStatus
		for _, st := range tt.services {
			s = append(s, ServiceStatus{State: st})
		}
		require.Equal(t, tt.want, overall(s), "%v", tt.services)
	}
}

func TestTheRealRecipesDependOnWhatThereIs(t *testing.T) {
	s := &Stack{}
	for _, light := range []bool{false, true} {
		before := map[string]bool{}
		numbers := map[int]string{}
		for _, v := range s.recipes(light) {
			for _, a := range v.after {
				require.True(t, before[a], "%s is listed before %s, which it waits for", v.name, a)
			}
			before[v.name] = true
			for _, p := range v.ports {
				require.Empty(t, numbers[p.first], "%s and %s want port %d", numbers[p.first], v.name, p.first)
				numbers[p.first] = v.name
			}
			if v.venv != "" {
				require.Contains(t, servers, v.venv)
			}
		}
	}
	light, err := toStart(s.recipes(true), nil, nil)
	require.NoError(t, err)
	require.Len(t, light, 1)
	_, err = resolve(s.recipes(true), []string{"ray"}, true)
	require.ErrorIs(t, err, mlops.ErrInvalid)
	airflow, err := resolve(s.recipes(false), []string{"airflow"}, true)
	require.NoError(t, err)
	require.Len(t, airflow, 5, "the four parts and the database")
}
