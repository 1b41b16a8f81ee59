package rayserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mlops-integration/mlops"
)

// DeployOptions say how Deploy waits.
type DeployOptions struct {
	NoWait  bool          // return when Ray has taken the configuration; a failure is then not undone
	Timeout time.Duration // for the application to run; 0: 10 min
	OnState func(App)     // called when status, message or replicas change

	// Admit is asked, with all other deployments kept out, about the application
	// of ours that has the name now; its error ends the deployment. Nil: any may
	// be replaced.
	Admit func(now App) error
}

// DeployError is why an application did not come to run. It is the Cause of
// the [mlops.Error] that Deploy returns.
type DeployError struct {
	App      string
	Status   State  // DEPLOY_FAILED, or where it was when the time ran out
	Reason   string // Ray's words, without tracebacks
	Restored string // the model URI of the configuration that was put back; empty when nothing was
	Restore  error  // why the configuration before could not be put back
}

// Error returns the reason and what serves now.
func (e *DeployError) Error() string {
	s := fmt.Sprintf("%s: %s", e.App, e.Reason)
	switch {
	case e.Restore != nil:
		s += fmt.Sprintf("; the version before could not be put back: %v", e.Restore)
	case e.Restored != "":
		s += fmt.Sprintf("; %s is put back and serves", e.Restored)
	}
	return s
}

// Unwrap returns why the configuration before could not be put back.
func (e *DeployError) Unwrap() error { return e.Restore }

// Deploy makes app what the cluster serves under its name, and waits until it
// runs. Other applications stay as they are. Deploying what runs already
// changes nothing.
//
// An upgrade keeps the old replicas answering until new ones are up. If it
// fails, or the time runs out, the configuration before is put back, and the
// error says why. A first deployment that fails is left for inspection;
// one whose time ran out may still come to run. When ctx ends, nothing is
// undone.
//
// The error holds a [*DeployError] if Ray gave up or the time ran out, and
// matches [mlops.ErrUnavailable] in the latter case. It matches
// [mlops.ErrConflict] if name or route belong to another application, or
// another program changed the application meanwhile.
//
// Ray REST: PUT /api/packages/gcs/{package}, GET and PUT /api/serve/applications/
func (c *Client) Deploy(ctx context.Context, app AppSpec, opt DeployOptions) (App, error) {
	const op = "Deploy"
	if err := c.usable(op); err != nil {
		return App{}, err
	}
	pkg, data, err := builder()
	if err != nil {
		return App{}, err
	}
	if c.opt.MLflow != "" && sameServer(app.TrackingURI, c.opt.MLflow) {
		app.TrackingURI = ""
	}
	cfg, err := app.config(op, "gcs://"+pkg)
	if err != nil {
		return App{}, err
	}
	orDefault(&opt.Timeout, 10*time.Minute)
	ctx, cancel := context.WithTimeoutCause(ctx, opt.Timeout, errTimeout)
	defer cancel()

	var mine, before json.RawMessage
	err = c.change(ctx, op, func(d details, base desired) (desired, error) {
		if err := d.free(op, cfg.Name, cfg.RoutePrefix); err != nil {
			return base, err
		}
		before = base.app(cfg.Name)
		if before != nil && opt.Admit != nil {
			if err := opt.Admit(c.application(cfg.Name, appDetails{Config: before, Status: d.Applications[cfg.Name].Status})); err != nil {
				return base, err
			}
		}
		if mine, err = cfg.after(before, d.Applications[cfg.Name].Status); err != nil {
			return base, err
		}
		switch d.Applications[cfg.Name].Status {
		case StateDeployFailed, StateNotStarted, StateDeleting:
			before = nil // not worth going back to
		}
		if err := c.keepPackage(pkg, data); err != nil {
			return base, err
		}
		return base.with(cfg.Name, mine), c.upload(ctx, op, pkg, data)
	}, func(d details) bool { return same(d.Applications[cfg.Name].Config, mine) })
	c.forget(cfg.Name)
	if err != nil {
		return App{}, err
	}
	if opt.NoWait {
		return c.find(ctx, op, cfg.Name)
	}
	last, err := c.await(ctx, op, cfg.Name, mine, opt.OnState)
	failed, ok := errors.AsType[*DeployError](err)
	if ok && before != nil && !same(before, mine) {
		failed.Restored, failed.Restore = c.restoreApp(ctx, op, cfg.Name, mine, before)
	}
	return last, err
}

var errTimeout = errors.New("the time ran out")

// after is the configuration to send when before is there. Ray does not try
// again what it has given up, so a repeated one gets a new number.
func (a appConfig) after(before json.RawMessage, status State) (json.RawMessage, error) {
	if before != nil {
		a.Args.Attempt = argsOf(before).Attempt
		raw, err := json.Marshal(a)
		if err == nil && same(raw, before) {
			if status != StateDeployFailed {
				return raw, nil
			}
			a.Args.Attempt++
			return json.Marshal(a)
		}
		a.Args.Attempt = 0
	}
	return json.Marshal(a)
}

