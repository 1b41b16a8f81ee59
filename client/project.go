package client

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/evidently"
)

// projectName is what a project may be called: the name becomes a part of DAG
// IDs, pools, routes and folders.
var projectName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// ErrNoProject is what FromProject returns when nothing names the project.
var ErrNoProject = invalid("which project? name it, set MLOPS_PROJECT, or write \"project: name\" into %s", FileName)

// Project is one project on the shared infrastructure, which it embeds. It is
// safe for concurrent use. Close it to end what it started. Its fields are read
// only, as the client's are.
type Project struct {
	*Client
	Name string

	// Data is the project's DVC repository.
	Data *Data

	owner      bool // of the client: Close closes it
	experiment once[string]
	drift      once[evidently.Project]

	mu      sync.Mutex
	runner  *evidently.Runner
	machine *applesilicon.Machine // of LogAppleSilicon

	recording func() io.Reader // in tests, instead of this machine
}

// FromProject opens a project and a client of its own for it, as [Open] and
// [Client.Project] do. It reads configuration and makes no request.
func FromProject(ctx context.Context, name string, options ...Option) (*Project, error) {
	c, err := Open(ctx, options...)
	if err != nil {
		return nil, err
	}
	p, err := c.Project(name)
	if err != nil {
		return nil, err
	}
	p.owner = true
	return p, nil
}

// stackServer is what journals call the server of the running stack, whose
// port may be another one when they are sent.
const stackServer = "stack"

// journals is where the runs of a home have what MLflow does not have yet.
func journals(home string) string { return filepath.Join(home, "spool", "mlflow") }

// Close ends the project's helpers. A project of [FromProject] releases the runs
// that were not ended, too, as [Client.Close] does; a project of
// [Client.Project] leaves that to its client.
func (p *Project) Close() error {
	var err error
	if p.owner {
		err = p.Client.Close()
	}
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
