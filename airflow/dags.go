package airflow

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"time"

	"github.com/mlops-integration/mlops"
)

// PauseAll stops, or with paused false starts, all DAGs that q selects, and
// returns how many those are. With q.Prefix it sets one after another.
//
// Airflow REST: GET and PATCH /api/v2/dags, PATCH /api/v2/dags/{dag_id}
func (s DAGsService) PauseAll(ctx context.Context, q DAGQuery, paused bool) (int, error) {
	if q.Prefix != "" { // the server's prefix selects more: see All
		return s.pauseEach(ctx, q, paused)
	}
	v := q.values()
	v.Del("order_by")
	v.Set("limit", "1")          // bounds the answer, not the change
	v.Set("dag_id_pattern", "%") // without it the server selects none
	out, err := do[struct {
		Total int `json:"total_entries"`
	}](ctx, s.c, request{op: "DAGs.PauseAll", method: "PATCH", path: "/dags", query: v, body: map[string]bool{"is_paused": paused}, again: true})
	return out.Total, err
}

func (s DAGsService) pauseEach(ctx context.Context, q DAGQuery, paused bool) (n int, err error) {
	dags, err := mlops.Collect(s.All(ctx, q))
	if err != nil {
		return 0, err
	}
	for _, d := range dags {
		switch err := s.setPaused(ctx, "DAGs.PauseAll", d.ID, paused); {
		case err == nil:
			n++
		case !isNotFound(err): // one that was removed meanwhile is no error
			return n, err
		}
	}
	return n, nil
}

// DAGDetails is what the server knows of a DAG and what its file says.
type DAGDetails struct {
	DAG
	DAGSettings
}

// DAGSettings is what a DAG's file says.
type DAGSettings struct {
	Catchup        bool           `json:"catchup"`
	Timezone       string         `json:"timezone"`
	Start          time.Time      `json:"start_date"`
	End            time.Time      `json:"end_date"`
	RunTimeout     string         `json:"dag_run_timeout"` // ISO 8601, "PT1H"; empty: none
	MaxActiveTasks int            `json:"max_active_tasks"`
	ActiveRuns     int            `json:"active_runs_count"`
	Params         map[string]any `json:"params"`
	Assets         map[string]any `json:"asset_expression"` // what it waits for
	DocMD          string         `json:"doc_md"`
	Favorite       bool           `json:"is_favorite"`
	Backfillable   bool           `json:"is_backfillable"`
	LatestVersion  *DAGVersion    `json:"latest_dag_version"` // nil: none
}

// UnmarshalJSON reads both parts.
func (d *DAGDetails) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &d.DAG); err != nil {
		return err
	}
	return json.Unmarshal(b, &d.DAGSettings)
}

// Details returns what a DAG's file says of it.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/details
func (s DAGsService) Details(ctx context.Context, id string) (DAGDetails, error) {
	return get[DAGDetails](ctx, s.c, "DAGs.Details", "/dags/%s/details", id)
}

// Tags lists the tags of all DAGs.
//
// Airflow REST: GET /api/v2/dagTags
func (s DAGsService) Tags(ctx context.Context) iter.Seq2[string, error] {
	return list[string](ctx, s.c, "tags", request{op: "DAGs.Tags", path: "/dagTags", query: url.Values{"order_by": {"name"}}})
}

// DAGVersion is a state of a DAG's file that the server has run.
type DAGVersion struct {
	ID            string    `json:"id"`
	DAGID         string    `json:"dag_id"`
	Number        int       `json:"version_number"` // from 1
	Bundle        string    `json:"bundle_name"`
	BundleVersion string    `json:"bundle_version"`
	Created       time.Time `json:"created_at"`
}

// Versions lists the versions of a DAG, the oldest first.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagVersions
func (s DAGsService) Versions(ctx context.Context, id string) iter.Seq2[DAGVersion, error] {
	return list[DAGVersion](ctx, s.c, "dag_versions", request{op: "DAGs.Versions", path: "/dags/%s/dagVersions", ids: []string{id}, query: url.Values{"order_by": {"version_number"}}})
}

// Version returns a version of a DAG.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagVersions/{version_number}
func (s DAGsService) Version(ctx context.Context, id string, number int) (DAGVersion, error) {
	return get[DAGVersion](ctx, s.c, "DAGs.Version", "/dags/%s/dagVersions/%s", id, itoa(number))
}

// Source returns the text of a DAG's file; of the latest version if it is 0.
//
// Airflow REST: GET /api/v2/dagSources/{dag_id}
func (s DAGsService) Source(ctx context.Context, id string, version int) (string, error) {
	v := url.Values{}
	if version != 0 {
		v.Set("version_number", itoa(version))
	}
	out, err := do[struct {
		Content string `json:"content"`
	}](ctx, s.c, request{op: "DAGs.Source", method: "GET", path: "/dagSources/%s", ids: []string{id}, query: v, accept: "application/json", again: true})
	return out.Content, err
}

