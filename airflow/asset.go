package airflow

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"time"

	"github.com/mlops-integration/mlops"
)

// Asset is data that tasks make and DAGs wait for.
type Asset struct {
	ID        int64           `json:"id"`
	Name      string          `json:"name"`
	URI       string          `json:"uri"`
	Group     string          `json:"group"`
	Extra     map[string]any  `json:"extra"`
	Created   time.Time       `json:"created_at"`
	Updated   time.Time       `json:"updated_at"`
	Waiting   []AssetDAG      `json:"scheduled_dags"`   // DAGs that an event starts
	Producers []AssetTask     `json:"producing_tasks"`  // tasks that make it
	Consumers []AssetTask     `json:"consuming_tasks"`  // tasks that read it
	Aliases   []AssetAlias    `json:"aliases"`          // names that stand for it
	LastEvent *AssetLastEvent `json:"last_asset_event"` // nil: none yet
}

// AssetDAG is a DAG that waits for an asset.
type AssetDAG struct {
	DAGID string `json:"dag_id"`
}

// AssetTask is a task that makes or reads an asset.
type AssetTask struct {
	DAGID  string `json:"dag_id"`
	TaskID string `json:"task_id"`
}

// AssetLastEvent is the latest event of an asset.
type AssetLastEvent struct {
	ID   int64     `json:"id"`
	Time time.Time `json:"timestamp"`
}

// AssetAlias is a name that tasks give to assets when they run.
type AssetAlias struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Group string `json:"group"`
}

// AssetEvent says that an asset has changed.
type AssetEvent struct {
	ID        int64          `json:"id"`
	AssetID   int64          `json:"asset_id"`
	Name      string         `json:"name"`
	URI       string         `json:"uri"`
	Extra     map[string]any `json:"extra"`
	Time      time.Time      `json:"timestamp"`
	Partition string         `json:"partition_key"`
	Source    AssetSource    `json:"-"`               // zero for an event from outside
	Runs      []AssetRun     `json:"created_dagruns"` // what it started
}

// AssetSource is the task that caused an event.
type AssetSource struct {
	DAGID    string `json:"source_dag_id"`
	RunID    string `json:"source_run_id"`
	TaskID   string `json:"source_task_id"`
	MapIndex int    `json:"source_map_index"`
}

// AssetRun is a run that an event started.
type AssetRun struct {
	DAGID string `json:"dag_id"`
	RunID string `json:"run_id"`
	State State  `json:"state"`
}

// UnmarshalJSON reads the server's form, in which the source stands beside the rest.
func (e *AssetEvent) UnmarshalJSON(b []byte) error {
	type plain AssetEvent
	if err := json.Unmarshal(b, (*plain)(e)); err != nil {
		return err
	}
	return json.Unmarshal(b, &e.Source)
}

// AssetQuery selects assets; its zero value selects those that a DAG names now.
type AssetQuery struct {
	DAGs     []string // named by one of these
	Name     string   // a part of the name
	Inactive bool     // also those that no DAG names any more
}

// All lists assets by ID.
//
// Airflow REST: GET /api/v2/assets
func (s AssetsService) All(ctx context.Context, q AssetQuery) iter.Seq2[Asset, error] {
	v := url.Values{"order_by": {"id"}}
	if len(q.DAGs) > 0 {
		v["dag_ids"] = q.DAGs
	}
	if q.Name != "" {
		v.Set("name_pattern", q.Name)
	}
	if q.Inactive {
		v.Set("only_active", "false")
	}
	return list[Asset](ctx, s.c, "assets", request{op: "Assets.All", path: "/assets", query: v})
}

// Get returns an asset by its number.
//
// Airflow REST: GET /api/v2/assets/{asset_id}
func (s AssetsService) Get(ctx context.Context, id int64) (Asset, error) {
	return get[Asset](ctx, s.c, "Assets.Get", "/assets/%s", itoa(id))
}

// Find returns the asset of a name or a URI. The error matches [mlops.ErrNotFound]
// if no DAG names such an asset, and [mlops.ErrConflict] if there are several.
//
// Airflow REST: GET /api/v2/assets
func (s AssetsService) Find(ctx context.Context, nameOrURI string) (Asset, error) {
	var found []Asset
	for a, err := range s.All(ctx, AssetQuery{}) {
		if err != nil {
			return Asset{}, err
		}
		if a.Name == nameOrURI || a.URI == nameOrURI {
			found = append(found, a)
		}
	}
	switch len(found) {
	case 0:
		return Asset{}, &mlops.Error{Kind: mlops.ErrNotFound, Service: service, Op: "Assets.Find", Message: fmt.Sprintf("no DAG names an asset %.200q", nameOrURI)}
	case 1:
		return found[0], nil
	}
	return Asset{}, &mlops.Error{Kind: mlops.ErrConflict, Service: service, Op: "Assets.Find", Message: fmt.Sprintf("there are %d assets %.200q; name the URI", len(found), nameOrURI)}
}

// Aliases lists the aliases of assets.
//
// Airflow REST: GET /api/v2/assets/aliases
func (s AssetsService) Aliases(ctx context.Context) iter.Seq2[AssetAlias, error] {
	return list[AssetAlias](ctx, s.c, "asset_aliases", request{op: "Assets.Aliases", path: "/assets/aliases", query: url.Values{"order_by": {"id"}}})
}

// Alias returns an alias by its number.
//
// Airflow REST: GET /api/v2/assets/aliases/{asset_alias_id}
func (s AssetsService) Alias(ctx context.Context, id int64) (AssetAlias, error) {
	return get[AssetAlias](ctx, s.c, "Assets.Alias", "/assets/aliases/%s", itoa(id))
}

