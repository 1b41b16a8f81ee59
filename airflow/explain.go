package airflow

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// CauseCode is a kind of reason why a run or a task makes no progress.
type CauseCode string

// The causes that [Client.Explain] finds, the most general first: one that is
// named earlier holds those that come later.
const (
	CauseSchedulerGone    CauseCode = "scheduler_gone"     // nothing starts
	CauseDAGUnreadable    CauseCode = "dag_unreadable"     // its file broke
	CauseDAGStale         CauseCode = "dag_stale"          // its file is gone
	CauseDAGPaused        CauseCode = "dag_paused"         //
	CauseBackfillPaused   CauseCode = "backfill_paused"    //
	CauseBackfillLimit    CauseCode = "backfill_limit"     // its MaxActiveRuns run
	CauseMaxActiveRuns    CauseCode = "max_active_runs"    // of the DAG run
	CausePoolMissing      CauseCode = "pool_missing"       //
	CausePoolTooSmall     CauseCode = "pool_too_small"     // the task takes more slots than it has
	CausePoolHeld         CauseCode = "pool_held"          // it has no slots
	CauseHeat             CauseCode = "heat"               // the machine is hot or saves its battery: its agent starts less; client.Project.Explain
	CauseEnergy           CauseCode = "energy"             // the day's energy is spent; client.Project.Explain
	CauseQuota            CauseCode = "quota"              // the project holds or has spent what it may; client.Project.Explain
	CauseTurn             CauseCode = "turn"               // the agent gives the project's slots to others now
	CausePoolFull         CauseCode = "pool_full"          //
	CauseMaxActiveTasks   CauseCode = "max_active_tasks"   // of the DAG or the task run
	CauseTriggererGone    CauseCode = "triggerer_gone"     // what is deferred does not come back
	CauseAwaitingInput    CauseCode = "awaiting_input"     // a person has to decide
	CauseRetry            CauseCode = "retry"              // the last try failed, the next comes
	CauseDeferred         CauseCode = "deferred"           // it waits outside of the workers
	CauseExecutorFull     CauseCode = "executor_full"      // no worker has taken it
	CauseUpstreamFailed   CauseCode = "upstream_failed"    //
	CauseTaskFailed       CauseCode = "task_failed"        //
	CauseServerDependency CauseCode = "server_dependency"  // another reason, in the server's words
	CauseDAGProcessorGone CauseCode = "dag_processor_gone" // changes of DAGs are not seen
)

// Cause is a reason why a run or a task makes no progress.
type Cause struct {
	Code    CauseCode
	Task    *TaskInstance // nil: the whole run
	Message string        // what holds it, with the server's own words if it has any
	Help    string        // the command that helps; empty: waiting does
}

// taken is how long a worker takes at most to begin what is queued.
const taken = 30 * time.Second

// Explain returns why a run makes no progress or has failed: the cause that most
// likely holds everything first. It returns none for a run that simply runs, or
// that has succeeded. With a task it looks at that task alone.
//
// Airflow REST: GET /api/v2/dags/{dag_id}, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}, GET /api/v2/monitor/health, GET /api/v2/importErrors, GET /api/v2/dags/{dag_id}/dagRuns, GET /api/v2/backfills, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dependencies, GET /api/v2/pools/{pool_name}
func (c *Client) Explain(ctx context.Context, dagID, runID, taskID string) ([]Cause, error) {
	run, err := c.Runs.Get(ctx, dagID, runID)
	if err != nil || run.State == StateSuccess {
		return nil, err
	}
	dag, err := c.DAGs.Get(ctx, dagID)
	if err != nil {
		return nil, err
	}
	x := explainer{c: c, run: run, dag: dag}
	if !run.State.Done() {
		if x.health, err = c.Health(ctx); err != nil {
			return nil, err
		}
		if err := x.general(ctx); err != nil {
			return nil, err
		}
	}
	if run.State == StateQueued {
		if err := x.queued(ctx); err != nil {
			return nil, err
		}
	}
	seen := taskID == ""
	for t, err := range c.Tasks.All(ctx, dagID, runID) {
		if err != nil {
			return nil, err
		}
		if taskID != "" && t.TaskID != taskID {
			continue
		}
		seen = true
		if err := x.task(ctx, t); err != nil {
			return nil, err
		}
	}
	if !seen {
		return nil, invalid("Explain", "run %s of DAG %s has no task %q", runID, dagID, taskID)
	}
	slices.SortStableFunc(x.found, func(a, b Cause) int { return cmp.Compare(a.Code.rank(), b.Code.rank()) })
	return x.found, nil
}

