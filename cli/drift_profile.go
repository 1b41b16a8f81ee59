package cli

import (
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
)

type profileJSON struct {
	Path    string              `json:"path"`
	Rows    int                 `json:"rows"`
	Columns []profileColumnJSON `json:"columns"`
}

type profileColumnJSON struct {
	Column    string  `json:"column"`
	Type      string  `json:"type"` // "numerical", "categorical"; empty: no method takes it
	Reason    string  `json:"reason,omitempty"`
	Values    int     `json:"values"`
	Missing   int     `json:"missing"`
	Distinct  int     `json:"distinct"`
	RankError float64 `json:"rank_error"` // 0: all values are kept
}

func driftProfile(e *env) *cli.Command {
	return &cli.Command{
		Name:      "profile",
		Usage:     "Keep what a comparison needs of reference data in a small file",
		ArgsUsage: "<data>...",
		Description: `   mlopsctl drift profile data/train.parquet -o train.profile
   mlopsctl drift check train.profile data/today.parquet -p lora-finetuning

   The profile stands in the place of the data, in drift check and here. It has all
   numbers of a column up to 100,000, and gives the report of the data then; beyond
   that it has a sketch, whose error is shown. Several files become one profile.`,
		Flags: []cli.Flag{
			e.dirFlag(),
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`file` to write; default: <data>.profile"},
			&cli.StringFlag{Name: "like", Usage: "take the columns' types from this `reference`, data or profile, with which it will be compared"},
			&cli.StringSliceFlag{Name: "column", Usage: "only this `column`; may be repeated"},
			&cli.StringSliceFlag{Name: "numerical", Usage: "take this `column` for numbers; may be repeated"},
			&cli.StringSliceFlag{Name: "categorical", Usage: "take this `column` for categories; may be repeated"},
			&cli.StringFlag{Name: "separator", Usage: "`character` between the columns of CSV files; \\t or tab: a tab"},
		},
		Action: func(c *cli.Context) error {
			o := client.ProfileOptions{Columns: c.StringSlice("column"), Numerical: c.StringSlice("numerical"), Categorical: c.StringSlice("categorical"), Like: c.String("like")}
			if s := []rune(separatorOf(c.String("separator"))); len(s) > 1 {
				return usagef("--separator %q is not one character", c.String("separator"))
			} else if len(s) == 1 {
				o.Separator = s[0]
			}
			in := func(path string) string { // as drift check finds it
				if path == "" || filepath.IsAbs(path) {
					return path
				}
				return filepath.Join(c.String("dir"), path)
			}
			o.Like = in(o.Like)
			var data []string
			for _, path := range c.Args().Slice() {
				data = append(data, in(path))
			}
			path := in(c.String("output"))
			if path == "" {
				path = in(c.Args().First() + ".profile")
			}
			bar := e.progress()
			bar.set("reading")
			p, err := client.WriteProfile(c.Context, path, data, o)
			bar.done()
			if err != nil {
				return err
			}
			t := newTable("COLUMN", "TYPE", "VALUES", "MISSING", "DISTINCT", "RANK ERROR")
			doc := profileJSON{Path: p.Path, Rows: p.Rows}
			for _, col := range p.Columns {
				kind := col.Type
				if kind == "" {
					kind = col.Reason
				}
				t.row(col.Column, kind, col.Values, col.Missing, col.Distinct, col.RankError)
				doc.Columns = append(doc.Columns, profileColumnJSON(col))
			}
			if err := e.table(t, doc); err != nil {
				return err
			}
			e.note("profile of %d rows in %s", p.Rows, p.Path)
			return nil
		},
	}
}
