package cli

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/mlflow"
)

func tagCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "tag",
		Usage: "Set tags",
		Subcommands: []*cli.Command{{
			Name:        "set",
			Usage:       "Set tags of a run",
			ArgsUsage:   "<key=value>...",
			Description: "   mlopsctl tag set --run \"$run\" stage=test mlflow.note.content=\"a first try\"",
			Flags:       []cli.Flag{e.projectFlag(), e.dirFlag(), runFlag(), requireSentFlag()},
			Action: func(c *cli.Context) error {
				tags, err := pairMap(c.Args().Slice(), "tag")
				if err != nil {
					return err
				}
				return e.onRun(c, func(ctx context.Context, run *mlflow.Run) error { return run.SetTags(ctx, tags) })
			},
		}},
	}
}
