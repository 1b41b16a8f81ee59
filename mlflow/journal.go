package mlflow

import (
	"cmp"
	"context"
	"encoding/json"
	"path/filepath"
	"sync"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
)

// Journal says where what runs log is kept until the server has it. The zero
// value is a folder below [mlops.Home].
type Journal struct {
	Dir    string // empty: spool/mlflow below mlops.Home()
	Server string // the name under which journals remember the server; empty: its URL
	Off    bool   // keep nothing on disk: what was not sent is lost with the process
}

// DefaultJournalDir is where journals are, unless [Journal] says otherwise.
func DefaultJournalDir() (string, error) {
	home, err := mlops.Home()
	return filepath.Join(home, "spool", "mlflow"), err
}

// folder is where the journals of the client are; "" for none.
func (o *outbox) folder() (string, error) {
	if o.opt.Off {
		return "", nil
	}
	if o.opt.Dir != "" {
		return o.opt.Dir, nil
	}
	return DefaultJournalDir()
}

// server is the name under which journals remember the server.
func (o *outbox) server() string { return cmp.Or(o.opt.Server, o.c.URL()) }

// journalForm is the form of heads and records that this program writes. A
// journal without one has form 1. Whatever an older program would take
// wrongly, or not at all, makes a new form: programs leave alone what is newer.
const journalForm = 1

// head is the first frame of a journal and describes its run. It holds all that
// another program needs to take over.
type head struct {
	Form   int     `json:"form,omitempty"` // 0: 1
	Server string  `json:"server"`
	UID    string  `json:"uid"`
	Create *create `json:"create,omitempty"` // nil: the run is there, or another journal makes it
	Run    string  `json:"run,omitempty"`    // the run to resume, by ID or UID
	Update *change `json:"update,omitempty"`
	Owner  bool    `json:"owner,omitempty"` // the run lives as long as the program that writes
	Aside  bool    `json:"aside,omitempty"` // artifacts that another journal of the run set aside
	PID    int     `json:"pid"`
}

// create is a run that is to be made.
type create struct {
	Experiment experimentRef     `json:"experiment"`
	Name       string            `json:"name,omitempty"`
	Start      int64             `json:"start"` // ms
	Parent     string            `json:"parent,omitempty"`
	Tags       map[string]string `json:"tags"`
}

type experimentRef struct {
	ID       string            `json:"id,omitempty"`
	Name     string            `json:"name,omitempty"`
	Location string            `json:"location,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// change is what resuming a run does to it.
type change struct {
	Name    string            `json:"name,omitempty"`
	Running bool              `json:"running,omitempty"`
	Parent  string            `json:"parent,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
}

// newJournal begins the journal of a run. A full or failing disk does not prevent
// the run from starting.
func (o *outbox) newJournal(h head) *spool.Journal {
	b, err := json.Marshal(h)
	dir := ""
	if err == nil {
		dir, err = o.folder()
	}
	if err != nil {
		o.c.log.Warn("no journal", "service", "mlflow", "run_uid", h.UID, "error", err)
	}
	return spool.Create(dir, h.UID, b, spool.Options{Logger: o.c.log})
}

// outbox is a client's journals: the folder that keeps them, and the senders
// that empty them.
type outbox struct {
	c   *Client
	opt Journal
	*openRuns
}

// openRuns are the senders that a client and its copies have.
type openRuns struct {
	mu          sync.Mutex
	senders     map[*sender]struct{}
	experiments map[string]string // ID by name, of those that were seen
	resumed     bool              // the run of the client's target is taken

	first        sync.Once // to send what earlier programs left
	adopting     sync.WaitGroup
	stopAdopting context.CancelFunc
}

// take reports whether t names a run that no StartRun has claimed yet.
func (o *openRuns) take(t Target) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.RunID == "" || o.resumed {
		return false
	}
	o.resumed = true
	return true
}

func (o *openRuns) add(s *sender) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.senders[s] = struct{}{}
}

func (o *openRuns) remove(s *sender) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.senders, s)
}

// closeWays closes the connections that are not in use.
func (c *Client) closeWays() {
	c.t.Close()
	c.registry.Close()
	if c.idle != nil {
		c.idle()
	}
	c.art.mu.Lock()
	defer c.art.mu.Unlock()
	for _, t := range c.art.direct {
		t.Close()
	}
}

// Close lets go of all runs that are still being written, as [Run.Close] does.
// It does not wait for the server; the error names how many records wait, and
// where. Connections that are not in use are closed.
func (c *Client) Close() error {
	if c.usable("Close") != nil {
		return nil
	}
	c.out.first.Do(func() {}) // none from now on
	if c.out.stopAdopting != nil {
		c.out.stopAdopting()
		c.out.adopting.Wait()
	}
	c.out.mu.Lock()
	var list []*sender
	for s := range c.out.senders {
		list = append(list, s)
	}
	c.out.mu.Unlock()
	var errs []error
	for _, s := range list {
		errs = append(errs, s.close())
	}
	c.closeWays()
	return joinShort(errs)
}
