package cli

import (
	"errors"
	"iter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/rayserve"
)

type deploymentJSON struct {
	Name     string            `json:"name"`
	Status   string            `json:"status"`
	Model    string            `json:"model"`
	URL      string            `json:"url"`
	Message  string            `json:"message,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

func deploymentOf(a rayserve.App) deploymentJSON {
	return deploymentJSON{a.Name, string(a.Status), a.ModelURI, a.URL, a.Cause(), a.Metadata}
}

func deployCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "deploy",
		Usage:     "Serve a registered model",
		ArgsUsage: "<model> [version]",
		Description: `   mlopsctl deploy sentiment 3 -p lora-finetuning
   mlopsctl deploy sentiment@champion -p lora-finetuning --replicas 2
   mlopsctl predict sentiment rows.csv -p lora-finetuning

   Prints the URL of the deployment, as list-deployments does; it takes rows as
   "mlflow models serve" does:

   curl "$url/invocations" -H 'Content-Type: application/json' \
       -d '{"dataframe_split": {"columns": ["length"], "data": [[5.1]]}}'

   A deployment is called like its model; --name calls it otherwise, or puts
   another model in the place of one. If an upgrade fails, the version before
   it keeps answering, and the exit code is not 0.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "name", Usage: "`name` of the deployment, whatever it serves now; the model's if empty"},
			&cli.IntFlag{Name: "replicas", Value: 1, Usage: "`number` of processes"},
			&cli.DurationFlag{Name: "timeout", Value: 10 * time.Minute, Usage: "give up after `duration`"},
			&cli.BoolFlag{Name: "no-wait", Usage: "do not wait until it answers"},
		},
		Action: func(c *cli.Context) error {
			model := c.Args().Get(0)
			if v := c.Args().Get(1); v != "" {
				model += "/" + v
			}
			p, err := e.project(c)
			if err != nil {
				return err
			}
			defer p.Close()
			bar := e.progress()
			a, err := p.Deploy(c.Context, model, client.DeployOptions{
				Name: c.String("name"), Replicas: c.Int("replicas"), NoWait: c.Bool("no-wait"), Timeout: c.Duration("timeout"),
				OnState: func(a rayserve.App) { bar.set("%s: %s %s", a.Name, a.Status, a.Cause()) },
			})
			bar.done()
			if errors.Is(err, mlops.ErrConflict) && c.String("name") == "" {
				return withHint(err, "with --name and that name it takes its place, with --name and another it is served beside it")
			}
			if err != nil {
				return err
			}
			return e.print(a.URL, deploymentOf(a))
		},
	}
}

func undeployCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "undeploy",
		Usage:     "Stop serving a deployment",
		ArgsUsage: "<name>",
		Flags:     []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			return p.Undeploy(c.Context, c.Args().First())
		}),
	}
}

func listDeploymentsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list-deployments",
		Usage:       "List what is served",
		Description: "   mlopsctl list-deployments -p lora-finetuning\n   mlopsctl list-deployments --all",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag(), &cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "of all projects, and those of others"}},
		Action: func(c *cli.Context) error {
			if c.Bool("all") {
				return e.inAnyProject(func(c *cli.Context, p *client.Client) error {
					return e.listDeployments(p.Serve.Applications(c.Context))
				})(c)
			}
			err := e.inProject(func(c *cli.Context, p *client.Project) error { return e.listDeployments(p.Deployments(c.Context)) })(c)
			if errors.Is(err, client.ErrNoProject) {
				return withHint(err, program+" list-deployments --all lists those of all projects")
			}
			return err
		},
	}
}

func (e *env) listDeployments(apps iter.Seq2[rayserve.App, error]) error {
	t := newTable("NAME", "STATUS", "MODEL", "URL", "MESSAGE")
	t.empty = "nothing is deployed"
	var docs []deploymentJSON
	var away error // after what is kept for a Ray that does not answer
	for a, err := range apps {
		if err != nil {
			away = err
			break
		}
		status := warn(a.Status)
		switch a.Status {
		case rayserve.StateRunning:
			status = good(a.Status)
		case rayserve.StateDeployFailed, rayserve.StateUnhealthy:
			status = bad(a.Status)
		}
		t.row(a.Name, status, a.ModelURI, a.URL, a.Cause())
		docs = append(docs, deploymentOf(a))
	}
	if away != nil && len(docs) == 0 {
		return away
	}
	return errors.Join(e.table(t, docs), away)
}
