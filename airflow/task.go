package airflow

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// State is how far a run or a task is. A run is queued, running, success or
// failed; a task may be in any of them. A task that the scheduler has not looked at yet has
// the empty state.
type State string

// The states of runs and tasks.
const (
	StateQueued          State = "queued"
	StateRunning         State = "running"
	StateSuccess         State = "success"
	StateFailed          State = "failed"
	StateScheduled       State = "scheduled"
	StateDeferred        State = "deferred"
	StateRestarting      State = "restarting"
	StateUpForRetry      State = "up_for_retry"
	StateUpForReschedule State = "up_for_reschedule"
	StateAwaitingInput   State = "awaiting_input"
	StateUpstreamFailed  State = "upstream_failed" // a task before it failed
	StateSkipped         State = "skipped"
	StateRemoved         State = "removed" // no longer in the DAG
)

// Done reports whether nothing more happens by itself.
func (s State) Done() bool {
	switch s {
	case StateSuccess, StateFailed, StateUpstreamFailed, StateSkipped, StateRemoved:
		return true
	}
	return false
}

// TaskInstance is a task within a run.
type TaskInstance struct {
	TaskID    string    `json:"task_id"`
	DAGID     string    `json:"dag_id"`
	RunID     string    `json:"dag_run_id"`
	MapIndex  int       `json:"map_index"` // -1: not mapped
	State     State     `json:"state"`
	Try       int       `json:"try_number"` // 0: never started
	MaxRetry  int       `json:"max_tries"`  // how many retries it has
	Queued    time.Time `json:"queued_when"`
	Start     time.Time `json:"start_date"`
	End       time.Time `json:"end_date"`
	Pool      string    `json:"pool"`
	PoolSlots int       `json:"pool_slots"`
	Operator  string    `json:"operator_name"`
	Host      string    `json:"hostname"`
	Note      string    `json:"note"`
}

// All lists the tasks of a run, mapped ones one by one.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances
func (s TasksService) All(ctx context.Context, dagID, runID string) iter.Seq2[TaskInstance, error] {
	return pages(ctx, nil, true, func(ctx context.Context, v url.Values) (page[TaskInstance], error) {
		out, err := do[struct {
			Tasks []TaskInstance `json:"task_instances"`
			Total int            `json:"total_entries"`
			Next  string         `json:"next_cursor"`
		}](ctx, s.c, request{op: "Tasks.All", method: "GET", path: "/dags/%s/dagRuns/%s/taskInstances", ids: []string{dagID, runID}, query: v, again: true})
		return page[TaskInstance]{out.Tasks, out.Total, out.Next}, err
	})
}

// taskInstance returns one task of a run; mapIndex is -1 if it is not mapped.
func (c *Client) taskInstance(ctx context.Context, op, dagID, runID, taskID string, mapIndex int) (TaskInstance, error) {
	ref := TaskInstance{DAGID: dagID, RunID: runID, TaskID: taskID, MapIndex: mapIndex}.Ref()
	return do[TaskInstance](ctx, c, reading(ref.at(op, "GET", "")))
}
