package rayserve

import (
	"context"
	"errors"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// State is Ray's word for the state of an application.
type State string

// The states of an application (ray.serve.schema.ApplicationStatus).
// DEPLOY_FAILED does not mean that nothing answers: after a failed upgrade the
// old replicas do.
const (
	StateNotStarted   State = "NOT_STARTED"
	StateDeploying    State = "DEPLOYING"
	StateDeployFailed State = "DEPLOY_FAILED"
	StateRunning      State = "RUNNING"
	StateUnhealthy    State = "UNHEALTHY"
	StateDeleting     State = "DELETING"

	// StateRecovering is a word of ours: the application is kept, and Ray, which was
	// started again, does not have it yet.
	StateRecovering State = "RECOVERING"
)

// App is what Ray Serve knows of one application.
type App struct {
	Name        string
	RoutePrefix string
	Status      State
	Message     string // why it is not running, in one or a few lines; without tracebacks
	Source      string // "declarative" when it came over REST, "imperative" when from serve.run
	Deployed    time.Time
	Deployments []Deployment
	URL         string // where it answers: ServeURL and the route prefix

	// Of applications that Deploy made; empty for others.
	ModelURI    string
	TrackingURI string
	Metadata    map[string]string

	routed bool // Ray knows the route: the builder has run, now or before
}

// Deployment is one of an application's deployments.
type Deployment struct {
	Name     string
	Status   string // UPDATING, HEALTHY, UNHEALTHY, DEPLOY_FAILED, UPSCALING, DOWNSCALING
	Message  string
	Replicas int // that answer
	Target   int // that are wanted
}

// Serving reports whether a replica answers, or would be started for a
// request.
func (a App) Serving() bool {
	switch {
	case a.Status == StateRunning:
		return true
	case len(a.Deployments) == 0:
		// Ray lists no deployments while it builds an upgrade, and after that
		// fails; the old replicas answer. A first build has no route yet.
		return a.routed && a.Status != StateDeleting
	}
	return slices.ContainsFunc(a.Deployments, func(d Deployment) bool { return d.Replicas > 0 })
}

// Applications lists all applications of the cluster by name, those of
// serve.run and of others too. While Ray comes back, those that are kept for it
// are listed as [StateRecovering]; if it does not answer at all, they are followed
// by the error.
//
// Ray REST: GET /api/serve/applications/
func (c *Client) Applications(ctx context.Context) iter.Seq2[App, error] {
	return func(yield func(App, error) bool) {
		apps, _, err := c.look(ctx, "Applications")
		for _, a := range apps {
			if !yield(a, nil) {
				return
			}
		}
		if err != nil {
			yield(App{}, err)
		}
	}
}

// Application returns one application.
//
// The error matches [mlops.ErrNotFound] if there is none of that name.
//
// Ray REST: GET /api/serve/applications/
func (c *Client) Application(ctx context.Context, name string) (App, error) {
	return c.find(ctx, "Application", name)
}

// Returned lists the applications that Ray forgot when its head was stopped and
// that [Reapply] gave back to it, or has yet to, as they are now. One that was
// deployed since is not among them. If Ray does not answer, those that it was
// given back are listed as [StateRecovering], and the error matches
// [mlops.ErrUnavailable].
func (c *Client) Returned(ctx context.Context) ([]App, error) {
	if err := c.usable("Returned"); err != nil {
		return nil, err
	}
	if k, err := c.recall(); err != nil || len(k.Config.Applications) == 0 {
		return nil, err
	}
	apps, k, err := c.look(ctx, "Returned")
	return slices.DeleteFunc(apps, func(a App) bool {
		return (a.Status != StateRecovering || err != nil) && !slices.Contains(k.Returned, a.Name)
	}), err
}

func (c *Client) find(ctx context.Context, op, name string) (App, error) {
	apps, _, err := c.look(ctx, op)
	for _, a := range apps {
		if a.Name == name && (err == nil || a.Status != StateRecovering) {
			return a, nil
		}
	}
	if err != nil {
		return App{}, err
	}
	return App{}, failure(mlops.ErrNotFound, op, "no application %s is deployed", name)
}

// look returns what Ray has and, while it comes back, what is kept for it.
func (c *Client) look(ctx context.Context, op string) ([]App, keptApps, error) {
	why := "Ray was started again and does not have it yet"
	d, away := c.cluster(ctx, op)
	if away != nil {
		if !errors.Is(away, mlops.ErrUnavailable) && !errors.Is(away, context.DeadlineExceeded) {
			return nil, keptApps{}, away
		}
		why = "Ray does not answer"
	}
	var out []App
	for name, a := range d.Applications {
		out = append(out, c.application(name, a))
	}
	k, err := c.recall()
	if err != nil {
		return out, k, err
	}
	_, missing := restore(d, desired{}, k.Config)
	if len(missing.Applications) > 0 && away == nil {
		v, err := c.version(ctx, op)
		if err != nil && !errors.Is(err, mlops.ErrUnavailable) {
			return out, k, err
		}
		if v.Session == k.Session {
			missing = desired{} // they were taken away
		}
	}
	for _, raw := range missing.Applications {
		out = append(out, c.application(nameOf(raw), appDetails{
			Config: raw, Status: StateRecovering, Message: why,
		}))
	}
	slices.SortFunc(out, func(a, b App) int { return strings.Compare(a.Name, b.Name) })
	return out, k, away
}

// application puts Ray's words into ours.
func (c *Client) application(name string, a appDetails) App {
	out := App{
		Name: name, RoutePrefix: a.RoutePrefix, Status: a.Status, Source: a.Source,
		Message: readable(a.Message), routed: a.RoutePrefix != "",
	}
	if raw := orNone(a.Config); raw != nil {
		if out.RoutePrefix == "" { // not known to Ray until the builder has run
			out.RoutePrefix = routeOf(raw)
		}
		if importOf(raw) == importPath {
			args := argsOf(raw)
			out.ModelURI, out.TrackingURI, out.Metadata = args.ModelURI, args.TrackingURI, args.Metadata
		}
	}
	if out.RoutePrefix != "" {
		out.URL = c.serve.URL() + strings.TrimSuffix(out.RoutePrefix, "/")
	}
	if a.LastDeployed > 0 {
		sec, frac := math.Modf(a.LastDeployed)
		out.Deployed = time.Unix(int64(sec), int64(frac*1e9)).UTC()
	}
	for _, dn := range slices.Sorted(maps.Keys(a.Deployments)) {
		d := a.Deployments[dn]
		out.Deployments = append(out.Deployments, Deployment{
			Name: dn, Status: d.Status, Message: readable(d.Message), Replicas: d.running(), Target: d.Target,
		})
	}
	return out
}

// Cause is the most telling thing said about an application that is not
// running, "" if it runs: its deployments know more than the application, whose
// Message is "Failed to update the deployments".
func (a App) Cause() string {
	if a.Status == StateRunning {
		return ""
	}
	var said []string
	for _, d := range a.Deployments {
		if d.Message != "" && d.Status != "HEALTHY" {
			said = append(said, d.Message)
		}
	}
	if len(said) == 0 && a.Message != "" {
		said = append(said, a.Message)
	}
	return strings.Join(said, "; ")
}
