package lineage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

func versionNode(v mlflow.ModelVersion) Node {
	return Node{Kind: KindVersion, Name: v.Name + "/" + v.Version, Time: v.Created, Facts: map[string]string{"user": v.User, "status": string(v.Status)}}
}

// loggedModel is the logged model that a version is of: MLflow names it in the
// source, not in model_id.
func loggedModel(v mlflow.ModelVersion) string {
	if id, ok := strings.CutPrefix(v.Source, "models:/"); ok && strings.HasPrefix(id, "m-") && !strings.Contains(id, "/") {
		return id
	}
	return v.ModelID
}

func (w *walker) beforeVersion(ctx context.Context, n Node) {
	name, number := splitVersion(n.Name)
	v, err := w.c.MLflow.Models.Version(ctx, name, number)
	if w.failed(n, "it", err) {
		return
	}
	w.add(versionNode(v))
	model := loggedModel(v)
	switch {
	case model != "":
		_, err := w.c.MLflow.LoggedModels.Get(ctx, model)
		gone := errors.Is(err, mlops.ErrNotFound)
		w.join(Node{Kind: KindModel, Name: model, Gone: gone}, n, "the version's source", back)
		if w.failed(n, "model "+model, err) && v.RunID != "" {
			w.join(w.byRun(ctx, n, v.RunID), n, "the version's run_id", back)
		}
	case v.RunID != "":
		w.join(w.byRun(ctx, n, v.RunID), n, "the version's run_id", back)
	default:
		w.gap(n, "it names neither a run nor a logged model")
	}
}

func (w *walker) afterVersion(ctx context.Context, n Node) {
	name, number := splitVersion(n.Name)
	w.aliases(ctx, n)
	apps, err := w.applications(ctx)
	if w.failed(n, "what serves it", err) {
		return
	}
	for _, a := range apps {
		if a.Metadata["mlops.model"] == name && a.Metadata["mlops.model_version"] == number {
			w.join(n, deploymentNode(a), "the application's arguments", forward)
		}
	}
	v, err := w.c.MLflow.Models.Version(ctx, name, number)
	if w.failed(n, "it", err) || v.RunID == "" {
		return
	}
	if r, err := w.run(ctx, v.RunID); err == nil {
		w.drift(ctx, n, r.Tags["mlops.project"], func(s evidently.Snapshot) bool {
			return s.Metadata["mlops.model"] == name && s.Metadata["mlops.model_version"] == number
		})
	}
}

// aliases joins the aliases that name a version now.
func (w *walker) aliases(ctx context.Context, n Node) {
	name, number := splitVersion(n.Name)
	m, err := w.c.MLflow.Models.Get(ctx, name)
	if w.failed(n, "the model "+name, err) {
		return
	}
	for alias, at := range m.Aliases {
		if at == number {
			w.keepEdge(n, Node{Kind: KindAlias, Name: name + "@" + alias}, "the model's aliases")
		}
	}
}

func (w *walker) beforeAlias(ctx context.Context, n Node) {
	name, alias, _ := strings.Cut(n.Name, "@")
	v, err := w.c.MLflow.Models.VersionByAlias(ctx, name, alias)
	if !w.failed(n, "it", err) {
		w.join(versionNode(v), n, "the model's aliases", back)
	}
}

func (w *walker) applications(ctx context.Context) ([]rayserve.App, error) {
	return w.apps.get(func() ([]rayserve.App, error) { return mlops.Collect(w.c.Serve.Applications(ctx)) })
}

func deploymentNode(a rayserve.App) Node {
	return Node{Kind: KindDeployment, Name: a.Name, Time: a.Deployed, URL: a.URL, Facts: map[string]string{
		"status": string(a.Status), "project": a.Metadata["mlops.project"], "alias": a.Metadata["mlops.model_alias"],
	}}
}

func (w *walker) beforeDeployment(ctx context.Context, n Node) {
	a, ok := w.application(ctx, n)
	if !ok {
		return
	}
	name, number := a.Metadata["mlops.model"], a.Metadata["mlops.model_version"]
	if name == "" || number == "" {
		w.gap(n, "it names no model: mlopsctl deploy did not make it")
		return
	}
	v, err := w.c.MLflow.Models.Version(ctx, name, number)
	node := Node{Kind: KindVersion, Name: name + "/" + number, Gone: errors.Is(err, mlops.ErrNotFound)}
	if w.failed(n, "version "+node.Name, err) {
		w.join(node, n, "the application's arguments", back)
		if id := a.Metadata["mlops.run_id"]; id != "" {
			w.join(w.byRun(ctx, n, id), n, "the application's arguments", back)
		}
		return
	}
	w.join(versionNode(v), n, "the application's arguments", back)
	w.aliases(ctx, versionNode(v))
	alias := a.Metadata["mlops.model_alias"]
	if alias == "" {
		return
	}
	now, err := w.c.MLflow.Models.VersionByAlias(ctx, name, alias)
	switch {
	case errors.Is(err, mlops.ErrNotFound):
		w.gap(n, "the alias %s, by which it was deployed, is gone", alias)
	case w.failed(n, "the alias "+alias, err):
	case now.Version != number:
		w.gap(n, "the alias %s, by which it was deployed, names version %s now", alias, now.Version)
	}
}