// order ranks the causes: what holds everything comes first.
var order = []CauseCode{CauseSchedulerGone, CauseDAGUnreadable, CauseDAGStale, CauseDAGPaused, CauseBackfillPaused, CauseBackfillLimit, CauseMaxActiveRuns,
	CausePoolMissing, CausePoolTooSmall, CausePoolHeld, CauseHeat, CauseEnergy, CauseQuota, CauseTurn, CausePoolFull, CauseMaxActiveTasks, CauseTriggererGone, CauseAwaitingInput, CauseRetry, CauseDeferred,
	CauseExecutorFull, CauseTaskFailed, CauseUpstreamFailed, CauseServerDependency, CauseDAGProcessorGone}

func (c CauseCode) rank() int { return slices.Index(order, c) }

// explainer collects the causes of one run.
type explainer struct {
	c      *Client
	run    DAGRun
	dag    DAG
	health Health
	found  []Cause
}

func (x *explainer) say(code CauseCode, t *TaskInstance, help, format string, args ...any) {
	x.found = append(x.found, Cause{Code: code, Task: t, Message: fmt.Sprintf(format, args...), Help: help})
}

// general looks at what holds every run of the DAG.
func (x *explainer) general(ctx context.Context) error {
	if !x.health.Scheduler.Healthy() {
		x.say(CauseSchedulerGone, nil, "mlopsctl start airflow", "Airflow's scheduler is %s", wordOf(x.health.Scheduler))
	}
	if !x.health.DAGProcessor.Healthy() {
		x.say(CauseDAGProcessorGone, nil, "mlopsctl start airflow", "Airflow's DAG processor is %s: changes of DAG files are not seen", wordOf(x.health.DAGProcessor))
	}
	if x.dag.Paused {
		x.say(CauseDAGPaused, nil, "mlopsctl dag resume "+x.dag.ID, "DAG %s is paused", x.dag.ID)
	}
	if !x.dag.Stale && !x.dag.HasImportErrors {
		return nil
	}
	// A DAG whose file broke is stale, too, and keeps its mark when the file is
	// then removed: the list of errors says which it is.
	for e, err := range x.c.importErrors(ctx, "Explain", url.Values{"filename_pattern": {path.Base(x.dag.File)}}) {
		if err != nil {
			return err
		}
		if strings.HasSuffix(x.dag.File, "/"+e.File) {
			x.say(CauseDAGUnreadable, nil, "mlopsctl dag errors --all", "%s", e.Error())
			return nil
		}
	}
	x.say(CauseDAGStale, nil, "declare the DAG again", "the DAG's file %s is gone", x.dag.File)
	return nil
}

func wordOf(c Component) string {
	word := cmp.Or(c.Status, "not there")
	if c.Heartbeat.IsZero() {
		return word
	}
	return fmt.Sprintf("%s (last heartbeat %s)", word, c.Heartbeat.UTC().Format(time.RFC3339))
}

// queued looks at what keeps a run from beginning.
func (x *explainer) queued(ctx context.Context) error {
	if x.run.Type == "backfill" {
		return x.backfill(ctx)
	}
	running := 0
	for _, err := range x.c.Runs.All(ctx, x.dag.ID, DAGRunQuery{States: []State{StateRunning}}) {
		if err != nil {
			return err
		}
		running++
	}
	if x.dag.MaxActiveRuns > 0 && running >= x.dag.MaxActiveRuns {
		x.say(CauseMaxActiveRuns, nil, "", "%d runs of DAG %s run, which is its limit (max_active_runs)", running, x.dag.ID)
	}
	return nil
}

