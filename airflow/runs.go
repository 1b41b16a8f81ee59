package airflow

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// RunSearch selects runs of several DAGs in one request.
type RunSearch struct {
	DAGs          []string
	States        []State
	After, Before time.Time // due
	NewestFirst   bool
}

// Search lists runs of several DAGs, or of all if q names none.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/dagRuns/list
func (s RunsService) Search(ctx context.Context, q RunSearch) iter.Seq2[DAGRun, error] {
	body := map[string]any{"order_by": "run_after"}
	if q.NewestFirst {
		body["order_by"] = "-run_after"
	}
	if len(q.DAGs) > 0 {
		body["dag_ids"] = q.DAGs
	}
	if len(q.States) > 0 {
		body["states"] = q.States
	}
	if !q.After.IsZero() {
		body["run_after_gte"] = q.After.UTC()
	}
	if !q.Before.IsZero() {
		body["run_after_lt"] = q.Before.UTC()
	}
	return search[DAGRun](ctx, s.c, "dag_runs", request{op: "Runs.Search", path: "/dags/%s/dagRuns/list", ids: []string{"~"}}, body)
}

// search reads a list that is asked for by a body.
func search[T any](ctx context.Context, c *Client, key string, r request, body map[string]any) iter.Seq2[T, error] {
	r.method, r.again = "POST", true
	return func(yield func(T, error) bool) {
		body["page_limit"] = pageLimit
		for seen := 0; ; {
			body["page_offset"] = seen
			r.body = body
			p, err := pageOf[T](ctx, c, key, r)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, v := range p.items {
				if !yield(v, nil) {
					return
				}
			}
			if seen += len(p.items); len(p.items) == 0 || seen >= p.total {
				return
			}
		}
	}
}

// Delete removes a run and its task instances. The error matches
// [mlops.ErrConflict] while it is queued or runs.
//
// Airflow REST: DELETE /api/v2/dags/{dag_id}/dagRuns/{dag_run_id} (204)
func (s RunsService) Delete(ctx context.Context, dagID, runID string) error {
	return s.c.remove(ctx, request{op: "Runs.Delete", path: "/dags/%s/dagRuns/%s", ids: []string{dagID, runID}})
}

// SetState declares a run queued, successful or failed. What runs of it is killed
// if it failed: see [RunsService.Cancel].
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}
func (s RunsService) SetState(ctx context.Context, dagID, runID string, state State) (DAGRun, error) {
	return send[DAGRun](ctx, s.c, "Runs.SetState", "PATCH", "/dags/%s/dagRuns/%s", map[string]State{"state": state}, dagID, runID)
}

// SetNote replaces the note that is shown with a run.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}
func (s RunsService) SetNote(ctx context.Context, dagID, runID, note string) (DAGRun, error) {
	return send[DAGRun](ctx, s.c, "Runs.SetNote", "PATCH", "/dags/%s/dagRuns/%s", map[string]string{"note": note}, dagID, runID)
}

// RunChange is what becomes of one of several runs.
type RunChange struct {
	RunID string `json:"dag_run_id"`
	State State  `json:"state,omitempty"` // empty: as it is
	Note  string `json:"note,omitempty"`  // empty: as it is
}

// SetAll changes runs of a DAG in one request: all of them or, if one is not
// there, none.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns (200 even if it fails)
func (s RunsService) SetAll(ctx context.Context, dagID string, changes []RunChange) (BulkResult, error) {
	return s.c.bulk(ctx, "Runs.SetAll", "/dags/%s/dagRuns", []string{dagID}, true, bulkAction{Action: BulkActionUpdate, Missing: "fail", Entities: changes})
}

// DeleteAll removes runs of a DAG in one request: all of them or, if one is not
// there, none.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns (200 even if it fails)
func (s RunsService) DeleteAll(ctx context.Context, dagID string, runIDs []string) (BulkResult, error) {
	return s.c.bulk(ctx, "Runs.DeleteAll", "/dags/%s/dagRuns", []string{dagID}, false, bulkAction{Action: BulkActionDelete, Missing: "fail", Entities: runIDs})
}

// WouldClear returns the tasks that Clear would run again, and changes nothing.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear
func (s RunsService) WouldClear(ctx context.Context, dagID, runID string, opt ClearOptions) ([]TaskInstance, error) {
	out, err := send[tasksWire](ctx, s.c, "Runs.WouldClear", "POST", "/dags/%s/dagRuns/%s/clear", map[string]bool{"dry_run": true, "only_failed": opt.OnlyFailed}, dagID, runID)
	return out.Tasks, err
}

// ClearAll makes runs of a DAG queued again and their tasks run again.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/clearDagRuns
func (s RunsService) ClearAll(ctx context.Context, dagID string, runIDs []string, opt ClearOptions) error {
	var runs []RunChange
	for _, id := range runIDs {
		runs = append(runs, RunChange{RunID: id})
	}
	_, err := sendOnce[none](ctx, s.c, "Runs.ClearAll", "POST", "/dags/%s/clearDagRuns", map[string]any{"dry_run": false, "only_failed": opt.OnlyFailed, "dag_runs": runs}, dagID)
	return err
}

// PartitionQuery selects runs by their partition.
type PartitionQuery struct {
	Key      string    `json:"partition_key,omitempty"`
	RunID    string    `json:"run_id,omitempty"`
	From, To time.Time `json:"-"`
	Tasks    bool      `json:"clear_task_instances"` // run their tasks again as well
	DryRun   bool      `json:"dry_run"`
}

// PartitionsCleared counts what ClearPartitions did, or would do.
type PartitionsCleared struct {
	Runs  int `json:"dag_runs_cleared"`
	Tasks int `json:"task_instances_cleared"`
}

// ClearPartitions takes the partition off runs of a DAG that is scheduled by
// partitions, so that the partition is made again.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/clearPartitions
func (s RunsService) ClearPartitions(ctx context.Context, dagID string, q PartitionQuery) (PartitionsCleared, error) {
	body := struct {
		PartitionQuery
		From *time.Time `json:"partition_date_start,omitempty"`
		To   *time.Time `json:"partition_date_end,omitempty"`
	}{PartitionQuery: q}
	if !q.From.IsZero() {
		body.From = new(q.From.UTC())
	}
	if !q.To.IsZero() {
		body.To = new(q.To.UTC())
	}
	return sendOnce[PartitionsCleared](ctx, s.c, "Runs.ClearPartitions", "POST", "/dags/%s/clearPartitions", body, dagID)
}

// UpstreamEvents returns the events of assets that started a run.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents
func (s RunsService) UpstreamEvents(ctx context.Context, dagID, runID string) ([]AssetEvent, error) {
	out, err := get[struct {
		Events []AssetEvent `json:"asset_events"`
	}](ctx, s.c, "Runs.UpstreamEvents", "/dags/%s/dagRuns/%s/upstreamAssetEvents", dagID, runID)
	return out.Events, err
}

// Result waits for the end of a run as [Client.Wait] does, and returns what a
// task of it returned (its XCom return_value) as JSON; nil if it returned nothing.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}, GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}
func (s RunsService) Result(ctx context.Context, dagID, runID, taskID string) (json.RawMessage, error) {
	if _, err := s.c.Wait(ctx, dagID, runID, WaitOptions{}); err != nil {
		return nil, err
	}
	x, err := s.c.XComs.Get(ctx, TaskRef{DAGID: dagID, RunID: runID, TaskID: taskID}, XComReturn)
	if isNotFound(err) {
		return nil, nil
	}
	return x.Value, err
}