func (w *walker) application(ctx context.Context, n Node) (rayserve.App, bool) {
	apps, err := w.applications(ctx)
	if w.failed(n, "it", err) {
		return rayserve.App{}, false
	}
	i := slices.IndexFunc(apps, func(a rayserve.App) bool { return a.Name == n.Name })
	if i < 0 {
		w.gap(n, "it is not served now")
		return rayserve.App{}, false
	}
	return apps[i], true
}

func (w *walker) afterDeployment(ctx context.Context, n Node) {
	a, ok := w.application(ctx, n)
	if !ok {
		return
	}
	name, number := a.Metadata["mlops.model"], a.Metadata["mlops.model_version"]
	w.drift(ctx, n, a.Metadata["mlops.project"], func(s evidently.Snapshot) bool {
		same := s.Metadata["mlops.model"] == name && s.Metadata["mlops.model_version"] == number // it may have served another one then
		return same && (s.Metadata["mlops.deployment"] == n.Name || s.Metadata["mlops.deployment"] == "" && name != "")
	})
}

// drift joins the snapshots of a project that are about a node.
func (w *walker) drift(ctx context.Context, n Node, project string, about func(evidently.Snapshot) bool) {
	if project == "" {
		return
	}
	if w.snapshots == nil {
		w.snapshots = map[string]once[[]evidently.Snapshot]{}
	}
	o := w.snapshots[project]
	all, err := o.get(func() ([]evidently.Snapshot, error) { return w.snapshotsOf(ctx, project) })
	w.snapshots[project] = o
	if w.failed(n, "the drift of project "+project, err) {
		return
	}
	for _, s := range all {
		if about(s) && !w.cut {
			w.join(n, driftNode(s), "the snapshot's metadata", forward)
		}
	}
}

func (w *walker) snapshotsOf(ctx context.Context, project string) ([]evidently.Snapshot, error) {
	p, err := w.c.Evidently.ProjectByName(ctx, project)
	if errors.Is(err, mlops.ErrNotFound) {
		return nil, nil // it was never looked at for drift
	}
	if err != nil {
		return nil, err
	}
	return mlops.Collect(w.c.Evidently.Snapshots(ctx, p.ID))
}

func driftNode(s evidently.Snapshot) Node {
	return Node{Kind: KindDrift, Name: s.ID, Time: s.Timestamp.Time, Facts: map[string]string{
		"project": s.Metadata["mlops.project"], "reference": s.Metadata["mlops.reference_md5"], "current": s.Metadata["mlops.current_md5"],
		"model": s.Metadata["mlops.model"], "version": s.Metadata["mlops.model_version"], "deployment": s.Metadata["mlops.deployment"], "drifted": s.Metadata["mlops.drifted"],
	}}
}

func (w *walker) beforeDrift(ctx context.Context, n Node) {
	name, number, served := n.Facts["model"], n.Facts["version"], n.Facts["deployment"]
	if served != "" { // what it serves now may be another version: the way back is the version's
		w.keepEdge(Node{Kind: KindDeployment, Name: served}, n, "the snapshot's metadata")
	}
	switch {
	case name != "" && number != "":
		w.join(Node{Kind: KindVersion, Name: name + "/" + number}, n, "the snapshot's metadata", back)
	case served == "":
		w.gap(n, "it names neither a deployment nor a model; mlopsctl drift check --for records one")
	default:
		w.gap(n, "it names no version of a model")
	}
	for _, md5 := range slices.Compact([]string{n.Facts["reference"], n.Facts["current"]}) {
		if md5 != "" {
			w.join(Node{Kind: KindData, Name: md5}, n, "the snapshot's metadata", back)
		}
	}
}

func splitVersion(s string) (name, number string) {
	i := strings.LastIndexByte(s, '/')
	return s[:max(i, 0)], cmp.Or(s[i+1:], s)
}
