package airflow

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Pool limits how many tasks run at once.
type Pool struct {
	Name            string `json:"name"`
	Slots           int    `json:"slots"` // 0: nothing new starts
	Description     string `json:"description"`
	IncludeDeferred bool   `json:"include_deferred"` // deferred tasks take slots too

	// Told by the server, ignored when a pool is written. Open is negative
	// while more tasks run than the pool still has slots for.
	Occupied  int `json:"occupied_slots"`
	Running   int `json:"running_slots"`
	Queued    int `json:"queued_slots"`
	Scheduled int `json:"scheduled_slots"`
	Deferred  int `json:"deferred_slots"`
	Open      int `json:"open_slots"`
}

// Pools lists the pools by name.
//
// Airflow REST: GET /api/v2/pools
func (c *Client) Pools(ctx context.Context) iter.Seq2[Pool, error] {
	return pages(ctx, url.Values{"order_by": {"name"}}, false, func(ctx context.Context, v url.Values) (page[Pool], error) {
		out, err := do[struct {
			Pools []Pool `json:"pools"`
			Total int    `json:"total_entries"`
		}](ctx, c, request{op: "Pools", method: "GET", path: "/pools", query: v, again: true})
		return page[Pool]{items: out.Pools, total: out.Total}, err
	})
}

// Pool returns a pool. The error matches [mlops.ErrNotFound] if there is none.
//
// Airflow REST: GET /api/v2/pools/{pool_name}
func (c *Client) Pool(ctx context.Context, name string) (Pool, error) {
	return do[Pool](ctx, c, request{op: "Pool", method: "GET", path: "/pools/%s", ids: []string{name}, again: true})
}

// CreatePool makes a pool. The error matches [mlops.ErrAlreadyExists] if the
// name is taken. When an answer is lost, a pool that is as p wants it counts as
// made by this call.
//
// Airflow REST: POST /api/v2/pools (201)
func (c *Client) CreatePool(ctx context.Context, p Pool) error {
	const op = "CreatePool"
	if err := checkSlots(op, p.Name, p.Slots); err != nil {
		return err
	}
	_, err := transport.Once(ctx, c.t, func() (Pool, error) {
		return do[Pool](ctx, c, request{op: op, method: "POST", path: "/pools", body: p.wire()})
	}, func() (Pool, error) {
		there, err := c.Pool(ctx, p.Name)
		if err == nil && there.wire() != p.wire() {
			return there, &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: service, Op: op, Message: fmt.Sprintf("pool %s exists with other slots or another description", p.Name)}
		}
		return there, err
	})
	return err
}

// EnsurePool makes the pool if there is none of that name. One that exists is
// left as it is: its slots may be somebody's way to slow down.
//
// Airflow REST: GET /api/v2/pools/{pool_name}, POST /api/v2/pools
func (c *Client) EnsurePool(ctx context.Context, p Pool) error {
	_, err := c.Pool(ctx, p.Name)
	if !isNotFound(err) {
		return err
	}
	if err = c.CreatePool(ctx, p); errors.Is(err, mlops.ErrAlreadyExists) {
		return nil // somebody was quicker
	}
	return err
}

// SetSlots changes how many slots a pool has, and nothing else of it. Running
// tasks go on; a task that was queued already may still start.
//
// Airflow REST: GET and PATCH /api/v2/pools/{pool_name}
func (c *Client) SetSlots(ctx context.Context, name string, slots int) error {
	const op = "SetSlots"
	if err := checkSlots(op, name, slots); err != nil {
		return err
	}
	p, err := c.Pool(ctx, name)
	if err != nil {
		return err
	}
	p.Slots = slots
	// The whole object passes the server's check, the mask lets only the slots
	// through: a description that was changed meanwhile stays.
	_, err = do[Pool](ctx, c, request{op: op, method: "PATCH", path: "/pools/%s", ids: []string{name}, query: url.Values{"update_mask": {"slots"}}, body: p.wire(), again: true})
	return err
}

// SetPools writes pools in one request, new ones and existing ones. The error
// tells the first that the server refused; then none of them is changed.
//
// Airflow REST: PATCH /api/v2/pools (200 even if it fails)
func (c *Client) SetPools(ctx context.Context, pools []Pool) error {
	const op = "SetPools"
	if len(pools) == 0 {
		return nil
	}
	var entities []poolWire
	for _, p := range pools {
		if err := checkSlots(op, p.Name, p.Slots); err != nil {
			return err
		}
		entities = append(entities, p.wire())
	}
	out, err := do[bulkWire](ctx, c, request{op: op, method: "PATCH", path: "/pools", again: true, body: map[string]any{
		"actions": []any{map[string]any{"action": "create", "action_on_existence": "overwrite", "entities": entities}},
	}})
	if err != nil {
		return err
	}
	return out.err(op)
}

// DeletePool removes a pool. Tasks that name it do not start any more.
//
// Airflow REST: DELETE /api/v2/pools/{pool_name} (204)
func (c *Client) DeletePool(ctx context.Context, name string) error {
	return transport.Gone(ctx, c.t, func() error {
		_, err := do[none](ctx, c, request{op: "DeletePool", method: "DELETE", path: "/pools/%s", ids: []string{name}})
		return err
	})
}

// checkSlots refuses "-1 for unlimited": Airflow 2 stores it and then fails
// every list of pools.
func checkSlots(op, name string, slots int) error {
	if name == "" {
		return invalid(op, "a pool needs a name")
	}
	if slots < 0 {
		return invalid(op, "pool %s: %d slots; for no limit use a large number", name, slots)
	}
	return nil
}

// err is what a bulk answer with status 200 says went wrong.
func (w bulkWire) err(op string) error {
	var msgs []string
	e := &mlops.Error{Service: service, Op: op}
	for _, part := range []*bulkPart{w.Create, w.Update, w.Delete} {
		if part == nil {
			continue
		}
		for _, x := range part.Errors {
			if e.Status == 0 {
				e.Status, e.Kind = x.StatusCode, kindOfText(x.StatusCode, x.Error)
			}
			msgs = append(msgs, x.Error)
		}
	}
	if len(msgs) == 0 {
		return nil
	}
	if e.Kind == nil {
		e.Kind = mlops.KindOfStatus(e.Status)
	}
	e.Message = strings.Join(msgs, "; ")
	return e
}
