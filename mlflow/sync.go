package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
)

// Backlog is one journal: what a program logged to a run and the server does
// not have, as far as this machine knows.
type Backlog struct {
	Path    string // the journal's folder
	Run     string // UID, or the ID of a run that another client made
	ID      string // of the run on the server; empty: it was not known when the journal was written
	Server  string // its URL, or the name that [Journal] gave it
	Held    bool   // a program is writing or sending it
	Created time.Time
	Changed time.Time

	Waiting int    // calls that the server does not have
	Sent    int    // records that Sync sent
	Refused int    // records that the server refused; they are kept
	Lost    uint64 // calls that damage took, as far as it is known
	Dropped uint64 // calls that the disk did not take
	Torn    int64  // offset of a torn end; -1: none
	Bytes   int64  // on disk

	Err error // why it was not sent; nil: it was, or it was not tried
}

// Backlogs lists the journals in dir, the oldest first; "" is the default
// folder. There being none is no error.
func Backlogs(dir string) iter.Seq2[Backlog, error] {
	return func(yield func(Backlog, error) bool) {
		if dir == "" {
			var err error
			if dir, err = DefaultJournalDir(); err != nil {
				yield(Backlog{}, err)
				return
			}
		}
		for i, err := range spool.List(dir) {
			if !yield(backlogOf(i), err) {
				return
			}
		}
	}
}

func backlogOf(i spool.Info) Backlog {
	b := Backlog{Path: i.Path, Run: i.Name, Held: i.Held, Created: i.Created, Changed: i.Changed,
		Waiting: int(i.Waiting), Refused: i.Refused, Lost: i.Lost, Dropped: i.Dropped, Torn: i.Torn, Bytes: i.Bytes}
	h, err := readHead(i.Head)
	if err == nil || errors.Is(err, mlops.ErrUnsupported) {
		b.Server = h.Server
	}
	if b.ID = i.Label; b.ID == "" && h.Run != b.Run {
		b.ID = h.Run
	}
	return b
}

// Of reports whether the journal is that of a run, named by its UID or by the
// server's ID.
func (b Backlog) Of(run string) bool { return run != "" && (run == b.Run || run == b.ID) }

func readHead(b []byte) (head, error) {
	var h head
	if err := json.Unmarshal(b, &h); err == nil && h.Form > journalForm {
		return h, newerForm(fmt.Sprintf("the journal of run %s has form %d", h.UID, h.Form))
	} else if err != nil || h.UID == "" {
		return h, fmt.Errorf("the head of the journal is damaged: %w", errors.Join(err, errRecord))
	}
	return h, nil
}

// newerForm is the error for what a newer program wrote.
func newerForm(what string) error {
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "mlflow", Op: "Sync",
		Message: what + ", which this program does not know: it is left alone; send it with the newer program that wrote it"}
}

// BacklogServers lists the servers for which there are journals to be sent in dir,
// by the names that journals have for them. It is quicker than Backlogs.
func BacklogServers(dir string) ([]string, error) {
	var out []string
	for i, err := range spool.Peek(context.Background(), dir, "") {
		if err != nil {
			return out, err
		}
		if h, err := readHead(i.Head); err == nil && !i.Archived && !slices.Contains(out, h.Server) {
			out = append(out, h.Server)
		}
	}
	return out, nil
}

// Refusals lists the records of a journal that the server refused, in words.
func (b Backlog) Refusals() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for r, err := range spool.Refusals(b.Path) {
			if !yield(r.Why, err) {
				return
			}
		}
	}
}

// Discard deletes the journal with all that was not sent. The error matches
// [mlops.ErrConflict] while a program holds it.
func (b Backlog) Discard() error { return spool.Discard(b.Path) }

// SyncOptions select what Sync sends.
type SyncOptions struct {
	Run      string        // one run, by the UID or ID it was logged under; empty: all
	MaxAge   time.Duration // older journals are left alone, unless a younger one of the run follows them; 0: none is too old
	Progress func(Backlog) // called as journals are done with
}

