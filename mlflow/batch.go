package mlflow

import (
	"context"
	"errors"
	"fmt"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

type batch struct {
	RunID   string       `json:"run_id"`
	Metrics []wireMetric `json:"metrics,omitempty"`
	Params  []keyValue   `json:"params,omitempty"`
	Tags    []keyValue   `json:"tags,omitempty"`
}

// sendRecords sends one batch of a run. Records that the server refuses as
// they are go to reject; the error is for what may get through later.
//
// MLflow REST: POST /api/2.0/mlflow/runs/log-batch
func (c *Client) sendRecords(ctx context.Context, runID string, rs []record, reject func(error)) error {
	switch first := rs[0]; first.kind {
	case inputRecord:
		_, err := send[transport.None](ctx, c, "LogInputs", "POST", "runs/log-inputs", map[string]any{"run_id": runID, "datasets": []DatasetInput{first.input}})
		return refused(err, first, reject)
	case endRecord:
		_, err := send[transport.None](ctx, c, "End", "POST", "runs/update", map[string]any{"run_id": runID, "status": first.text, "end_time": first.millis})
		return refused(err, first, reject)
	}
	err := c.logBatch(ctx, runID, rs)
	if err == nil || !hopeless(err) {
		return err
	}
	if len(rs) == 1 {
		return refused(err, rs[0], reject)
	}
	// One record spoils the batch. Kinds first, so that metrics do not wait
	// for the search among the params.
	var parts [3][]record
	for _, r := range rs {
		parts[r.kind] = append(parts[r.kind], r)
	}
	for _, p := range parts {
		known := err
		if len(p) < len(rs) {
			known = nil // as it is, this part was not tried yet
		}
		if perr := c.split(ctx, runID, p, known, &hunt{reject: reject}); perr != nil {
			return perr
		}
	}
	return nil
}

// hunt is a search for the records that the server refuses.
type hunt struct {
	reject func(error)
	taken  bool // something was accepted
	lost   int  // records refused so far
	gaveUp error
}

// split sends rs in halves until the refused records stand alone. known is the
// answer to rs as a whole, nil if it was not sent yet. Sending a record a second
// time does no harm: MLflow keeps one.
func (c *Client) split(ctx context.Context, runID string, rs []record, known error, h *hunt) error {
	if len(rs) == 0 {
		return nil
	}
	if h.gaveUp != nil {
		h.reject(fmt.Errorf("%s and %d more: %w", rs[0], len(rs)-1, h.gaveUp))
		return nil
	}
	err := known
	if err == nil {
		if err = c.logBatch(ctx, runID, rs); err == nil {
			h.taken = true
			return nil
		}
		if !hopeless(err) {
			return err
		}
	}
	if len(rs) == 1 {
		if h.lost++; h.lost >= 10 && !h.taken {
			h.gaveUp = err // the run itself takes nothing any more: it is deleted
		}
		return refused(err, rs[0], h.reject)
	}
	half := len(rs) / 2
	if err := c.split(ctx, runID, rs[:half], nil, h); err != nil {
		return err
	}
	return c.split(ctx, runID, rs[half:], nil, h)
}

func (c *Client) logBatch(ctx context.Context, runID string, rs []record) error {
	b := batch{RunID: runID}
	for _, r := range rs {
		switch r.kind {
		case metricRecord:
			b.Metrics = append(b.Metrics, wireMetric{Key: r.key, Value: number(r.value), Time: wireInt(r.millis), Step: wireInt(r.step), ModelID: r.model})
		case paramRecord:
			b.Params = append(b.Params, keyValue{r.key, r.text})
		case tagRecord:
			b.Tags = append(b.Tags, keyValue{r.key, r.text})
		}
	}
	_, err := send[transport.None](ctx, c, "LogBatch", "POST", "runs/log-batch", b)
	return err
}

// refused passes a refusal of r on and keeps other errors.
func refused(err error, r record, reject func(error)) error {
	if err == nil || !hopeless(err) {
		return err
	}
	reject(fmt.Errorf("%s: %w", r, err))
	return nil
}

// hopeless reports whether the server refuses this very request, so that
// sending it again as it is cannot help.
func hopeless(err error) bool {
	e, ok := errors.AsType[*mlops.Error](err)
	return ok && errors.Is(err, mlops.ErrInvalid) && e.Status >= 400
}
