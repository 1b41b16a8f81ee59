package rayserve

import (
	"encoding/json"
	"net"
	"net/url"
)

// mended is k as Ray can be given it now: Serve listens where it does now, and
// the applications of ours run the embedded builder, which is kept with them.
func (c *Client) mended(k keptApps) (keptApps, error) {
	k.Config.HTTPOptions = edited(k.Config.HTTPOptions, func(o object) { o.set("port", c.port) })
	pkg, data, err := builder()
	if err != nil {
		return k, err
	}
	apps := k.Config.Applications
	k.Config.Applications = nil
	for _, raw := range apps {
		if importOf(raw) == importPath {
			if err := c.keepPackage(pkg, data); err != nil {
				return k, err
			}
			raw = c.mend(raw, "gcs://"+pkg)
		}
		k.Config.Applications = append(k.Config.Applications, raw)
	}
	return k, nil
}

// mend brings the kept configuration of a model up to date. Of the stack's own
// MLflow it names no address, because that may be a stranger's now: form 0
// named it, and so may have a client without Options.MLflow.
func (c *Client) mend(raw json.RawMessage, pkg string) json.RawMessage {
	args := argsOf(raw)
	if c.opt.MLflow != "" && (sameServer(args.TrackingURI, c.opt.MLflow) || args.Form == 0 && loopback(args.TrackingURI)) {
		args.TrackingURI = ""
	}
	return edited(raw, func(app object) {
		app["args"] = edited(app["args"], func(o object) {
			o.set("form", form)
			if args.TrackingURI == "" {
				delete(o, "tracking_uri")
			}
		})
		app["runtime_env"] = edited(app["runtime_env"], func(o object) {
			o.set("working_dir", pkg)
			if vars, ok := o["env_vars"]; ok {
				o["env_vars"] = edited(vars, func(vars object) {
					for name := range vars {
						if mlflowAddress.MatchString(name) {
							delete(vars, name)
						}
					}
				})
			}
		})
	})
}

// object is a JSON object whose other members stay as they came.
type object map[string]json.RawMessage

func (o object) set(key string, v any) {
	if b, err := json.Marshal(v); err == nil {
		o[key] = b
	}
}

// edited is raw after edit; what is no object stays as it is.
func edited(raw json.RawMessage, edit func(object)) json.RawMessage {
	var o object
	if json.Unmarshal(raw, &o) != nil || o == nil {
		return raw
	}
	edit(o)
	b, err := json.Marshal(o)
	if err != nil {
		return raw
	}
	return b
}

// sameServer reports whether two addresses are of one server; all names of the
// loopback interface are one.
func sameServer(a, b string) bool {
	x, y := serverOf(a), serverOf(b)
	return x != "" && x == y
}

// loopback reports whether an address is on this machine.
func loopback(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serverOf is scheme, host and port of an address, "" if it has none.
func serverOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return ""
	}
	host, port := u.Hostname(), u.Port()
	if isLoopback(host) {
		host = "127.0.0.1"
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(host, port)
}