// Sync sends what programs that are gone left for this server: the journals of
// the client's folder whose lock is free, the oldest first, those of several runs
// side by side. It returns them all; what was not sent has an Err. A run whose
// program was killed is marked as [RunKilled]. After the first journal that finds the
// server away the others are not tried; one on which the server fails, while it
// answers otherwise, holds back none of them. Records on which it fails time after
// time are refused. An empty run that the server made twice, because it carried out an attempt
// that had been given up, is deleted (in MLflow's way, so that it can be restored).
// Programs may keep logging meanwhile, and several may Sync.
//
// The error is for a folder that cannot be read, or the end of ctx.
func (c *Client) Sync(ctx context.Context, opt SyncOptions) ([]Backlog, error) {
	if err := c.usable("Sync"); err != nil {
		return nil, err
	}
	dir, err := c.out.folder()
	if err != nil || dir == "" {
		return nil, err
	}
	s := &syncer{c: c, opt: opt}
	var runs [][]*synced
	place := map[string]int{} // in runs, by UID
	for i, perr := range spool.Peek(ctx, dir, "") {
		if perr != nil {
			err = perr
			continue
		}
		c.pass("look")
		b := backlogOf(i)
		if i.Archived || opt.Run != "" && !b.Of(opt.Run) || b.Server != c.out.server() && b.Server != "" {
			continue
		}
		one := &synced{info: i, b: b}
		s.all = append(s.all, one)
		n, known := place[b.Run]
		if !known && b.ID != "" { // a journal of --run is named by the server's ID
			n, known = place[b.ID]
		}
		if parent, of := place[parentOf(i.Head)]; !known && of {
			n, known = parent, true // a nested run comes after its parent
		}
		if !known {
			n, runs = len(runs), append(runs, nil)
		}
		place[b.Run] = n
		if b.ID != "" {
			place[b.ID] = n
		}
		runs[n] = append(runs[n], one)
	}
	next := make(chan []*synced)
	var senders sync.WaitGroup
	for range min(sideBySide, len(runs)) {
		senders.Go(func() {
			for run := range next {
				s.send(ctx, run)
			}
		})
	}
	for _, run := range runs {
		next <- run
	}
	close(next)
	senders.Wait()
	if s.down == nil {
		if err := c.single().dropLate(ctx); err != nil {
			c.log.Debug("late runs", "service", "mlflow", "error", err)
		}
	}
	var out []Backlog
	for _, one := range s.all {
		if one.done {
			out = append(out, one.b)
		}
	}
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	return out, err
}

// sideBySide is how many runs Sync sends at once, so that one with records on
// which the server fails does not hold up the others.
const sideBySide = 8

// parentOf is the run, by ID or UID, that the one of a journal is nested in.
func parentOf(head []byte) string {
	h, err := readHead(head)
	switch {
	case err != nil:
		return ""
	case h.Create != nil:
		return h.Create.Parent
	case h.Update != nil:
		return h.Update.Parent
	}
	return ""
}

// syncer is one Sync.
type syncer struct {
	c   *Client
	opt SyncOptions
	all []*synced

	inOrder bool // the first journal that is not sent holds back the others

	mu   sync.Mutex
	down error // the server is away, or see inOrder
}

// synced is a journal of it.
type synced struct {
	info spool.Info
	b    Backlog
	done bool

	aside  *synced // the artifacts that its program had set aside; nil: none
	taken  bool    // of them: a main journal's sender has them
	behind error   // of them: why older ones of the run were not sent; they wait, too
}

// send sends the journals of one run and of those nested in it, one after the
// other. Artifacts that a program had set aside are older than those of its main
// journal, which takes them along so that they arrive first.
func (s *syncer) send(ctx context.Context, run []*synced) {
	aside := map[string]*synced{} // the latest, by run
	var others []*synced
	for _, one := range run {
		if h, err := readHead(one.info.Head); err != nil || !h.Aside {
			others = append(others, one)
			continue
		}
		if older := aside[one.b.Run]; older != nil {
			if older.behind == nil {
				s.sendOne(ctx, older)
			}
			one.behind = errors.Join(older.behind, older.b.Err)
		}
		aside[one.b.Run] = one
	}
	for _, one := range others {
		one.aside = aside[one.b.Run]
		switch sent := s.sendOne(ctx, one); {
		case one.aside == nil:
		case !sent: // the program that took it sends the other, too
			delete(aside, one.b.Run)
		case one.aside.taken && one.b.Err == nil:
			delete(aside, one.b.Run)
		case one.aside.taken:
			one.aside.taken, one.aside.behind = false, one.b.Err
		}
	}
	for _, one := range aside {
		if one.behind == nil {
			s.sendOne(ctx, one)
		}
	}
}

// sendOne sends a journal, and reports whether it did: not after the end of ctx,
// nor if another program took it.
func (s *syncer) sendOne(ctx context.Context, one *synced) bool {
	if ctx.Err() != nil || !s.try(ctx, one) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.done = true; s.opt.Progress != nil {
		s.opt.Progress(one.b)
	}
	return true
}

// try reports whether the journal was this Sync's.
func (s *syncer) try(ctx context.Context, one *synced) bool {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	b := &one.b
	switch {
	case b.Held:
	case s.opt.MaxAge > 0 && time.Since(b.Changed) > s.opt.MaxAge:
		b.Err = &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "Sync", Message: fmt.Sprintf("older than %s: left alone", s.opt.MaxAge)}
	case down != nil:
		b.Err = down
	default:
		sent, err := s.c.out.adopt(ctx, one.info, b, one.aside)
		if errors.Is(err, errTaken) { // another program was quicker, or looks at it
			_, gone := os.Stat(one.info.Path)
			b.Held = gone == nil
			return b.Held
		}
		if *b, b.Err = sent, err; passing(err) && (s.inOrder || undelivered(err) || alive(ctx, s.c.single()) != nil) {
			s.mu.Lock()
			s.down = err
			s.mu.Unlock()
		}
	}
	return true
}

