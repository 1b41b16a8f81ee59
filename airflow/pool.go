package airflow

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"

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

// All lists the pools by name.
//
// Airflow REST: GET /api/v2/pools
func (s PoolsService) All(ctx context.Context) iter.Seq2[Pool, error] {
	return pages(ctx, url.Values{"order_by": {"name"}}, false, func(ctx context.Context, v url.Values) (page[Pool], error) {
		out, err := do[struct {
			Pools []Pool `json:"pools"`
			Total int    `json:"total_entries"`
		}](ctx, s.c, request{op: "Pools.All", method: "GET", path: "/pools", query: v, again: true})
		return page[Pool]{items: out.Pools, total: out.Total}, err
	})
}

// Get returns a pool. The error matches [mlops.ErrNotFound] if there is none.
//
// Airflow REST: GET /api/v2/pools/{pool_name}
func (s PoolsService) Get(ctx context.Context, name string) (Pool, error) {
	return do[Pool](ctx, s.c, request{op: "Pools.Get", method: "GET", path: "/pools/%s", ids: []string{name}, again: true})
}

// Create makes a pool. The error matches [mlops.ErrAlreadyExists] if the
// name is taken. When an answer is lost, a pool that was not there before and is
// as p wants it is the one that this call made.
//
// Airflow REST: GET /api/v2/pools/{pool_name}, POST /api/v2/pools (201)
func (s PoolsService) Create(ctx context.Context, p Pool) error {
	if err := checkSlots("Pools.Create", p.Name, p.Slots); err != nil {
		return err
	}
	_, err := s.Get(ctx, p.Name)
	if err != nil && !isNotFound(err) && !errors.Is(err, mlops.ErrForbidden) { // one may make pools and not read them
		return err
	}
	return s.create(ctx, p, err == nil)
}

// create makes a pool. One that is there already only gets the server's refusal.
func (s PoolsService) create(ctx context.Context, p Pool, older bool) error {
	const op = "Pools.Create"
	_, err := transport.Once(ctx, s.c.way(), func() (Pool, error) {
		return do[Pool](ctx, s.c, request{op: op, method: "POST", path: "/pools", body: p.wire()})
	}, func() (Pool, error) {
		if older {
			return Pool{}, mlops.ErrNotFound
		}
		there, err := s.Get(ctx, p.Name)
		if err == nil && there.wire() != p.wire() {
			return there, &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: service, Op: op, Message: fmt.Sprintf("pool %s exists with other slots or another description", p.Name)}
		}
		return there, err
	})
	return err
}

// Ensure makes the pool if there is none of that name. One that exists is
// left as it is: its slots may have been lowered on purpose.
//
// Airflow REST: GET /api/v2/pools/{pool_name}, POST /api/v2/pools
func (s PoolsService) Ensure(ctx context.Context, p Pool) error {
	if err := checkSlots("Pools.Ensure", p.Name, p.Slots); err != nil {
		return err
	}
	_, err := s.Get(ctx, p.Name)
	if !isNotFound(err) {
		return err
	}
	if err = s.create(ctx, p, false); errors.Is(err, mlops.ErrAlreadyExists) {
		return nil // another program was quicker
	}
	return err
}

// SetSlots changes how many slots a pool has, and nothing else of it. Running
// tasks continue; a task that was queued already may still start.
//
// Airflow REST: GET and PATCH /api/v2/pools/{pool_name}
func (s PoolsService) SetSlots(ctx context.Context, name string, slots int) error {
	const op = "Pools.SetSlots"
	if err := checkSlots(op, name, slots); err != nil {
		return err
	}
	p, err := s.c.Pools.Get(ctx, name)
	if err != nil {
		return err
	}
	p.Slots = slots
	// The whole object passes the server's check, the mask lets only the slots
	// through: a description that was changed meanwhile stays.
	_, err = do[Pool](ctx, s.c, request{op: op, method: "PATCH", path: "/pools/%s", ids: []string{name}, query: url.Values{"update_mask": {"slots"}}, body: p.wire(), again: true})
	return err
}

// SetAll writes pools in one request, new ones and existing ones: all of them
// or, if the server refuses one, none. The error holds a [*BulkError].
//
// Airflow REST: PATCH /api/v2/pools (200 even if it fails)
func (s PoolsService) SetAll(ctx context.Context, pools []Pool) (BulkResult, error) {
	return s.write(ctx, "Pools.SetAll", pools, bulkAction{Action: BulkActionCreate, Existing: "overwrite"})
}

// write sends pools in one request.
func (s PoolsService) write(ctx context.Context, op string, pools []Pool, as bulkAction) (BulkResult, error) {
	if len(pools) == 0 {
		return BulkResult{}, nil
	}
	var entities []poolWire
	for _, p := range pools {
		if err := checkSlots(op, p.Name, p.Slots); err != nil {
			return BulkResult{}, err
		}
		entities = append(entities, p.wire())
	}
	as.Entities = entities
	return s.c.bulk(ctx, op, "/pools", nil, true, as)
}

// Delete removes a pool. Tasks that name it do not start any more.
//
// Airflow REST: DELETE /api/v2/pools/{pool_name} (204)
func (s PoolsService) Delete(ctx context.Context, name string) error {
	return transport.Gone(ctx, s.c.way(), func() error {
		_, err := do[none](ctx, s.c, request{op: "Pools.Delete", method: "DELETE", path: "/pools/%s", ids: []string{name}})
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

// DeleteAll removes pools in one request: all of them or, if one is not there,
// none.
//
// Airflow REST: PATCH /api/v2/pools (200 even if it fails)
func (s PoolsService) DeleteAll(ctx context.Context, names []string) (BulkResult, error) {
	return s.c.bulk(ctx, "Pools.DeleteAll", "/pools", nil, false, bulkAction{Action: BulkActionDelete, Missing: "fail", Entities: names})
}
