package compose

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// Options say which stack is meant.
type Options struct {
	Home     string      // servers, data and state; empty means MLOPS_HOME, else ~/.mlops
	Command  string      // the mlopsctl that runs the supervisor and that tasks call; empty means this program
	Runtime  string      // ProcessRuntime or DockerRuntime; empty means the one this home had last, at first ProcessRuntime
	Engine   string      // Docker runtime: where the engine is, as in DOCKER_HOST; empty means the one that docker finds by itself
	Progress func(Event) // is told what happens while a call waits; may be nil
}

// Stack is the stack of one home. It holds no connection and needs no closing;
// it is safe for concurrent use.
type Stack struct {
	base
	runtime string                     // as asked for
	engine  string                     // likewise
	catalog func(light bool) []service // nil: the real one
}

// base is what both runtimes share.
type base struct {
	home     string
	command  string
	progress func(Event)
	timing   timing
}

// timing is how long the core waits for what.
type timing struct {
	poll     time.Duration // between two looks at a process, a log or a server that starts
	snapshot time.Duration // between two records of the process trees
	health   time.Duration // between two questions to a ready server
	answer   time.Duration // for the answer to one
	backoff  time.Duration // before the first restart, doubling
	longest  time.Duration // before any restart
	reset    time.Duration // of health, after which earlier deaths are forgotten
	stall    time.Duration // without log and processor time, after which a start is given up
	attempts int           // deaths in a row after which no restart is tried
	linger   time.Duration // for the port of a dead server to come free
	idle     time.Duration // after which a supervisor without services ends
}

var defaultTiming = timing{
	poll:     200 * time.Millisecond,
	snapshot: 2 * time.Second,
	health:   20 * time.Second,
	answer:   15 * time.Second,
	backoff:  time.Second,
	longest:  30 * time.Second,
	reset:    5 * time.Minute,
	stall:    4 * time.Minute,
	attempts: 8,
	linger:   5 * time.Second,
	idle:     30 * time.Second,
}

// State is how a service or the stack is.
type State string

// The states of a service. The stack as a whole is [StateHealthy] when all wanted
// services are ready, [StateStarting] while some are on their way, [StateDegraded] when
// one is in trouble, and [StateStopped] when none is wanted.
const (
	StateStopped   State = "stopped"
	StateWaiting   State = "waiting"   // for what it depends on
	StatePreparing State = "preparing" // folders, tables, environments
	StateStarting  State = "starting"  // the process runs and does not answer yet
	StateReady     State = "ready"
	StateUnhealthy State = "unhealthy" // the process runs and answers no more
	StateBackoff   State = "backoff"   // it died and is started again soon
	StateFailed    State = "failed"    // it is not tried again by itself
	StateStopping  State = "stopping"
	StateHealthy   State = "healthy"
	StateDegraded  State = "degraded"
)

// Event is a step of starting, stopping or setting up.
type Event struct {
	Time    time.Time `json:"time"`
	Service string    `json:"service,omitempty"`
	State   State     `json:"state,omitempty"`
	Message string    `json:"message,omitempty"`
}

// StartOptions say what to start. The zero value is everything.
type StartOptions struct {
	Services      []string      // names or groups, with what they depend on; none means all but optional ones that were not started yet
	WaitTimeout   time.Duration // how long all of it may take; 0 means 10 minutes
	KeepOnFailure bool          // leave running what was started although something failed
	Light         bool          // MLflow alone, on SQLite; process runtime only

	// Scale is how many containers of "airflow-worker" and "ray-worker" there
	// shall be; it is remembered. Docker runtime only.
	Scale map[string]int
}

// StopOptions say what to stop. The zero value is everything.
type StopOptions struct {
	Services []string // names or groups, without what depends on them; none means all
}

// Status is the stack at one moment.
type Status struct {
	Runtime    string           `json:"runtime"` // "process" or "docker"
	Home       string           `json:"home"`
	State      State            `json:"state"`
	Light      bool             `json:"light,omitempty"`
	Message    string           `json:"message,omitempty"`
	Services   []ServiceStatus  `json:"services"`
	Supervisor SupervisorStatus `json:"supervisor"`

	// Deployments are those that Ray forgot when it was stopped, and was given
	// again. The stack is Starting while one is on its way, and Degraded when
	// one did not come back.
	Deployments []DeploymentStatus `json:"deployments,omitempty"`
}

// SupervisorStatus is the process that watches the services.
type SupervisorStatus struct {
	PID   int       `json:"pid,omitempty"` // 0: none runs
	Since time.Time `json:"since,omitzero"`

	// Mended are files of its own that others changed or removed, and that it
	// wrote again, with the time.
	Mended []string `json:"mended,omitempty"`
}

// ServiceStatus is one service at one moment.
type ServiceStatus struct {
	Name     string         `json:"name"`
	Group    string         `json:"group,omitempty"`
	State    State          `json:"state"`
	PID      int            `json:"pid,omitempty"`
	Ports    map[string]int `json:"ports,omitempty"`
	URL      string         `json:"url,omitempty"`
	Restarts int            `json:"restarts"` // since it was last started by a user
	Since    time.Time      `json:"since,omitzero"`
	PSSBytes int64          `json:"pss_bytes,omitempty"` // of all its processes, shared pages in part
	Message  string         `json:"message,omitempty"`
}

