package airflow

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"reflect"
	"regexp"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

type none = transport.None

func isNotFound(err error) bool { return errors.Is(err, mlops.ErrNotFound) }

// DAGRun is one run of a DAG.
type DAGRun struct {
	ID          string         `json:"dag_run_id"`
	DAGID       string         `json:"dag_id"`
	State       State          `json:"state"`
	Type        string         `json:"run_type"`     // "manual", "scheduled", "backfill", …
	LogicalDate time.Time      `json:"logical_date"` // zero: none
	RunAfter    time.Time      `json:"run_after"`
	Queued      time.Time      `json:"queued_at"`
	Start       time.Time      `json:"start_date"`
	End         time.Time      `json:"end_date"`
	Conf        map[string]any `json:"conf"`
	Note        string         `json:"note"`
	User        string         `json:"triggering_user_name"`
}

// TriggerOptions say how a run is started.
type TriggerOptions struct {
	RunID       string         // [A-Za-z0-9_.~:+-]; empty: one is made
	Conf        map[string]any // tasks see it in MLOPS_CONF_FILE, and up to 64 KiB as MLOPS_CONF_JSON
	LogicalDate time.Time      // zero: none; taken at most once per DAG
	Note        string         // shown with the run
}

var runIDRule = regexp.MustCompile(`^[A-Za-z0-9_.~:+-]{1,250}$`)

// Trigger starts a run of a DAG. A run of a paused DAG stays queued.
//
// The run's ID is chosen before the request, so that when an answer is lost the
// run is looked up by it instead of being started twice. The error matches
// [mlops.ErrAlreadyExists] if the ID or the logical date is taken.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/dagRuns (200)
func (c *Client) Trigger(ctx context.Context, dagID string, opt TriggerOptions) (DAGRun, error) {
	const op = "Trigger"
	if opt.RunID == "" {
		opt.RunID = newRunID()
	}
	if !runIDRule.MatchString(opt.RunID) {
		return DAGRun{}, invalid(op, "run ID %q: want up to 250 of A-Z a-z 0-9 _ . ~ : + -", opt.RunID)
	}
	body := opt.wire()
	for try := 1; ; try++ {
		run, err := do[DAGRun](ctx, c, request{op: op, method: "POST", path: "/dags/%s/dagRuns", ids: []string{dagID}, body: body})
		lost := errors.Is(err, mlops.ErrUnavailable)
		taken := errors.Is(err, mlops.ErrAlreadyExists) && try > 1
		if !lost && !taken || ctx.Err() != nil {
			return run, err
		}
		found, ferr := c.Runs.Get(ctx, dagID, opt.RunID)
		switch {
		case ferr == nil && found.matches(opt):
			return found, nil
		case ferr == nil:
			return DAGRun{}, &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: service, Op: op, Cause: err,
				Message: fmt.Sprintf("run %s of DAG %s exists with another conf, note or date", opt.RunID, dagID)}
		case !isNotFound(ferr) || taken || try == 3:
			return DAGRun{}, err
		}
		if c.wait(ctx) != nil {
			return DAGRun{}, err
		}
	}
}

func (o TriggerOptions) wire() triggerWire {
	w := triggerWire{RunID: o.RunID, Conf: o.Conf, Note: o.Note}
	if !o.LogicalDate.IsZero() {
		w.LogicalDate = new(o.LogicalDate.UTC())
	}
	return w
}

// newRunID makes an ID that sorts by time and is unique.
func newRunID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "mlops__" + time.Now().UTC().Format("20060102T150405Z") + "_" + hex.EncodeToString(b[:])
}

// matches reports whether the run is what opt asked for.
func (r DAGRun) matches(opt TriggerOptions) bool {
	var want map[string]any
	b, err := json.Marshal(opt.Conf)
	if err != nil || json.Unmarshal(b, &want) != nil {
		return false
	}
	sameConf := len(want) == 0 && len(r.Conf) == 0 || reflect.DeepEqual(want, r.Conf)
	return sameConf && r.Note == opt.Note && r.LogicalDate.Equal(opt.LogicalDate)
}

// Get returns a run. The error matches [mlops.ErrNotFound] if there is none.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}
func (s RunsService) Get(ctx context.Context, dagID, runID string) (DAGRun, error) {
	return do[DAGRun](ctx, s.c, request{op: "Runs.Get", method: "GET", path: "/dags/%s/dagRuns/%s", ids: []string{dagID, runID}, again: true})
}

