package rayserve

import (
	"context"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// Status is Ray's word for the state of an application.
type Status string

// The states of an application (ray.serve.schema.ApplicationStatus).
// DEPLOY_FAILED does not mean that nothing answers: after a failed upgrade the
// old replicas do.
const (
	NotStarted   Status = "NOT_STARTED"
	Deploying    Status = "DEPLOYING"
	DeployFailed Status = "DEPLOY_FAILED"
	Running      Status = "RUNNING"
	Unhealthy    Status = "UNHEALTHY"
	Deleting     Status = "DELETING"
)

// Application is what Ray Serve knows of one application.
type Application struct {
	Name        string
	RoutePrefix string
	Status      Status
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
func (a Application) Serving() bool {
	switch {
	case a.Status == Running:
		return true
	case len(a.Deployments) == 0:
		// Ray lists no deployments while it builds an upgrade, and after that
		// fails; the old replicas answer. A first build has no route yet.
		return a.routed && a.Status != Deleting
	}
	return slices.ContainsFunc(a.Deployments, func(d Deployment) bool { return d.Replicas > 0 })
}

// Applications lists all applications of the cluster by name, those of
// serve.run and of others too.
//
// Ray REST: GET /api/serve/applications/
func (c *Client) Applications(ctx context.Context) iter.Seq2[Application, error] {
	return func(yield func(Application, error) bool) {
		d, err := c.cluster(ctx, "Applications")
		if err != nil {
			yield(Application{}, err)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(d.Applications)) {
			if !yield(c.application(name, d.Applications[name]), nil) {
				return
			}
		}
	}
}

// Application returns one application.
//
// The error matches [mlops.ErrNotFound] if there is none of that name.
//
// Ray REST: GET /api/serve/applications/
func (c *Client) Application(ctx context.Context, name string) (Application, error) {
	return c.find(ctx, "Application", name)
}

func (c *Client) find(ctx context.Context, op, name string) (Application, error) {
	d, err := c.cluster(ctx, op)
	if err != nil {
		return Application{}, err
	}
	a, ok := d.Applications[name]
	if !ok {
		return Application{}, failure(mlops.ErrNotFound, op, "no application %s is deployed", name)
	}
	return c.application(name, a), nil
}

// application puts Ray's words into ours.
func (c *Client) application(name string, a appDetails) Application {
	out := Application{
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

// cause is the most telling thing said about an application that is not
// running: its deployments know more than "Failed to update the deployments".
func (a Application) cause() string {
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
