package shares

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mlops-integration/mlops/airflow"
)

// Queue reads the pools of the home's own Airflow in its database, as a role that
// may read nothing but pools and task instances: 4 to 10 ms, where the list of
// pools takes the API server of a busy machine a second or two. Its methods are
// for one goroutine.
type Queue struct {
	Address string // with the credentials of the role

	conn *pgx.Conn
}

// queueQuery counts as Airflow does: airflow/models/pool.py, Pool.slots_stats.
const queueQuery = `select p.pool, p.slots, coalesce(p.description, ''), p.include_deferred,
	coalesce(t.running, 0), coalesce(t.queued, 0), coalesce(t.scheduled, 0), coalesce(t.deferred, 0), coalesce(t.widest, 0)
from slot_pool p left join (
	select pool, sum(pool_slots) filter (where state = 'running') running, sum(pool_slots) filter (where state = 'queued') queued,
		sum(pool_slots) filter (where state = 'scheduled') scheduled, sum(pool_slots) filter (where state = 'deferred') deferred,
		max(pool_slots) filter (where state = 'scheduled') widest
	from task_instance where state in ('running', 'queued', 'scheduled', 'deferred') group by pool
) t on t.pool = p.pool order by p.pool`

// Pools returns all pools, and of each the slots of its widest ready task.
func (q *Queue) Pools(ctx context.Context) ([]airflow.Pool, map[string]int, error) {
	pools, widest, err := q.read(ctx)
	if err != nil {
		q.Close(ctx) // the server may have been restarted
	}
	return pools, widest, err
}

func (q *Queue) read(ctx context.Context) ([]airflow.Pool, map[string]int, error) {
	if q.conn == nil {
		config, err := pgx.ParseConfig(q.Address + "?sslmode=disable&connect_timeout=5")
		if err != nil {
			return nil, nil, errors.New("the address of Airflow's database cannot be read") // err holds the password
		}
		if q.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
			return nil, nil, err
		}
	}
	rows, err := q.conn.Query(ctx, queueQuery)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var pools []airflow.Pool
	widest := map[string]int{}
	for rows.Next() {
		var p airflow.Pool
		var wide int
		if err := rows.Scan(&p.Name, &p.Slots, &p.Description, &p.IncludeDeferred, &p.Running, &p.Queued, &p.Scheduled, &p.Deferred, &wide); err != nil {
			return nil, nil, err
		}
		if strings.HasPrefix(p.Name, "mlops.") && wide > 1 {
			widest[p.Name] = wide
		}
		pools = append(pools, p)
	}
	return pools, widest, rows.Err()
}

// Close ends the connection, if there is one.
func (q *Queue) Close(ctx context.Context) {
	if q.conn != nil {
		_ = q.conn.Close(context.WithoutCancel(ctx))
		q.conn = nil
	}
}
