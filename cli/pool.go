package cli

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func poolCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "pool",
		Usage:       "List and set Airflow's pools, give a project's back to the agent",
		Subcommands: []*cli.Command{poolList(e), poolSet(e), poolRelease(e)},
	}
}

func poolList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List Airflow's pools and who takes their slots",
		Description: "   mlopsctl pool list",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			t := newTable("POOL", "SLOTS", "OPEN", "RUNNING", "QUEUED", "WAITING")
			docs := []airflow.Pool{}
			for pool, err := range p.Airflow.Pools.All(c.Context) {
				if err != nil {
					return err
				}
				t.row(pool.Name, pool.Slots, pool.Open, pool.Running, pool.Queued, pool.Scheduled)
				docs = append(docs, pool)
			}
			return e.table(t, docs)
		}),
	}
}

func poolSet(e *env) *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "Set how many slots a pool of Airflow has; one that is not there is made",
		ArgsUsage: "<pool> <slots>",
		Description: `   mlopsctl pool set gpu 2

   With 0 slots nothing new starts. An agent leaves the pool of a project alone
   from then on, until: mlopsctl pool release.`,
		Flags: []cli.Flag{e.dirFlag()},
		Action: func(c *cli.Context) error {
			slots, err := strconv.Atoi(c.Args().Get(1))
			if err != nil || slots < 0 {
				return usagef("pool set: %.200q is no number of slots", c.Args().Get(1))
			}
			return e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
				name := c.Args().First()
				if err := p.Airflow.Pools.Ensure(c.Context, airflow.Pool{Name: name, Slots: slots}); err != nil {
					return err
				}
				if err := p.Airflow.Pools.SetSlots(c.Context, name, slots); err != nil {
					return err
				}
				return e.print(name, map[string]any{"name": name, "slots": slots})
			})(c)
		},
	}
}

func poolRelease(e *env) *cli.Command {
	return &cli.Command{
		Name:      "release",
		Usage:     "Let the agent set the slots of a project's pool again",
		ArgsUsage: "<project>",
		Description: `   mlopsctl pool release lora-finetuning

   A pool that a person edited in Airflow keeps what it was given until then.`,
		Flags: []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			project, err := p.Project(c.Args().First())
			if err != nil {
				return err
			}
			return project.ReleasePool(c.Context)
		}),
	}
}
