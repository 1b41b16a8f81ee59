package cli

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func experimentCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "experiment",
		Usage:       "Make, list, tag, delete and restore experiments",
		Subcommands: []*cli.Command{experimentList(e), experimentCreate(e), experimentTag(e), experimentDelete(e), experimentRestore(e)},
	}
}

type experimentJSON struct {
	ID               string            `json:"id"`
	Name             string            `json:"name"`
	ArtifactLocation string            `json:"artifact_location"`
	Deleted          bool              `json:"deleted"`
	Created          time.Time         `json:"created"`
	Tags             map[string]string `json:"tags"`
}

func experimentList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List experiments, with --project its own",
		Description: "   mlopsctl experiment list\n   mlopsctl experiment list --filter \"name LIKE 'team-%'\" --deleted",
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "filter", Usage: "MLflow's `search` expression"},
			&cli.BoolFlag{Name: "deleted", Usage: "those that are deleted"},
		},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			q := mlflow.ExperimentQuery{Filter: c.String("filter")}
			only := ""
			if own, err := named(c, p); err != nil {
				return err
			} else if own != nil {
				only = own.Workspace().MLflowExperiment
			}
			if c.Bool("deleted") {
				q.View = mlflow.ViewDeleted
			}
			t := newTable("ID", "NAME", "CREATED", "STATE")
			t.empty = "no experiments"
			var docs []experimentJSON
			for x, err := range p.MLflow.Experiments(c.Context, q) {
				if err != nil {
					return err
				}
				if only != "" && x.Name != only {
					continue
				}
				state := good("active")
				if x.Deleted {
					state = warn("deleted")
				}
				t.row(x.ID, x.Name, ago(x.Created), state)
				docs = append(docs, experimentJSON{x.ID, x.Name, x.ArtifactLocation, x.Deleted, x.Created, x.Tags})
			}
			if len(docs) == 0 && only != "" && c.String("filter") == "" && !c.Bool("deleted") {
				return notFound("there is no project %q on %s", c.String("project"), p.MLflow.URL())
			}
			return e.table(t, docs)
		}),
	}
}

func experimentCreate(e *env) *cli.Command {
	return &cli.Command{
		Name:        "create",
		Usage:       "Make an experiment and print its ID",
		ArgsUsage:   "<name>",
		Description: "   mlopsctl experiment create ablations --tag team=nlp",
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringSliceFlag{Name: "tag", Usage: "`key=value`; may be repeated"},
			&cli.StringFlag{Name: "artifact-location", Usage: "`URI` of its artifacts; the server chooses if empty"},
		},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			tags, err := pairMap(c.StringSlice("tag"), "tag")
			if err != nil {
				return err
			}
			id, err := p.MLflow.CreateExperiment(c.Context, c.Args().First(), mlflow.ExperimentOptions{ArtifactLocation: c.String("artifact-location"), Tags: tags})
			if err != nil {
				return err
			}
			return e.print(id, map[string]string{"id": id, "name": c.Args().First()})
		}),
	}
}

func experimentTag(e *env) *cli.Command {
	return &cli.Command{
		Name:        "tag",
		Usage:       "Set tags of an experiment",
		ArgsUsage:   "<experiment> <key=value>...",
		Description: "   mlopsctl experiment tag ablations team=nlp",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: func(c *cli.Context) error {
			tags, err := pairMap(c.Args().Tail(), "tag")
			if err != nil {
				return err
			}
			return e.onExperiment("tagged", func(c *cli.Context, m *mlflow.Client, id string) error {
				var errs []error
				for _, k := range sortedKeys(tags) {
					errs = append(errs, m.SetExperimentTag(c.Context, id, k, tags[k]))
				}
				return errors.Join(errs...)
			})(c)
		},
	}
}

func experimentDelete(e *env) *cli.Command {
	return &cli.Command{
		Name:        "delete",
		Usage:       "Delete an experiment with its runs; experiment restore takes it back",
		ArgsUsage:   "<experiment>",
		Description: "   mlopsctl experiment delete ablations",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action:      e.onExperiment("deleted", func(c *cli.Context, m *mlflow.Client, id string) error { return m.DeleteExperiment(c.Context, id) }),
	}
}

func experimentRestore(e *env) *cli.Command {
	return &cli.Command{
		Name:        "restore",
		Usage:       "Take back the deletion of an experiment",
		ArgsUsage:   "<experiment>",
		Description: "   mlopsctl experiment restore ablations",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action:      e.onExperiment("restored", func(c *cli.Context, m *mlflow.Client, id string) error { return m.RestoreExperiment(c.Context, id) }),
	}
}

// onExperiment does something to the experiment that the first operand names,
// by name or else by ID.
func (e *env) onExperiment(done string, do func(*cli.Context, *mlflow.Client, string) error) cli.ActionFunc {
	return e.inAnyProject(func(c *cli.Context, p *client.Client) error {
		named := c.Args().First()
		x, err := p.MLflow.ExperimentByName(c.Context, named)
		if errors.Is(err, mlops.ErrNotFound) {
			if byID, ierr := p.MLflow.Experiment(c.Context, named); ierr == nil {
				x, err = byID, nil
			}
		}
		if err != nil {
			return err
		}
		if err := do(c, p.MLflow, x.ID); err != nil {
			return err
		}
		e.note("%s experiment %s (%s)", done, x.Name, x.ID)
		return nil
	})
}
