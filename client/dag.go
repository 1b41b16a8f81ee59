package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// DAGID is the full ID of one of the project's DAGs: "retrain" becomes
// "lora-finetuning.retrain". A full ID stays as it is.
func (p *Project) DAGID(name string) string {
	prefix := p.Workspace().AirflowDAGPrefix
	if strings.HasPrefix(name, prefix) {
		return name
	}
	return prefix + name
}

// DeclareDAG declares the DAG under the project's prefix and in its pool, and
// waits until Airflow runs it. A declaration that Airflow cannot read changes
// nothing. Tasks that run a program find MLOPS_PROJECT in their environment, and
// the stack's addresses and credentials through it.
//
// It needs to write into Airflow's DAG folder ([Config].DAGs). The error matches
// [mlops.ErrInvalid] if Airflow cannot read the file, a pool is too small or
// the declaration names another project, and [mlops.ErrAlreadyExists] if the ID is
// another project's: see [airflow.Client.Declare].
func (p *Project) DeclareDAG(ctx context.Context, d airflow.DAGSpec) (airflow.DAG, error) {
	dir, err := p.dags()
	if err != nil {
		return airflow.DAG{}, err
	}
	d, err = p.ownSpec(d)
	if err != nil {
		return airflow.DAG{}, err
	}
	if err := p.ensurePool(ctx); err != nil {
		return airflow.DAG{}, err
	}
	return p.Airflow.Declare(ctx, dir, d, airflow.DeclareOptions{Python: p.Config.AirflowPython})
}

// DiffDAG says in words what [Project.DeclareDAG] would change, as [airflow.Diff]
// does, and changes nothing; it asks no server. The error matches
// [mlops.ErrInvalid] if the declaration is not valid by itself, and
// [mlops.ErrAlreadyExists] if the ID is another project's.
func (p *Project) DiffDAG(d airflow.DAGSpec) ([]string, error) {
	dir, err := p.dags()
	if err != nil {
		return nil, err
	}
	d, err = p.ownSpec(d)
	if err == nil {
		err = d.Validate()
	}
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, d.ID+".py")
	before, err := airflow.ReadDAG(file)
	switch {
	case errors.Is(err, mlops.ErrNotFound):
		return []string{fmt.Sprintf("DAG %s is new, with %d tasks", d.ID, len(d.Tasks))}, nil
	case errors.Is(err, mlops.ErrInvalid):
		return nil, &mlops.Error{Kind: mlops.ErrAlreadyExists, Message: file + " was not written by mlops; choose another ID"}
	case err != nil:
		return nil, err
	}
	if before.Project != "" && before.Project != d.Project {
		return nil, &mlops.Error{Kind: mlops.ErrAlreadyExists, Message: fmt.Sprintf("DAG %s belongs to project %s; choose another ID", d.ID, before.Project)}
	}
	return airflow.Diff(before, d), nil
}

// ownSpec is the declaration under the project's prefix, in its pool, with its
// tags and variables. One that names another project is refused.
func (p *Project) ownSpec(d airflow.DAGSpec) (airflow.DAGSpec, error) {
	own := p.join("/")
	if d.Project != "" && d.Project != own && d.Project != p.Name {
		return d, invalid("DAG %s is declared for project %.100s, not for %s: declare it there, or leave its project out", d.ID, d.Project, own)
	}
	d.ID, d.Project = p.DAGID(d.ID), own
	if d.Pool == "" {
		d.Pool = p.Workspace().AirflowPool
	}
	tags := d.Tags
	d.Tags = nil
	for _, tag := range append([]string{"mlops", p.Name}, tags...) {
		if !slices.Contains(d.Tags, tag) {
			d.Tags = append(d.Tags, tag)
		}
	}
	tasks := d.Tasks
	d.Tasks = nil
	for _, t := range tasks {
		if t.Wait == nil && t.Decision == nil { // which run no program
			env := map[string]string{"MLOPS_PROJECT": p.Name}
			if p.Config.Namespace != "" {
				env["MLOPS_NAMESPACE"] = p.Config.Namespace
			}
			maps.Copy(env, t.Env)
			t.Env = env
		}
		d.Tasks = append(d.Tasks, t)
	}
	return d, nil
}

// RemoveDAG takes one of the project's declared DAGs away, with its runs, and
// waits until Airflow has forgotten it. The error matches [mlops.ErrNotFound] if
// the project has not declared it.
func (p *Project) RemoveDAG(ctx context.Context, name string) error {
	dir, err := p.dags()
	if err != nil {
		return err
	}
	return p.Airflow.Remove(ctx, dir, p.DAGID(name), p.join("/"))
}

// dags is the folder that Airflow reads DAGs from.
func (p *Project) dags() (string, error) {
	if p.Config.DAGs == "" {
		return "", invalid("Airflow's DAG folder is not known: set MLOPS_DAGS_FOLDER, or airflow.dags_folder in %s", UserFile())
	}
	return p.Config.DAGs, nil
}

