package cli

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/evidently"
)

func driftCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "drift",
		Usage:       "Compare current data with reference data",
		Subcommands: []*cli.Command{driftCheck(e), driftList(e)},
	}
}

func driftCheck(e *env) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "Look for drift; exit code 10 if it is found",
		ArgsUsage: "<reference> <current>",
		Description: `   mlopsctl drift check data/train.csv data/today.csv -p lora-finetuning
   mlopsctl drift check ref.parquet new.parquet -p lora-finetuning --column age --column income

   Evidently chooses the method for each column unless --method says one, and
   keeps the result as a snapshot in its service. The verdict and the exit code
   do not depend on the service: a snapshot that it does not take waits on this
   machine and is sent by the next check, mlopsctl sync or the agent.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "name", Usage: "`name` of the snapshot"},
			&cli.StringSliceFlag{Name: "column", Usage: "only this `column`; may be repeated"},
			&cli.StringFlag{Name: "method", Usage: "`method` for all columns: ks, wasserstein, psi, jensenshannon, chisquare, z, …"},
			&cli.Float64Flag{Name: "threshold", Usage: "the method's `threshold`"},
			&cli.Float64Flag{Name: "share", Value: 0.5, Usage: "`share` of drifted columns that counts as drift"},
			&cli.BoolFlag{Name: "require-sent", Usage: "without drift, exit with 8 if Evidently does not have the snapshot yet"},
		},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			o := evidently.DriftOptions{Name: c.String("name"), Columns: c.StringSlice("column"), Method: c.String("method"), DriftShare: c.Float64("share")}
			if c.IsSet("threshold") {
				o.Threshold = new(c.Float64("threshold"))
			}
			bar := e.progress()
			bar.set("comparing")
			r, err := p.Drift(c.Context, c.Args().Get(0), c.Args().Get(1), o)
			bar.done()
			if err != nil {
				return err
			}
			t := newTable("COLUMN", "DRIFT", "METHOD", "VALUE", "THRESHOLD")
			for _, col := range r.Columns {
				drifted := good("no")
				if col.Drifted {
					drifted = bad("yes")
				}
				t.row(col.Column, drifted, col.MethodName, col.Value, col.Threshold)
			}
			for _, s := range r.Skipped {
				t.row(s.Column, warn("skipped"), s.Reason)
			}
			if err := e.table(t, driftOf(r)); err != nil {
				return err
			}
			e.note("%d of %d columns drifted", r.DriftedColumns, len(r.Columns))
			e.noteSnapshot(r)
			switch {
			case r.Drifted:
				return withCode(exitDrift, nil)
			case r.Unsent != nil && c.Bool("require-sent"):
				return withCode(exitNotSent, nil)
			}
			return nil
		}),
	}
}

// noteSnapshot tells where a report's snapshot is.
func (e *env) noteSnapshot(r evidently.DriftReport) {
	switch {
	case r.Unsent == nil:
		e.note("snapshot %s", r.SnapshotID)
	case r.Waiting == "":
		e.note("not kept: Evidently does not have the snapshot, and neither has this machine: %v", r.Unsent)
	default:
		e.note("the snapshot waits on this machine; mlopsctl sync sends it: %v", r.Unsent)
	}
}

type driftJSON struct {
	Drifted        bool              `json:"drifted"`
	DriftedColumns int               `json:"drifted_columns"`
	Share          float64           `json:"share"`
	DriftShare     float64           `json:"drift_share"`
	SnapshotID     string            `json:"snapshot_id"`       // empty: the service does not have it
	Waiting        string            `json:"waiting,omitempty"` // the file from which it will be sent
	Unsent         string            `json:"unsent,omitempty"`  // why it is not there
	Columns        []driftColumnJSON `json:"columns"`
	Skipped        []driftSkipJSON   `json:"skipped,omitempty"`
}

type driftColumnJSON struct {
	Column    string  `json:"column"`
	Drifted   bool    `json:"drifted"`
	Method    string  `json:"method"`
	Kind      string  `json:"kind"` // what value is: "p-value", "distance"
	Value     float64 `json:"value"`
	Threshold float64 `json:"threshold"`
}

type driftSkipJSON struct {
	Column string `json:"column"`
	Reason string `json:"reason"`
}

func driftOf(r evidently.DriftReport) driftJSON {
	out := driftJSON{Drifted: r.Drifted, DriftedColumns: r.DriftedColumns, Share: r.Share, DriftShare: r.DriftShare, SnapshotID: r.SnapshotID, Waiting: r.Waiting}
	if r.Unsent != nil {
		out.Unsent = r.Unsent.Error()
	}
	for _, c := range r.Columns {
		out.Columns = append(out.Columns, driftColumnJSON{c.Column, c.Drifted, c.Method, string(c.Kind), c.Value, c.Threshold})
	}
	for _, s := range r.Skipped {
		out.Skipped = append(out.Skipped, driftSkipJSON{s.Column, s.Reason})
	}
	return out
}

type snapshotJSON struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Time     time.Time         `json:"time"`
	Tags     []string          `json:"tags,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func driftList(e *env) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "List the project's snapshots",
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			t := newTable("SNAPSHOT", "NAME", "WHEN")
			t.empty = "no snapshots yet; mlopsctl drift check makes one"
			var docs []snapshotJSON
			for s, err := range p.Snapshots(c.Context) {
				if errors.Is(err, mlops.ErrNotFound) {
					return withHint(err, "mlopsctl drift check makes it with its first snapshot")
				}
				if err != nil {
					return err
				}
				t.row(s.ID, s.Name, s.Timestamp.UTC().Format(time.RFC3339))
				docs = append(docs, snapshotJSON{s.ID, s.Name, s.Timestamp.UTC(), s.Tags, s.Metadata})
			}
			return e.table(t, docs)
		}),
	}
}
