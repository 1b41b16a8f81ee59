package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/internal/fairfile"
	"github.com/mlops-integration/mlops/mlflow"
)

// The tags of an MLflow experiment that make it a project's record.
const (
	tagProject   = "mlops.project"
	tagNamespace = "mlops.namespace"
	tagDVC       = "mlops.dvc_remote_path"
	tagDAGs      = "mlops.airflow_dag_prefix"
	tagPool      = "mlops.airflow_pool"
	tagEndpoint  = "mlops.serving_endpoint"
)

// poolSlots is how many tasks of one project run at once until someone
// decides otherwise.
const poolSlots = 4

// Workspace is what a project has on the servers. The record lives in the
// tags of its MLflow experiment.
type Workspace struct {
	Project            string `json:"project"`
	Namespace          string `json:"namespace,omitempty"`
	MLflowExperimentID string `json:"mlflow_experiment_id"`
	MLflowExperiment   string `json:"mlflow_experiment"`
	DVCRemotePath      string `json:"dvc_remote_path"`
	AirflowDAGPrefix   string `json:"airflow_dag_prefix"`
	AirflowPool        string `json:"airflow_pool"`
	ServingEndpoint    string `json:"serving_endpoint"` // models answer below it
}

// Workspace returns the names of what the project has or will have, without a
// request; the experiment's ID is empty until it is registered.
func (p *Project) Workspace() Workspace {
	w := p.names()
	p.experiment.mu.Lock()
	defer p.experiment.mu.Unlock()
	w.MLflowExperimentID = p.experiment.v
	return w
}

// names is the workspace without what only the server knows.
func (p *Project) names() Workspace {
	return Workspace{
		Project: p.Name, Namespace: p.Config.Namespace,
		MLflowExperiment: p.join("/"),
		AirflowDAGPrefix: p.join(".") + ".",
		AirflowPool:      "mlops." + p.join("."),
		ServingEndpoint:  strings.TrimSuffix(p.Config.ServeURL, "/") + p.route(),
		DVCRemotePath:    p.remote(),
	}
}

// join puts the namespace before the project's name.
func (p *Project) join(sep string) string {
	if p.Config.Namespace == "" {
		return p.Name
	}
	return p.Config.Namespace + sep + p.Name
}

// remote is where the project's data is pushed to; empty if nothing says so.
func (p *Project) remote() string {
	base := p.Config.DVCRemote
	switch {
	case base == "":
		return ""
	case strings.Contains(base, "://"):
		return strings.TrimSuffix(base, "/") + "/" + p.join("/")
	}
	return filepath.Join(base, filepath.FromSlash(p.join("/")))
}

func (p *Project) route() string { return "/" + p.join("/") }

func (w Workspace) tags() map[string]string {
	return map[string]string{
		tagProject: w.Project, tagNamespace: w.Namespace, tagDVC: w.DVCRemotePath, tagDAGs: w.AirflowDAGPrefix,
		tagPool: w.AirflowPool, tagEndpoint: w.ServingEndpoint,
	}
}

func workspaceOf(e mlflow.Experiment) Workspace {
	return Workspace{
		Project: e.Tags[tagProject], Namespace: e.Tags[tagNamespace],
		MLflowExperimentID: e.ID, MLflowExperiment: e.Name,
		DVCRemotePath: e.Tags[tagDVC], AirflowDAGPrefix: e.Tags[tagDAGs], AirflowPool: e.Tags[tagPool],
		ServingEndpoint: e.Tags[tagEndpoint],
	}
}

// Register makes all that the project needs: the experiment with the project's
// record, the DVC remote (if the folder is a DVC repository), the pool, the
// drift project. Doing it again repairs what is missing and changes nothing else.
func (p *Project) Register(ctx context.Context) (Workspace, error) {
	_, err := p.ensureExperiment(ctx)
	if _, derr := p.Data.open(ctx); !errors.Is(derr, mlops.ErrNotFound) {
		err = errors.Join(err, derr)
	}
	err = errors.Join(err, p.ensurePool(ctx))
	_, everr := p.ensureDrift(ctx)
	return p.Workspace(), errors.Join(err, everr)
}

// experimentWanted is the project's experiment as it is to be: its tags are
// the project's record.
func (p *Project) experimentWanted() mlflow.Experiment {
	w := p.names()
	w.DVCRemotePath = publicURL(w.DVCRemotePath)
	tags := w.tags()
	if p.Config.Quota != "" { // a program that cannot see mlops.yaml keeps the tag
		tags[tagAsked] = p.Config.Quota
	}
	return mlflow.Experiment{Name: w.MLflowExperiment, Tags: tags}
}

// ensureExperiment returns the ID of the project's experiment, which it makes
// or brings up to date at its first use.
func (p *Project) ensureExperiment(ctx context.Context) (string, error) {
	return p.experiment.get(func() (string, error) {
		want := p.experimentWanted()
		e, err := p.MLflow.EnsureExperiment(ctx, want.Name, mlflow.ExperimentOptions{Tags: want.Tags})
		return e.ID, err
	})
}

// find returns the ID of the project's experiment, and makes nothing. The error
// matches [mlops.ErrNotFound] if the project is not on the server.
func (p *Project) find(ctx context.Context) (string, error) {
	p.experiment.mu.Lock()
	id, done := p.experiment.v, p.experiment.done
	p.experiment.mu.Unlock()
	if done {
		return id, nil
	}
	e, err := p.MLflow.ExperimentByName(ctx, p.names().MLflowExperiment)
	if errors.Is(err, mlops.ErrNotFound) {
		return "", &mlops.Error{Kind: mlops.ErrNotFound, Cause: err, Message: fmt.Sprintf("there is no project %q on %s; mlopsctl register %s makes it", p.join("/"), p.MLflow.URL(), p.Name)}
	}
	return e.ID, err
}

// ExperimentID returns the ID of the project's experiment, which may be deleted.
// Nothing is made on the server: the error matches [mlops.ErrNotFound] if the
// project is not there.
func (p *Project) ExperimentID(ctx context.Context) (string, error) { return p.find(ctx) }

// publicURL takes user information out of an address that others will read.
func publicURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	u.User = nil
	return u.String()
}

// ensurePool makes the project's Airflow pool, also when it was made before and
// deleted since. An existing one keeps its slots, unless the agent that set them
// is dead. Beside an agent a new one has none until the agent's next look.
func (p *Project) ensurePool(ctx context.Context) error {
	if _, err := p.RestoreShares(ctx); err != nil {
		return err
	}
	pool := airflow.Pool{Name: p.Workspace().AirflowPool, Slots: poolSlots, Description: "project " + p.Name}
	if p.OwnAirflow() {
		if l, err := fairfile.ReadLease(p.Home()); err == nil && l.Held(time.Now()) {
			pool = pool.Shared(airflow.Share{Of: l.Max, Base: min(poolSlots, l.Max), Epoch: l.Epoch})
		}
		return p.Airflow.Pools.Ensure(ctx, pool)
	}
	there, err := p.Airflow.Pools.Get(ctx, pool.Name)
	if errors.Is(err, mlops.ErrNotFound) {
		return p.Airflow.Pools.Ensure(ctx, pool)
	}
	if s, ok := there.Share(); err == nil && ok && !s.Until.IsZero() && s.Until.Before(time.Now()) {
		_, err = p.Airflow.Pools.Restore(ctx, func(other airflow.Share) bool { return other.Epoch == s.Epoch })
		if errors.Is(err, mlops.ErrForbidden) {
			return nil // of a server where this user may start runs and not edit pools; Explain says what the run waits for
		}
	}
	return err
}
