package client

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

// Client is the shared infrastructure: its servers, the projects on it, and
// what programs of this home have not sent yet. It is safe for concurrent use.
// Close it to end what it started.
//
// The fields are read only: a method that uses one does not see that another
// was changed. Options say how they are to be.
type Client struct {
	Dir    string // the folder that the configuration is for
	Config Config

	// The typed clients of the tools, for all that Client and Project have no
	// method for. They do no registration; Project's own methods do.
	MLflow    *mlflow.Client
	Airflow   *airflow.Client
	Serve     *rayserve.Client
	Evidently *evidently.Client

	settings   settings
	configured string // the project's name, where MLOPS_PROJECT or a file has one
	log        *slog.Logger
}

// Open opens the infrastructure that options and surroundings lead to, without
// a project. It reads configuration and makes no request.
//
// The error matches [mlops.ErrInvalid] if the configuration cannot be right.
func Open(ctx context.Context, options ...Option) (*Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := apply(options)
	if err != nil {
		return nil, err
	}
	config, configured, err := load(s)
	if err != nil {
		return nil, err
	}
	c := &Client{Dir: s.dir, Config: config, settings: s, configured: configured, log: s.logger}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	var errs [4]error
	c.MLflow, errs[0] = mlflow.New(config.mlflowOptions(s))
	c.Airflow, errs[1] = airflow.New(airflow.Options{URL: config.AirflowURL, Auth: config.AirflowAuth, HTTP: s.http, Logger: s.logger})
	c.Serve, errs[2] = rayserve.New(rayserve.Options{URL: config.RayAddress, ServeURL: config.ServeURL, Auth: config.RayAuth, StateDir: config.ServeDir, MLflow: config.ownMLflow, HTTP: s.http, Logger: s.logger})
	c.Evidently, errs[3] = evidently.New(evidently.Options{URL: config.EvidentlyURL, Auth: config.EvidentlyAuth, HTTP: s.http, Logger: s.logger})
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return c, nil
}

func apply(options []Option) (settings, error) {
	var s settings
	for _, o := range options {
		if o != nil {
			o(&s)
		}
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

// Close releases runs that were not ended, and the connections and logins of all
// tools. It does not wait for a server: the
// error says what was not sent, and where it waits. Runs are ended by their own
// End. The client's projects must not be used afterwards.
func (c *Client) Close() error {
	if err := c.opened(); err != nil {
		return err
	}
	return errors.Join(c.MLflow.Close(), c.Airflow.Close(), c.Serve.Close(), c.Evidently.Close())
}

// opened refuses a client that Open did not open.
func (c *Client) opened() error {
	if c == nil || c.MLflow == nil || c.Serve == nil {
		return invalid("this client was not opened by client.Open")
	}
	return nil
}

// Project opens the project called name; an empty name is looked up in
// MLOPS_PROJECT and mlops.yaml. It makes no request. Projects of one client
// share its connections, its journals' senders and its folder.
//
// The error matches [mlops.ErrInvalid] if the name cannot be right.
func (c *Client) Project(name string) (*Project, error) {
	if err := c.opened(); err != nil {
		return nil, err
	}
	if name == "" {
		name = c.configured
	}
	if name == "" {
		return nil, ErrNoProject
	}
	if !projectName.MatchString(name) {
		return nil, invalid("project name %q: use lower-case letters, digits and hyphens, at most 63, not a hyphen first", name)
	}
	p := &Project{Client: c, Name: name}
	p.Data = &Data{dir: c.Dir, remote: p.remote(), options: c.Config.remote}
	return p, nil
}

// Projects lists the projects that are registered on the MLflow server, by name.
func (c *Client) Projects(ctx context.Context) iter.Seq2[Workspace, error] {
	return func(yield func(Workspace, error) bool) {
		if err := c.opened(); err != nil {
			yield(Workspace{}, err)
			return
		}
		q := mlflow.ExperimentQuery{Filter: "tags.`" + tagProject + "` LIKE '%'", OrderBy: []string{"name ASC"}}
		for e, err := range c.MLflow.Experiments(ctx, q) {
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

// Import copies the experiments and runs of a local mlruns folder to the MLflow
// server, as [mlflow.Client.Import] does.
func (c *Client) Import(ctx context.Context, mlruns string, opt mlflow.ImportOptions) ([]mlflow.Imported, error) {
	if err := c.opened(); err != nil {
		return nil, err
	}
	from, err := mlflow.OpenFileStore(mlruns)
	if err != nil {
		return nil, err
	}
	return c.MLflow.Import(ctx, from, opt)
}
