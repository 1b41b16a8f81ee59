package client

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

// projectName is what a project may be called: the name becomes a part of DAG
// IDs, pools, routes and folders.
var projectName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// ErrNoProject is what FromProject returns when nothing names the project.
var ErrNoProject = invalid("which project? name it, set MLOPS_PROJECT, or write \"project: name\" into %s", FileName)

// Project is one project on the shared infrastructure. It is safe for
// concurrent use. Close it to end what it started.
type Project struct {
	Name   string
	Dir    string // the project's folder
	Config Config

	// The typed clients of the tools, for all that Project has no method for.
	// They do no registration; Project's own methods do.
	MLflow    *mlflow.Client
	Airflow   *airflow.Client
	Serve     *rayserve.Client
	Evidently *evidently.Client

	// Data is the project's DVC repository.
	Data *Data

	log        *slog.Logger
	home       string
	experiment once[string]
	drift      once[evidently.Project]

	mu      sync.Mutex
	runner  *evidently.Runner
	machine *applesilicon.Machine // of LogAppleSilicon

	recording func() io.Reader // in tests, instead of this machine
}

// FromProject opens the project called name; an empty name is looked up in
// MLOPS_PROJECT and mlops.yaml. It reads configuration and makes no request.
//
// The error matches [mlops.ErrInvalid] if the name or the configuration cannot
// be right.
func FromProject(ctx context.Context, name string, options ...Option) (*Project, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := apply(options)
	if err != nil {
		return nil, err
	}
	c, configured, err := load(s)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = configured
	}
	if name == "" {
		return nil, ErrNoProject
	}
	if !projectName.MatchString(name) {
		return nil, invalid("project name %q: use lower-case letters, digits and hyphens, at most 63, not a hyphen first", name)
	}

	p := &Project{Name: name, Dir: s.dir, Config: c, log: s.logger, home: s.home}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	var errs [4]error
	p.MLflow, errs[0] = mlflow.New(c.mlflowOptions(s))
	p.Airflow, errs[1] = airflow.New(airflow.Options{URL: c.AirflowURL, Auth: c.AirflowAuth, HTTP: s.http, Logger: s.logger})
	p.Serve, errs[2] = rayserve.New(rayserve.Options{URL: c.RayAddress, ServeURL: c.ServeURL, Auth: c.RayAuth, StateDir: c.ServeDir, MLflow: c.ownMLflow, HTTP: s.http, Logger: s.logger})
	p.Evidently, errs[3] = evidently.New(evidently.Options{URL: c.EvidentlyURL, Auth: c.EvidentlyAuth, HTTP: s.http, Logger: s.logger})
	p.Data = &Data{dir: p.Dir, remote: p.remote(), options: c.remote}
	return p, errors.Join(errs[:]...)
}

// stackServer is what journals call the server of the running stack, whose
// port may be another one when they are sent.
const stackServer = "stack"

// journals is where the runs of a home have what MLflow does not have yet.
func journals(home string) string { return filepath.Join(home, "spool", "mlflow") }

func apply(options []Option) (settings, error) {
	var s settings
	for _, o := range options {
		o(&s)
	}
	var err error
	if s.dir == "" {
		if s.dir, err = os.Getwd(); err != nil {
			return s, err
		}
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return s, err
	}
	if s.home == "" {
		s.home, err = mlops.Home()
	}
	return s, err
}

// Close ends the project's helpers and lets go of runs that were not ended. It
// does not wait for a server: the error tells what was not sent, and where it
// waits. Runs are ended by their own End.
func (p *Project) Close() error {
	err := p.MLflow.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.machine != nil {
		err = errors.Join(err, p.machine.Close())
		p.machine = nil
	}
	if p.runner == nil {
		return err
	}
	err = errors.Join(err, p.runner.Close())
	p.runner = nil
	return err
}

// Projects lists the projects registered on the MLflow server that options and
// surroundings lead to, by name.
func Projects(ctx context.Context, options ...Option) iter.Seq2[Workspace, error] {
	return func(yield func(Workspace, error) bool) {
		s, err := apply(options)
		if err != nil {
			yield(Workspace{}, err)
			return
		}
		c, _, err := load(s)
		if err != nil {
			yield(Workspace{}, err)
			return
		}
		m, err := mlflow.New(c.mlflowOptions(s))
		if err != nil {
			yield(Workspace{}, err)
			return
		}
		q := mlflow.ExperimentQuery{Filter: "tags.`" + tagProject + "` LIKE '%'", OrderBy: []string{"name ASC"}}
		for e, err := range m.Experiments(ctx, q) {
			if err != nil {
				yield(Workspace{}, err)
				return
			}
			if !yield(workspaceOf(e), nil) {
				return
			}
		}
	}
}

// once makes a thing at its first use; a failure is not remembered.
type once[T any] struct {
	mu   sync.Mutex
	done bool
	v    T
}

func (o *once[T]) get(make func() (T, error)) (T, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return o.v, nil
	}
	v, err := make()
	if err == nil {
		o.v, o.done = v, true
	}
	return v, err
}

// exists reports whether err only says that the thing is there already.
func exists(err error) bool { return errors.Is(err, mlops.ErrAlreadyExists) }
