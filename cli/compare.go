package cli

import (
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

type compareJSON struct {
	Runs    []comparedRunJSON `json:"runs"`
	Params  []compareRowJSON  `json:"params"`
	Metrics []compareRowJSON  `json:"metrics"`
}

type comparedRunJSON struct {
	ID      string           `json:"id"`
	Name    string           `json:"name"`
	Status  mlflow.RunStatus `json:"status"`
	Started time.Time        `json:"started"`
}

type compareRowJSON struct {
	Key    string   `json:"key"`
	Values []any    `json:"values"` // in the order of runs; null: the run has none
	Equal  bool     `json:"equal"`
	Lower  *bool    `json:"lower_is_better,omitempty"`
	Best   []string `json:"best,omitempty"` // IDs of runs
}

func runCompare(e *env) *cli.Command {
	return &cli.Command{
		Name:      "compare",
		Usage:     "Set runs side by side, the best of each metric marked with *",
		ArgsUsage: "[run...]",
		Description: `   mlopsctl run compare "$first" "$second"
   mlopsctl run compare -p lora-finetuning --filter "params.rank = '16'" --limit 5

   Parameters and metrics that are the same in all runs are left out, unless
   --all. Of metrics with loss, error, rmse, latency and the like in their name
   less is better, of others more; --min and --max say otherwise.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "filter", Usage: "MLflow's `search` expression, in place of runs"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 10, Usage: "most `runs` that a filter finds"},
			&cli.StringSliceFlag{Name: "max", Usage: "`metric` of which more is better; may be repeated"},
			&cli.StringSliceFlag{Name: "min", Usage: "`metric` of which less is better; may be repeated"},
			&cli.BoolFlag{Name: "all", Usage: "show what is the same, too"},
		},
		Action: func(c *cli.Context) error {
			compare := func(runs []mlflow.RunInfo, err error) error {
				if err != nil {
					return err
				}
				return e.comparison(client.Compare(runs, client.CompareOptions{Max: c.StringSlice("max"), Min: c.StringSlice("min")}), c.Bool("all"))
			}
			switch {
			case !c.Args().Present():
				return e.inProject(func(c *cli.Context, p *client.Project) error { return compare(newestRuns(c, p)) })(c)
			case c.String("filter") != "":
				return usagef("name runs or give a --filter, not both")
			}
			return e.inAnyProject(func(c *cli.Context, p *client.Client) error {
				return compare(mlops.Collect(p.RunsByID(c.Context, c.Args().Slice()...)))
			})(c)
		},
	}
}

// newestRuns are the project's newest runs that the filter finds.
func newestRuns(c *cli.Context, p *client.Project) ([]mlflow.RunInfo, error) {
	var runs []mlflow.RunInfo
	for r, err := range p.Runs(c.Context, c.String("filter")) {
		if err != nil {
			return nil, err
		}
		if len(runs) >= c.Int("limit") {
			break
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// comparison prints a table with a column per run.
func (e *env) comparison(cmp client.Comparison, all bool) error {
	doc := compareJSON{Runs: []comparedRunJSON{}, Params: []compareRowJSON{}, Metrics: []compareRowJSON{}}
	header := []string{"KEY"}
	names, states := []any{"name"}, []any{"status"}
	for _, r := range cmp.Runs {
		header = append(header, shortID(r.ID))
		names, states = append(names, r.Name), append(states, statusCell(r.Status))
		doc.Runs = append(doc.Runs, comparedRunJSON{r.ID, r.Name, r.Status, r.Start})
	}
	t := newTable(header...)
	t.empty = "no runs to compare"
	if len(cmp.Runs) > 0 {
		ids := []any{"id"}
		for _, r := range cmp.Runs {
			ids = append(ids, r.ID)
		}
		if !e.terminal(e.stdout) {
			t.row(ids...) // a pipe has no header
		}
		t.row(names...)
		t.row(states...)
	}
	folded := 0
	for _, p := range cmp.Params {
		row, cells := compareRowJSON{Key: p.Key, Equal: p.Equal}, []any{"params." + p.Key}
		for _, v := range p.Values {
			if v == nil {
				row.Values, cells = append(row.Values, nil), append(cells, faint("-"))
				continue
			}
			row.Values, cells = append(row.Values, *v), append(cells, *v)
		}
		doc.Params = append(doc.Params, row)
		if p.Equal && len(cmp.Runs) > 1 && !all {
			folded++
			continue
		}
		t.row(cells...)
	}
	for _, m := range cmp.Metrics {
		row, cells := compareRowJSON{Key: m.Key, Equal: m.Equal, Lower: &m.Lower}, []any{"metrics." + m.Key}
		for i, v := range m.Values {
			switch {
			case v == nil:
				row.Values, cells = append(row.Values, nil), append(cells, faint("-"))
			case slices.Contains(m.Best, i):
				row.Best = append(row.Best, cmp.Runs[i].ID)
				row.Values, cells = append(row.Values, number(*v)), append(cells, good(shortNumber(*v)+"*"))
			default:
				row.Values, cells = append(row.Values, number(*v)), append(cells, shortNumber(*v))
			}
		}
		doc.Metrics = append(doc.Metrics, row)
		if m.Equal && len(cmp.Runs) > 1 && !all {
			folded++
			continue
		}
		t.row(cells...)
	}
	if err := e.table(t, doc); err != nil {
		return err
	}
	if folded > 0 && !e.json {
		e.note("%d rows that are the same in all runs are left out; --all shows them", folded)
	}
	return nil
}

func shortNumber(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func shortID(id string) string { return id[:min(len(id), 8)] }

// statusCell is a run's status, marked.
func statusCell(status mlflow.RunStatus) cell {
	switch status {
	case mlflow.RunFinished:
		return good(status)
	case mlflow.RunRunning, mlflow.RunScheduled:
		return warn(status)
	}
	return bad(status)
}
