package cli

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func modelRegister(e *env) *cli.Command {
	return &cli.Command{
		Name:      "register",
		Usage:     "Register a model that is on the server already",
		ArgsUsage: "<run-or-uri>",
		Description: `   mlopsctl model register "$run" --name sentiment               its logged model
   mlopsctl model register "$run" --path model --name sentiment  a folder of its artifacts
   mlopsctl model register models:/m-1f0e… --name sentiment --alias champion

   Prints the number of the new version.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "name", Required: true, Usage: "`name` to register it under; made if need be"},
			&cli.StringFlag{Name: "path", Usage: "`folder` of the run's artifacts, or the name of its logged model"},
			&cli.StringFlag{Name: "description", Usage: "what the version is"},
			&cli.StringSliceFlag{Name: "tag", Usage: "`key=value`; may be repeated"},
			&cli.StringSliceFlag{Name: "alias", Usage: "`alias` to point at the new version; may be repeated"},
		},
		Action: func(c *cli.Context) error {
			tags, err := pairMap(c.StringSlice("tag"), "tag")
			if err != nil {
				return err
			}
			of := c.Args().First()
			if p := c.String("path"); p != "" {
				if strings.Contains(of, ":") {
					return usagef("--path goes with a run; write %s/%s", of, p)
				}
				of = "runs:/" + of + "/" + p
			}
			return e.inAnyProject(func(c *cli.Context, p *client.Client) error {
				v, err := p.MLflow.Models.Register(c.Context, c.String("name"), of, mlflow.RegisterOptions{Tags: tags, Description: c.String("description"), Aliases: c.StringSlice("alias")})
				if err != nil {
					return err
				}
				return e.print(v.Version, modelOf(v))
			})(c)
		},
	}
}

func modelCopy(e *env) *cli.Command {
	return &cli.Command{
		Name:      "copy",
		Usage:     "Make a version of another model from a version, with its run and tags",
		ArgsUsage: "<model> <version> <to>",
		Description: `   mlopsctl model copy dev.sentiment 3 prod.sentiment

   Prints the number of the new version. The files are not copied.`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			v, err := p.MLflow.Models.CopyVersion(c.Context, c.Args().Get(0), c.Args().Get(1), c.Args().Get(2))
			if err != nil {
				return err
			}
			return e.print(v.Version, modelOf(v))
		}),
	}
}

func modelTag(e *env) *cli.Command {
	return &cli.Command{
		Name:        "tag",
		Usage:       "Set tags of a model, or of one of its versions",
		ArgsUsage:   "<model> <key=value>...",
		Description: "   mlopsctl model tag sentiment team=nlp\n   mlopsctl model tag sentiment --version 3 checked=yes",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag(), &cli.StringFlag{Name: "version", Usage: "`number` of the version; empty: the model itself"}},
		Action: func(c *cli.Context) error {
			tags, err := pairMap(c.Args().Tail(), "tag")
			if err != nil {
				return err
			}
			return e.inAnyProject(func(c *cli.Context, p *client.Client) error {
				name, version := c.Args().First(), c.String("version")
				var errs []error
				for _, k := range sortedKeys(tags) {
					if version == "" {
						errs = append(errs, p.MLflow.Models.SetTag(c.Context, name, k, tags[k]))
					} else {
						errs = append(errs, p.MLflow.Models.SetVersionTag(c.Context, name, version, k, tags[k]))
					}
				}
				return errors.Join(errs...)
			})(c)
		},
	}
}

func modelDelete(e *env) *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "Delete versions of a model, for good; their files stay",
		ArgsUsage: "<model> [version...]",
		Description: `   mlopsctl model delete sentiment 3
   mlopsctl model delete sentiment --all    the model with all its versions`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag(), &cli.BoolFlag{Name: "all", Usage: "the model itself"}},
		Action: func(c *cli.Context) error {
			name, versions := c.Args().First(), c.Args().Tail()
			if c.Bool("all") == (len(versions) > 0) {
				return usagef("name versions of %s, or give --all, which deletes the model", name)
			}
			return e.inAnyProject(func(c *cli.Context, p *client.Client) error {
				if c.Bool("all") {
					if err := p.MLflow.Models.Delete(c.Context, name); err != nil {
						return err
					}
					e.note("deleted %s", name)
					return nil
				}
				var errs []error
				for _, v := range versions {
					err := p.MLflow.Models.DeleteVersion(c.Context, name, v)
					if err == nil {
						e.note("deleted %s version %s", name, v)
					}
					errs = append(errs, err)
				}
				return errors.Join(errs...)
			})(c)
		},
	}
}
