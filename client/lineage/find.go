package lineage

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/rayserve"
)

var (
	runID    = regexp.MustCompile(`^[0-9a-f]{32}$`)
	dataHash = regexp.MustCompile(`^[0-9a-f]{32}\.dir$`)
	commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)
	modelID  = regexp.MustCompile(`^m-[0-9a-f]{32}$`)
	version  = regexp.MustCompile(`^[^/:]+/[0-9]+$`)
	dagRun   = regexp.MustCompile(`^[A-Za-z0-9_.~-]+/[A-Za-z0-9_.~:+-]+$`)
	snapshot = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	runPage  = regexp.MustCompile(`/runs/([0-9a-f]{32})(?:/|$)`)
)

// find is the node of what a person named.
func (w *walker) find(ctx context.Context, thing string) (Node, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(thing, "models:/"), "runs:/")
	switch {
	case strings.HasPrefix(thing, "http://") || strings.HasPrefix(thing, "https://"):
		return w.findURL(ctx, thing)
	case dataHash.MatchString(name):
		return Node{Kind: KindData, Name: name}, nil
	case commitID.MatchString(name):
		return Node{Kind: KindCommit, Name: name}, nil
	case modelID.MatchString(name):
		_, err := w.c.MLflow.LoggedModels.Get(ctx, name)
		return Node{Kind: KindModel, Name: name}, err
	case snapshot.MatchString(name):
		return w.findSnapshot(ctx, name)
	case runID.MatchString(name):
		r, err := w.run(ctx, name)
		if errors.Is(err, mlops.ErrNotFound) && name == thing {
			return Node{Kind: KindData, Name: name}, nil
		}
		n := w.runNode(r)
		n.Gone = false // what was asked for is followed, deleted or not
		return n, err
	case strings.Contains(name, "@"), version.MatchString(name):
		v, err := w.c.ModelVersion(ctx, name)
		if err == nil || thing != name {
			return versionNode(v), err
		}
		if !errors.Is(err, mlops.ErrNotFound) && !errors.Is(err, mlops.ErrInvalid) {
			return Node{}, err
		}
	}
	if n, ok, err := w.findPath(ctx, thing); ok || err != nil {
		return n, err
	}
	if n, ok, err := w.findDeployment(ctx, func(a rayserve.App) bool { return a.Name == thing }); ok || err != nil {
		return n, err
	}
	if n, ok, err := w.findDeployment(ctx, func(a rayserve.App) bool { return strings.HasSuffix(a.Name, "."+thing) }); ok || err != nil {
		return n, err
	}
	if n := (Node{Kind: KindDAGRun, Name: thing}); dagRun.MatchString(thing) {
		dag, run, _ := strings.Cut(thing, "/")
		_, err := w.c.Airflow.Runs.Get(ctx, dag, run)
		if err == nil || errors.Is(err, mlops.ErrNotFound) && w.named(ctx, n) {
			return n, nil
		}
		if !errors.Is(err, mlops.ErrNotFound) {
			return Node{}, err
		}
	}
	return Node{}, notFound(thing)
}

// named reports whether a run names the DAG run n, which Airflow has forgotten.
func (w *walker) named(ctx context.Context, n Node) bool {
	look := &walker{c: w.c, most: 2, nodes: map[string]*Node{}, edges: map[Edge]bool{}, gaps: map[Gap]bool{}}
	look.runsOfDAGRun(ctx, n)
	return len(look.edges) > 0
}

func notFound(thing string) error {
	return &mlops.Error{Kind: mlops.ErrNotFound, Message: fmt.Sprintf("nothing is called %.200q; name a run's ID, model/version, model@alias, a deployment or its URL, a tracked path, a hash of DVC, a commit, dag/run, or the ID of a drift snapshot", thing)}
}

// findSnapshot looks for a drift snapshot in all projects.
func (w *walker) findSnapshot(ctx context.Context, id string) (Node, error) {
	for p, err := range w.c.Evidently.Projects(ctx) {
		if err != nil {
			return Node{}, err
		}
		for s, err := range w.c.Evidently.Snapshots(ctx, p.ID) {
			if err != nil {
				return Node{}, err
			}
			if s.ID == id {
				return driftNode(s), nil
			}
		}
	}
	return Node{}, notFound(id)
}

// findURL is the deployment that answers at an address, or the run of a page of
// MLflow's.
func (w *walker) findURL(ctx context.Context, thing string) (Node, error) {
	u, err := url.Parse(thing)
	if err != nil {
		return Node{}, notFound(thing)
	}
	if m := runPage.FindStringSubmatch(u.Fragment + u.Path); m != nil {
		return w.find(ctx, "runs:/"+m[1])
	}
	apps, err := w.applications(ctx)
	if err != nil {
		return Node{}, err
	}
	if a, ok := serving(apps, u); ok {
		return deploymentNode(a), nil
	}
	return Node{}, notFound(thing)
}

// serving is the application that answers at an address: the one with the longest
// route, as Serve chooses.
func serving(apps []rayserve.App, at *url.URL) (found rayserve.App, ok bool) {
	longest := -1
	for _, a := range apps {
		own, err := url.Parse(a.URL)
		if err != nil || a.URL == "" || own.Host != at.Host {
			continue
		}
		route := strings.TrimSuffix(own.Path, "/")
		rest, below := strings.CutPrefix(at.Path, route)
		if below && (rest == "" || rest[0] == '/') && len(route) > longest {
			found, ok, longest = a, true, len(route)
		}
	}
	return found, ok
}

func (w *walker) findDeployment(ctx context.Context, is func(rayserve.App) bool) (Node, bool, error) {
	apps, err := w.applications(ctx)
	if err != nil {
		return Node{}, false, err
	}
	var found []rayserve.App
	for _, a := range apps {
		if is(a) {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 0:
		return Node{}, false, nil
	case 1:
		return deploymentNode(found[0]), true, nil
	}
	return Node{}, false, &mlops.Error{Kind: mlops.ErrInvalid, Message: fmt.Sprintf("%s and %s are called so; give the whole name", found[0].Name, found[1].Name)}
}

// findPath is the data of a path that DVC tracks.
func (w *walker) findPath(ctx context.Context, thing string) (Node, bool, error) {
	path := thing
	if !filepath.IsAbs(path) {
		path = filepath.Join(w.c.Dir, path)
	}
	path = strings.TrimSuffix(path, ".dvc")
	if _, err := os.Stat(path); err != nil {
		if _, err := os.Stat(path + ".dvc"); err != nil {
			return Node{}, false, nil //nolint:nilerr // it is no path
		}
	}
	d, err := client.DataIn(w.c.Dir)
	if err != nil {
		return Node{}, false, err
	}
	v, err := d.Version(ctx, path)
	if errors.Is(err, mlops.ErrNotFound) {
		return Node{}, false, nil // it may be the name of something else
	}
	return Node{Kind: KindData, Name: v.Hash, Facts: map[string]string{"path": thing}}, err == nil, err
}