// Favorite marks a DAG for the user of the client.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/favorite (204)
func (s DAGsService) Favorite(ctx context.Context, id string) error {
	_, err := sendOnce[none](ctx, s.c, "DAGs.Favorite", "POST", "/dags/%s/favorite", nil, id)
	return err
}

// Unfavorite takes the mark away. The error matches [mlops.ErrConflict] if there
// is none.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/unfavorite (204)
func (s DAGsService) Unfavorite(ctx context.Context, id string) error {
	_, err := sendOnce[none](ctx, s.c, "DAGs.Unfavorite", "POST", "/dags/%s/unfavorite", nil, id)
	return err
}

// Stats counts the runs of DAGs by state; of all DAGs if ids is empty.
//
// Airflow REST: GET /api/v2/dagStats
func (s DAGsService) Stats(ctx context.Context, ids ...string) (map[string]map[State]int, error) {
	v := url.Values{}
	if len(ids) > 0 {
		v["dag_ids"] = ids
	}
	out, err := do[struct {
		DAGs []struct {
			ID    string `json:"dag_id"`
			Stats []struct {
				State State `json:"state"`
				Count int   `json:"count"`
			} `json:"stats"`
		} `json:"dags"`
	}](ctx, s.c, request{op: "DAGs.Stats", method: "GET", path: "/dagStats", query: v, again: true})
	counts := map[string]map[State]int{}
	for _, d := range out.DAGs {
		counts[d.ID] = map[State]int{}
		for _, n := range d.Stats {
			counts[d.ID][n.State] = n.Count
		}
	}
	return counts, err
}

// DAGWarningType is what the server warns of.
type DAGWarningType string

// The warnings of Airflow 3.3.
const (
	DAGWarningAssetConflict       DAGWarningType = "asset conflict"
	DAGWarningMissingPool         DAGWarningType = "non-existent pool"
	DAGWarningRuntimeVaryingValue DAGWarningType = "runtime varying value" // the file reads otherwise each time
)

// DAGWarning is something that the server noticed about a DAG.
type DAGWarning struct {
	DAGID   string         `json:"dag_id"`
	Type    DAGWarningType `json:"warning_type"`
	Message string         `json:"message"`
	Time    time.Time      `json:"timestamp"`
}

// Warnings lists the warnings about a DAG, or about all if id is empty.
//
// Airflow REST: GET /api/v2/dagWarnings
func (s DAGsService) Warnings(ctx context.Context, id string) iter.Seq2[DAGWarning, error] {
	v := url.Values{"order_by": {"dag_id"}}
	setText(v, "dag_id", id)
	return list[DAGWarning](ctx, s.c, "dag_warnings", request{op: "DAGs.Warnings", path: "/dagWarnings", query: v})
}

// Task is a task as a DAG's file declares it.
type Task struct {
	ID            string         `json:"task_id"`
	Operator      string         `json:"operator_name"`
	Owner         string         `json:"owner"`
	Downstream    []string       `json:"downstream_task_ids"`
	TriggerRule   string         `json:"trigger_rule"`
	Pool          string         `json:"pool"`
	PoolSlots     float64        `json:"pool_slots"`
	Queue         string         `json:"queue"`
	Priority      float64        `json:"priority_weight"`
	WeightRule    string         `json:"weight_rule"`
	Retries       float64        `json:"retries"`
	Mapped        bool           `json:"is_mapped"`
	DependsOnPast bool           `json:"depends_on_past"`
	Params        map[string]any `json:"params"`
	DocMD         string         `json:"doc_md"`
}

// Tasks returns the tasks of a DAG.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/tasks
func (s DAGsService) Tasks(ctx context.Context, id string) ([]Task, error) {
	out, err := get[struct {
		Tasks []Task `json:"tasks"`
	}](ctx, s.c, "DAGs.Tasks", "/dags/%s/tasks", id)
	return out.Tasks, err
}

// Task returns a task of a DAG.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/tasks/{task_id}
func (s DAGsService) Task(ctx context.Context, id, task string) (Task, error) {
	return get[Task](ctx, s.c, "DAGs.Task", "/dags/%s/tasks/%s", id, task)
}

// Reparse has the server read a DAG's file again, by [DAG.FileToken]. New files
// it finds by itself.
//
// Airflow REST: PUT /api/v2/parseDagFile/{file_token} (201)
func (s DAGsService) Reparse(ctx context.Context, fileToken string) error {
	_, err := send[none](ctx, s.c, "DAGs.Reparse", "PUT", "/parseDagFile/%s", nil, fileToken)
	return err
}

// ImportError returns an import error by its number.
//
// Airflow REST: GET /api/v2/importErrors/{import_error_id}
func (s DAGsService) ImportError(ctx context.Context, id int) (ImportError, error) {
	return get[ImportError](ctx, s.c, "DAGs.ImportError", "/importErrors/%s", itoa(id))
}
