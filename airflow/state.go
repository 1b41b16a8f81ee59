package airflow

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// StateEntry is a value that a task or an asset keeps under a key.
type StateEntry struct {
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
	Updated time.Time       `json:"updated_at"`
	Expires time.Time       `json:"expires_at"` // zero: never; assets' never do
}

// All lists what a task keeps.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store
func (s TaskStateService) All(ctx context.Context, r TaskRef) iter.Seq2[StateEntry, error] {
	return list[StateEntry](ctx, s.c, "task_state_store", r.by("TaskState.All", "GET", "/state-store"))
}

// Get returns what a task keeps under a key.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}
func (s TaskStateService) Get(ctx context.Context, r TaskRef, key string) (StateEntry, error) {
	return do[StateEntry](ctx, s.c, reading(r.by("TaskState.Get", "GET", "/state-store/%s", key)))
}

// Set keeps a value for a task until expires, or by the server's rule if that is
// zero.
//
// Airflow REST: PUT /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key} (204)
func (s TaskStateService) Set(ctx context.Context, r TaskRef, key string, value any, expires time.Time) error {
	q := reading(r.by("TaskState.Set", "PUT", "/state-store/%s", key))
	body := map[string]any{"value": value}
	if !expires.IsZero() {
		body["expires_at"] = expires.UTC()
	}
	q.body = body
	_, err := do[none](ctx, s.c, q)
	return err
}

// Update replaces a value that is there and leaves its end as it is.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}
func (s TaskStateService) Update(ctx context.Context, r TaskRef, key string, value any) error {
	q := reading(r.by("TaskState.Update", "PATCH", "/state-store/%s", key))
	q.body = map[string]any{"value": value}
	_, err := do[none](ctx, s.c, q)
	return err
}

// Delete removes what a task keeps under a key.
//
// Airflow REST: DELETE /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key} (204)
func (s TaskStateService) Delete(ctx context.Context, r TaskRef, key string) error {
	return s.c.remove(ctx, r.by("TaskState.Delete", "DELETE", "/state-store/%s", key))
}

// Clear removes all that a task keeps.
//
// Airflow REST: DELETE /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store (204)
func (s TaskStateService) Clear(ctx context.Context, r TaskRef) error {
	return s.c.remove(ctx, r.by("TaskState.Clear", "DELETE", "/state-store"))
}

// All lists what is kept for an asset.
//
// Airflow REST: GET /api/v2/assets/{asset_id}/state-store
func (s AssetStateService) All(ctx context.Context, assetID int64) iter.Seq2[StateEntry, error] {
	return list[StateEntry](ctx, s.c, "asset_state_store", request{op: "AssetState.All", path: "/assets/%s/state-store", ids: []string{itoa(assetID)}})
}

// Get returns what is kept for an asset under a key.
//
// Airflow REST: GET /api/v2/assets/{asset_id}/state-store/{key}
func (s AssetStateService) Get(ctx context.Context, assetID int64, key string) (StateEntry, error) {
	return get[StateEntry](ctx, s.c, "AssetState.Get", "/assets/%s/state-store/%s", itoa(assetID), key)
}

// Set keeps a value for an asset.
//
// Airflow REST: PUT /api/v2/assets/{asset_id}/state-store/{key} (204)
func (s AssetStateService) Set(ctx context.Context, assetID int64, key string, value any) error {
	_, err := send[none](ctx, s.c, "AssetState.Set", "PUT", "/assets/%s/state-store/%s", map[string]any{"value": value}, itoa(assetID), key)
	return err
}

// Delete removes what is kept for an asset under a key.
//
// Airflow REST: DELETE /api/v2/assets/{asset_id}/state-store/{key} (204)
func (s AssetStateService) Delete(ctx context.Context, assetID int64, key string) error {
	return s.c.remove(ctx, request{op: "AssetState.Delete", path: "/assets/%s/state-store/%s", ids: []string{itoa(assetID), key}})
}

// Clear removes all that is kept for an asset.
//
// Airflow REST: DELETE /api/v2/assets/{asset_id}/state-store (204)
func (s AssetStateService) Clear(ctx context.Context, assetID int64) error {
	return s.c.remove(ctx, request{op: "AssetState.Clear", path: "/assets/%s/state-store", ids: []string{itoa(assetID)}})
}
