package client

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// Explain returns why a run of the project's DAG makes no progress or has failed,
// as [airflow.Client.Explain] does. Of a task that waits for its turn on the
// machine of this home it says what the turn depends on: heat, energy, quota, or
// how much starts before it. dag is the ID within the project, task may be empty.
func (p *Project) Explain(ctx context.Context, dag, run, task string) ([]airflow.Cause, error) {
	causes, err := p.Airflow.Explain(ctx, p.DAGID(dag), run, task)
	if err != nil || !p.OwnAirflow() {
		return causes, err
	}
	lease, err := fairfile.ReadLease(p.Home())
	if err != nil || !lease.Held(time.Now()) {
		return causes, nil //nolint:nilerr // doctor says what is wrong with the file
	}
	for i, c := range causes {
		if c.Code != airflow.CauseTurn || c.Task == nil {
			continue
		}
		causes[i] = turn(c, lease, lease.Pools[c.Task.Pool])
	}
	return causes, nil
}

// turn is the cause of a task that waits for its turn, by the agent's lease.
func turn(c airflow.Cause, lease fairfile.Lease, pool fairfile.Pool) airflow.Cause {
	hot := fmt.Sprintf("%d of %d slots may be used on this machine: %s", lease.Budget, lease.Max, cmp.Or(lease.Limited, lease.Heat))
	task := fmt.Sprintf("task %s waits", c.Task.TaskID)
	switch fair.Cause(pool.Cause) {
	case fair.CauseHeat:
		c.Code, c.Message, c.Help = airflow.CauseHeat, task+" until the machine is cooler: "+hot, "mlopsctl heat show"
	case fair.CauseEnergy:
		c.Code, c.Message, c.Help = airflow.CauseEnergy, task+" for energy: "+hot, "mlopsctl fair status"
	case fair.CauseQuota:
		c.Code, c.Message, c.Help = airflow.CauseQuota, task+": the project has what its quota allows", "mlopsctl quota list"
	case fair.CauseTurn:
		if pool.Before > 0 {
			c.Message += fmt.Sprintf("; %d slots' worth of work starts first", pool.Before)
		}
	}
	return c
}
