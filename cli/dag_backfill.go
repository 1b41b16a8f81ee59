package cli

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func dagBackfill(e *env) *cli.Command {
	return &cli.Command{
		Name:      "backfill",
		Usage:     "Make the runs of a scheduled DAG that fall between two times, and print the backfill's ID",
		ArgsUsage: "<dag>",
		Description: `   mlopsctl dag backfill ingest --from 2026-02-01 --to 2026-02-28 --dry-run -p lora-finetuning
   mlopsctl dag backfill ingest --from 2026-02-01 --to 2026-02-28 --max-active-runs 2 -p lora-finetuning`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "from", Required: true, Usage: "the first `time`: 2026-02-01, or RFC 3339"},
			&cli.StringFlag{Name: "to", Required: true, Usage: "the last `time`"},
			&cli.IntFlag{Name: "max-active-runs", Usage: "`number` of runs at once; the server's default if 0"},
			&cli.StringFlag{Name: "reprocess", Usage: "which `runs` that are there run again: none, failed or completed"},
			&cli.BoolFlag{Name: "backwards", Usage: "the latest first"},
			&cli.BoolFlag{Name: "dry-run", Usage: "make nothing, list the times"},
		},
		Action: func(c *cli.Context) error {
			from, err := dayOrTime("--from", c.String("from"))
			if err != nil {
				return err
			}
			to, err := dayOrTime("--to", c.String("to"))
			if err != nil {
				return err
			}
			return e.inProject(func(c *cli.Context, p *client.Project) error {
				dag, err := p.OwnDAG(c.Context, c.Args().First())
				if err != nil {
					return err
				}
				spec := airflow.BackfillSpec{DAGID: dag.ID, From: from, To: to, MaxActiveRuns: c.Int("max-active-runs"),
					Reprocess: airflow.BackfillReprocess(c.String("reprocess")), Backwards: c.Bool("backwards")}
				if c.Bool("dry-run") {
					return e.backfillDates(c, p, spec)
				}
				b, err := p.Airflow.Backfills.Create(c.Context, spec)
				if err != nil {
					return err
				}
				return e.print(b.ID, map[string]any{"id": b.ID, "dag_id": b.DAGID, "from_date": b.From, "to_date": b.To})
			})(c)
		},
	}
}

func (e *env) backfillDates(c *cli.Context, p *client.Project, spec airflow.BackfillSpec) error {
	dates, err := p.Airflow.Backfills.DryRun(c.Context, spec)
	if err != nil {
		return err
	}
	type row struct {
		LogicalDate time.Time `json:"logical_date"`
	}
	t := newTable("LOGICAL DATE")
	t.empty = "no run is due between these times"
	docs := []row{}
	for _, d := range dates {
		t.row(d.UTC().Format(time.RFC3339))
		docs = append(docs, row{d})
	}
	return e.table(t, docs)
}

// dayOrTime reads 2026-02-01, midnight in UTC, or a time in RFC 3339.
func dayOrTime(flag, s string) (time.Time, error) {
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%s: %.200q is neither a day, 2026-02-01, nor a time in RFC 3339", flag, s)
}
