package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
	"github.com/mlops-integration/mlops/internal/transport"
)

// runWriter writes records to one run on the server.
type runWriter struct {
	c  *Client
	at whereabouts
}

// send sends one batch. Records that the server refuses as
// they are go to reject; the error is for what may get through later.
//
// MLflow REST: POST /api/2.0/mlflow/runs/log-batch, runs/log-inputs, runs/update
func (w runWriter) send(ctx context.Context, j *spool.Journal, rs []record, reject func(record, error)) error {
	switch first := rs[0]; first.kind {
	case inputRecord:
		_, err := send[transport.None](ctx, w.c, "LogInputs", "POST", "runs/log-inputs", map[string]any{"run_id": w.at.id, "datasets": []json.RawMessage{json.RawMessage(first.text)}})
		return refused(err, first, reject)
	case endRecord:
		_, err := send[transport.None](ctx, w.c, "End", "POST", "runs/update", map[string]any{"run_id": w.at.id, "status": first.text, "end_time": first.millis})
		return refused(err, first, reject)
	case outputRecord:
		return refused(w.logOutput(ctx, first.key, first.step), first, reject)
	case detachRecord:
		return nil
	case blobRecord, fileRecord:
		return w.upload(ctx, j, rs, reject)
	}
	err := w.logBatch(ctx, rs)
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
		parts[r.kind-metricRecord] = append(parts[r.kind-metricRecord], r)
	}
	for _, p := range parts {
		known := err
		if len(p) < len(rs) {
			known = nil // as it is, this part was not tried yet
		}
		if perr := w.split(ctx, p, known, &hunt{reject: reject}); perr != nil {
			return perr
		}
	}
	return nil
}

// hunt is a search for the records that the server refuses.
type hunt struct {
	reject func(record, error)
	taken  bool // something was accepted
	lost   int  // records refused so far
	found  int  // requests that the server refused or failed on
	gaveUp error

	suspect func(record, error) // gets records on which the server fails alone; nil: its failure ends the search
}

// split sends rs in halves until the refused records stand alone. known is the
// answer to rs as a whole, nil if it was not sent yet. Sending a record a second
// time does no harm: MLflow keeps one.
func (w runWriter) split(ctx context.Context, rs []record, known error, h *hunt) error {
	if len(rs) == 0 {
		return nil
	}
	if h.gaveUp != nil {
		for _, r := range rs {
			h.reject(r, h.gaveUp)
		}
		return nil
	}
	err := known
	if err == nil {
		if err = w.logBatch(ctx, rs); err == nil {
			h.taken = true
			return nil
		}
	}
	h.found++
	_, fails := failing(err)
	if !hopeless(err) && (!fails || h.suspect == nil) {
		return err
	}
	if len(rs) == 1 {
		for n := 1; fails && n < equalAnswers; n++ {
			if err = w.logBatch(ctx, rs); err == nil {
				h.taken = true
				return nil
			}
			_, fails = failing(err)
		}
		if fails {
			h.suspect(rs[0], err)
			return nil
		}
		if h.lost++; h.lost >= 10 && !h.taken {
			h.gaveUp = err // the run itself takes nothing any more: it is deleted
		}
		return refused(err, rs[0], h.reject)
	}
	half, found := len(rs)/2, h.found
	if perr := w.split(ctx, rs[:half], nil, h); perr != nil {
		return perr
	}
	if h.found > found || len(rs)-half == 1 {
		err = nil // the others may be fine, and one alone is always asked about
	}
	return w.split(ctx, rs[half:], err, h)
}

func (w runWriter) logBatch(ctx context.Context, rs []record) error {
	b, err := encodeBatch(w.at.id, rs)
	if err != nil {
		return err
	}
	_, err = send[transport.None](ctx, w.c, "LogBatch", "POST", "runs/log-batch", json.RawMessage(b))
	return err
}

