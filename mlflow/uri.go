package mlflow

import (
	"context"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
)

// place is what an artifact address names before the server is asked.
type place struct {
	scheme  string // "proxy", "store", "run", "model", "version", "alias"
	id      string // of the run or the logged model; the registered model's name
	version string // or alias
	path    string // within it, clean, "" for the root
}

// parsePlace reads the addresses that artifacts have:
//
//	<run ID or UID>            runs:/<run>/path
//	mlflow-artifacts:/path     mlflow-artifacts://host/path
//	models:/m-…/path           models:/name/version/path     models:/name@alias/path
//	s3://bucket/path           and whatever other scheme is in stores
//
// host is the server's own; an artifact URI that names another is not ours.
func parsePlace(of, host string, stores ...string) (place, error) {
	const op = "Artifacts"
	scheme, rest, isURI := strings.Cut(of, ":")
	if !isURI {
		if of == "" || strings.ContainsAny(of, "/?#%") {
			return place{}, invalid(op, "%q is neither a run nor an artifact URI", of)
		}
		return place{scheme: "run", id: of}, nil
	}
	if slices.Contains(stores, scheme) && scheme != proxied && scheme != "runs" && scheme != "models" {
		if slices.Contains(strings.Split(rest, "/"), "..") {
			return place{}, invalid(op, "URI %q is not allowed", of)
		}
		return place{scheme: "store", path: strings.TrimRight(of, "/")}, nil
	}
	if strings.HasPrefix(rest, "//") {
		u, err := url.Parse(of)
		if err != nil || scheme != proxied || (u.Host != "" && u.Host != host) {
			return place{}, unsupportedURI(of)
		}
		rest = u.Path
	}
	rest, err := cleanPath(strings.TrimPrefix(rest, "/"))
	if err != nil {
		return place{}, err
	}
	first, inner, _ := strings.Cut(rest, "/")
	switch {
	case scheme == proxied:
		return place{scheme: "proxy", path: rest}, nil
	case scheme == "runs" && first != "":
		return place{scheme: "run", id: first, path: inner}, nil
	case scheme == "models" && strings.HasPrefix(first, "m-") && len(first) == 34 && isUID(first[2:]):
		return place{scheme: "model", id: first, path: inner}, nil
	case scheme == "models" && strings.Contains(first, "@"):
		i := strings.LastIndex(first, "@")
		if name, alias := first[:i], first[i+1:]; name != "" && alias != "" {
			return place{scheme: "alias", id: name, version: alias, path: inner}, nil
		}
	case scheme == "models" && first != "" && inner != "":
		v, inner, _ := strings.Cut(inner, "/")
		return place{scheme: "version", id: first, version: v, path: inner}, nil
	case scheme != "runs" && scheme != "models":
		return place{}, unsupportedURI(of)
	}
	return place{}, invalid(op, "URI %q: want runs:/run/path, models:/name/version or models:/name@alias", of)
}

// cleanPath takes an artifact path to its plain form and refuses what leads
// out of its folder.
func cleanPath(p string) (string, error) {
	if p == "" || p == "." {
		return "", nil
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." || strings.ContainsAny(part, "\\\x00") {
			return "", invalid("Artifacts", "path %q is not allowed", p)
		}
	}
	if strings.HasPrefix(p, "/") {
		return "", invalid("Artifacts", "path %q: want one relative to the root of the artifacts", p)
	}
	c := path.Clean(p)
	if c == "." {
		return "", nil
	}
	return c, nil
}

// root finds the address of what of names, following runs, versions and logged
// models to their artifact URI.
func (a *artifacts) root(ctx context.Context, of string) (string, error) {
	if a == nil {
		return "", (*Client)(nil).usable("Artifacts")
	}
	host := ""
	if u, err := url.Parse(a.c.URL()); err == nil {
		host = u.Host
	}
	stores := slices.Collect(maps.Keys(a.opt.Stores))
	inner := ""
	for range 5 { // an alias leads to a version, to a logged model, to its URI
		p, err := parsePlace(of, host, stores...)
		if err != nil {
			return "", err
		}
		if p.scheme == "store" {
			return join(p.path, inner), nil
		}
		inner = path.Join(p.path, inner)
		switch p.scheme {
		case "proxy":
			return proxied + ":/" + inner, nil
		case "run":
			r, rerr := a.c.RunInfo(ctx, p.id)
			of, err = r.ArtifactURI, rerr
		case "model":
			m, merr := a.c.LoggedModels.Get(ctx, p.id)
			of, err = m.ArtifactURI, merr
		case "version":
			v, verr := a.c.Models.Version(ctx, p.id, p.version)
			of, err = v.Source, verr
		case "alias":
			v, verr := a.c.Models.VersionByAlias(ctx, p.id, p.version)
			of, err = v.Source, verr
		}
		if err != nil {
			return "", err
		}
	}
	return "", invalid("Artifacts", "%q leads nowhere: its sources point at each other", of)
}
