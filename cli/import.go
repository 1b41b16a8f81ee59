package cli

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

type importedJSON struct {
	Experiment string               `json:"experiment"`
	OldID      string               `json:"old_id"`
	ID         string               `json:"id,omitempty"`
	Name       string               `json:"name"`
	Outcome    mlflow.ImportOutcome `json:"outcome"`
	Points     int                  `json:"points"`
	Params     int                  `json:"params"`
	Artifacts  int                  `json:"artifacts"`
	Elsewhere  string               `json:"artifacts_elsewhere,omitempty"` // not copied
	Error      string               `json:"error,omitempty"`
}

func importCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "Bring the runs of a local mlruns folder to the server",
		ArgsUsage: "<folder>",
		Description: `   mlopsctl import mlruns --dry-run    tell what would be done
   mlopsctl import mlruns

   Times, statuses, metric histories, params, tags, data sets and artifacts come
   along. A run is imported once, however often it is called, and its old ID
   works wherever a run is named. Deleted runs, models and traces are left out.`,
		Flags: []cli.Flag{e.dirFlag(), &cli.BoolFlag{Name: "dry-run", Usage: "change nothing"}},
		Action: e.inInfrastructure(func(c *cli.Context, infra *client.Client) error {
			from, err := mlflow.OpenFileStore(c.Args().First())
			if err != nil {
				return err
			}
			left, err := from.LeftOut()
			if err != nil {
				return err
			}
			p := e.progress()
			defer p.done()
			n := 0
			list, ierr := infra.Import(c.Context, c.Args().First(), mlflow.ImportOptions{DryRun: c.Bool("dry-run"), Progress: func(d mlflow.Imported) {
				n++
				p.set("%d runs: %s %s", n, d.OldID, d.Outcome)
			}})
			p.done()
			t := newTable("EXPERIMENT", "OLD ID", "ID", "NAME", "OUTCOME", "POINTS", "PARAMS", "ARTIFACTS")
			t.empty = "no runs in it"
			var docs []importedJSON
			failed := ierr
			for _, d := range list {
				doc := importedJSON{d.Experiment, d.OldID, d.RunID, d.Name, d.Outcome, d.Points, d.Params, d.Artifacts, d.Elsewhere, ""}
				outcome := good(d.Outcome)
				switch {
				case d.Err != nil:
					doc.Error, outcome = d.Err.Error(), bad(d.Outcome)
					if failed == nil {
						failed = withCode(exitFailed, fmt.Errorf("run %s: %w", d.OldID, d.Err)) // what a folder holds is no matter of usage
					}
				case d.Outcome != mlflow.ImportDone:
					outcome = faint(d.Outcome)
				}
				t.row(d.Experiment, d.OldID, d.RunID, d.Name, outcome, d.Points, d.Params, d.Artifacts)
				docs = append(docs, doc)
			}
			if failed != nil && len(list) == 0 {
				return failed
			}
			for _, d := range list {
				if d.Elsewhere != "" {
					e.note("left out: the artifacts of run %s at %s", d.OldID, d.Elsewhere)
				}
			}
			for _, what := range sortedKeys(left) {
				e.note("left out: %d %s", left[what], what)
			}
			return errors.Join(e.table(t, docs), failed)
		}),
	}
}
