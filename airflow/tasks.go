package airflow

import (
	"context"
	"iter"
	"maps"
	"net/url"
	"slices"
	"time"
)

// TaskRef names a task within a run.
type TaskRef struct {
	DAGID, RunID, TaskID string
	Index                *int // which one of a mapped task; nil: it is not mapped
}

// Ref names the task instance.
func (t TaskInstance) Ref() TaskRef {
	r := TaskRef{DAGID: t.DAGID, RunID: t.RunID, TaskID: t.TaskID}
	if t.MapIndex >= 0 {
		r.Index = &t.MapIndex
	}
	return r
}

const taskPath = "/dags/%s/dagRuns/%s/taskInstances/%s"

// at is a request about the task whose path carries the index.
func (r TaskRef) at(op, method, rest string, more ...string) request {
	q := request{op: op, method: method, path: taskPath, ids: []string{r.DAGID, r.RunID, r.TaskID}}
	if r.Index != nil {
		q.path += "/%s"
		q.ids = append(q.ids, itoa(*r.Index))
	}
	q.path += rest
	q.ids = append(q.ids, more...)
	return q
}

// by is a request about the task whose query carries the index.
func (r TaskRef) by(op, method, rest string, more ...string) request {
	q := request{op: op, method: method, path: taskPath + rest, ids: append([]string{r.DAGID, r.RunID, r.TaskID}, more...), query: url.Values{}}
	if r.Index != nil {
		q.query.Set("map_index", itoa(*r.Index))
	}
	return q
}

// reading is a request that changes nothing.
func reading(q request) request {
	q.again = true
	return q
}

type tasksWire struct {
	Tasks []TaskInstance `json:"task_instances"`
}

// Get returns a task of a run.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}
func (s TasksService) Get(ctx context.Context, r TaskRef) (TaskInstance, error) {
	return do[TaskInstance](ctx, s.c, reading(r.at("Tasks.Get", "GET", "")))
}

// Mapped lists the instances of a mapped task.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped
func (s TasksService) Mapped(ctx context.Context, dagID, runID, taskID string) iter.Seq2[TaskInstance, error] {
	r := TaskRef{DAGID: dagID, RunID: runID, TaskID: taskID}.by("Tasks.Mapped", "GET", "/listMapped")
	r.query.Set("order_by", "map_index")
	return list[TaskInstance](ctx, s.c, "task_instances", r)
}

// TaskSearch selects task instances of several runs in one request.
type TaskSearch struct {
	DAGs, Runs, Tasks []string
	States            []State
	Pools             []string
}

// Search lists task instances of several runs, or of all if q names none.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list
func (s TasksService) Search(ctx context.Context, q TaskSearch) iter.Seq2[TaskInstance, error] {
	body := map[string]any{"order_by": "start_date"}
	for key, names := range map[string][]string{"dag_ids": q.DAGs, "dag_run_ids": q.Runs, "task_ids": q.Tasks, "pool": q.Pools} {
		if len(names) > 0 {
			body[key] = names
		}
	}
	if len(q.States) > 0 {
		body["state"] = q.States
	}
	return search[TaskInstance](ctx, s.c, "task_instances", request{op: "Tasks.Search", path: "/dags/%s/dagRuns/%s/taskInstances/list", ids: []string{"~", "~"}}, body)
}

// TaskDependency is a reason why a task does not start, in the server's words.
type TaskDependency struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Dependencies returns why a task has not started; nothing if nothing holds it.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dependencies, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dependencies
func (s TasksService) Dependencies(ctx context.Context, r TaskRef) ([]TaskDependency, error) {
	out, err := do[struct {
		Dependencies []TaskDependency `json:"dependencies"`
	}](ctx, s.c, reading(r.at("Tasks.Dependencies", "GET", "/dependencies")))
	return out.Dependencies, err
}

// Tries returns the tries of a task that began, the oldest first.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries
func (s TasksService) Tries(ctx context.Context, r TaskRef) ([]TaskInstance, error) {
	out, err := do[tasksWire](ctx, s.c, reading(r.at("Tasks.Tries", "GET", "/tries")))
	return out.Tasks, err
}

// Try returns one try of a task.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries/{task_try_number}, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries/{task_try_number}
func (s TasksService) Try(ctx context.Context, r TaskRef, number int) (TaskInstance, error) {
	return do[TaskInstance](ctx, s.c, reading(r.at("Tasks.Try", "GET", "/tries/%s", itoa(number))))
}

// Links returns the links that a task's operator offers; nil stands for one that
// leads nowhere yet.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/links
func (s TasksService) Links(ctx context.Context, r TaskRef) (map[string]*string, error) {
	out, err := do[struct {
		Links map[string]*string `json:"extra_links"`
	}](ctx, s.c, reading(r.by("Tasks.Links", "GET", "/links")))
	return out.Links, err
}

// LogURL returns where a try's log lies outside of Airflow. The error matches
// [mlops.ErrInvalid] if the server keeps logs itself.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/externalLogUrl/{try_number}
func (s TasksService) LogURL(ctx context.Context, r TaskRef, try int) (string, error) {
	out, err := do[struct {
		URL string `json:"url"`
	}](ctx, s.c, reading(r.by("Tasks.LogURL", "GET", "/externalLogUrl/%s", itoa(try))))
	return out.URL, err
}

