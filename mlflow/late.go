package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	lateFolder = ".late"          // of the notes, in the folder of journals
	lateFor    = 10 * time.Minute // how long a server may take to carry out a request that it has accepted
)

// lateRun is the note of a run that an attempt without an answer may make once
// more: a busy server carries out the request of a program that is gone by then.
// The note outlives the run's journal.
type lateRun struct {
	Server     string    `json:"server"`
	Experiment string    `json:"experiment"` // ID
	UID        string    `json:"uid"`
	ID         string    `json:"id"`    // the run that was found or made, and is kept
	Start      int64     `json:"start"` // ms
	Noted      time.Time `json:"noted"`

	path string
}

// note keeps n for the Syncs to come. It must be called before the run's journal may
// be deleted. Without a folder of journals there are no Syncs.
func (o *outbox) note(n lateRun) {
	dir, err := o.folder()
	if err != nil || dir == "" {
		return
	}
	n.Server, n.Noted = o.server(), time.Now()
	dir = filepath.Join(dir, lateFolder)
	b, err := json.Marshal(n)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, url.PathEscape(n.UID)+".json"), b, 0o600)
	}
	if err != nil {
		o.c.log.Debug("note", "service", "mlflow", "run_uid", n.UID, "error", err)
	}
}

// notes are those of the client's server, by experiment and UID. What is much too
// old is removed, whichever server it is of.
func (o *outbox) notes() (map[string]map[string]lateRun, error) {
	dir, err := o.folder()
	if err != nil || dir == "" {
		return nil, err
	}
	dir = filepath.Join(dir, lateFolder)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	out := map[string]map[string]lateRun{}
	for _, e := range entries {
		n := lateRun{path: filepath.Join(dir, e.Name())}
		b, rerr := os.ReadFile(n.path)
		if i, ierr := e.Info(); ierr == nil && time.Since(i.ModTime()) > 100*lateFor {
			_ = os.Remove(n.path)
		}
		if rerr != nil || json.Unmarshal(b, &n) != nil || n.Server != o.server() {
			continue // it is being written or removed, or of another server
		}
		if out[n.Experiment] == nil {
			out[n.Experiment] = map[string]lateRun{}
		}
		out[n.Experiment][n.UID] = n
	}
	return out, err
}

// dropLate deletes the runs that were made once more, and removes the notes for
// which the server has had long enough. It makes one search for each experiment.
func (c *Client) dropLate(ctx context.Context) error {
	all, err := c.out.notes()
	if err != nil {
		return err
	}
	for experiment, notes := range all {
		now := time.Now()
		if err := c.dropLateOf(ctx, experiment, notes); passing(err) || ctx.Err() != nil {
			return err
		} else if err != nil {
			c.log.Debug("late runs", "service", "mlflow", "experiment", experiment, "error", err)
		}
		for _, n := range notes {
			if now.Sub(n.Noted) > lateFor {
				_ = os.Remove(n.path)
			}
		}
	}
	return nil
}

// dropLateOf looks only at open runs: a run that no program knows of is never ended.
func (c *Client) dropLateOf(ctx context.Context, experiment string, notes map[string]lateRun) error {
	first, last := int64(math.MaxInt64), int64(0)
	for _, n := range notes {
		first, last = min(first, n.Start), max(last, n.Start)
	}
	open := fmt.Sprintf("attributes.status = '%s' AND attributes.start_time >= %d AND attributes.start_time <= %d", RunRunning, first, last)
	for r, err := range c.Runs(ctx, RunQuery{Experiments: []string{experiment}, Filter: open}) {
		if err != nil {
			return err
		}
		n, ok := notes[r.UID]
		if !ok || r.ID == n.ID {
			continue
		}
		empty, err := c.isEmpty(ctx, r)
		if err == nil && empty {
			err = c.DeleteRun(ctx, r.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isEmpty reports whether nothing was logged to a run but what it was made with.
func (c *Client) isEmpty(ctx context.Context, r RunInfo) (bool, error) {
	if len(r.Metrics)+len(r.Params)+len(r.Inputs)+len(r.Models) > 0 {
		return false, nil
	}
	for _, err := range c.Artifacts(ctx, r.ID, "") {
		return false, err
	}
	return true, nil
}
