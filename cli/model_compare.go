package cli

import (
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
   champion the version is better. Of metrics with loss, error, rmse, latency and
   the like in their name less is better, of others more; --min says otherwise.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "metric", Required: true, Usage: "`name` of the metric"},
			&cli.StringFlag{Name: "alias", Value: "champion", Usage: "`alias` that points at the champion"},
			&cli.Float64Flag{Name: "margin", Usage: "how much better it has to be, a `difference` of the metric"},
			&cli.BoolFlag{Name: "min", Usage: "less of the metric is better"},
		},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			r, err := p.Challenge(c.Context, c.Args().Get(0), c.Args().Get(1), c.String("metric"),
				client.ChallengeOptions{Alias: c.String("alias"), Margin: c.Float64("margin"), Lower: c.Bool("min")})
			if err != nil {
				return err
			}
			return e.print(r.Better, map[string]any{"version": r.Version, "champion": r.Champion, "metric": r.Metric, "value": r.Value, "best": r.Best, "better": r.Better})
		}),
	}
}
