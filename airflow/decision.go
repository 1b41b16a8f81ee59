package airflow

import (
	"context"
	"iter"
	"time"
)

// Decision is what a task asks of a person; the task waits for the answer in
// [StateAwaitingInput].
type Decision struct {
	Task     TaskInstance   `json:"task_instance"`
	Subject  string         `json:"subject"`
	Body     string         `json:"body"`
	Options  []string       `json:"options"`
	Defaults []string       `json:"defaults"` // chosen when the time is over
	Multiple bool           `json:"multiple"` // more than one may be chosen
	Params   map[string]any `json:"params"`   // what may be filled in, with its schema
	Created  time.Time      `json:"created_at"`

	Answered bool           `json:"response_received"`
	Chosen   []string       `json:"chosen_options"`
	Input    map[string]any `json:"params_input"`
	At       time.Time      `json:"responded_at"`
	By       *User          `json:"responded_by_user"` // nil: unanswered, or the time was over
}

// User is a person as Airflow's login knows them.
type User struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// All lists what the tasks of a run ask; "~" stands for all runs, or all DAGs.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails
func (s DecisionsService) All(ctx context.Context, dagID, runID string) iter.Seq2[Decision, error] {
	return list[Decision](ctx, s.c, "hitl_details", request{op: "Decisions.All", path: "/dags/%s/dagRuns/%s/hitlDetails", ids: []string{dagID, runID}})
}

// Get returns what a task asks.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails
func (s DecisionsService) Get(ctx context.Context, r TaskRef) (Decision, error) {
	return do[Decision](ctx, s.c, reading(r.asked().at("Decisions.Get", "GET", "/hitlDetails")))
}

// OfTry returns what an earlier try of a task asked.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails/tries/{try_number}
func (s DecisionsService) OfTry(ctx context.Context, r TaskRef, try int) (Decision, error) {
	return do[Decision](ctx, s.c, reading(r.asked().at("Decisions.OfTry", "GET", "/hitlDetails/tries/%s", itoa(try))))
}

// Decide answers for a person. The error matches [mlops.ErrConflict] if another
// was quicker. An answer to what was asked only just now waits some seconds until
// the scheduler can take it.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails, GET /api/v2/monitor/health, PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails
func (s DecisionsService) Decide(ctx context.Context, r TaskRef, chosen []string, input map[string]any) error {
	if input == nil {
		input = map[string]any{}
	}
	if err := s.settled(ctx, r); err != nil {
		return err
	}
	q := r.asked().at("Decisions.Decide", "PATCH", "/hitlDetails")
	q.body = map[string]any{"chosen_options": chosen, "params_input": input}
	_, err := do[none](ctx, s.c, q)
	return err
}

// How long after its question a task may be answered, by the scheduler's heartbeat,
// and how long that is waited for.
const (
	settling = 5 * time.Second
	patient  = 30 * time.Second
)

// settled waits until the scheduler has read that the first half of the task, which
// asks, has ended: it reads that before each heartbeat. It fails a task that is
// queued again before (apache/airflow#72716). A scheduler that is away is not
// waited for.
func (s DecisionsService) settled(ctx context.Context, r TaskRef) error {
	d, err := s.Get(ctx, r)
	if err != nil || d.Answered {
		return err
	}
	asked := d.Created
	if d.Task.Start.After(asked) {
		asked = d.Task.Start
	}
	for begun := time.Now(); time.Since(begun) < patient; {
		h, err := s.c.Health(ctx)
		if err != nil || !h.Scheduler.Healthy() || h.Scheduler.Heartbeat.Sub(asked) >= settling {
			return nil //nolint:nilerr // the answer itself says what is wrong
		}
		if err := s.c.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// asked is the task with an index, which these paths want of every task.
func (r TaskRef) asked() TaskRef {
	if r.Index == nil {
		r.Index = new(-1)
	}
	return r
}
