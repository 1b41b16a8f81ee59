package mlflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
)

const (
	maxRejected = 100              // refusals that are kept word for word
	flushTries  = 5                // attempts that Flush waits for
	longest     = 30 * time.Second // between two attempts
	hurried     = 2 * time.Second  // the same, while a caller waits
)

// sender sends a journal to the server. One goroutine sends, in order,
// until it is stopped or, after the end of the run, all is sent.
type sender struct {
	c    *Client // makes one attempt per request: repeating is the sender's
	j    *spool.Journal
	head head
	ctx  context.Context // ends with stop
	stop context.CancelFunc
	over chan struct{} // closed when the goroutine is gone

	waiting atomic.Int64  // records the server does not have
	shut    atomic.Bool   // close was called
	wake    chan struct{} // a caller waits, or the sender is to end
	full    chan struct{} // a batch is full

	mu       sync.Mutex
	at       whereabouts
	placed   bool    // at is known
	asked    bool    // a create may have reached the server
	again    bool    // the batch that is due may have reached it
	stuck    stuck   // what the server fails on time after time
	newer    error   // the journal continues with records of a form that is not known here
	side     *sender // artifacts that are set aside; nil: none were
	adopts   bool    // the journal is another program's
	ahead    []record
	seen     uint64 // number of the last call read from the journal
	done     uint64 // number of the last call settled: sent or refused
	ended    bool   // the end of the run was logged: stop when all is sent
	endSeen  bool   // the journal holds the end, or that the run was let go of
	last     int64  // ms: the latest time in the journal
	sent     int    // records sent
	flushes  int    // callers that wait: send at once
	failure  error  // why the last attempt did not get through; nil when it did
	failures int
	rejected []error
	more     int    // refusals beyond maxRejected
	gap      uint64 // records missing from the journal, already reported
	changed  chan struct{}
}

// newSender starts sending j.
func (o *outbox) newSender(ctx context.Context, j *spool.Journal, h head, at whereabouts) *sender {
	s := o.idleSender(ctx, j, h)
	s.at, s.placed = at, at.id != ""
	o.add(s)
	go s.loop()
	return s
}

func (o *outbox) idleSender(ctx context.Context, j *spool.Journal, h head) *sender {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	st := j.Stats()
	s := &sender{c: o.c.single(), j: j, head: h, ctx: ctx, stop: stop, over: make(chan struct{}), done: st.Acked, seen: st.Acked,
		changed: make(chan struct{}), wake: make(chan struct{}, 1), full: make(chan struct{}, 1)}
	return s
}

