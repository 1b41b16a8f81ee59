package compose

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/mlops-integration/mlops"
)

// runtime carries out what a stack is asked for: in processes of this machine
// ([processes]) or in containers of an engine ([docker]).
type runtime interface {
	// services lists what it can run, in an order in which it can be started.
	services(light bool) []service

	start(context.Context, StartOptions) (Status, error)
	stop(context.Context, StopOptions) error
	status(context.Context) (Status, error) // without the deployments
	supervise(context.Context) error
	logs(context.Context, io.Writer, LogOptions) error

	setup(context.Context) error // what all its services need
	doctor(context.Context) ([]Finding, error)
	mend(context.Context) ([]Finding, error)

	link(original string) error    // uses what a twin's original has installed
	destroy(context.Context) error // of a twin everything, also its home

	projects() string // the folder whose projects tasks see; empty for all
	workplace(dir string) (Workplace, error)
}

// carrier returns the runtime of this stack: the one that was asked for, else
// the one that the home had last.
func (s *Stack) carrier() (runtime, error) {
	r, err := readDockerRecord(s.home)
	if err != nil {
		return nil, err
	}
	r.Engine = cmp.Or(s.engine, r.Engine)
	switch want := cmp.Or(s.runtime, r.Runtime, ProcessRuntime); want {
	case DockerRuntime:
		return &docker{&s.base, r}, nil
	case ProcessRuntime:
		return processes{s}, nil
	default:
		return nil, &mlops.Error{Kind: mlops.ErrInvalid, Service: "compose", Message: fmt.Sprintf("no runtime is called %q; there are process and docker", want)}
	}
}
