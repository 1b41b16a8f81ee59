package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/mlflow"
)

// Quotas are tags of one experiment that all may read and MLflow's
// administrators alone may edit. A tag of the project's own experiment asks for
// less.
const (
	quotaExperiment = "mlops"
	tagQuota        = "mlops.quota." // and the project's name
	tagAsked        = "mlops.quota"
)

// Quota is what a project may use of the machine.
type Quota struct {
	Project string     `json:"project"`         // with its namespace before it: "team.lora"
	Granted fair.Quota `json:"granted"`         // by an administrator
	Asked   fair.Quota `json:"asked,omitzero"`  // by the project, in its mlops.yaml
	Holds   fair.Quota `json:"holds"`           // what was granted, or less where less was asked for
	Fault   string     `json:"fault,omitempty"` // of a tag that cannot be read, which then limits nothing
}

// PrepareQuotas makes the experiment that keeps the quotas, if the caller is an
// administrator of MLflow and it is not there: the user who makes it may edit it.
// The error matches [mlops.ErrForbidden] for another user.
func (c *Client) PrepareQuotas(ctx context.Context) error {
	e, err := c.quotas(ctx)
	if err == nil && e.Tags[tagProject] != "" {
		return &mlops.Error{Kind: mlops.ErrConflict, Service: "mlflow", Op: "PrepareQuotas",
			Message: "experiment " + quotaExperiment + ", where quotas are kept, is that of a project: rename it on MLflow, and the project"}
	}
	if !errors.Is(err, mlops.ErrNotFound) {
		return err
	}
	// a server without users has no such page: all may do all there
	if me, err := c.MLflow.Users.Current(ctx); err == nil && !me.Admin {
		return &mlops.Error{Kind: mlops.ErrForbidden, Service: "mlflow", Op: "PrepareQuotas",
			Message: "quotas are kept in experiment " + quotaExperiment + ", which an administrator of MLflow makes: mlopsctl quota set, as one"}
	} else if err != nil && !errors.Is(err, mlops.ErrNotFound) && !errors.Is(err, mlops.ErrUnsupported) {
		return err
	}
	_, err = c.MLflow.EnsureExperiment(ctx, quotaExperiment, mlflow.ExperimentOptions{})
	return err
}

func (c *Client) quotas(ctx context.Context) (mlflow.Experiment, error) {
	if err := c.opened(); err != nil {
		return mlflow.Experiment{}, err
	}
	return c.MLflow.ExperimentByName(ctx, quotaExperiment)
}

// SetQuota sets what a project may use; the zero quota limits nothing. The project
// is named with its namespace, as [Quota] has it. The error matches
// [mlops.ErrForbidden] if the caller may not.
func (c *Client) SetQuota(ctx context.Context, project string, q fair.Quota) error {
	for name := range strings.SplitSeq(project, ".") {
		if !projectName.MatchString(name) {
			return invalid("%q is no project's name", project)
		}
	}
	if err := c.PrepareQuotas(ctx); err != nil {
		return err
	}
	e, err := c.quotas(ctx)
	if err != nil {
		return err
	}
	if q == (fair.Quota{}) {
		if _, there := e.Tags[tagQuota+project]; !there {
			return nil
		}
		return c.MLflow.DeleteExperimentTag(ctx, e.ID, tagQuota+project)
	}
	return c.MLflow.SetExperimentTag(ctx, e.ID, tagQuota+project, q.String())
}

// Quotas returns what each project may use that has a quota, or asks for one, by
// name.
func (c *Client) Quotas(ctx context.Context) ([]Quota, error) {
	e, err := c.quotas(ctx)
	if err != nil && !errors.Is(err, mlops.ErrNotFound) {
		return nil, err
	}
	if e.Tags[tagProject] != "" { // of a project, whose owner may edit it
		e.Tags = nil
	}
	of := map[string]*Quota{}
	read := func(project, text, by string) (fair.Quota, *Quota) {
		q := of[project]
		if q == nil {
			q = &Quota{Project: project}
			of[project] = q
		}
		parsed, err := fair.ParseQuota(text)
		if err != nil {
			q.Fault = fmt.Sprintf("%s: %v", by, err)
		}
		return parsed, q
	}
	for tag, text := range e.Tags {
		if project, ok := strings.CutPrefix(tag, tagQuota); ok {
			granted, q := read(project, text, "granted")
			q.Granted = granted
		}
	}
	query := mlflow.ExperimentQuery{Filter: "tags.`" + tagAsked + "` LIKE '%'"}
	for e, err := range c.MLflow.Experiments(ctx, query) {
		if err != nil {
			return nil, err
		}
		// The project is the one that the experiment's name says: a user could name the
		// pool of another one in its tags.
		project := strings.ReplaceAll(e.Name, "/", ".")
		if w := workspaceOf(e); e.Tags[tagAsked] != "" && w.AirflowPool == "mlops."+project {
			asked, q := read(project, e.Tags[tagAsked], "asked")
			q.Asked = asked
		}
	}
	out := make([]Quota, 0, len(of))
	for _, q := range of {
		q.Holds = q.Granted.AtMost(q.Asked)
		out = append(out, *q)
	}
	slices.SortFunc(out, func(a, b Quota) int { return strings.Compare(a.Project, b.Project) })
	return out, nil
}