// AssetEventQuery selects events; its zero value selects all.
type AssetEventQuery struct {
	AssetID       int64  // 0: of any asset
	SourceDAGID   string // caused by this DAG,
	SourceRunID   string // this run of it,
	SourceTaskID  string // this task
	NewestFirst   bool
	After, Before time.Time
}

// Events lists events of assets.
//
// Airflow REST: GET /api/v2/assets/events
func (s AssetsService) Events(ctx context.Context, q AssetEventQuery) iter.Seq2[AssetEvent, error] {
	v := url.Values{"order_by": {"timestamp"}}
	if q.NewestFirst {
		v.Set("order_by", "-timestamp")
	}
	if q.AssetID != 0 {
		v.Set("asset_id", itoa(q.AssetID))
	}
	setText(v, "source_dag_id", q.SourceDAGID)
	setText(v, "source_run_id", q.SourceRunID)
	setText(v, "source_task_id", q.SourceTaskID)
	setTime(v, "timestamp_gte", q.After)
	setTime(v, "timestamp_lt", q.Before)
	return list[AssetEvent](ctx, s.c, "asset_events", request{op: "Assets.Events", path: "/assets/events", query: v})
}

// AssetEventSpec is an event from outside of Airflow.
type AssetEventSpec struct {
	Extra     map[string]any `json:"extra,omitempty"`
	Partition string         `json:"partition_key,omitempty"`
}

// CreateEvent tells the server that an asset has changed: DAGs that wait for it
// start. Told twice, they start twice.
//
// Airflow REST: POST /api/v2/assets/events
func (s AssetsService) CreateEvent(ctx context.Context, assetID int64, spec AssetEventSpec) (AssetEvent, error) {
	body := struct {
		AssetID int64 `json:"asset_id"`
		AssetEventSpec
	}{assetID, spec}
	return sendOnce[AssetEvent](ctx, s.c, "Assets.CreateEvent", "POST", "/assets/events", body)
}

// Materialize runs the DAG that makes an asset. The run's ID is chosen here, so
// that it is not started twice. The error matches [mlops.ErrConflict] if more
// than one DAG makes the asset.
//
// Airflow REST: POST /api/v2/assets/{asset_id}/materialize
func (s AssetsService) Materialize(ctx context.Context, assetID int64, opt TriggerOptions) (DAGRun, error) {
	if opt.RunID == "" {
		opt.RunID = newRunID()
	}
	return sendOnce[DAGRun](ctx, s.c, "Assets.Materialize", "POST", "/assets/%s/materialize", opt.wire(), itoa(assetID))
}

// QueuedEvent is an event that has not started its DAG yet: others are waited for.
type QueuedEvent struct {
	DAGID   string    `json:"dag_id"`
	AssetID int64     `json:"asset_id"`
	Created time.Time `json:"created_at"`
}

// Queued lists the events of an asset that wait for others.
//
// Airflow REST: GET /api/v2/assets/{asset_id}/queuedEvents
func (s AssetsService) Queued(ctx context.Context, assetID int64) ([]QueuedEvent, error) {
	return queued(get[queuedWire](ctx, s.c, "Assets.Queued", "/assets/%s/queuedEvents", itoa(assetID)))
}

// DeleteQueued forgets the events of an asset that wait for others.
//
// Airflow REST: DELETE /api/v2/assets/{asset_id}/queuedEvents (204)
func (s AssetsService) DeleteQueued(ctx context.Context, assetID int64) error {
	return s.c.remove(ctx, request{op: "Assets.DeleteQueued", path: "/assets/%s/queuedEvents", ids: []string{itoa(assetID)}})
}

// QueuedFor lists the events that a DAG has, and with which it waits for others.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/assets/queuedEvents
func (s AssetsService) QueuedFor(ctx context.Context, dagID string) ([]QueuedEvent, error) {
	return queued(get[queuedWire](ctx, s.c, "Assets.QueuedFor", "/dags/%s/assets/queuedEvents", dagID))
}

// DeleteQueuedFor forgets the events with which a DAG waits for others.
//
// Airflow REST: DELETE /api/v2/dags/{dag_id}/assets/queuedEvents (204)
func (s AssetsService) DeleteQueuedFor(ctx context.Context, dagID string) error {
	return s.c.remove(ctx, request{op: "Assets.DeleteQueuedFor", path: "/dags/%s/assets/queuedEvents", ids: []string{dagID}})
}

// QueuedOne returns the event of an asset with which a DAG waits for others.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents
func (s AssetsService) QueuedOne(ctx context.Context, dagID string, assetID int64) (QueuedEvent, error) {
	return get[QueuedEvent](ctx, s.c, "Assets.QueuedOne", "/dags/%s/assets/%s/queuedEvents", dagID, itoa(assetID))
}

// DeleteQueuedOne forgets that event.
//
// Airflow REST: DELETE /api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents (204)
func (s AssetsService) DeleteQueuedOne(ctx context.Context, dagID string, assetID int64) error {
	return s.c.remove(ctx, request{op: "Assets.DeleteQueuedOne", path: "/dags/%s/assets/%s/queuedEvents", ids: []string{dagID, itoa(assetID)}})
}

type queuedWire struct {
	Events []QueuedEvent `json:"queued_events"`
}

// queued takes the events out of an answer.
func queued(w queuedWire, err error) ([]QueuedEvent, error) { return w.Events, err }

// setText and setTime set what is not zero.
func setText(v url.Values, key, text string) {
	if text != "" {
		v.Set(key, text)
	}
}

func setTime(v url.Values, key string, t time.Time) {
	if !t.IsZero() {
		v.Set(key, t.UTC().Format(time.RFC3339Nano))
	}
}
