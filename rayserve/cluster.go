package rayserve

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

const applicationsPath = "/api/serve/applications/" // without the slash at its end it is a 404

// details is what Ray reports of Serve (ServeInstanceDetails). Before Serve
// runs, most of it is absent. What we only pass on stays as it came.
type details struct {
	ProxyLocation  json.RawMessage       `json:"proxy_location"`
	HTTPOptions    json.RawMessage       `json:"http_options"`
	GRPCOptions    json.RawMessage       `json:"grpc_options"`
	TargetCapacity json.RawMessage       `json:"target_capacity"`
	Applications   map[string]appDetails `json:"applications"`
}

type appDetails struct {
	Name         string                       `json:"name"`
	RoutePrefix  string                       `json:"route_prefix"`
	Status       State                        `json:"status"`
	Message      string                       `json:"message"`
	LastDeployed float64                      `json:"last_deployed_time_s"`
	Config       json.RawMessage              `json:"deployed_app_config"`
	Source       string                       `json:"source"`
	Deployments  map[string]deploymentDetails `json:"deployments"`
}

type deploymentDetails struct {
	Name     string `json:"name"`
	Status   string `json:"status"`
	Message  string `json:"message"`
	Target   int    `json:"target_num_replicas"`
	Replicas []struct {
		State string `json:"state"`
	} `json:"replicas"`
}

// running counts the replicas that answer.
func (d deploymentDetails) running() int {
	n := 0
	for _, r := range d.Replicas {
		if r.State == "RUNNING" {
			n++
		}
	}
	return n
}

// desired is the body of a PUT (ServeDeploySchema). Applications keep the
// bytes in which they came.
type desired struct {
	ProxyLocation  json.RawMessage   `json:"proxy_location,omitempty"`
	HTTPOptions    json.RawMessage   `json:"http_options,omitempty"`
	GRPCOptions    json.RawMessage   `json:"grpc_options,omitempty"`
	TargetCapacity json.RawMessage   `json:"target_capacity,omitempty"`
	Applications   []json.RawMessage `json:"applications"`
}

// cluster asks Ray for everything about Serve.
//
// Ray REST: GET /api/serve/applications/
func (c *Client) cluster(ctx context.Context, op string) (details, error) {
	if err := c.usable(op); err != nil {
		return details{}, err
	}
	return transport.Do[details](ctx, c.t, transport.Call{Op: op, Method: "GET", Path: applicationsPath, Idempotent: true})
}

// put sends the configuration of the whole cluster. The same body twice is
// the same as once.
//
// Ray REST: PUT /api/serve/applications/
func (c *Client) put(ctx context.Context, op string, d desired) error {
	_, err := transport.Do[transport.None](ctx, c.t, transport.Call{Op: op, Method: "PUT", Path: applicationsPath, Body: d, Idempotent: true})
	return err
}

// declared is the configuration that, sent, changes nothing: the
// applications that were declared over REST, by name. Those of serve.run are
// not among them; Ray leaves them alone.
func (d details) declared() desired {
	out := desired{
		ProxyLocation:  orNone(d.ProxyLocation),
		HTTPOptions:    orNone(d.HTTPOptions),
		GRPCOptions:    orNone(d.GRPCOptions),
		TargetCapacity: orNone(d.TargetCapacity),
		Applications:   []json.RawMessage{},
	}
	for _, name := range slices.Sorted(maps.Keys(d.Applications)) {
		if raw := orNone(d.Applications[name].Config); raw != nil {
			out.Applications = append(out.Applications, raw)
		}
	}
	return out
}

// orNone turns null into nothing: Ray tells unset from null.
func orNone(raw json.RawMessage) json.RawMessage {
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// with returns d with one application replaced or added, and all others as
// they are. A nil config takes it out.
func (d desired) with(name string, config json.RawMessage) desired {
	apps := make([]json.RawMessage, 0, len(d.Applications)+1)
	placed := config == nil
	for _, raw := range d.Applications {
		if nameOf(raw) != name {
			apps = append(apps, raw)
		} else if !placed {
			apps, placed = append(apps, config), true
		}
	}
	if !placed {
		apps = append(apps, config)
	}
	d.Applications = apps
	return d
}

// app returns the configuration of one application, nil if there is none.
func (d desired) app(name string) json.RawMessage {
	for _, raw := range d.Applications {
		if nameOf(raw) == name {
			return raw
		}
	}
	return nil
}

// names lists the applications of d.
func (d desired) names() []string {
	var out []string
	for _, raw := range d.Applications {
		out = append(out, nameOf(raw))
	}
	return out
}

// nameOf is the name in an application's configuration; Ray's default for a
// missing one is "default".
func nameOf(raw json.RawMessage) string {
	var c struct {
		Name *string `json:"name"`
	}
	if json.Unmarshal(raw, &c) != nil || c.Name == nil {
		return "default"
	}
	return *c.Name
}

func routeOf(raw json.RawMessage) string {
	c := struct {
		RoutePrefix *string `json:"route_prefix"`
	}{new("/")}
	if json.Unmarshal(raw, &c) != nil || c.RoutePrefix == nil {
		return ""
	}
	return *c.RoutePrefix
}

// ours reports whether an application was declared by this package or one of
// its relatives.
func ours(raw json.RawMessage) bool { return strings.HasPrefix(importOf(raw), "mlops_serve.") }

func importOf(raw json.RawMessage) string {
	var c struct {
		ImportPath string `json:"import_path"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return ""
	}
	return c.ImportPath
}

// same reports whether two configurations mean the same: 1 and 1.0 do, and
// so do keys in another order.
func same(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// settings fills in how Serve is started where it does not run yet.
func (c *Client) settings(d desired) (desired, error) {
	if d.HTTPOptions == nil {
		b, err := json.Marshal(struct {
			Host           string  `json:"host"` // Ray's default is 0.0.0.0
			Port           int     `json:"port"`
			RequestTimeout float64 `json:"request_timeout_s"` // without it a request to an application without replica hangs
		}{c.opt.ServeHost, c.port, 120})
		if err != nil {
			return d, err
		}
		d.HTTPOptions = b
	}
	if d.ProxyLocation == nil {
		d.ProxyLocation = json.RawMessage(`"HeadOnly"`)
	}
	return d, nil
}

// free finds what stands in the way of an application of that name and route.
func (d details) free(op, name, route string) error {
	for other, a := range d.Applications {
		switch {
		case other == name && a.Source == "imperative":
			return failure(mlops.ErrConflict, op, "application %s was started by serve.run; take it down there, or choose another name", name)
		case other == name && orNone(a.Config) != nil && !ours(a.Config):
			return failure(mlops.ErrConflict, op, "application %s was declared by another program (import path %s); choose another name", name, importOf(a.Config))
		case other != name && a.Status != StateDeleting && a.RoutePrefix == route:
			return failure(mlops.ErrConflict, op, "route %s belongs to application %s", route, other)
		case other != name && orNone(a.Config) != nil && routeOf(a.Config) == route:
			return failure(mlops.ErrConflict, op, "route %s belongs to application %s", route, other)
		}
	}
	return nil
}
