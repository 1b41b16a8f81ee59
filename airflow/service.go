package airflow

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// The services hang on a [Client], which makes them: their zero values reach no
// server.
type (
	// DAGsService is the DAGs that the server knows, and their files.
	DAGsService struct{ c *Client }
	// RunsService is the runs of DAGs.
	RunsService struct{ c *Client }
	// TasksService is the task instances of runs.
	TasksService struct{ c *Client }
	// XComsService is what tasks leave for each other.
	XComsService struct{ c *Client }
	// DecisionsService is what tasks ask of people.
	DecisionsService struct{ c *Client }
	// TaskStateService is what a task keeps between its tries.
	TaskStateService struct{ c *Client }
	// AssetStateService is what is kept for an asset.
	AssetStateService struct{ c *Client }
	// AssetsService is data that DAGs make and wait for.
	AssetsService struct{ c *Client }
	// BackfillsService is runs of a DAG for times that are past.
	BackfillsService struct{ c *Client }
	// ConnectionsService is the addresses and credentials that tasks use.
	ConnectionsService struct{ c *Client }
	// VariablesService is the settings that tasks read.
	VariablesService struct{ c *Client }
	// PoolsService is the limits on how many tasks run at once.
	PoolsService struct{ c *Client }
	// ServerService is the server itself: configuration, jobs, plugins, its log
	// of events.
	ServerService struct{ c *Client }
)

// bind points the services of c at c.
func (c *Client) bind() {
	c.DAGs, c.Runs, c.Tasks = DAGsService{c}, RunsService{c}, TasksService{c}
	c.XComs, c.Decisions, c.TaskState, c.AssetState = XComsService{c}, DecisionsService{c}, TaskStateService{c}, AssetStateService{c}
	c.Assets, c.Backfills, c.Pools = AssetsService{c}, BackfillsService{c}, PoolsService{c}
	c.Connections, c.Variables, c.Server = ConnectionsService{c}, VariablesService{c}, ServerService{c}
}

// Do reaches any operation of the server, also those that have no method here.
// path lies below the server's root and is escaped already; in, unless nil, is
// sent as JSON; the answer is decoded into out. With out nil the answer is
// dropped, with out a *[]byte it is kept as it came.
//
//	var jobs map[string]any
//	err := c.Do(ctx, "GET", "/api/v2/jobs", nil, nil, &jobs)
//
// GET, HEAD and PUT are repeated like every call that may be; other methods
// only if the server cannot have acted on them. Errors are those of the typed
// methods.
//
// Airflow REST: any
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	return transport.Any(ctx, c.way(), method, path, query, in, out)
}

// get reads one thing.
func get[T any](ctx context.Context, c *Client, op, path string, ids ...string) (T, error) {
	return do[T](ctx, c, request{op: op, method: "GET", path: path, ids: ids, again: true})
}

// send changes something; sent twice, the change is the same.
func send[T any](ctx context.Context, c *Client, op, method, path string, body any, ids ...string) (T, error) {
	return do[T](ctx, c, request{op: op, method: method, path: path, ids: ids, body: body, again: true})
}

// sendOnce changes something that may not be done twice.
func sendOnce[T any](ctx context.Context, c *Client, op, method, path string, body any, ids ...string) (T, error) {
	return do[T](ctx, c, request{op: op, method: method, path: path, ids: ids, body: body})
}

// remove deletes one thing. That it is gone after a lost answer is no error.
func (c *Client) remove(ctx context.Context, r request) error {
	r.method = http.MethodDelete
	return transport.Gone(ctx, c.way(), func() error {
		_, err := do[none](ctx, c, r)
		return err
	})
}

// list reads a list whose things stand under key.
func list[T any](ctx context.Context, c *Client, key string, r request) iter.Seq2[T, error] {
	r.method, r.again = http.MethodGet, true
	return pages(ctx, r.query, false, func(ctx context.Context, v url.Values) (page[T], error) {
		r.query = v
		return pageOf[T](ctx, c, key, r)
	})
}

// pageOf reads one page of a list.
func pageOf[T any](ctx context.Context, c *Client, key string, r request) (page[T], error) {
	out, err := do[map[string]json.RawMessage](ctx, c, r)
	if err != nil {
		return page[T]{}, err
	}
	var p page[T]
	for field, to := range map[string]any{key: &p.items, "total_entries": &p.total, "next_cursor": &p.next} {
		if raw := out[field]; raw != nil {
			if err := json.Unmarshal(raw, to); err != nil {
				return page[T]{}, &mlops.Error{Service: service, Op: r.op, Cause: err, Kind: mlops.ErrInvalid, Message: c.URL() + " answered JSON of another form than was due in " + field}
			}
		}
	}
	return p, nil
}

// itoa is how numbers stand in paths.
func itoa[N int | int64](n N) string { return strconv.FormatInt(int64(n), 10) }
