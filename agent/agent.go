// Package agent is the part that is always on: it sends what programs of this
// home logged and did not live to send, as soon as the server is there.
//
//	a := agent.New(agent.Options{})
//	go http.Serve(listener, a) // health and metrics
//	err := a.Run(ctx)          // until ctx ends
//
// mlopsctl agent runs it; the stack keeps one running.
package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/mlops-integration/mlops/agent/internal/shares"
	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

// Options configure an Agent. The zero value is what the stack uses.
type Options struct {
	Every  time.Duration // between two looks; 0: 5 s
	MaxAge time.Duration // what waits for longer is left to "mlopsctl sync"; 0: 30 days

	// Share divides the slots of projects' pools also in an Airflow that is not
	// the one of the home's own stack.
	Share bool

	Home   string          // of the journals; told at /health
	Client []client.Option // where configuration is
	Logger *slog.Logger    // what was sent and what was not; nil: silent
}

// Name is what an agent says it is at /health.
const Name = "mlops agent"

// Health is the answer at /health.
type Health struct {
	Name     string    `json:"name"`
	Home     string    `json:"home"`
	Looked   time.Time `json:"looked"` // when the last look ended
	Journals int       `json:"journals"`
	Waiting  int       `json:"waiting"` // calls that MLflow does not have
	Sent     int       `json:"sent"`    // records, since the agent began
	Refused  int       `json:"refused"` // records that MLflow refused
	Error    string    `json:"error,omitempty"`
}

// Agent is one agent. Several on one home do no harm: each journal is sent by
// one of them.
type Agent struct {
	o Options

	mu      sync.Mutex
	health  Health
	machine *applesilicon.Machine // nil: not running, or none that could be opened
	shares  shares.State
	waits   shares.Waits
	said    map[string]string // per journal, the error that was told
}

// New returns an Agent that is not running yet.
func New(o Options) *Agent {
	o.Every, o.MaxAge = cmp.Or(o.Every, 5*time.Second), cmp.Or(o.MaxAge, 30*24*time.Hour)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Agent{o: o, health: Health{Name: Name, Home: o.Home}, said: map[string]string{}}
}

func (o Options) options() []client.Option {
	if o.Home == "" {
		return o.Client
	}
	return append([]client.Option{client.WithHome(o.Home)}, o.Client...)
}

// Run looks for journals and sends them until ctx ends, which is no error. A
// server that is away, or configuration that cannot be read, is told to the
// logger, once, and tried again.
func (a *Agent) Run(ctx context.Context) error {
	if m, err := applesilicon.Open(ctx, applesilicon.Options{}); err == nil {
		a.mu.Lock()
		a.machine = m
		a.mu.Unlock()
		defer func() {
			a.mu.Lock()
			a.machine = nil
			a.mu.Unlock()
			_ = m.Close()
		}()
	}
	var dividing sync.WaitGroup
	dividing.Go(func() { a.divide(ctx) })
	defer dividing.Wait()
	tick := time.NewTicker(a.o.Every)
	defer tick.Stop()
	for {
		a.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look sends what there is, once.
func (a *Agent) look(ctx context.Context) {
	list, snapshots, err := a.send(ctx)
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	h := &a.health
	h.Looked, h.Journals, h.Waiting, h.Refused, h.Error = time.Now(), 0, 0, 0, ""
	if err != nil {
		h.Error = err.Error()
	}
	a.tell("", err)
	for _, b := range list {
		h.Sent += b.Sent
		h.Refused += b.Refused
		h.Waiting += b.Waiting
		if b.Sent > 0 {
			a.o.Logger.Info("sent", "run", b.Run, "records", b.Sent, "refused", b.Refused, "waiting", b.Waiting)
		}
		if b.Waiting > 0 || b.Refused > 0 || b.Held {
			h.Journals++
		}
		a.tell(b.Path, b.Err)
		if b.Err != nil && h.Error == "" {
			h.Error = b.Err.Error()
		}
	}
	for _, w := range snapshots {
		if w.SnapshotID != "" {
			a.o.Logger.Info("sent", "drift", w.Project, "snapshot", w.SnapshotID)
		}
		a.tell(w.Path, w.Err)
		if w.Err != nil && h.Error == "" {
			h.Error = w.Err.Error()
		}
	}
}

// send sends what waits, by the configuration of now.
func (a *Agent) send(ctx context.Context) ([]mlflow.Backlog, []client.WaitingSnapshot, error) {
	c, err := client.Open(ctx, a.o.options()...)
	if err != nil {
		return nil, nil, err
	}
	list, err := c.Sync(ctx, mlflow.SyncOptions{MaxAge: a.o.MaxAge})
	snapshots, serr := c.SyncSnapshots(ctx, client.SnapshotSyncOptions{MaxAge: a.o.MaxAge, Patience: snapshotPatience})
	return list, snapshots, errors.Join(err, serr, c.Close())
}

// snapshotPatience is how long a drift snapshot is left alone that Evidently,
// although it was there, did not take.
const snapshotPatience = 10 * time.Minute

// tell logs an error when it is a new one.
func (a *Agent) tell(of string, err error) {
	msg := ""
	if err != nil {
		msg = err.Error()
	}
	if a.said[of] == msg {
		return
	}
	if a.said[of] = msg; msg != "" && !errors.Is(err, context.Canceled) {
		a.o.Logger.Warn("not sent", "journal", of, "error", msg)
	}
}

// ServeHTTP answers /health with JSON and /metrics with Prometheus text: the
// backlog, and this machine's readings, for which it waits about 100 ms. It
// tells nothing of what was logged.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	h, machine, state, waits := a.health, a.machine, a.shares, a.waits
	a.mu.Unlock()
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "GET only", http.StatusMethodNotAllowed)
	case r.URL.Path == "/health":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(h)
	case r.URL.Path == "/metrics":
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for _, m := range []struct {
			name, kind, help string
			v                int
		}{
			{"mlops_agent_journals", "gauge", "Journals with calls that MLflow does not have.", h.Journals},
			{"mlops_agent_waiting_calls", "gauge", "Calls that MLflow does not have.", h.Waiting},
			{"mlops_agent_refused_records", "gauge", "Records that MLflow refused and that are kept.", h.Refused},
			{"mlops_agent_sent_records_total", "counter", "Records sent since the agent began.", h.Sent},
		} {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", m.name, m.help, m.name, m.kind, m.name, m.v)
		}
		shares.WritePrometheus(w, state, waits, time.Now())
		if machine == nil {
			return
		}
		if s, err := machine.Read(r.Context()); err == nil { // a machine that tells nothing has no metrics
			_ = s.WritePrometheus(w)
		}
	default:
		http.NotFound(w, r)
	}
}