// await waits until the application runs with the configuration mine.
func (c *Client) await(ctx context.Context, op, name string, mine json.RawMessage, onState func(App)) (App, error) {
	var last App
	missing := 0
	for {
		d, err := c.cluster(ctx, op)
		switch {
		case err != nil && ctx.Err() == nil && !errors.Is(err, mlops.ErrUnavailable):
			return last, err
		case err != nil: // Serve's controller may be coming back
		case orNone(d.Applications[name].Config) == nil:
			if missing++; missing > 2 {
				return last, failure(mlops.ErrConflict, op, "application %s was deleted while it was being deployed", name)
			}
		case !same(d.Applications[name].Config, mine):
			return last, failure(mlops.ErrConflict, op, "another deployment replaced application %s while it was being deployed", name)
		default:
			missing = 0
			now := c.application(name, d.Applications[name])
			if onState != nil && !sameState(last, now) {
				onState(now)
			}
			last = now
			switch now.Status {
			case StateRunning:
				return now, nil
			case StateDeployFailed:
				return now, &mlops.Error{Service: service, Op: op, Code: string(StateDeployFailed), Cause: &DeployError{
					App: name, Status: StateDeployFailed, Reason: reason(now, "Ray gives no reason; see the replica's log"),
				}}
			}
		}
		if cause := wait(ctx, c.opt.PollEvery); cause != nil {
			return last, stopped(op, name, cause, last)
		}
	}
}

// stopped is the error of a wait that ended early.
func stopped(op, name string, cause error, last App) error {
	why := reason(last, "Ray gives no reason yet")
	if !errors.Is(cause, errTimeout) {
		return &mlops.Error{Service: service, Op: op, Cause: cause, Message: fmt.Sprintf("%v; application %s is %s and continues: %s", cause, name, last.Status, why)}
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: service, Op: op, Cause: &DeployError{
		App: name, Status: last.Status, Reason: fmt.Sprintf("not running in time, still %s: %s", last.Status, why),
	}}
}

func reason(a App, none string) string {
	if s := a.Cause(); s != "" {
		return limit(s)
	}
	return none
}

func sameState(a, b App) bool {
	if a.Status != b.Status || a.Message != b.Message || len(a.Deployments) != len(b.Deployments) {
		return false
	}
	for i := range a.Deployments {
		if a.Deployments[i] != b.Deployments[i] {
			return false
		}
	}
	return true
}

// restoreApp puts the configuration before back, unless the application was
// changed meanwhile, and waits until it runs.
func (c *Client) restoreApp(ctx context.Context, op, name string, mine, before json.RawMessage) (model string, err error) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 2*time.Minute, errTimeout)
	defer cancel()
	err = c.change(ctx, op, func(_ details, base desired) (desired, error) {
		if !same(base.app(name), mine) {
			return base, failure(mlops.ErrConflict, op, "another program changed application %s", name)
		}
		return base.with(name, before), nil
	}, func(d details) bool { return same(d.Applications[name].Config, before) })
	if err != nil {
		return "", err
	}
	if _, err = c.await(ctx, op, name, before, nil); err != nil {
		return "", err
	}
	if model = argsOf(before).ModelURI; model == "" {
		model = "the version before"
	}
	return model, nil
}

// DeleteOptions say how Delete waits.
type DeleteOptions struct {
	NoWait  bool          // return when Ray has taken the configuration
	Timeout time.Duration // for the application to be gone; 0: 2 min
}

// Delete takes one application down and waits until it is gone. Serve itself
// and all other applications keep running.
//
// The error matches [mlops.ErrNotFound] if there is none of that name, and
// [mlops.ErrConflict] if another program declared it.
//
// Ray REST: GET and PUT /api/serve/applications/; DELETE would end all of Serve
func (c *Client) Delete(ctx context.Context, name string, opt DeleteOptions) error {
	const op = "Delete"
	if err := c.usable(op); err != nil {
		return err
	}
	orDefault(&opt.Timeout, 2*time.Minute)
	ctx, cancel := context.WithTimeoutCause(ctx, opt.Timeout, errTimeout)
	defer cancel()
	c.forget(name)
	err := c.change(ctx, op, func(d details, base desired) (desired, error) {
		raw := base.app(name)
		switch {
		case raw != nil && ours(raw):
			return base.with(name, nil), nil
		case raw != nil:
			return base, failure(mlops.ErrConflict, op, "application %s was declared by another program (import path %s)", name, importOf(raw))
		case d.Applications[name].Source == "imperative":
			return base, failure(mlops.ErrConflict, op, "application %s was started by serve.run; take it down there", name)
		}
		return base, failure(mlops.ErrNotFound, op, "no application %s is deployed", name)
	}, func(d details) bool { return orNone(d.Applications[name].Config) == nil })
	if err != nil || opt.NoWait {
		return err
	}
	for {
		d, err := c.cluster(ctx, op)
		if err != nil && ctx.Err() == nil && !errors.Is(err, mlops.ErrUnavailable) {
			return err
		}
		if _, there := d.Applications[name]; err == nil && !there {
			return nil
		}
		if cause := wait(ctx, c.opt.PollEvery); cause != nil {
			return &mlops.Error{Kind: mlops.ErrUnavailable, Service: service, Op: op, Cause: cause, Message: "application " + name + " is still being taken down"}
		}
	}
}
