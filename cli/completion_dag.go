package cli

import (
	"context"
	"iter"
	"strings"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

// airflowNames are the names of what Airflow has beside DAGs, by the command for it.
var airflowNames = map[string]func(context.Context, *client.Client) ([]string, error){
	"pool": func(ctx context.Context, c *client.Client) ([]string, error) {
		return texts(c.Airflow.Pools.All(ctx), func(p airflow.Pool) string { return p.Name })
	},
	"asset": func(ctx context.Context, c *client.Client) ([]string, error) {
		return texts(c.Airflow.Assets.All(ctx, airflow.AssetQuery{}), func(a airflow.Asset) string { return a.Name })
	},
	"variable": func(ctx context.Context, c *client.Client) ([]string, error) {
		return texts(c.Airflow.Variables.All(ctx), func(v airflow.Variable) string { return v.Key })
	},
	"connection": func(ctx context.Context, c *client.Client) ([]string, error) {
		return texts(c.Airflow.Connections.All(ctx), func(c airflow.Connection) string { return c.ID })
	},
}

// texts is one text of each item; what came before an error is returned with it.
func texts[T any](all iter.Seq2[T, error], text func(T) string) (list []string, _ error) {
	for v, err := range all {
		if err != nil {
			return list, err
		}
		list = append(list, text(v))
	}
	return list, nil
}

// dagOperands completes <dag> <run-id> <task> of the project that is named
// already.
func (e *env) dagOperands(r *reader) []string {
	usage := strings.Fields(r.command().ArgsUsage)
	if len(r.operands) >= len(usage) {
		return nil
	}
	return e.ask(func(ctx context.Context, infra *client.Client) ([]string, error) {
		p, err := infra.Project(r.given("project"))
		if err != nil {
			return nil, err
		}
		switch strings.Trim(usage[len(r.operands)], "<>[].") {
		case "dag":
			return texts(p.DAGs(ctx), func(d airflow.DAG) string { return strings.TrimPrefix(d.ID, p.Workspace().AirflowDAGPrefix) })
		case "run-id":
			var runs []string
			for run, err := range p.Airflow.Runs.All(ctx, p.DAGID(r.operands[0]), airflow.DAGRunQuery{Newest: true}) {
				if err != nil || len(runs) == 50 {
					return runs, err
				}
				runs = append(runs, run.ID)
			}
			return runs, nil
		case "task":
			tasks, err := p.Airflow.DAGs.Tasks(ctx, p.DAGID(r.operands[0]))
			var ids []string
			for _, t := range tasks {
				ids = append(ids, t.ID)
			}
			return ids, err
		}
		return nil, nil
	})
}

// given is the value of a flag so far, empty if it is not there.
func (r *reader) given(name string) string {
	for _, l := range r.levels {
		for _, g := range l.given {
			if value, ok := strings.CutPrefix(g, "--"+name+"="); ok {
				return value
			}
		}
	}
	return ""
}
