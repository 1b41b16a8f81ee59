package cli

import (
	"time"

	"github.com/urfave/cli/v2"

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
   keeps the result as a snapshot in its service.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "name", Usage: "`name` of the snapshot"},
			&cli.StringSliceFlag{Name: "column", Usage: "only this `column`; may be repeated"},
			&cli.StringFlag{Name: "method", Usage: "`method` for all columns: ks, wasserstein, psi, jensenshannon, chisquare, z, …"},
			&cli.Float64Flag{Name: "threshold", Usage: "the method's `threshold`"},
			&cli.Float64Flag{Name: "share", Value: 0.5, Usage: "`share` of drifted columns that counts as drift"},
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
			e.note("%d of %d columns drifted; snapshot %s", r.DriftedColumns, len(r.Columns), r.SnapshotID)
			if r.Drifted {
				return withCode(exitDrift, nil)
			}
			return nil
		}),
	}
}

type driftJSON struct {
	Drifted        bool              `json:"drifted"`
	DriftedColumns int               `json:"drifted_columns"`
	Share          float64           `json:"share"`
	DriftShare     float64           `json:"drift_share"`
	SnapshotID     string            `json:"snapshot_id"`
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
	out := driftJSON{Drifted: r.Drifted, DriftedColumns: r.DriftedColumns, Share: r.Share, DriftShare: r.DriftShare, SnapshotID: r.SnapshotID}
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
				if err != nil {
					return err
				}
				t.row(s.ID, s.Name, when(s.Timestamp.UTC()))
				docs = append(docs, snapshotJSON{s.ID, s.Name, s.Timestamp.UTC(), s.Tags, s.Metadata})
			}
			return e.table(t, docs)
		}),
	}
}
