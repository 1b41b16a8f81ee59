package airflow

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"time"

	"github.com/mlops-integration/mlops"
)

// BackfillReprocess says which existing runs a backfill runs again.
type BackfillReprocess string

// What a backfill does where there is a run already.
const (
	BackfillReprocessNone      BackfillReprocess = "none"
	BackfillReprocessFailed    BackfillReprocess = "failed"
	BackfillReprocessCompleted BackfillReprocess = "completed"
)

// BackfillSpec asks for the runs of a scheduled DAG that fall between two times.
type BackfillSpec struct {
	DAGID         string            `json:"dag_id"`
	From          time.Time         `json:"from_date"`
	To            time.Time         `json:"to_date"`
	Conf          map[string]any    `json:"dag_run_conf,omitempty"`
	Reprocess     BackfillReprocess `json:"reprocess_behavior,omitempty"` // empty: none
	MaxActiveRuns int               `json:"max_active_runs,omitempty"`    // 0: 10
	Backwards     bool              `json:"run_backwards,omitempty"`      // the latest first
}

// Backfill is a backfill as the server knows it.
type Backfill struct {
	ID            int64             `json:"id"`
	DAGID         string            `json:"dag_id"`
	From          time.Time         `json:"from_date"`
	To            time.Time         `json:"to_date"`
	Conf          map[string]any    `json:"dag_run_conf"`
	Paused        bool              `json:"is_paused"`
	Reprocess     BackfillReprocess `json:"reprocess_behavior"`
	MaxActiveRuns int               `json:"max_active_runs"`
	Created       time.Time         `json:"created_at"`
	Updated       time.Time         `json:"updated_at"`
	Completed     time.Time         `json:"completed_at"` // zero: it still runs
}

// All lists the backfills of a DAG.
//
// Airflow REST: GET /api/v2/backfills
func (s BackfillsService) All(ctx context.Context, dagID string) iter.Seq2[Backfill, error] {
	return list[Backfill](ctx, s.c, "backfills", request{op: "Backfills.All", path: "/backfills", query: url.Values{"dag_id": {dagID}, "order_by": {"id"}}})
}

// Get returns a backfill.
//
// Airflow REST: GET /api/v2/backfills/{backfill_id}
func (s BackfillsService) Get(ctx context.Context, id int64) (Backfill, error) {
	return get[Backfill](ctx, s.c, "Backfills.Get", "/backfills/%s", itoa(id))
}

// Create starts a backfill. The error matches [mlops.ErrConflict] while another
// one of the DAG runs, which it names, and [mlops.ErrInvalid] if the DAG has no
// schedule.
//
// Airflow REST: POST /api/v2/backfills
func (s BackfillsService) Create(ctx context.Context, spec BackfillSpec) (Backfill, error) {
	b, err := sendOnce[Backfill](ctx, s.c, "Backfills.Create", "POST", "/backfills", spec)
	if !errors.Is(err, mlops.ErrConflict) {
		return b, err
	}
	for other, oerr := range s.All(ctx, spec.DAGID) {
		if oerr == nil && other.Completed.IsZero() {
			return b, fmt.Errorf("%w; it is backfill %d", err, other.ID)
		}
	}
	return b, err
}

// DryRun returns the logical dates for which Create would make runs.
//
// Airflow REST: POST /api/v2/backfills/dry_run
func (s BackfillsService) DryRun(ctx context.Context, spec BackfillSpec) ([]time.Time, error) {
	out, err := send[struct {
		Runs []struct {
			LogicalDate time.Time `json:"logical_date"`
		} `json:"backfills"`
	}](ctx, s.c, "Backfills.DryRun", "POST", "/backfills/dry_run", spec)
	var dates []time.Time
	for _, r := range out.Runs {
		dates = append(dates, r.LogicalDate)
	}
	return dates, err
}

// Pause keeps a backfill from starting further runs.
//
// Airflow REST: PUT /api/v2/backfills/{backfill_id}/pause
func (s BackfillsService) Pause(ctx context.Context, id int64) (Backfill, error) {
	return send[Backfill](ctx, s.c, "Backfills.Pause", "PUT", "/backfills/%s/pause", nil, itoa(id))
}

// Unpause lets a backfill start runs again.
//
// Airflow REST: PUT /api/v2/backfills/{backfill_id}/unpause
func (s BackfillsService) Unpause(ctx context.Context, id int64) (Backfill, error) {
	return send[Backfill](ctx, s.c, "Backfills.Unpause", "PUT", "/backfills/%s/unpause", nil, itoa(id))
}

// Cancel ends a backfill: runs that wait are failed, those that run end by
// themselves. The error matches [mlops.ErrConflict] if it has ended.
//
// Airflow REST: PUT /api/v2/backfills/{backfill_id}/cancel
func (s BackfillsService) Cancel(ctx context.Context, id int64) (Backfill, error) {
	return sendOnce[Backfill](ctx, s.c, "Backfills.Cancel", "PUT", "/backfills/%s/cancel", nil, itoa(id))
}