// errTaken is what adopt returns for a journal that another program was
// quicker to take.
var errTaken = errors.New("mlflow: another program sends this journal")

// adopt sends a journal whose lock is free, and after it what aside holds.
func (o *outbox) adopt(ctx context.Context, i spool.Info, b *Backlog, aside *synced) (Backlog, error) {
	if b == nil {
		of := backlogOf(i)
		b = &of
	}
	j, err := spool.Open(i.Path, spool.Options{Logger: o.c.log, Context: ctx})
	if isNotFound(err) || errors.Is(err, mlops.ErrConflict) {
		return *b, errTaken
	}
	if err != nil {
		return *b, err
	}
	if j.Head() == nil && j.Stats().Last == 0 { // its program died before it wrote anything
		return *b, j.Close()
	}
	h, err := readHead(j.Head())
	if err != nil {
		return *b, errors.Join(err, j.Close())
	}
	s := o.idleSender(ctx, j, h)
	defer s.stop()
	s.adopts, s.asked, s.again = true, true, true // the program before us may have asked
	s.takeAside(ctx, aside)
	err = s.sendAll(ctx, i.Changed)
	st := j.Stats()
	b.Sent, b.Waiting, b.Refused, b.Lost, b.Torn = s.sent, int(st.Waiting), st.Refused, st.Lost, st.Torn
	side := s.side
	if side == nil {
		return *b, err
	}
	if err == nil && (aside == nil || aside.behind == nil) {
		b.Path = side.j.Path()
		err = side.sendAll(ctx, time.Now())
	} else {
		if aside != nil {
			err = errors.Join(err, aside.behind)
		}
		err = errors.Join(err, side.j.Close())
	}
	st = side.j.Stats()
	b.Sent, b.Waiting, b.Refused = b.Sent+side.sent, b.Waiting+int(st.Waiting), b.Refused+st.Refused
	return *b, err
}

// takeAside makes the sender of what an earlier program set aside this one's own,
// so that no artifact overtakes an older one. A journal that cannot be opened is
// left for another Sync.
func (s *sender) takeAside(ctx context.Context, aside *synced) {
	if aside == nil || aside.b.Held {
		return
	}
	j, err := spool.Open(aside.info.Path, spool.Options{Logger: s.c.log, Context: ctx})
	if err != nil {
		return
	}
	h, err := readHead(j.Head())
	if err != nil {
		_ = j.Close()
		return
	}
	side := s.c.out.idleSender(ctx, j, h)
	side.adopts, side.asked, side.again = true, true, true
	side.waiting.Store(int64(j.Stats().Waiting))
	s.side, aside.taken = side, true
}

// sendAll sends what the journal holds and lets go of it.
func (s *sender) sendAll(ctx context.Context, changed time.Time) error {
	if err := s.drain(ctx, changed); err != nil {
		return errors.Join(err, s.j.Close())
	}
	return letGo(s.j)
}

// letGo is done with a journal that is sealed and sent but for the note that its
// program let go: it is deleted, or stays for what it tells of refused and lost
// records.
func letGo(j *spool.Journal) error {
	latest, _ := j.Seal(nil)
	err := j.Ack(latest)
	if st := j.Stats(); st.Refused > 0 || st.Lost > 0 || st.Dropped > 0 {
		err = errors.Join(err, j.Archive())
	}
	return errors.Join(err, j.Close())
}

// drain sends all there is, once, and tells the end of a run whose program did
// not live to tell it: at the time of its last record, else when the journal changed.
func (s *sender) drain(ctx context.Context, changed time.Time) error {
	for try := 1; ; {
		s.mu.Lock()
		busy, newer := s.fill() > 0 || !s.placed, s.newer
		s.mu.Unlock()
		if !busy && newer != nil {
			return newer
		}
		if !busy {
			break
		}
		err := s.step(ctx)
		if err == nil {
			try = 1
			continue
		}
		if !goesOn(err) || undelivered(err) || ctx.Err() != nil || try == equalAnswers || s.c.pause(ctx, backoff(try, hurried)) != nil {
			return err
		}
		try++ // to see whether it fails on this, or at all
	}
	if !s.head.Owner || s.endSeen {
		return nil
	}
	for i := range journals(ctx, s.dir(), s.head.UID) {
		if h, err := readHead(i.Head); i.Held && i.Path != s.j.Path() && err == nil && h.Owner {
			return nil // another program writes the run
		}
	}
	r, err := s.c.RunInfo(ctx, s.at.id)
	if err != nil {
		return err
	}
	if s.last > 0 {
		changed = time.UnixMilli(s.last)
	}
	if r.Status != RunRunning {
		return nil
	}
	return s.c.UpdateRun(ctx, r.ID, RunUpdate{Status: RunKilled, End: changed})
}
