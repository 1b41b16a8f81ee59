package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

type kind uint8

const (
	metricRecord kind = iota
	paramRecord
	tagRecord
	inputRecord
	endRecord
)

// record is one thing that was logged, as it will be sent.
type record struct {
	kind   kind
	key    string
	text   string // value of a param or tag, status of the end
	value  float64
	millis int64
	step   int64
	model  string
	input  DatasetInput
}

// String names the record in errors.
func (r record) String() string {
	switch r.kind {
	case metricRecord:
		return fmt.Sprintf("metric %q at step %d", r.key, r.step)
	case paramRecord:
		return fmt.Sprintf("param %q", r.key)
	case tagRecord:
		return fmt.Sprintf("tag %q", r.key)
	case inputRecord:
		return fmt.Sprintf("dataset %q", r.input.Name)
	}
	return "the end of the run"
}

const (
	maxQueued   = 1 << 21 // records that wait in memory
	maxRejected = 100     // refusals that are kept word for word
)

// queue holds what a run logged until the server has it. One goroutine sends,
// and only while there is something to send.
type queue struct {
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	send   func(context.Context, []record) error
	linger time.Duration
	pause  func(ctx context.Context, try int) error

	mu       sync.Mutex
	waiting  []record
	put      uint64 // records ever put
	done     uint64 // records ever settled: sent or refused
	running  bool
	flushes  int   // callers that wait: send at once
	failure  error // why the last attempt did not get through; nil when it did
	failures int
	rejected []error
	more     int           // refusals beyond maxRejected
	changed  chan struct{} // closed and replaced when done or failures moves
	wake     chan struct{} // tells a lingering or pausing sender that somebody waits
	full     chan struct{} // tells a lingering sender that a batch is full
}

func newQueue(ctx context.Context, linger time.Duration, send func(context.Context, []record) error, pause func(context.Context, int) error) *queue {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	return &queue{ctx: ctx, stop: stop, send: send, linger: linger, pause: pause, changed: make(chan struct{}), wake: make(chan struct{}, 1), full: make(chan struct{}, 1)}
}

// add puts records at the end and returns at once.
func (q *queue) add(op string, rs ...record) error {
	if len(rs) == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctx.Err() != nil {
		return invalid(op, "the run is closed")
	}
	if len(q.waiting)+len(rs) > maxQueued {
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: op, Cause: q.failure,
			Message: fmt.Sprintf("%d records wait for the server already; this one was not taken", len(q.waiting))}
	}
	q.waiting = append(q.waiting, rs...)
	q.put += uint64(len(rs))
	q.start()
	if len(q.waiting) >= maxEntries {
		nudge(q.full) // not wake: a server that is down is not asked more often for it
	}
	return nil
}

// start makes sure that somebody sends. The caller holds mu.
func (q *queue) start() {
	if !q.running && len(q.waiting) > 0 && q.ctx.Err() == nil {
		q.running = true
		go q.run()
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run sends until nothing is left, or until an error that a repetition will
// not cure; the next add or flush starts it again.
func (q *queue) run() {
	for try := 1; ; {
		q.gather()
		q.mu.Lock()
		if len(q.waiting) == 0 || q.ctx.Err() != nil {
			q.running = false
			q.mu.Unlock()
			return
		}
		batch := slices.Clone(q.waiting[:batchSize(q.waiting)])
		q.mu.Unlock()

		err := q.send(q.ctx, batch)

		q.mu.Lock()
		q.failure = err
		if err == nil {
			try = 1
			q.waiting = q.waiting[len(batch):]
			q.done += uint64(len(batch))
			q.tell()
			q.mu.Unlock()
			continue
		}
		q.failures++
		q.tell()
		again := errors.Is(err, mlops.ErrUnavailable) || errors.Is(err, mlops.ErrRateLimited)
		if !again {
			q.running = false
		}
		q.mu.Unlock()
		if !again {
			return
		}
		q.sleep(try)
		try++
	}
}

// gather waits a little for company, unless somebody waits for the sender or a
// batch is full.
func (q *queue) gather() {
	q.mu.Lock()
	urgent := q.flushes > 0 || len(q.waiting) >= maxEntries || len(q.waiting) == 0
	if !urgent {
		select {
		case <-q.wake: // of a flush that is over
		default:
		}
	}
	q.mu.Unlock()
	if urgent || q.linger <= 0 {
		return
	}
	t := time.NewTimer(q.linger)
	defer t.Stop()
	select {
	case <-t.C:
	case <-q.wake:
	case <-q.full:
	case <-q.ctx.Done():
	}
}

// sleep waits before another attempt, or until somebody asks for one.
func (q *queue) sleep(try int) {
	ctx, cancel := context.WithCancel(q.ctx)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = q.pause(ctx, try+3)
	}()
	select {
	case <-over:
	case <-q.wake:
		cancel()
		<-over
	}
}

// tell wakes who waits for progress. The caller holds mu.
func (q *queue) tell() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// reject keeps the server's refusal of a record for Flush and End.
func (q *queue) reject(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.rejected) >= maxRejected {
		q.more++
		return
	}
	q.rejected = append(q.rejected, err)
}

