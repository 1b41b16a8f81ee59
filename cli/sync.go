package cli

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func syncCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "sync",
		Usage:     "Send what was logged while MLflow or Evidently was away",
		ArgsUsage: "[run...]",
		Description: `   mlopsctl sync               send what programs that are gone left behind
   mlopsctl sync --status      show what waits, what was refused, what is damaged
   mlopsctl sync --discard "$run"   delete what waits for a run, unsent

   Drift snapshots that wait for Evidently are sent, shown and deleted likewise.
   Nothing is deleted before MLflow has it, however old, unless --discard says
   so. Refused records are kept, with MLflow's reason; --status shows them.
   Exit code 6: something was not sent. Exit code 1: something was refused.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.BoolFlag{Name: "status", Usage: "send nothing, show what there is"},
			&cli.BoolFlag{Name: "discard", Usage: "delete what waits or was refused; wants runs named"},
		},
		Action: e.inInfrastructure(func(c *cli.Context, infra *client.Client) error {
			runs := c.Args().Slice()
			switch {
			case c.Bool("discard"):
				return e.discard(runs, infra)
			case c.Bool("status"):
				return e.backlogs(runs, infra)
			}
			return e.sync(c, runs, infra)
		}),
	}
}

type backlogJSON struct {
	Run      string    `json:"run"`
	ID       string    `json:"id,omitempty"` // the server's, where it is known
	Server   string    `json:"server"`
	Path     string    `json:"path"`
	Held     bool      `json:"held"`
	Created  time.Time `json:"created"`
	Waiting  int       `json:"waiting"`
	Sent     int       `json:"sent"`
	Refused  int       `json:"refused"`
	Lost     uint64    `json:"lost"`
	Dropped  uint64    `json:"dropped"`
	Torn     *int64    `json:"torn_at,omitempty"`
	Error    string    `json:"error,omitempty"`
	Refusals []string  `json:"refusals,omitempty"`
	Snapshot string    `json:"snapshot,omitempty"` // a drift snapshot, not a run's journal
	Project  string    `json:"project,omitempty"`  // of the snapshot
}

func backlogDoc(b mlflow.Backlog) (backlogJSON, error) {
	doc := backlogJSON{Run: b.Run, ID: b.ID, Server: b.Server, Path: b.Path, Held: b.Held, Created: b.Created, Waiting: b.Waiting, Sent: b.Sent,
		Refused: b.Refused, Lost: b.Lost, Dropped: b.Dropped}
	if b.Torn >= 0 {
		doc.Torn = &b.Torn
	}
	if b.Err != nil {
		doc.Error = b.Err.Error()
	}
	if b.Refused > 0 {
		for why, err := range b.Refusals() {
			if err != nil {
				return doc, err
			}
			doc.Refusals = append(doc.Refusals, why)
		}
	}
	return doc, nil
}

// backlogTable lists journals, with the refused records below theirs.
func (e *env) backlogTable(list []mlflow.Backlog, snapshots []client.WaitingSnapshot) error {
	t := newTable("RUN", "WAITING", "SENT", "REFUSED", "LOST", "SINCE", "STATE")
	t.empty = "nothing waits"
	var docs []backlogJSON
	for _, b := range list {
		doc, err := backlogDoc(b)
		if err != nil {
			return err
		}
		docs = append(docs, doc)
		state := good("sent")
		switch {
		case b.Held:
			state = good("being written")
		case b.Err != nil:
			state = bad(doc.Error)
		case b.Waiting > 0:
			state = warn("waits")
		case b.Refused > 0:
			state = bad("partly refused")
		}
		t.row(b.Run, b.Waiting, b.Sent, b.Refused, b.Lost+b.Dropped, ago(b.Created), state)
		for _, why := range doc.Refusals {
			t.row(faint("refused"), "", "", "", "", "", faint(why))
		}
	}
	for _, w := range snapshots {
		docs = append(docs, e.snapshotRow(t, w))
	}
	return e.table(t, docs)
}

// chosen reports whether a journal is that of one of the runs named, by UID or
// ID; none named means all.
func chosen(runs []string, b mlflow.Backlog) bool {
	for _, r := range runs {
		if b.Of(r) {
			return true
		}
	}
	return len(runs) == 0
}

func (e *env) backlogs(runs []string, infra *client.Client) error {
	var list []mlflow.Backlog
	for b, err := range infra.Backlogs() {
		if err != nil {
			return err
		}
		if chosen(runs, b) {
			list = append(list, b)
		}
	}
	var snapshots []client.WaitingSnapshot
	for w, err := range infra.WaitingSnapshots() {
		if err != nil {
			return err
		}
		if len(runs) == 0 || slices.Contains(runs, w.UID) {
			snapshots = append(snapshots, w)
		}
	}
	return e.backlogTable(list, snapshots)
}

func (e *env) discard(runs []string, infra *client.Client) error {
	if len(runs) == 0 {
		return usagef("--discard wants the runs whose records are to be deleted; mlopsctl sync --status lists them")
	}
	n := 0
	for b, err := range infra.Backlogs() {
		if err != nil {
			return err
		}
		if !chosen(runs, b) {
			continue
		}
		if err := b.Discard(); err != nil {
			return fmt.Errorf("%s: %w", b.Run, err)
		}
		n++
		e.note("deleted %s: %d calls were waiting, %d records had been refused", b.Run, b.Waiting, b.Refused)
	}
	for w, err := range infra.WaitingSnapshots() {
		if err != nil {
			return err
		}
		if !slices.Contains(runs, w.UID) {
			continue
		}
		if err := w.Discard(); err != nil {
			return fmt.Errorf("%s: %w", w.UID, err)
		}
		n++
		e.note("deleted the drift snapshot %s of %s", w.UID, w.Project)
	}
	if n == 0 {
		return withCode(exitNotFound, errors.New("nothing waits for these runs"))
	}
	return nil
}

func (e *env) sync(c *cli.Context, runs []string, infra *client.Client) error {
	if len(runs) == 0 {
		runs = []string{""}
	}
	p := e.progress()
	defer p.done()
	var list []mlflow.Backlog
	for _, run := range runs {
		done, err := infra.Sync(c.Context, mlflow.SyncOptions{Run: run, Progress: func(b mlflow.Backlog) {
			p.keep("%-34s %d sent, %d wait", b.Run, b.Sent, b.Waiting)
		}})
		if err != nil {
			return err
		}
		list = append(list, done...)
	}
	var snapshots []client.WaitingSnapshot
	if runs[0] == "" {
		var err error
		if snapshots, err = infra.SyncSnapshots(c.Context, client.SnapshotSyncOptions{}); err != nil {
			return err
		}
	}
	p.done()
	if err := e.backlogTable(list, snapshots); err != nil {
		return err
	}
	refused := 0
	for _, b := range list {
		if b.Err != nil {
			return fmt.Errorf("run %s: %w", b.Run, b.Err)
		}
		refused += b.Refused
	}
	for _, w := range snapshots {
		if w.Err != nil {
			return fmt.Errorf("drift snapshot %s: %w", w.UID, w.Err)
		}
	}
	if refused > 0 {
		return withHint(fmt.Errorf("MLflow refused %d records", refused), "mlopsctl sync --status")
	}
	return nil
}