// StartError is a start that failed.
type StartError struct {
	Service string
	Reason  string
	LogFile string
	Log     []string // the last lines of the service's log
}

// Error returns the reason, followed by the last lines of the log.
func (e *StartError) Error() string {
	msg := "compose: start: " + e.Service + ": " + e.Reason
	if len(e.Log) > 0 {
		msg += "\nthe last lines of " + e.LogFile + ":\n  " + strings.Join(e.Log, "\n  ")
	}
	return msg
}

// Unwrap makes the error match [mlops.ErrUnavailable].
func (e *StartError) Unwrap() error { return mlops.ErrUnavailable }

// New returns the stack of a home. It starts nothing and makes no folder.
func New(opt Options) (*Stack, error) {
	s := &Stack{base: base{home: opt.Home, command: opt.Command, progress: opt.Progress, timing: defaultTiming}, runtime: opt.Runtime, engine: opt.Engine}
	var err error
	if s.home == "" {
		if s.home, err = mlops.Home(); err != nil {
			return nil, err
		}
	}
	if s.command == "" {
		if s.command, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("where this program lies: %w", err)
		}
	}
	return s, nil
}

// tell reports progress.
func (s *base) tell(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if s.progress != nil {
		s.progress(e)
	}
}

// Start brings up what is wanted and not there, waits until it is ready, and
// returns the stack's status. What runs already keeps running; if everything
// does, nothing is done. Environments that are missing are made first.
//
// If something does not become ready, or ctx ends, what this call started is
// stopped again, unless KeepOnFailure; the error is a [*StartError] then. A
// deployment that does not come back stops nothing: the status names it.
func (s *Stack) Start(ctx context.Context, opt StartOptions) (Status, error) {
	if err := s.settle(ctx); err != nil {
		return Status{}, err
	}
	if opt.WaitTimeout <= 0 {
		opt.WaitTimeout = 10 * time.Minute
	}
	ends := time.Now().Add(opt.WaitTimeout)
	r, err := s.carrier()
	if err != nil {
		return Status{}, err
	}
	st, err := r.start(ctx, opt)
	if err != nil {
		return st, err
	}
	return s.awaitDeployments(ctx, st, time.Until(ends))
}

// Stop ends what is wanted to end, dependents first, and waits until no
// process of it is left. Nothing running is no error. An optional service that
// is named does not come back with the next Start of all.
func (s *Stack) Stop(ctx context.Context, opt StopOptions) error {
	r, err := s.carrier()
	if err != nil {
		return err
	}
	return r.stop(ctx, opt)
}

// Restart stops what is named and starts it again; none named means what runs,
// else everything.
func (s *Stack) Restart(ctx context.Context, opt StartOptions) (Status, error) {
	before, err := s.Status(ctx)
	if err != nil {
		return Status{}, err
	}
	if len(opt.Services) == 0 {
		opt.Light = opt.Light || before.Light
		for _, v := range before.Services {
			if v.State != StateStopped && !opt.Light {
				opt.Services = append(opt.Services, v.Name)
			}
		}
	}
	stop := StopOptions{Services: opt.Services}
	if before.Light != opt.Light {
		stop.Services = nil
	}
	if err := s.Stop(ctx, stop); err != nil {
		return Status{}, err
	}
	return s.Start(ctx, opt)
}

// Status asks the supervisor how the services are. Without a supervisor it
// looks for their processes itself. Of containers it asks the engine. Of
// deployments that were given back to Ray it asks Ray, for 8 s at most.
func (s *Stack) Status(ctx context.Context) (Status, error) {
	r, err := s.carrier()
	if err != nil {
		return Status{}, err
	}
	st, err := r.status(ctx)
	if err != nil {
		return st, err
	}
	within, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	return s.withDeployments(within, st), nil
}

// Destroy removes what the containers of this stack leave when they stop: them,
// their networks, their volumes with all data in them, and the images that no
// other stack uses. Of a [Stack.Twin] it removes the home, too, and no image. Of
// the process runtime only a twin can be destroyed; of any other stack the error
// names all of its [Stack.Places], and matches [mlops.ErrUnsupported].
func (s *Stack) Destroy(ctx context.Context) error {
	r, err := s.carrier()
	if err != nil {
		return err
	}
	return r.destroy(ctx)
}

// Plan returns what Start would do now. It changes nothing.
func (s *Stack) Plan(ctx context.Context, opt StartOptions) (Plan, error) {
	r, err := s.carrier()
	if err != nil {
		return Plan{}, err
	}
	before, err := readState(s.home)
	if err != nil {
		return Plan{}, err
	}
	want, err := toStart(r.services(opt.Light), opt.Services, before.Optional)
	if err != nil {
		return Plan{}, err
	}
	st, err := s.Status(ctx)
	if err != nil {
		return Plan{}, err
	}
	if err := modeConflict(st, opt.Light); err != nil {
		return Plan{}, err
	}
	return plan(want, st), nil
}
