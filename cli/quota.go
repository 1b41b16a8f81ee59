package cli

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/fair"
)

func quotaCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "quota",
		Usage:       "Show and set what each project may use of the machine",
		Subcommands: []*cli.Command{quotaSet(e), quotaList(e)},
	}
}

func quotaSet(e *env) *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "Set what a project may use (as an administrator of MLflow)",
		ArgsUsage: "project [limit=value...]",
		Description: `   mlopsctl quota set lora slots=2 slot-hours=8
   mlopsctl quota set lora weight=2 priority=high
   mlopsctl quota set team.lora queued-runs=20 watt-hours=50
   mlopsctl quota set lora               no limit

   slots are at once; slot-hours and watt-hours are a day's. What is set takes the
   place of all that was. A project's mlops.yaml may ask for less:
   quota: slots=1 priority=low`,
		Flags: []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			if c.NArg() == 0 {
				return usagef("which project? mlopsctl quota set lora slots=2")
			}
			q, err := fair.ParseQuota(strings.Join(c.Args().Tail(), " "))
			if err != nil {
				return usagef("%v", err)
			}
			return p.SetQuota(c.Context, c.Args().First(), q)
		}),
	}
}

func quotaList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List what projects may use",
		Description: `   mlopsctl quota list`,
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			if c.NArg() > 0 {
				return usagef("quota list takes no operands")
			}
			all, err := p.Quotas(c.Context)
			if err != nil {
				return err
			}
			t := newTable("PROJECT", "HOLDS", "GRANTED", "ASKED")
			t.empty = "no project has a quota"
			for _, q := range all {
				if q.Fault != "" {
					e.note("%s: %s", q.Project, q.Fault)
				}
				t.row(q.Project, q.Holds, q.Granted, q.Asked)
			}
			return e.table(t, all)
		}),
	}
}
