package airflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mlops-integration/mlops"
)

// DeclareOptions say how a declaration is judged before it takes effect.
type DeclareOptions struct {
	// Python is an interpreter that can import the server's Airflow. If it is
	// empty or cannot, the server judges the declaration under a trial ID, which
	// takes about as long as two declarations.
	Python string
}

// Declare writes the DAG into the server's DAGs folder and waits until the
// server runs it. A declaration that Airflow cannot read changes nothing: it is
// judged before it takes the place of the one that runs, and if the server
// refuses it even so, that one is put back before Declare returns.
//
// The error matches [mlops.ErrInvalid] if Airflow cannot read the declaration
// (it holds an [*ImportError]) or if a task's pool is missing or has fewer slots
// than the task takes, [mlops.ErrAlreadyExists] if the ID belongs to another
// project or to a file written by hand, and [mlops.ErrConflict] if another
// declaration of the same DAG came in between.
//
// A server whose core.min_serialized_dag_update_interval is above 0 (30 s by its
// default, 0 in the stack) may start runs of the version before for so long.
//
// Airflow REST: GET /api/v2/pools/{pool_name}, GET /api/v2/dags/{dag_id}, GET /api/v2/importErrors, PUT /api/v2/parseDagFile/{file_token}
func (c *Client) Declare(ctx context.Context, dir string, d DAGSpec, opt DeclareOptions) (DAG, error) {
	src, err := d.Python()
	if err != nil {
		return DAG{}, err
	}
	file := filepath.Join(dir, fileName(d.ID))
	if err := ownedBy(file, d.ID, d.Project); err != nil && !isNotFound(err) {
		return DAG{}, err
	}
	if err := c.checkPools(ctx, d); err != nil {
		return DAG{}, err
	}
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return DAG{}, err
	}
	if !bytes.Equal(before, src) {
		if err := c.judge(ctx, dir, opt.Python, d); err != nil {
			return DAG{}, err
		}
	}
	if _, err := WriteDAG(dir, d); err != nil {
		return DAG{}, err
	}
	c.reread(ctx, d.ID)
	dag, err := c.waitDAG(ctx, d, func() error { return unchanged(file, d.ID, src) })
	if refused(err) && !bytes.Equal(before, src) {
		return DAG{}, c.putBack(ctx, file, d, src, before, err)
	}
	return dag, err
}

// refused reports whether the server does not take a DAG. An answer in a form
// that is not understood says nothing about it.
func refused(err error) bool {
	e, ok := errors.AsType[*mlops.Error](err)
	return errors.Is(err, mlops.ErrInvalid) && !(ok && e.Status/100 == 2)
}

