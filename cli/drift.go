package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	_ "github.com/mlops-integration/mlops/drift/table/parquet" // drift check reads Parquet
	"github.com/mlops-integration/mlops/evidently"
)

func driftCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "drift",
		Usage:       "Compare current data with reference data",
		Subcommands: []*cli.Command{driftCheck(e), driftProfile(e), driftList(e)},
	}
}

func driftCheck(e *env) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "Look for drift; exit code 10 if it is found",
		ArgsUsage: "<reference> <current>",
		Description: `   mlopsctl drift check data/train.csv data/today.csv -p lora-finetuning
   mlopsctl drift check ref.parquet new.parquet -p lora-finetuning --column age --column income

   The method is chosen for each column by Evidently's rules unless --method says
   one, and computed here, with Evidently's numbers; texts and a few methods need
   its Python. The result is kept as a snapshot in Evidently's service. The verdict
   and the exit code do not depend on the service: a snapshot that it does not take
   waits on this machine and is sent by the next check, mlopsctl sync or the agent.

   mlopsctl drift check train.profile data/today.csv -p lora-finetuning --adjust --min-rows 500 --important age --quality --strict

   lets chance alone be no drift, and tells what is wrong with the data as well.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "name", Usage: "`name` of the snapshot"},
			&cli.StringFlag{Name: "for", Usage: "the `deployment` or model version that this is about, kept with the snapshot: mlopsctl why shows it"},
			&cli.StringSliceFlag{Name: "column", Usage: "only this `column`; may be repeated"},
			&cli.StringFlag{Name: "method", Usage: "`method` for all columns: ks, wasserstein, psi, jensenshannon, chisquare, z, …"},
			&cli.StringSliceFlag{Name: "column-method", Usage: "`column=method` for one column; may be repeated"},
			&cli.StringFlag{Name: "engine", Usage: "compute by this `engine`: native (Go) or evidently (its Python); default: native where it has all methods, and with --important, --ignore, --min-rows, --adjust or --quality, which it alone has"},
			&cli.Float64Flag{Name: "threshold", Usage: "the method's `threshold`"},
			&cli.Float64Flag{Name: "share", Value: 0.5, Usage: "`share` of drifted columns that counts as drift; 0: any column"},
			&cli.Float64Flag{Name: "missing", Value: 0.1, Usage: "`difference` of the shares of missing values that counts as drift of a column"},
			&cli.StringSliceFlag{Name: "numerical", Usage: "take this `column` for numbers; may be repeated"},
			&cli.StringSliceFlag{Name: "categorical", Usage: "take this `column` for categories; may be repeated"},
			&cli.StringFlag{Name: "separator", Usage: "`character` between the columns of CSV files; \\t or tab: a tab"},
			&cli.StringSliceFlag{Name: "important", Usage: "any one drifted `column` of these is drift of the whole, and one that cannot be judged ends with exit code 1; may be repeated"},
			&cli.StringSliceFlag{Name: "ignore", Usage: "leave this `column` out; may be repeated"},
			&cli.IntFlag{Name: "min-rows", Usage: "no verdict on fewer `rows`, and none on a column with fewer values"},
			&cli.BoolFlag{Name: "adjust", Usage: "judge p-values by Benjamini and Hochberg's procedure, so that many columns are not many errors"},
			&cli.BoolFlag{Name: "quality", Usage: "tell also what is wrong with the current data: missing columns and values, texts among numbers, what the reference never had"},
			&cli.StringFlag{Name: "id", Usage: "with --quality: `column` that identifies rows, to find those that are there twice"},
			&cli.StringFlag{Name: "time", Usage: "with --max-age: `column` of the rows' times"},
			&cli.DurationFlag{Name: "max-age", Usage: "with --quality and --time: `age` of the newest row that is a finding"},
			&cli.BoolFlag{Name: "strict", Usage: "without drift, exit with 1 if a column could not be judged, or at a finding of --quality"},
			&cli.BoolFlag{Name: "require-sent", Usage: "without drift, exit with 8 if Evidently does not have the snapshot yet"},
		},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			o := evidently.DriftOptions{Name: c.String("name"), Columns: c.StringSlice("column"), Method: c.String("method"), DriftShare: new(c.Float64("share")), Separator: separatorOf(c.String("separator")),
				Numerical: c.StringSlice("numerical"), Categorical: c.StringSlice("categorical"), MissingShare: c.Float64("missing"),
				Rule: evidently.DriftRule{Ignore: c.StringSlice("ignore"), Important: c.StringSlice("important"), MinRows: c.Int("min-rows"), Adjust: c.Bool("adjust"),
					Quality: c.Bool("quality"), ID: c.String("id"), Time: c.String("time"), MaxAge: c.Duration("max-age")}}
			if about := c.String("for"); about != "" {
				var err error
				if o.Metadata, err = p.About(c.Context, about); err != nil {
					return err
				}
			}
			if by := c.StringSlice("column-method"); len(by) > 0 {
				o.ColumnMethods = map[string]string{}
				for _, pair := range by {
					at := strings.LastIndex(pair, "=")
					if at < 1 || at == len(pair)-1 {
						return usagef("--column-method %q is not column=method", pair)
					}
					o.ColumnMethods[pair[:at]] = pair[at+1:]
				}
			}
			if c.IsSet("threshold") {
				o.Threshold = new(c.Float64("threshold"))
			}
			bar := e.progress()
			bar.set("comparing")
			r, err := p.DriftBy(c.Context, client.DriftEngine(c.String("engine")), c.Args().Get(0), c.Args().Get(1), o)
			bar.done()
			if err != nil {
				return err
			}
			header := []string{"COLUMN", "DRIFT", "METHOD", "VALUE", "THRESHOLD"}
			if o.Rule.Adjust {
				header = append(header, "ADJUSTED")
			}
			t := newTable(header...)
			for _, col := range r.Columns {
				drifted := good("no")
				if col.Drifted {
					drifted = bad("yes")
				}
				cells := []any{col.Column, drifted, col.MethodName, col.Value, col.Threshold}
				if col.Adjusted != nil {
					cells = append(cells, *col.Adjusted)
				}
				t.row(cells...)
				if m := col.Missing; m.Drifted && col.Method != evidently.MethodMissing || m.Unparsed != [2]int{} {
					t.row("", "", faint(missingText(m)))
				}
			}
			for _, s := range r.Skipped {
				t.row(s.Column, warn("skipped"), s.Reason)
			}
			for _, f := range r.Findings {
				t.row(f.Column, warn("finding"), f.Check, f.Value, f.Limit)
				t.row("", "", faint(f.Detail))
			}
			if err := e.table(t, driftOf(r)); err != nil {
				return err
			}
			if r.TooFew {
				e.note("no verdict: too few rows")
			} else {
				e.note("%d of %d columns drifted", r.DriftedColumns, len(r.Columns))
				e.noteSnapshot(r)
			}
			switch {
			case r.Drifted:
				return withCode(exitDrift, nil)
			case len(r.Unjudged) > 0:
				return withCode(exitFailed, fmt.Errorf("the important column %q is missing or could not be judged", r.Unjudged[0]))
			case r.TooFew && c.Bool("strict"):
				return withCode(exitFailed, errors.New("there is no verdict on so few rows (--strict)"))
			case len(r.Findings) > 0 && c.Bool("strict"):
				return withCode(exitFailed, fmt.Errorf("the data's quality: %s (--strict)", r.Findings[0].Detail))
			case len(r.Skipped) > 0 && c.Bool("strict"):
				return withCode(exitFailed, fmt.Errorf("%d of %d columns could not be judged (--strict)", len(r.Skipped), len(r.Columns)+len(r.Skipped)))
			case r.Unsent != nil && c.Bool("require-sent"):
				return withCode(exitNotSent, nil)
			}
			return nil
		}),
	}
}

// separatorOf lets a shell write a tab.
func separatorOf(flag string) string {
	if flag == `\t` || flag == "tab" {
		return "\t"
	}
	return flag
}

// missingText says what a column lacks.
func missingText(m evidently.Missing) string {
	s := fmt.Sprintf("missing %.1f %%, before %.1f %%", 100*m.Current, 100*m.Reference)
	if m.Unparsed != [2]int{} {
		s += fmt.Sprintf("; cells that are no number: %d, before %d", m.Unparsed[1], m.Unparsed[0])
	}
	return s
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
	Drifted        bool                `json:"drifted"`
	DriftedColumns int                 `json:"drifted_columns"`
	Share          float64             `json:"share"`
	DriftShare     float64             `json:"drift_share"`
	SnapshotID     string              `json:"snapshot_id"`       // empty: the service does not have it
	Waiting        string              `json:"waiting,omitempty"` // the file from which it will be sent
	Unsent         string              `json:"unsent,omitempty"`  // why it is not there
	Columns        []driftColumnJSON   `json:"columns"`
	Skipped        []driftSkipJSON     `json:"skipped,omitempty"`
	Important      []string            `json:"important,omitempty"` // of --important, those that drifted
	Unjudged       []string            `json:"unjudged,omitempty"`  // of --important, those that are missing or could not be judged
	TooFew         bool                `json:"too_few,omitempty"`   // rows: there is no verdict
	Findings       []evidently.Finding `json:"findings,omitempty"`
}

type driftColumnJSON struct {
	Column    string  `json:"column"`
	Drifted   bool    `json:"drifted"`
	Method    string  `json:"method"`
	Kind      string  `json:"kind"` // what value is: "p-value", "distance"
	Value     float64 `json:"value"`
	Threshold float64 `json:"threshold"`

	MissingReference float64 `json:"missing_reference"` // shares of the rows
	MissingCurrent   float64 `json:"missing_current"`
	MissingDrifted   bool    `json:"missing_drifted"`

	Adjusted  *float64 `json:"adjusted,omitempty"`   // with --adjust: the p-value that was judged by
	RankError float64  `json:"rank_error,omitempty"` // of a profile with a sketch
}

type driftSkipJSON struct {
	Column string `json:"column"`
	Reason string `json:"reason"`
}

func driftOf(r evidently.DriftReport) driftJSON {
	out := driftJSON{Drifted: r.Drifted, DriftedColumns: r.DriftedColumns, Share: r.Share, DriftShare: r.DriftShare, SnapshotID: r.SnapshotID, Waiting: r.Waiting, Important: r.Important, Unjudged: r.Unjudged, TooFew: r.TooFew, Findings: r.Findings}
	if r.Unsent != nil {
		out.Unsent = r.Unsent.Error()
	}
	for _, c := range r.Columns {
		out.Columns = append(out.Columns, driftColumnJSON{c.Column, c.Drifted, c.Method, string(c.Kind), c.Value, c.Threshold, c.Missing.Reference, c.Missing.Current, c.Missing.Drifted, c.Adjusted, c.RankError})
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
				t.row(s.ID, s.Name, when(s.Timestamp.UTC()))
				docs = append(docs, snapshotJSON{s.ID, s.Name, s.Timestamp.UTC(), s.Tags, s.Metadata})
			}
			return e.table(t, docs)
		}),
	}
}
