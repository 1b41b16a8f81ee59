package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/compose"
)

func setupCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "setup",
		Usage:     "Install the servers into the home folder",
		ArgsUsage: "[environment...]",
		Description: `   mlopsctl setup              the servers of the stack
   mlopsctl setup train dvc    also environments for training and the real dvc
   mlopsctl setup s3           the optional service s3, which start makes too
   mlopsctl setup --runtime docker
                               the images of the stack in containers

   Each environment is made from a hashed lock. What is there already and
   matches its lock is left alone, so setup may be repeated and interrupted.`,
		Flags: []cli.Flag{e.runtimeFlag()},
		Action: func(c *cli.Context) error {
			p := e.progress()
			defer p.done()
			s, err := e.stack(p)
			if err != nil {
				return err
			}
			return s.Setup(c.Context, compose.SetupOptions{Environments: c.Args().Slice()})
		},
	}
}