// backfill looks at the backfill that the run belongs to: the one that is not over.
func (x *explainer) backfill(ctx context.Context) error {
	for b, err := range x.c.Backfills.All(ctx, x.dag.ID) {
		if err != nil {
			return err
		}
		if !b.Completed.IsZero() {
			continue
		}
		if b.Paused {
			x.say(CauseBackfillPaused, nil, "", "backfill %d is paused", b.ID)
		}
		running := 0
		for _, err := range x.c.Runs.All(ctx, x.dag.ID, DAGRunQuery{States: []State{StateRunning}, Type: "backfill"}) {
			if err != nil {
				return err
			}
			running++
		}
		if running >= b.MaxActiveRuns {
			x.say(CauseBackfillLimit, nil, "", "%d runs of backfill %d run, which is its limit", running, b.ID)
		}
	}
	return nil
}

// task looks at what keeps a task from beginning or from its end.
func (x *explainer) task(ctx context.Context, t TaskInstance) error {
	switch t.State {
	case StateScheduled:
		return x.scheduled(ctx, t)
	case StateQueued:
		if !t.Queued.IsZero() && time.Since(t.Queued) > taken {
			x.say(CauseExecutorFull, &t, "", "no worker has taken task %s since %s: all are busy, or none is there", t.TaskID, t.Queued.UTC().Format(time.RFC3339))
		}
	case StateUpForRetry:
		x.say(CauseRetry, &t, "", "try %d of task %s failed at %s; it is tried again, %d times at most", t.Try, t.TaskID, t.End.UTC().Format(time.RFC3339), t.MaxRetry)
	case StateDeferred:
		if !x.health.Triggerer.Healthy() {
			x.say(CauseTriggererGone, &t, "mlopsctl start airflow", "task %s waits for Airflow's triggerer, which is %s", t.TaskID, wordOf(x.health.Triggerer))
			return nil
		}
		x.say(CauseDeferred, &t, "", "task %s (%s) waits for what it was told to wait for", t.TaskID, t.Operator)
	case StateAwaitingInput:
		x.say(CauseAwaitingInput, &t, "", "task %s waits for a person to decide", t.TaskID)
	case StateUpstreamFailed:
		x.say(CauseUpstreamFailed, &t, "", "a task before %s failed", t.TaskID)
	case StateFailed:
		x.say(CauseTaskFailed, &t, fmt.Sprintf("mlopsctl dag logs %s %s %s", t.DAGID, t.RunID, t.TaskID), "try %d of task %s failed", t.Try, t.TaskID)
	}
	return nil
}

// scheduled asks the server what keeps a task whose turn it is from being queued.
func (x *explainer) scheduled(ctx context.Context, t TaskInstance) error {
	deps, err := x.c.Tasks.Dependencies(ctx, t.Ref())
	if err != nil {
		return err
	}
	for _, d := range deps {
		switch d.Name {
		case "Dag Not Paused", "Dagrun Running": // said of the run already
		case "Pool Slots Available":
			if err := x.pool(ctx, t, d.Reason); err != nil {
				return err
			}
		case "Task Instance Slots Available", "Task Concurrency":
			x.say(CauseMaxActiveTasks, &t, "", "task %s: %s", t.TaskID, d.Reason)
		default:
			x.say(CauseServerDependency, &t, "", "task %s: %s: %s", t.TaskID, d.Name, d.Reason)
		}
	}
	return nil
}

func (x *explainer) pool(ctx context.Context, t TaskInstance, reason string) error {
	p, err := x.c.Pools.Get(ctx, t.Pool)
	switch {
	case isNotFound(err):
		x.say(CausePoolMissing, &t, "declare the DAG again, or trigger another run", "task %s: %s", t.TaskID, reason)
	case err != nil:
		return err
	case p.Slots < p.most() && t.PoolSlots <= p.most():
		x.say(CauseTurn, &t, "mlopsctl fair status", "task %s waits for its turn: the agent gives pool %s %d slots now, of %d", t.TaskID, t.Pool, p.Slots, p.most())
	case p.Slots == 0:
		x.say(CausePoolHeld, &t, "", "task %s: pool %s is on hold, it has 0 slots", t.TaskID, t.Pool)
	case t.PoolSlots > p.Slots:
		x.say(CausePoolTooSmall, &t, "", "task %s takes %d slots, pool %s has %d: it never starts", t.TaskID, t.PoolSlots, t.Pool, p.Slots)
	case strings.Contains(reason, "open slots"):
		x.say(CausePoolFull, &t, "", "task %s: %s", t.TaskID, reason)
	default:
		x.say(CauseServerDependency, &t, "", "task %s: %s", t.TaskID, reason)
	}
	return nil
}
