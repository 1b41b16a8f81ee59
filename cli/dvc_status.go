package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

func dvcStatusVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "Compare the workspace with the .dvc files, or the cache with a remote",
		ArgsUsage: "[target...]",
		Description: `   mlopsctl dvc status
   mlopsctl dvc status -c --json
   mlopsctl dvc status -q || echo changed

   With -q nothing is printed, and the exit code is 1 if something changed.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "cloud", Aliases: []string{"c"}, Usage: "compare the cache with the remote"},
			remoteFlag(), jobsFlag(),
		},
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			s, err := r.Status(c.Context, dvc.StatusOptions{Cloud: c.Bool("cloud"), Remote: c.String("remote"), Targets: c.Args().Slice()})
			switch {
			case err != nil:
				return err
			case e.quiet && !s.Clean():
				return withCode(exitFailed, nil)
			case e.quiet:
				return nil
			}
			t := newTable("STATE", "PATH", "DVC FILE")
			t.empty = "data is up to date"
			for _, ch := range s.Changes {
				t.row(stateCell(ch.State), ch.Path, ch.DVCFile)
			}
			return e.table(t, s)
		}),
	}
}

// stateCell colours a state: what is lost red, what differs yellow.
func stateCell(state string) cell {
	switch state {
	case dvc.NotInCache, dvc.Missing:
		return bad(state)
	case dvc.New:
		return good(state)
	}
	return warn(state)
}