// TaskScope adds other tasks to a change.
type TaskScope struct {
	Upstream   bool `json:"include_upstream,omitempty"`
	Downstream bool `json:"include_downstream,omitempty"`
	Past       bool `json:"include_past,omitempty"`   // the same tasks in earlier runs
	Future     bool `json:"include_future,omitempty"` // and in later ones
}

// TaskChange is what becomes of a task instance.
type TaskChange struct {
	State State  `json:"new_state,omitempty"` // success, failed or skipped; empty: as it is
	Note  string `json:"note,omitempty"`      // empty: as it is
	TaskScope
}

// Set declares a task successful, failed or skipped, or writes its note, and
// returns what changed. Tasks that run are killed.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}, PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}
func (s TasksService) Set(ctx context.Context, r TaskRef, change TaskChange) ([]TaskInstance, error) {
	return s.change(ctx, r.at("Tasks.Set", "PATCH", ""), change)
}

// WouldSet returns what Set would change.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dry_run, PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dry_run
func (s TasksService) WouldSet(ctx context.Context, r TaskRef, change TaskChange) ([]TaskInstance, error) {
	return s.change(ctx, r.at("Tasks.WouldSet", "PATCH", "/dry_run"), change)
}

// SetGroup is Set for all tasks of a group.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}
func (s TasksService) SetGroup(ctx context.Context, dagID, runID, group string, change TaskChange) ([]TaskInstance, error) {
	return s.change(ctx, request{op: "Tasks.SetGroup", method: "PATCH", path: "/dags/%s/dagRuns/%s/taskGroupInstances/%s", ids: []string{dagID, runID, group}}, change)
}

// WouldSetGroup returns what SetGroup would change.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}/dry_run
func (s TasksService) WouldSetGroup(ctx context.Context, dagID, runID, group string, change TaskChange) ([]TaskInstance, error) {
	return s.change(ctx, request{op: "Tasks.WouldSetGroup", method: "PATCH", path: "/dags/%s/dagRuns/%s/taskGroupInstances/%s/dry_run", ids: []string{dagID, runID, group}}, change)
}

func (s TasksService) change(ctx context.Context, r request, change TaskChange) ([]TaskInstance, error) {
	r.body, r.again = change, true
	out, err := do[tasksWire](ctx, s.c, r)
	return out.Tasks, err
}

// SetAll changes tasks of a run in one request: all of them or, if one is not
// there, none. The changes are by task ID; mapped tasks change whole.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances (200 even if it fails)
func (s TasksService) SetAll(ctx context.Context, dagID, runID string, changes map[string]TaskChange) (BulkResult, error) {
	type entity struct {
		TaskID string `json:"task_id"`
		TaskChange
	}
	var all []entity
	for _, id := range slices.Sorted(maps.Keys(changes)) {
		all = append(all, entity{id, changes[id]})
	}
	return s.c.bulk(ctx, "Tasks.SetAll", "/dags/%s/dagRuns/%s/taskInstances", []string{dagID, runID}, true, bulkAction{Action: BulkActionUpdate, Missing: "fail", Entities: all})
}

// DeleteAll removes tasks from a run in one request: all of them or, if one is
// not there, none.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances (200 even if it fails)
func (s TasksService) DeleteAll(ctx context.Context, dagID, runID string, taskIDs []string) (BulkResult, error) {
	return s.c.bulk(ctx, "Tasks.DeleteAll", "/dags/%s/dagRuns/%s/taskInstances", []string{dagID, runID}, false, bulkAction{Action: BulkActionDelete, Missing: "fail", Entities: taskIDs})
}

// Delete removes a task from a run.
//
// Airflow REST: DELETE /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}
func (s TasksService) Delete(ctx context.Context, r TaskRef) error {
	return s.c.remove(ctx, r.by("Tasks.Delete", "DELETE", ""))
}

// TaskClear selects the tasks that Clear runs again; its zero value selects all
// of all runs.
type TaskClear struct {
	RunID      string // empty: of the runs between From and To
	Tasks      []string
	OnlyFailed bool
	OnlyActive bool // those that run now
	From, To   time.Time
	TaskScope
}

// Clear makes tasks run again and returns them. Their runs are queued again.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/clearTaskInstances
func (s TasksService) Clear(ctx context.Context, dagID string, q TaskClear) ([]TaskInstance, error) {
	return s.clear(ctx, "Tasks.Clear", dagID, q, false)
}

// WouldClear returns the tasks that Clear would run again.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/clearTaskInstances
func (s TasksService) WouldClear(ctx context.Context, dagID string, q TaskClear) ([]TaskInstance, error) {
	return s.clear(ctx, "Tasks.WouldClear", dagID, q, true)
}

func (s TasksService) clear(ctx context.Context, op, dagID string, q TaskClear, dry bool) ([]TaskInstance, error) {
	body := map[string]any{"dry_run": dry, "only_failed": q.OnlyFailed, "only_running": q.OnlyActive, "reset_dag_runs": true,
		"include_upstream": q.Upstream, "include_downstream": q.Downstream, "include_past": q.Past, "include_future": q.Future}
	if q.RunID != "" {
		body["dag_run_id"] = q.RunID
	}
	if len(q.Tasks) > 0 {
		body["task_ids"] = q.Tasks
	}
	if !q.From.IsZero() {
		body["start_date"] = q.From.UTC()
	}
	if !q.To.IsZero() {
		body["end_date"] = q.To.UTC()
	}
	out, err := do[tasksWire](ctx, s.c, request{op: op, method: "POST", path: "/dags/%s/clearTaskInstances", ids: []string{dagID}, body: body, again: dry})
	return out.Tasks, err
}
