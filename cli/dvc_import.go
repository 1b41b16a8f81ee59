package cli

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

func dvcImportVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:      "import",
		Usage:     "Download data of another repository and track where it came from",
		ArgsUsage: "<url> <path>",
		Description: `   mlopsctl dvc import https://example.com/data.git images --rev v1
   mlopsctl dvc import ../registry model.bin -o models

   The other repository tracks the data by DVC or by git. What is committed
   there is imported; push leaves it out, pull fetches it from there.`,
		Flags: append(importFlags(),
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "`path` to put the data at"},
			revFlag(), sourceRemoteFlag(), trustFlag()),
		Action: e.importing("import", func(c *cli.Context, r *dvc.Repo, t dvc.Transfers) (dvc.Output, error) {
			return r.Import(c.Context, c.Args().Get(0), c.Args().Get(1), dvc.ImportOptions{
				Out: c.String("out"), Rev: c.String("rev"), Remote: c.String("remote"), Trust: c.Bool("trust"), Force: c.Bool("force"),
				NoExec: c.Bool("no-exec"), NoDownload: c.Bool("no-download"), Desc: c.String("desc"), Transfers: t,
			})
		}),
	}
}

func dvcImportURLVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:      "import-url",
		Usage:     "Download a file or folder from a URL and track where it came from",
		ArgsUsage: "<url> [out]",
		Description: `   mlopsctl dvc import-url https://example.com/train.csv
   mlopsctl dvc import-url s3://bucket/images data/images
   mlopsctl dvc import-url remote://store/images

   Paths of this machine, http(s)://, s3://, azure://, ssh://, and
   remote://name/path for what lies in a configured remote.`,
		Flags: append(importFlags(),
			&cli.BoolFlag{Name: "to-remote", Usage: "bring the data to the remote alone, for a later pull"}, remoteFlag(),
			&listFlag{&cli.StringSliceFlag{Name: "fs-config", Usage: "`name=value` options of the URL's remote; they are committed"}}),
		Action: e.importing("import-url", func(c *cli.Context, r *dvc.Repo, t dvc.Transfers) (dvc.Output, error) {
			o := dvc.ImportURLOptions{
				Out: c.Args().Get(1), ToRemote: c.Bool("to-remote"), Remote: c.String("remote"), Force: c.Bool("force"),
				NoExec: c.Bool("no-exec"), NoDownload: c.Bool("no-download"), Desc: c.String("desc"), Transfers: t,
			}
			for _, f := range c.StringSlice("fs-config") {
				name, val, ok := strings.Cut(f, "=")
				if !ok {
					return dvc.Output{}, usagef("--fs-config %s: want name=value", name)
				}
				o.Config = append(o.Config, [2]string{name, val})
			}
			return r.ImportURL(c.Context, c.Args().Get(0), o)
		}),
	}
}

func importFlags() []cli.Flag {
	return []cli.Flag{
		forceFlag("replace what is at the destination"),
		&cli.BoolFlag{Name: "no-exec", Usage: "only write the .dvc file"},
		&cli.BoolFlag{Name: "no-download", Usage: "write the .dvc file, and leave the data for pull"},
		&cli.StringFlag{Name: "desc", Usage: "a `text` kept beside the data's path"},
		jobsFlag(),
	}
}

func revFlag() cli.Flag {
	return &cli.StringFlag{Name: "rev", Usage: "git `commit`, branch or tag"}
}

func sourceRemoteFlag() cli.Flag {
	return &cli.StringFlag{Name: "remote", Usage: "`name` of the other repository's remote; its default one if empty"}
}

func trustFlag() cli.Flag {
	return &cli.BoolFlag{Name: "trust", Usage: "believe the other repository where it names folders and files of this machine"}
}

// importing makes the action of a verb that imports one thing.
func (e *env) importing(verb string, do func(*cli.Context, *dvc.Repo, dvc.Transfers) (dvc.Output, error)) cli.ActionFunc {
	return e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
		m := e.meter(verb)
		out, err := do(c, r, dvc.Transfers{Jobs: c.Int("jobs"), Progress: m.report})
		m.done()
		if err != nil {
			return err
		}
		return e.outputs([]dvc.Output{out})
	})
}

func dvcGetVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "Download data of a repository without tracking it",
		ArgsUsage: "<url> <path>",
		Description: `   mlopsctl dvc get https://example.com/data.git images --rev v1 -o /tmp/images

   Needs no repository here.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "`path` to put the data at"},
			revFlag(), jobsFlag(), forceFlag("replace files that are there"), sourceRemoteFlag(), trustFlag(),
		},
		Action: func(c *cli.Context) error {
			m := e.meter("get")
			out, err := dvc.Get(c.Context, c.Args().Get(0), c.Args().Get(1), dvc.GetOptions{
				Dir: c.String("dir"), Out: c.String("out"), Rev: c.String("rev"), Remote: c.String("remote"),
				Force: c.Bool("force"), Trust: c.Bool("trust"), Transfers: dvc.Transfers{Jobs: c.Int("jobs"), Progress: m.report},
			})
			m.done()
			if err != nil {
				return err
			}
			return e.outputs([]dvc.Output{out})
		},
	}
}

func dvcUpdateVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:      "update",
		Usage:     "Bring imported data to what its repository or URL has now",
		ArgsUsage: "<target>...",
		Description: `   mlopsctl dvc update images.dvc
   mlopsctl dvc update model.bin.dvc --rev v2
   mlopsctl dvc update -R .`,
		Flags: []cli.Flag{
			revFlag(),
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, Usage: "targets are folders: all imports in them"},
			&cli.BoolFlag{Name: "no-download", Usage: "write the .dvc files, and leave the data for pull"},
			forceFlag("replace files that are not in the cache"), trustFlag(), jobsFlag(),
		},
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			m := e.meter("update")
			out, err := r.Update(c.Context, dvc.UpdateOptions{
				Targets: c.Args().Slice(), Recursive: c.Bool("recursive"), Rev: c.String("rev"), NoDownload: c.Bool("no-download"),
				Force: c.Bool("force"), Trust: c.Bool("trust"), Transfers: dvc.Transfers{Jobs: c.Int("jobs"), Progress: m.report},
			})
			m.done()
			switch {
			case err != nil && len(out) == 0:
				return err
			case len(out) == 0 && !e.json:
				e.note("imports are up to date")
				return nil
			}
			return errors.Join(err, e.outputs(out))
		}),
	}
}