// errNoRun is the error of a Run that StartRun or ResumeRun did not make.
func errNoRun(op string) error {
	return invalid(op, "a run of no server; begin one with StartRun or ResumeRun")
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// add writes what one call logged into the journal.
func (s *sender) add(op string, rs ...record) error {
	if len(rs) == 0 {
		return nil
	}
	if s == nil {
		return errNoRun(op)
	}
	buf := buffers.Get().(*[]byte)
	b := (*buf)[:0]
	for i := range rs {
		b = rs[i].appendTo(b)
	}
	s.c.pass("append")
	before := s.waiting.Add(int64(len(rs))) - int64(len(rs))
	err := s.j.Append(b)
	if cap(b) <= 1<<20 {
		*buf = b
		buffers.Put(buf)
	}
	if err != nil {
		s.waiting.Add(-int64(len(rs)))
		return notKept(op, err)
	}
	if before < maxEntries && before+int64(len(rs)) >= maxEntries {
		nudge(s.full) // not wake: a server that is down is not asked more often for it
	}
	return nil
}

func notKept(op string, err error) error {
	if errors.Is(err, spool.ErrSealed) {
		return invalid(op, "the run is closed")
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: op, Cause: err, Message: fmt.Sprintf("not kept: %v", err)}
}

// seal writes the last record into the journal. An add either came before it, or
// fails.
func (s *sender) seal(op string, last record) error {
	s.waiting.Add(1)
	if _, err := s.j.Seal(last.appendTo(nil)); err != nil {
		s.waiting.Add(-1)
		return notKept(op, err)
	}
	return nil
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// loop sends until the sender is stopped or the ended run is sent.
func (s *sender) loop() {
	defer close(s.over)
	for try := 1; s.await(); {
		s.gather()
		err := s.step(s.ctx)
		s.settle(err)
		if err == nil {
			try = 1
			continue
		}
		if s.sleep(try, err) != nil {
			return
		}
		try++
	}
	if s.ctx.Err() == nil {
		s.finish() // the ended run is sent
	}
}

// await waits until there is something to do; false: there will not be.
func (s *sender) await() bool {
	for {
		s.mu.Lock()
		busy := s.fill() > 0 || !s.placed
		drained := s.ended && !busy
		s.mu.Unlock()
		switch {
		case s.ctx.Err() != nil || drained:
			return false
		case busy:
			return true
		}
		select {
		case <-s.j.More():
		case <-s.wake:
		case <-s.ctx.Done():
		}
	}
}

// fill reads ahead from the journal, up to two full batches, and returns how
// many records are there. It must be called with mu held.
func (s *sender) fill() int {
	for len(s.ahead) < 2*maxEntries && s.newer == nil {
		e, ok := s.j.Next()
		if !ok {
			break
		}
		rs, err := readRecords(e.Seq, e.Data)
		if errors.Is(err, errKind) {
			s.newer = newerForm(fmt.Sprintf("record %d of run %s is of a kind", e.Seq, s.head.UID))
			break
		}
		if err != nil {
			s.reject(e, fmt.Errorf("mlflow: record %d of run %s: %w", e.Seq, s.head.UID, err))
		}
		if len(rs) == 0 && len(s.ahead) == 0 {
			s.done = e.Seq
			_ = s.j.Ack(e.Seq)
		}
		s.seen = e.Seq
		s.ahead = append(s.ahead, rs...)
		for _, r := range rs {
			s.last = max(s.last, r.millis)
			s.endSeen = s.endSeen || r.kind == endRecord || r.kind == detachRecord
		}
	}
	return len(s.ahead)
}

// gather waits up to linger for the batch to fill, unless a caller waits for the
// sender.
func (s *sender) gather() {
	s.mu.Lock()
	urgent := s.flushes > 0 || s.ended || !s.placed || len(s.ahead) >= maxEntries
	if !urgent {
		select {
		case <-s.wake: // of a flush that is over
		default:
		}
	}
	s.mu.Unlock()
	if urgent || s.c.linger <= 0 || s.waiting.Load() >= maxEntries {
		return
	}
	t := time.NewTimer(s.c.linger)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.wake:
	case <-s.full:
	case <-s.ctx.Done():
	}
}

// step makes the run, or sends one batch of it.
func (s *sender) step(ctx context.Context) error {
	s.mu.Lock()
	placed, at := s.placed, s.at
	s.mu.Unlock()
	if !placed {
		at, err := s.place(ctx)
		if err != nil {
			if s.head.Create == nil {
				s.stuck.again(0, err)
			}
			return err
		}
		s.mu.Lock()
		s.at, s.placed, s.stuck = at, true, stuck{}
		s.mu.Unlock()
		_ = s.j.SetLabel(at.id) // for people: the run is found by its UID
		if s.head.Create != nil && !s.adopts {
			s.c.out.adoptOnce(ctx)
		}
		return nil
	}
	s.mu.Lock()
	s.fill()
	batch := s.ahead[:batchSize(s.ahead)]
	s.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	var refused []refusal
	reject := func(r record, err error) { refused = append(refused, refusal{r, err}) }
	err, aside := s.deliver(ctx, at, batch, reject)
	if err != nil {
		s.again = s.again || unsure(err) || ctx.Err() != nil
		return err // the batch is sent again as a whole, so that nothing is reported twice
	}
	s.again, s.stuck = false, stuck{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refused {
		s.reject(spool.Entry{Seq: r.record.seq, Data: r.record.appendTo(nil)}, fmt.Errorf("%s: %w", r.record, r.err))
	}
	s.ahead = s.ahead[len(batch):]
	last := batch[len(batch)-1].seq
	if len(s.ahead) > 0 && s.ahead[0].seq == last {
		last-- // the rest of that call waits
	} else if len(s.ahead) == 0 {
		s.ahead, last = nil, s.seen
	}
	s.waiting.Add(-int64(len(batch)))
	if !aside {
		s.sent += len(batch) - len(refused)
	}
	if last <= s.done {
		return nil
	}
	s.done = last
	if err := s.j.Ack(last); err != nil {
		s.c.log.Debug("ack", "service", "mlflow", "run_uid", s.head.UID, "error", err) // at worst it is sent again
		return nil
	}
	for _, r := range batch {
		if r.kind == fileRecord && !slices.ContainsFunc(refused, func(x refusal) bool { return x.record.text == r.text }) {
			_ = s.j.RemoveFile(r.text) // the journal's folder is removed later anyway
		}
	}
	return nil
}

// deliver sends a batch, or sets it aside.
func (s *sender) deliver(ctx context.Context, at whereabouts, batch []record, reject func(record, error)) (err error, aside bool) {
	if batch[0].artifact() && s.asideWaits() > 0 { // artifacts stay in their order
		return s.setAside(at, batch), true
	}
	err = s.send(ctx, at, batch, reject)
	if err == nil || ctx.Err() != nil {
		return err, false
	}
	if s.stuck.again(batch[0].seq, err) {
		err = s.isolate(ctx, at, batch, err, reject)
	}
	if err != nil && batch[0].artifact() && s.stuck.holdsBack(err) && s.setAside(at, batch) == nil {
		return nil, true
	}
	return err, false
}

// send sends a batch. What the server refuses goes to reject.
func (s *sender) send(ctx context.Context, at whereabouts, batch []record, reject func(record, error)) error {
	w := runWriter{s.c, at}
	if batch[0].kind != tableRecord {
		return w.send(ctx, s.j, batch, reject)
	}
	err := w.addRows(ctx, batch[0], s.again)
	if unfit(err) {
		reject(batch[0], err)
		return nil
	}
	return err
}

type refusal struct {
	record record
	err    error
}

// settle notes the outcome of a step and wakes all waiters.
func (s *sender) settle(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure = err; err != nil {
		s.failures++
		s.c.log.Debug("send", "service", "mlflow", "run_uid", s.head.UID, "error", err)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// dir is the folder of the client's journals; "" for none.
func (s *sender) dir() string {
	dir, _ := s.c.out.folder()
	return dir
}

// passing reports whether err may go away by itself.
func passing(err error) bool {
	return errors.Is(err, mlops.ErrUnavailable) || errors.Is(err, mlops.ErrRateLimited)
}

// goesOn reports whether the sender tries again by itself after err.
func goesOn(err error) bool {
	_, fails := failing(err)
	return fails || passing(err)
}

// sleep waits before another attempt, or until a caller asks for one. An error
// that will not go away by itself, such as wrong credentials, is tried again
// only when a caller asks.
func (s *sender) sleep(try int, err error) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	most := longest
	s.mu.Lock()
	if s.flushes > 0 {
		most = hurried
	}
	s.mu.Unlock()
	over := make(chan struct{})
	go func() {
		defer close(over)
		if !goesOn(err) {
			<-ctx.Done()
			return
		}
		_ = s.c.pause(ctx, max(backoff(try, most), retryAfter(err)))
	}()
	select {
	case <-over:
	case <-s.wake:
		cancel()
		<-over
	}
	return s.ctx.Err()
}

func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*mlops.Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// reject keeps what the server refused, beside the journal and for Flush and
// End. It must be called with mu held.
func (s *sender) reject(e spool.Entry, err error) {
	if kerr := s.j.Refuse(e, err.Error()); kerr != nil {
		s.c.log.Warn("refused record not kept", "service", "mlflow", "run_uid", s.head.UID, "record", err, "error", kerr)
	}
	if len(s.rejected) >= maxRejected {
		s.more++
		return
	}
	s.rejected = append(s.rejected, err)
}

// complaints returns what was refused or lost since it was last asked.
func (s *sender) complaints() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := s.rejected
	if s.more > 0 {
		errs = append(errs, fmt.Errorf("mlflow: %d more records were refused", s.more))
	}
	s.rejected, s.more = nil, 0
	st := s.j.Stats()
	if missing := st.Dropped + st.Lost; missing > s.gap {
		errs = append(errs, &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "Flush", Cause: s.j.Trouble(),
			Message: fmt.Sprintf("%d records of run %s are missing from its journal", missing-s.gap, s.head.UID)})
		s.gap = missing
	}
	if s.side != nil {
		errs = append(errs, s.side.complaints())
	}
	return errors.Join(errs...)
}

// finish lets go of a journal that is sealed and sent. What is set aside is sent
// while the program runs.
func (s *sender) finish() {
	if side := s.aside(); side != nil {
		side.endWhenSent()
	}
	s.c.out.remove(s)
	s.c.pass("let go")
	if err := letGo(s.j); err != nil {
		s.c.log.Warn("journal", "service", "mlflow", "run_uid", s.head.UID, "error", err)
	}
}

// close stops sending and lets go of the run without ending it.
func (s *sender) close() error {
	if s == nil {
		return nil
	}
	if s.head.Aside && s.shut.Swap(true) {
		return nil // by the run and by the client
	}
	s.stop()
	<-s.over
	var last []byte
	if s.head.Owner {
		last = record{kind: detachRecord}.appendTo(nil) // without it the run would count as killed
	}
	logged, _ := s.j.Seal(last) // a run that was ended is sealed already
	s.mu.Lock()
	sent := s.placed && s.done >= logged
	s.mu.Unlock()
	var aerr error
	if side := s.aside(); side != nil {
		aerr = side.close()
	}
	if sent {
		s.finish()
		return aerr
	}
	err := s.left(false)
	s.c.out.remove(s)
	return errors.Join(err, s.j.Close(), aerr)
}

// kept is nil if a journal on disk holds all that was not sent.
func (s *sender) kept() error {
	if s == nil {
		return errNoRun("Kept")
	}
	for _, one := range []*sender{s, s.aside()} {
		if one == nil {
			continue
		}
		one.mu.Lock()
		sent := one.placed && one.waiting.Load() == 0
		one.mu.Unlock()
		if !sent && (one.j.Path() == "" || one.j.Sync() != nil || one.j.Trouble() != nil) {
			return one.left(false)
		}
	}
	return nil
}

// left is the error for what was not sent, nil if all was.
func (s *sender) left(sent bool) error {
	if sent {
		return nil
	}
	where := "they are lost with this process"
	if trouble := s.j.Trouble(); trouble != nil {
		where = fmt.Sprintf("the journal keeps none of them (%v)", trouble)
	} else if p := s.j.Path(); p != "" {
		where = "they wait in " + p + " (mlopsctl sync sends them)"
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "Close", Message: fmt.Sprintf("%d records of run %s were not sent; %s", s.waiting.Load(), s.head.UID, where)}
}

// joinShort joins errors, of many only the first three.
func joinShort(errs []error) error {
	var kept []error
	n := 0
	for _, err := range errs {
		if err == nil {
			continue
		}
		if n++; n <= 3 {
			kept = append(kept, err)
		}
	}
	if n > 3 {
		kept = append(kept, fmt.Errorf("mlflow: and %d more runs", n-3))
	}
	return errors.Join(kept...)
}