// refusals returns what was refused since it was last asked.
func (q *queue) refusals() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	errs := q.rejected
	if q.more > 0 {
		errs = append(errs, fmt.Errorf("mlflow: %d more records were refused", q.more))
	}
	q.rejected, q.more = nil, 0
	return errors.Join(errs...)
}

// flush waits until all that was put before is settled. It gives up when ctx
// ends and, unless stubborn, when one attempt from now on does not get through.
func (q *queue) flush(ctx context.Context, stubborn bool) error {
	q.mu.Lock()
	target, failures := q.put, q.failures
	q.flushes++
	q.start()
	nudge(q.wake)
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.flushes--
		q.mu.Unlock()
	}()
	for {
		q.mu.Lock()
		done, changed, failure := q.done >= target, q.changed, q.failure
		failed := q.failures != failures
		left, running := target-min(q.done, target), q.running
		q.mu.Unlock()
		switch {
		case done:
			return nil
		case failed && failure != nil && (!stubborn || !running):
			return fmt.Errorf("%w; %d records wait", failure, left)
		case q.ctx.Err() != nil:
			return invalid("Flush", "the run is closed; %d records were not sent", left)
		}
		select {
		case <-changed:
		case <-q.ctx.Done():
		case <-ctx.Done():
			if failure != nil {
				return fmt.Errorf("%w; %d records wait", failure, left)
			}
			return fmt.Errorf("mlflow: Flush: %w; %d records wait", context.Cause(ctx), left)
		}
	}
}

func (q *queue) pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// MLflow's limits for one log-batch.
const (
	maxMetrics = 1000
	maxParams  = 100
	maxTags    = 100
	maxEntries = 1000
	maxBytes   = 900_000 // MLflow names 1e6; the rest is for the frame
)

// batchSize is how many records from the front may go in one request. Order is
// kept, and a param or tag is in a request only once: MLflow refuses two
// spellings of a param in one batch, and of two tags the later must win.
func batchSize(rs []record) int {
	var metrics, params, tags, bytes int
	seen := map[string]bool{}
	for i, r := range rs {
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
		default:
			return max(i, 1) // goes by a call of its own
		}
		if r.kind != metricRecord {
			id := string(rune('0'+r.kind)) + r.key
			if seen[id] {
				return i
			}
			seen[id] = true
		}
		bytes += r.size()
		if metrics > maxMetrics || params > maxParams || tags > maxTags || (bytes > maxBytes && i > 0) {
			return i
		}
	}
	return len(rs)
}

// size is about how many bytes the record takes in a request, not less.
func (r record) size() int {
	n := 120 + len(r.key) + len(r.text) + len(r.model)
	if r.kind != metricRecord {
		if b, err := json.Marshal(r.text); err == nil {
			n += len(b) - len(r.text)
		}
	}
	if b, err := json.Marshal(r.key); err == nil {
		n += len(b) - len(r.key)
	}
	return n
}
