package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
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

// DeclareDAG writes the DAG under the project's prefix and in its pool, and
// waits until Airflow shows it as declared. Tasks find MLOPS_PROJECT in their
// environment, and the stack's addresses and credentials through it.
//
// It needs to write into Airflow's DAG folder ([Config].DAGs); the error
// matches [mlops.ErrInvalid] if Airflow cannot read the file.
func (p *Project) DeclareDAG(ctx context.Context, d airflow.DAGSpec) (airflow.DAG, error) {
	if p.Config.DAGs == "" {
		return airflow.DAG{}, invalid("Airflow's DAG folder is not known: set MLOPS_DAGS_FOLDER, or airflow.dags_folder in %s", UserFile())
	}
	if err := p.ensurePool(ctx); err != nil {
		return airflow.DAG{}, err
	}
	d.ID = p.DAGID(d.ID)
	if d.Pool == "" {
		d.Pool = p.Workspace().AirflowPool
	}
	d.Tags = append([]string{"mlops", p.Name}, d.Tags...)
	tasks := d.Tasks
	d.Tasks = nil
	for _, t := range tasks {
		env := map[string]string{"MLOPS_PROJECT": p.Name}
		if p.Config.Namespace != "" {
			env["MLOPS_NAMESPACE"] = p.Config.Namespace
		}
		maps.Copy(env, t.Env)
		t.Env = env
		d.Tasks = append(d.Tasks, t)
	}
	if _, err := airflow.WriteDAG(p.Config.DAGs, d); err != nil {
		return airflow.DAG{}, fmt.Errorf("declare %s: %w", d.ID, err)
	}
	return p.Airflow.WaitDAG(ctx, d)
}

// Trigger starts a run of one of the project's DAGs. Without o.RunID it makes
// one, so that a trigger whose answer was lost is not repeated. The error matches
// [mlops.ErrNotFound], and nothing is made, if there is no such DAG or project.
func (p *Project) Trigger(ctx context.Context, dag string, o airflow.TriggerOptions) (airflow.DAGRun, error) {
	if _, err := p.Airflow.DAG(ctx, p.DAGID(dag)); err != nil {
		if errors.Is(err, mlops.ErrNotFound) {
			if _, perr := p.find(ctx); errors.Is(perr, mlops.ErrNotFound) {
				err = perr
			}
		}
		return airflow.DAGRun{}, err
	}
	if err := p.ensurePool(ctx); err != nil {
		return airflow.DAGRun{}, err
	}
	return p.Airflow.Trigger(ctx, p.DAGID(dag), o)
}

// DAGs lists the project's DAGs. The error matches [mlops.ErrNotFound] if there
// is no such project.
func (p *Project) DAGs(ctx context.Context) iter.Seq2[airflow.DAG, error] {
	prefix := p.Workspace().AirflowDAGPrefix
	return func(yield func(airflow.DAG, error) bool) {
		none := true
		for d, err := range p.Airflow.DAGs(ctx, airflow.DAGQuery{Prefix: prefix}) {
			if err == nil && !strings.HasPrefix(d.ID, prefix) {
				continue
			}
			none = false
			if !yield(d, err) {
				return
			}
		}
		if none {
			if _, err := p.find(ctx); err != nil {
				yield(airflow.DAG{}, err)
			}
		}
	}
}

// DAGErrors lists the project's DAG files that Airflow cannot read: those whose
// names begin as the project's DAGs do, or which lie in a folder that has the
// project's name.
func (p *Project) DAGErrors(ctx context.Context) iter.Seq2[airflow.ImportError, error] {
	prefix := p.Workspace().AirflowDAGPrefix
	return func(yield func(airflow.ImportError, error) bool) {
		none := true
		for e, err := range p.Airflow.ImportErrors(ctx) {
			folders := strings.Split(path.Dir(e.File), "/")
			if err == nil && !strings.HasPrefix(path.Base(e.File), prefix) && !slices.Contains(folders, p.Name) && !slices.Contains(folders, strings.TrimSuffix(prefix, ".")) {
				continue
			}
			none = false
			if !yield(e, err) {
				return
			}
		}
		if none {
			if _, err := p.find(ctx); err != nil {
				yield(airflow.ImportError{}, err)
			}
		}
	}
}
