package airflow

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// XComReturn is the key under which a task leaves what it returns.
const XComReturn = "return_value"

// XCom is what a task left for others under a key.
type XCom struct {
	Key      string          `json:"key"`
	DAGID    string          `json:"dag_id"`
	RunID    string          `json:"run_id"`
	TaskID   string          `json:"task_id"`
	MapIndex int             `json:"map_index"` // -1: not mapped
	Time     time.Time       `json:"timestamp"`
	Value    json.RawMessage `json:"value"` // nil in lists
}

// All lists what a task left, without the values. Of a mapped task it lists one
// instance's or, without an index, what stands under index -1.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries
func (s XComsService) All(ctx context.Context, r TaskRef) iter.Seq2[XCom, error] {
	return list[XCom](ctx, s.c, "xcom_entries", r.by("XComs.All", "GET", "/xcomEntries"))
}

// Get returns what a task left under a key.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}
func (s XComsService) Get(ctx context.Context, r TaskRef, key string) (XCom, error) {
	return do[XCom](ctx, s.c, reading(r.by("XComs.Get", "GET", "/xcomEntries/%s", key)))
}

// Create leaves a value as if the task had. The error matches
// [mlops.ErrAlreadyExists] if there is one under the key.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries (201)
func (s XComsService) Create(ctx context.Context, r TaskRef, key string, value any) error {
	q := r.by("XComs.Create", "POST", "/xcomEntries")
	q.query, q.body = nil, r.value(map[string]any{"key": key, "value": value})
	_, err := do[none](ctx, s.c, q)
	return err
}

// Set replaces a value that is there.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}
func (s XComsService) Set(ctx context.Context, r TaskRef, key string, value any) error {
	q := reading(r.by("XComs.Set", "PATCH", "/xcomEntries/%s", key))
	q.query, q.body = nil, r.value(map[string]any{"value": value})
	_, err := do[none](ctx, s.c, q)
	return err
}

func (r TaskRef) value(body map[string]any) map[string]any {
	if r.Index != nil {
		body["map_index"] = *r.Index
	}
	return body
}

// Delete removes a value.
//
// Airflow REST: DELETE /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key} (204)
func (s XComsService) Delete(ctx context.Context, r TaskRef, key string) error {
	return s.c.remove(ctx, r.by("XComs.Delete", "DELETE", "/xcomEntries/%s", key))
}