// Trigger starts a run of one of the project's DAGs. Without o.RunID it makes
// one, so that a trigger whose answer was lost is not repeated. The error matches
// [mlops.ErrNotFound], and nothing is made, if there is no such DAG or project,
// [mlops.ErrInvalid] if o.Conf does not match the DAG's parameters, and
// [mlops.ErrRateLimited] if the project has as many queued runs as its quota
// allows; a pool that was deleted is made again.
func (p *Project) Trigger(ctx context.Context, dag string, o airflow.TriggerOptions) (airflow.DAGRun, error) {
	own, err := p.OwnDAG(ctx, dag)
	if err != nil {
		return airflow.DAGRun{}, err
	}
	if len(o.Conf) > 0 && own.Hash() != "" {
		details, err := p.Airflow.DAGs.Details(ctx, own.ID)
		if err == nil {
			err = details.Schemas().Check(o.Conf)
		}
		if err != nil {
			return airflow.DAGRun{}, err
		}
	}
	if err := p.ensurePool(ctx); err != nil {
		return airflow.DAGRun{}, err
	}
	if err := p.mayQueue(ctx); err != nil {
		return airflow.DAGRun{}, err
	}
	return p.Airflow.Trigger(ctx, own.ID, o)
}

// mayQueue returns an error if the project has as many runs that have not begun as
// its quota allows, by the agent's lease. Two triggers at once may both pass.
func (p *Project) mayQueue(ctx context.Context) error {
	if !p.OwnAirflow() {
		return nil
	}
	lease, err := fairfile.ReadLease(p.Home())
	most := lease.Pools[p.Workspace().AirflowPool].QueuedRuns
	if err != nil || most == 0 || !lease.Held(time.Now()) {
		return nil //nolint:nilerr // doctor says what is wrong with the file; no trigger fails for it
	}
	queued, prefix := 0, p.Workspace().AirflowDAGPrefix
	for r, err := range p.Airflow.Runs.All(ctx, "~", airflow.DAGRunQuery{States: []airflow.State{airflow.StateQueued}, DAGPrefix: prefix}) {
		if err != nil {
			return err
		}
		if name, own := strings.CutPrefix(r.DAGID, prefix); own && !strings.Contains(name, ".") { // a namespace's prefix begins those of its projects
			queued++
		}
		if queued == most {
			break
		}
	}
	if queued < most {
		return nil
	}
	return &mlops.Error{Kind: mlops.ErrRateLimited, Message: fmt.Sprintf("project %s has %d runs that have not begun, as many as its quota allows; wait until some begin, or ask an administrator: mlopsctl quota list", p.join("/"), most)}
}

// OwnDAG returns one of the project's DAGs, as [Project.DAGs] lists them. The
// error matches [mlops.ErrNotFound] if there is no such DAG or project, and if
// another project declared the DAG: the IDs of two projects can be one.
func (p *Project) OwnDAG(ctx context.Context, name string) (airflow.DAG, error) {
	dag, err := p.Airflow.DAGs.Get(ctx, p.DAGID(name))
	if errors.Is(err, mlops.ErrNotFound) {
		if _, perr := p.find(ctx); errors.Is(perr, mlops.ErrNotFound) {
			err = perr
		}
	}
	if err != nil {
		return airflow.DAG{}, err
	}
	if dag.Project() != "" && !dag.OfProject(p.join("/")) {
		return airflow.DAG{}, &mlops.Error{Kind: mlops.ErrNotFound, Message: fmt.Sprintf("DAG %s belongs to project %s, not to %s", dag.ID, dag.Project(), p.join("/"))}
	}
	return dag, nil
}

// DAGs lists the project's DAGs: those that it declared, and those of other
// origin whose IDs begin as its own do. The error matches [mlops.ErrNotFound] if
// there is no such project.
func (p *Project) DAGs(ctx context.Context) iter.Seq2[airflow.DAG, error] {
	prefix := p.Workspace().AirflowDAGPrefix
	all := p.Airflow.DAGs.All(ctx, airflow.DAGQuery{Prefix: prefix})
	return ofProject(ctx, p, all, func(d airflow.DAG) bool {
		return strings.HasPrefix(d.ID, prefix) && (d.Project() == "" || d.OfProject(p.join("/")))
	})
}

// DAGErrors lists the project's DAG files that Airflow cannot read: those that
// it declared, and of files of other origin those whose names begin as the
// project's DAGs do, or which lie in a folder that has the project's name.
func (p *Project) DAGErrors(ctx context.Context) iter.Seq2[airflow.ImportError, error] {
	prefix := p.Workspace().AirflowDAGPrefix
	return ofProject(ctx, p, p.Airflow.DAGs.ImportErrors(ctx), func(e airflow.ImportError) bool {
		if project, ok := p.declaredBy(e); ok && project != "" {
			return project == p.join("/")
		}
		folders := strings.Split(path.Dir(e.File), "/")
		return strings.HasPrefix(path.Base(e.File), prefix) || slices.Contains(folders, p.Name) || slices.Contains(folders, strings.TrimSuffix(prefix, "."))
	})
}

// declaredBy returns whose declaration a file is, by the file or by what
// Airflow says of it, and whether either tells.
func (p *Project) declaredBy(e airflow.ImportError) (string, bool) {
	if p.Config.DAGs != "" {
		if project, ok := airflow.FileProject(filepath.Join(p.Config.DAGs, filepath.FromSlash(e.File))); ok {
			return project, true
		}
	}
	return e.Project()
}

// ofProject yields what is the project's. If nothing is, it looks whether there is
// such a project.
func ofProject[T any](ctx context.Context, p *Project, all iter.Seq2[T, error], mine func(T) bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		none := true
		for v, err := range all {
			if err == nil && !mine(v) {
				continue
			}
			none = false
			if !yield(v, err) {
				return
			}
		}
		if none {
			if _, err := p.find(ctx); err != nil {
				yield(*new(T), err)
			}
		}
	}
}
