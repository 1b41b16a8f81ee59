package cli

import (
	"cmp"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
)

func modelCompare(e *env) *cli.Command {
	return &cli.Command{
		Name:      "compare",
		Usage:     "Print whether a version is better than the champion: true or false",
		ArgsUsage: "<model> <version>",
		Description: `   mlopsctl model compare sentiment 4 --metric val_accuracy
   mlopsctl model compare sentiment 4 --metric val_loss --min --margin 0.01

   It compares a metric of the runs that made the two versions. Without a
   champion the version is better. Whether less or more of the metric is better is
   known of names as accuracy, val_loss or rmse; of others say --min or --max.

   With --with-champion the champion that it saw stands after true, as in "true 3"
   or "true none"; model alias --if-at takes it.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "metric", Required: true, Usage: "`name` of the metric"},
			&cli.StringFlag{Name: "alias", Value: "champion", Usage: "`alias` that points at the champion"},
			&cli.Float64Flag{Name: "margin", Usage: "how much better it has to be, a `difference` of the metric"},
			&cli.BoolFlag{Name: "min", Usage: "less of the metric is better"},
			&cli.BoolFlag{Name: "max", Usage: "more of the metric is better"},
			&cli.BoolFlag{Name: "with-champion", Usage: "also print the champion's version after true"},
		},
		Action: func(c *cli.Context) error {
			o := client.ChallengeOptions{Alias: c.String("alias"), Margin: c.Float64("margin")}
			switch lower, higher := c.Bool("min"), c.Bool("max"); {
			case lower && higher:
				return usagef("model compare: --min and --max exclude each other")
			case lower:
				o.Direction = client.DirectionLower
			case higher:
				o.Direction = client.DirectionHigher
			}
			return e.inAnyProject(func(c *cli.Context, p *client.Client) error {
				r, err := p.Challenge(c.Context, c.Args().Get(0), c.Args().Get(1), c.String("metric"), o)
				if err != nil {
					return err
				}
				text := strconv.FormatBool(r.Better)
				if r.Better && c.Bool("with-champion") {
					text += " " + cmp.Or(r.Champion, client.NoVersion)
				}
				return e.print(text, map[string]any{"version": r.Version, "champion": r.Champion, "metric": r.Metric, "value": r.Value, "best": r.Best, "better": r.Better})
			})(c)
		},
	}
}
