package compose

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/rayserve"
)

// DeploymentStatus is a deployment that was given back to Ray.
type DeploymentStatus struct {
	Name    string `json:"name"`
	State   State  `json:"state"` // StateReady, StateStarting or StateFailed
	Message string `json:"message,omitempty"`
}

// withDeployments adds the deployments to a status. What cannot be asked now is
// on its way.
func (s *Stack) withDeployments(ctx context.Context, st Status) Status {
	c, err := s.serve(st)
	if err != nil {
		return withDeployment(st, DeploymentStatus{"deployments", StateFailed, err.Error()})
	}
	if c == nil {
		return st
	}
	apps, err := c.Returned(ctx)
	for _, a := range apps {
		st = withDeployment(st, deploymentOf(a))
	}
	if err != nil && !errors.Is(err, mlops.ErrUnavailable) {
		st = withDeployment(st, DeploymentStatus{"deployments", StateFailed, err.Error()})
	}
	return st
}

// withDeployment adds one deployment; it can make the stack worse, not better.
func withDeployment(st Status, d DeploymentStatus) Status {
	st.Deployments = append(st.Deployments, d)
	switch {
	case d.State == StateFailed && st.State != StateStopped:
		st.State = StateDegraded
	case d.State == StateStarting && st.State == StateHealthy:
		st.State = StateStarting
	}
	return st
}

func deploymentOf(a rayserve.App) DeploymentStatus {
	d := DeploymentStatus{Name: a.Name, State: StateStarting, Message: a.Cause()}
	switch a.Status {
	case rayserve.StateRunning:
		d.State = StateReady
	case rayserve.StateDeployFailed, rayserve.StateUnhealthy:
		d.State = StateFailed
	}
	return d
}

// serve returns a client of the stack's Ray, nil unless it is ready.
func (s *Stack) serve(st Status) (*rayserve.Client, error) {
	ready := slices.ContainsFunc(st.Services, func(v ServiceStatus) bool {
		return (v.Name == "ray" || v.Name == "ray-head") && v.State == StateReady
	})
	if !ready {
		return nil, nil
	}
	file, err := stackfile.Read(s.home)
	e, ok := file.Endpoints[stackfile.Ray]
	if err != nil || !ok {
		return nil, nil // it is stopped meanwhile
	}
	token, err := e.Secret()
	if err != nil {
		return nil, err
	}
	return rayserve.New(rayserve.Options{
		URL: e.URL, Auth: mlops.Auth{Token: token}, ServeURL: file.Endpoints[stackfile.Serve].URL,
		StateDir: file.ServeDir, MLflow: file.Endpoints[stackfile.MLflow].URL,
	})
}

// awaitDeployments waits until what Ray was given back has come to run, or will
// not. Time that runs out is no error: the status tells.
func (s *Stack) awaitDeployments(ctx context.Context, st Status, left time.Duration) (Status, error) {
	within, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	if c, err := s.serve(st); c != nil && err == nil {
		_ = rayserve.Reapply(within, c) // what an earlier start could not give back; Returned lists it
	}
	plain := st
	for told := ""; ; {
		st = s.withDeployments(within, plain)
		var behind []string
		for _, d := range st.Deployments {
			if d.State == StateStarting {
				behind = append(behind, d.Name)
			}
		}
		if len(behind) == 0 {
			return st, nil
		}
		if now := "waits for what was deployed: " + strings.Join(behind, ", "); now != told {
			told = now
			s.tell(Event{Service: "ray", State: StateStarting, Message: now})
		}
		select {
		case <-within.Done():
			return st, context.Cause(ctx) // nil if only the time ran out
		case <-time.After(time.Second):
		}
	}
}