// encodeBatch writes the body of a log-batch. Metrics, of which there are many,
// are written by hand, as encoding/json would write them.
func encodeBatch(runID string, rs []record) ([]byte, error) {
	size := 64 + len(runID)
	for i := range rs {
		size += 2 + rs[i].size()
	}
	out := appendString(append(make([]byte, 0, size), `{"run_id":`...), runID)
	begin := len(out)
	var texts [tagRecord + 1][]keyValue
	for i := range rs {
		switch r := &rs[i]; r.kind {
		case metricRecord:
			if len(out) == begin {
				out = append(out, `,"metrics":[`...)
			} else {
				out = append(out, ',')
			}
			out = appendMetric(out, r)
		case paramRecord, tagRecord:
			texts[r.kind] = append(texts[r.kind], keyValue{r.key, r.text})
		}
	}
	if len(out) > begin {
		out = append(out, ']')
	}
	for k, head := range [...]string{paramRecord: `,"params":`, tagRecord: `,"tags":`} {
		if len(texts[k]) == 0 {
			continue
		}
		b, err := json.Marshal(texts[k])
		if err != nil {
			return nil, err
		}
		out = append(append(out, head...), b...)
	}
	return append(out, '}'), nil
}

func appendMetric(b []byte, r *record) []byte {
	b = appendString(append(b, `{"key":`...), r.key)
	b = number(r.value).append(append(b, `,"value":`...))
	b = strconv.AppendInt(append(b, `,"timestamp":`...), r.millis, 10)
	b = strconv.AppendInt(append(b, `,"step":`...), r.step, 10)
	if r.model != "" {
		b = appendString(append(b, `,"model_id":`...), r.model)
	}
	return append(b, '}')
}

// refused passes a refusal of r on and keeps other errors.
func refused(err error, r record, reject func(record, error)) error {
	if err == nil || !hopeless(err) {
		return err
	}
	reject(r, err)
	return nil
}

// hopeless reports whether the server refuses this very request, so that
// sending it again as it is cannot help.
func hopeless(err error) bool {
	e, ok := errors.AsType[*mlops.Error](err)
	return ok && errors.Is(err, errUnstorable) || ok && e.Status >= 400 && (errors.Is(err, mlops.ErrInvalid) || e.Code == "RESOURCE_DOES_NOT_EXIST")
}

// MLflow's limits for one log-batch.
const (
	maxMetrics = 1000
	maxParams  = 100
	maxTags    = 100
	maxEntries = 1000
	maxBytes   = 900_000 // MLflow names 1e6; the rest is for the frame
	maxUploads = 64      // artifacts that are uploaded side by side
)

// batchSize is how many records from the front may go in one request. Order is
// kept, and a param or tag is in a request only once: MLflow refuses two
// spellings of a param in one batch, and of two tags or artifacts the later must win.
func batchSize(rs []record) int {
	var metrics, params, tags, files, bytes int
	seen := map[string]bool{}
	for i := range rs {
		r := &rs[i]
		if i >= maxEntries {
			return i
		}
		switch r.kind {
		case metricRecord:
			metrics++
		case paramRecord:
			params++
		case tagRecord:
			tags++
		case blobRecord, fileRecord:
			if files++; files > maxUploads {
				return i
			}
		default:
			return max(i, 1) // goes by a call of its own
		}
		if i > 0 && (rs[0].kind >= blobRecord) != (r.kind >= blobRecord) {
			return i
		}
		if r.kind != metricRecord {
			id := string(rune('0'+min(r.kind, blobRecord))) + r.key
			if seen[id] {
				return i
			}
			seen[id] = true
		}
		bytes += r.size()
		if metrics > maxMetrics || params > maxParams || tags > maxTags || (bytes > maxBytes && i > 0 && files == 0) {
			return i
		}
	}
	return len(rs)
}

// size is about how many bytes the record takes in a request, not less.
func (r *record) size() int {
	n := 120 + len(r.key) + len(r.text) + len(r.model)
	for _, t := range [...]string{r.key, r.text} {
		if !verbatim(t) {
			if b, err := json.Marshal(t); err == nil {
				n += len(b) - len(t)
			}
		}
	}
	return n
}
