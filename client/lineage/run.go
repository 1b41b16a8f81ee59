package lineage

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// run returns a run, asked for once.
func (w *walker) run(ctx context.Context, id string) (mlflow.RunInfo, error) {
	if r, ok := w.runs[id]; ok {
		return r, nil
	}
	r, err := w.c.MLflow.RunInfo(ctx, id)
	if err == nil {
		w.keep(r)
	}
	return r, err
}

func (w *walker) keep(r mlflow.RunInfo) {
	if w.runs == nil {
		w.runs = map[string]mlflow.RunInfo{}
	}
	w.runs[r.ID] = r
}

func (w *walker) runNode(r mlflow.RunInfo) Node {
	return Node{Kind: KindRun, Name: r.ID, Time: r.Start, URL: w.c.MLflow.URL() + "/#/experiments/" + r.ExperimentID + "/runs/" + r.ID, Gone: r.Deleted, Facts: map[string]string{
		"name": r.Name, "status": string(r.Status), "user": r.User, "project": r.Tags["mlops.project"], "command": r.Tags["mlops.command"],
	}}
}

// byRun is the node of a run that another node names, which may be gone.
func (w *walker) byRun(ctx context.Context, of Node, id string) Node {
	r, err := w.run(ctx, id)
	if err == nil && !r.Deleted {
		return w.runNode(r)
	}
	if err == nil {
		err = mlops.ErrNotFound
	}
	w.failed(of, "run "+id, err)
	return Node{Kind: KindRun, Name: id, Gone: errors.Is(err, mlops.ErrNotFound)}
}

func (w *walker) beforeRun(ctx context.Context, n Node) {
	r, err := w.run(ctx, n.Name)
	if w.failed(n, "it", err) {
		return
	}
	data := false
	for _, in := range r.Inputs {
		if in.SourceType == "dvc" {
			data = true
			w.join(dataNode(in), n, "the run's dataset "+in.Name, back)
		}
	}
	if !data {
		w.gap(n, "it names no data; mlopsctl run exec --data PATH records it")
	}
	if commit := r.Tags["mlflow.source.git.commit"]; commit != "" {
		facts := map[string]string{"repository": public(r.Tags["mlflow.source.git.repoURL"]), "branch": r.Tags["mlflow.source.git.branch"]}
		w.join(Node{Kind: KindCommit, Name: commit, Facts: facts}, n, "the run's tag mlflow.source.git.commit", back)
		if r.Tags["mlflow.source.git.dirty"] == "true" {
			w.gap(n, "its work tree had changes beyond the commit: see its artifact git.diff")
		}
	} else {
		w.gap(n, "it names no commit: it did not run in a git repository with one")
	}
	if dag, run := r.Tags["mlops.airflow.dag_id"], r.Tags["mlops.airflow.run_id"]; dag != "" && run != "" {
		w.join(Node{Kind: KindDAGRun, Name: dag + "/" + run}, n, "the run's tags mlops.airflow.*", back)
	}
}

// dataNode is the data that went into a run.
func dataNode(in mlflow.DatasetInput) Node {
	var from struct {
		Path   string `json:"path"`
		Remote string `json:"url"`
		Commit string `json:"commit"`
	}
	_ = json.Unmarshal([]byte(in.Source), &from) // others write what they like
	return Node{Kind: KindData, Name: in.Digest, Facts: map[string]string{"path": from.Path, "remote": public(from.Remote), "commit": from.Commit}}
}

func (w *walker) afterRun(ctx context.Context, n Node) {
	r, err := w.run(ctx, n.Name)
	if w.failed(n, "it", err) {
		return
	}
	for _, id := range r.Models {
		w.join(n, Node{Kind: KindModel, Name: id}, "the run's outputs", forward)
	}
	for v, err := range w.c.MLflow.Models.Versions(ctx, mlflow.ModelQuery{Filter: "run_id = " + quoted(n.Name)}) {
		if w.failed(n, "what was registered of it", err) || w.cut {
			return
		}
		if loggedModel(v) == "" {
			w.join(n, versionNode(v), "the version's run_id", forward)
		}
	}
}