// DAGRunQuery selects runs; its zero value selects all.
type DAGRunQuery struct {
	States []State   // any of them
	Type   string    // "manual", "scheduled", …
	After  time.Time // not due before this time
	Before time.Time // due before this time
	Newest bool      // the latest first; else the oldest

	DAGPrefix string // of DAGs whose IDs begin so, with dagID "~"
}

// All lists the runs of a DAG, or of all DAGs if dagID is "~".
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns
func (s RunsService) All(ctx context.Context, dagID string, q DAGRunQuery) iter.Seq2[DAGRun, error] {
	v := url.Values{"order_by": {"run_after"}}
	if q.Newest {
		v.Set("order_by", "-run_after")
	}
	for _, s := range q.States {
		v.Add("state", string(s))
	}
	if q.Type != "" {
		v.Set("run_type", q.Type)
	}
	if q.DAGPrefix != "" {
		v.Set("dag_id_prefix_pattern", q.DAGPrefix)
	}
	setTime(v, "run_after_gte", q.After)
	setTime(v, "run_after_lt", q.Before)
	return pages(ctx, v, true, func(ctx context.Context, v url.Values) (page[DAGRun], error) {
		out, err := do[struct {
			Runs  []DAGRun `json:"dag_runs"`
			Total int      `json:"total_entries"`
			Next  string   `json:"next_cursor"`
		}](ctx, s.c, request{op: "Runs.All", method: "GET", path: "/dags/%s/dagRuns", ids: []string{dagID}, query: v, again: true})
		return page[DAGRun]{out.Runs, out.Total, out.Next}, err
	})
}

// WaitOptions say how to wait for a run.
type WaitOptions struct {
	OnState func(DAGRun)  // called at first and whenever the state changed
	OnStill func(DAGRun)  // called each time the state has been the same for Still
	Still   time.Duration // 0: a minute
}

// Wait waits until a run has ended and returns it. If it ended other than in
// success, the error holds a [*RunError], which names the tasks that failed.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}
func (c *Client) Wait(ctx context.Context, dagID, runID string, opt WaitOptions) (DAGRun, error) {
	const op = "Wait"
	var last DAGRun
	still := time.Now()
	for first := true; ; first = false {
		run, err := RunsService{c}.Get(ctx, dagID, runID)
		if err != nil {
			return last, err
		}
		changed := first || run.State != last.State
		if opt.OnState != nil && changed {
			opt.OnState(run)
		}
		if opt.OnStill != nil && !changed && time.Since(still) >= cmp.Or(opt.Still, time.Minute) && !run.State.Done() {
			changed = true
			opt.OnStill(run)
		}
		if changed {
			still = time.Now()
		}
		last = run
		if run.State == StateSuccess {
			return run, nil
		}
		if run.State.Done() {
			failed := &RunError{Run: run}
			for ti, err := range c.Tasks.All(ctx, dagID, runID) {
				if err != nil {
					return run, &mlops.Error{Service: service, Op: op, Cause: errors.Join(failed, err)}
				}
				if ti.State == StateFailed {
					failed.Failed = append(failed.Failed, ti)
				}
			}
			return run, &mlops.Error{Service: service, Op: op, Cause: failed}
		}
		if err := c.wait(ctx); err != nil {
			return run, &mlops.Error{Service: service, Op: op, Cause: err, Message: fmt.Sprintf("run %s of DAG %s is still %s: %v", runID, dagID, run.State, err)}
		}
	}
}

// Cancel ends a run as failed; its running tasks are killed within seconds.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}
func (s RunsService) Cancel(ctx context.Context, dagID, runID string) error {
	_, err := do[DAGRun](ctx, s.c, request{op: "Runs.Cancel", method: "PATCH", path: "/dags/%s/dagRuns/%s", ids: []string{dagID, runID}, body: map[string]State{"state": StateFailed}, again: true})
	return err
}

// ClearOptions say which tasks of a run are cleared.
type ClearOptions struct {
	OnlyFailed bool // those that failed, and those after them; else all
}

// Clear makes a run queued again and its tasks run again.
//
// Airflow REST: POST /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear
func (s RunsService) Clear(ctx context.Context, dagID, runID string, opt ClearOptions) error {
	_, err := do[none](ctx, s.c, request{op: "Runs.Clear", method: "POST", path: "/dags/%s/dagRuns/%s/clear", ids: []string{dagID, runID},
		body: map[string]bool{"dry_run": false, "only_failed": opt.OnlyFailed}})
	return err
}