// unchanged reports whether the file still holds this declaration.
func unchanged(file, id string, src []byte) error {
	now, err := os.ReadFile(file)
	if err == nil && bytes.Equal(now, src) {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return &mlops.Error{Kind: mlops.ErrConflict, Service: service, Op: "Declare",
		Message: fmt.Sprintf("another program declared or removed DAG %s meanwhile; declare it again", id)}
}

// putBack restores what the server ran before it refused a declaration, and
// returns why with which version runs.
func (c *Client) putBack(ctx context.Context, file string, d DAGSpec, src, before []byte, why error) error {
	if err := unchanged(file, d.ID, src); err != nil {
		return errors.Join(why, err)
	}
	if before == nil {
		if err := os.Remove(file); err != nil {
			return errors.Join(why, err)
		}
		return fmt.Errorf("DAG %s is not declared: %w", d.ID, why)
	}
	if err := replace(file, before); err != nil {
		return errors.Join(why, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c.reread(ctx, d.ID)
	h, _ := headerOf(before)
	for {
		dag, err := c.DAGs.Get(ctx, d.ID)
		if err == nil && dag.Hash() == h.hash && !dag.Stale && !dag.HasImportErrors {
			return fmt.Errorf("DAG %s was put back and runs as version %q: %w", d.ID, h.hash, why)
		}
		if err = c.wait(ctx); err != nil {
			return fmt.Errorf("DAG %s was put back as version %q, which the server has not read yet: %w", d.ID, h.hash, why)
		}
	}
}

// reread asks the server to read the file of a DAG at once; it does so by
// itself a little later, so that an error is none.
func (c *Client) reread(ctx context.Context, id string) {
	if dag, err := c.DAGs.Get(ctx, id); err == nil && dag.FileToken != "" {
		_ = c.DAGs.Reparse(ctx, dag.FileToken)
	}
}

// checkPools refuses tasks that no slot would ever let start: Airflow only
// writes a warning. A pool of 0 slots is one on hold, and takes any task; of one
// whose slots an agent sets, the most that it can get counts.
func (c *Client) checkPools(ctx context.Context, d DAGSpec) error {
	pools := map[string]Pool{}
	for i := range d.Tasks {
		t := d.resolved(i)
		p, known := pools[t.Pool]
		if !known {
			var err error
			if p, err = c.Pools.Get(ctx, t.Pool); isNotFound(err) {
				return invalid("Declare", "task %s of DAG %s: there is no pool %q; make it first, or name another", t.ID, d.ID, t.Pool)
			} else if err != nil {
				return err
			}
			pools[t.Pool] = p
		}
		if most := p.most(); most > 0 && t.PoolSlots > most {
			return invalid("Declare", "task %s of DAG %s takes %d slots, pool %q has %d: it would never start", t.ID, d.ID, t.PoolSlots, t.Pool, most)
		}
	}
	return nil
}

// Remove takes a declared DAG away: its file, its runs and all that the server
// knows of it. It waits until the server has noticed that the file is gone, ends
// what runs, and returns when the server has forgotten the DAG.
//
// The error matches [mlops.ErrNotFound] if project has not declared the DAG, and
// [mlops.ErrAlreadyExists] if it belongs to another project or to a file written
// by hand. Project is that of the declaration, empty if it had none.
//
// Airflow REST: GET and DELETE /api/v2/dags/{dag_id}, PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}
func (c *Client) Remove(ctx context.Context, dir, id, project string) error {
	err := RemoveDAG(dir, id, project)
	missing := isNotFound(err)
	if err != nil && !missing {
		return err
	}
	for first := true; ; first = false {
		dag, err := c.DAGs.Get(ctx, id)
		switch {
		case isNotFound(err) && first && missing, err == nil && missing && (dag.Hash() == "" || !dag.OfProject(project) && dag.Project() != project):
			return &mlops.Error{Kind: mlops.ErrNotFound, Service: service, Op: "Remove", Message: fmt.Sprintf("%s is no DAG that was declared here", id)}
		case isNotFound(err):
			return nil
		case err != nil:
			return err
		case dag.Stale:
			if err := c.forget(ctx, id); err != nil {
				return err
			}
		}
		if err := c.wait(ctx); err != nil {
			return &mlops.Error{Service: service, Op: "Remove", Cause: err,
				Message: fmt.Sprintf("the file of DAG %s is removed, but the server has not forgotten the DAG yet; run it again: %v", id, err)}
		}
	}
}

// forget ends the runs of a DAG whose file is gone and deletes it. A task that
// still runs is no error: the next try finds it ended.
func (c *Client) forget(ctx context.Context, id string) error {
	err := c.DAGs.Delete(ctx, id)
	if !errors.Is(err, mlops.ErrConflict) {
		if isNotFound(err) {
			return nil
		}
		return err
	}
	for run, err := range c.Runs.All(ctx, id, DAGRunQuery{States: []State{StateQueued, StateRunning}}) {
		if err == nil {
			err = c.Runs.Cancel(ctx, id, run.ID)
		}
		if err != nil && !isNotFound(err) {
			return err
		}
	}
	return nil
}