func (w *walker) beforeModel(ctx context.Context, n Node) {
	m, err := w.c.MLflow.LoggedModels.Get(ctx, n.Name)
	if w.failed(n, "it", err) {
		return
	}
	if m.RunID == "" {
		w.gap(n, "it names no run")
		return
	}
	w.join(w.byRun(ctx, n, m.RunID), n, "the model's source_run_id", back)
}

func (w *walker) afterModel(ctx context.Context, n Node) {
	m, err := w.c.MLflow.LoggedModels.Get(ctx, n.Name)
	if w.failed(n, "it", err) {
		return
	}
	if m.RunID != "" { // versions that others registered of it
		for v, err := range w.c.MLflow.Models.Versions(ctx, mlflow.ModelQuery{Filter: "run_id = " + quoted(m.RunID)}) {
			if w.failed(n, "what was registered of it", err) {
				break
			}
			if loggedModel(v) == n.Name {
				w.join(n, versionNode(v), "the version's source", forward)
			}
		}
	}
	for _, named := range m.Versions {
		v, err := w.c.MLflow.Models.Version(ctx, named.Name, named.Version)
		if errors.Is(err, mlops.ErrNotFound) {
			continue // it was registered, and the version deleted
		}
		if w.failed(n, "version "+named.Name+"/"+named.Version, err) {
			continue
		}
		w.join(n, versionNode(v), "the model's tag mlflow.modelVersions", forward)
	}
}

// runsWhere are the runs of all experiments that a filter selects.
func (w *walker) runsWhere(ctx context.Context, n Node, filter, source string) {
	ids, err := w.experiments.get(func() ([]string, error) {
		var ids []string
		for e, err := range w.c.MLflow.Experiments(ctx, mlflow.ExperimentQuery{}) {
			if err != nil {
				return nil, err
			}
			ids = append(ids, e.ID)
		}
		return ids, nil
	})
	if w.failed(n, "the experiments", err) || len(ids) == 0 {
		return
	}
	for r, err := range w.c.MLflow.Runs(ctx, mlflow.RunQuery{Experiments: ids, Filter: filter}) {
		if w.failed(n, "its runs", err) || w.cut {
			return
		}
		w.keep(r)
		w.join(n, w.runNode(r), source, forward)
	}
}

func (w *walker) runsOfData(ctx context.Context, n Node) {
	w.runsWhere(ctx, n, "dataset.digest = "+quoted(n.Name), "the run's datasets")
}

func (w *walker) runsOfCommit(ctx context.Context, n Node) {
	w.runsWhere(ctx, n, "tags.`mlflow.source.git.commit` = "+quoted(n.Name), "the run's tag mlflow.source.git.commit")
}

func (w *walker) runsOfDAGRun(ctx context.Context, n Node) {
	dag, run, _ := strings.Cut(n.Name, "/")
	w.runsWhere(ctx, n, "tags.`mlops.airflow.run_id` = "+quoted(run)+" AND tags.`mlops.airflow.dag_id` = "+quoted(dag), "the run's tags mlops.airflow.*")
}

func (w *walker) dagRun(ctx context.Context, n Node) {
	dag, run, _ := strings.Cut(n.Name, "/")
	r, err := w.c.Airflow.Runs.Get(ctx, dag, run)
	if w.failed(n, "it", err) {
		return
	}
	w.add(Node{Kind: KindDAGRun, Name: n.Name, Time: r.Start, URL: public(w.c.Config.AirflowURL) + "/dags/" + dag + "/runs/" + run, Facts: map[string]string{"state": string(r.State), "user": r.User}})
}

// public takes user information out of an address: others wrote it.
func public(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	u.User = nil
	return u.String()
}

// quoted is a text in MLflow's filters.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
