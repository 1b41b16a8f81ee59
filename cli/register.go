package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
)

func registerCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "register",
		Usage:     "Give a project its place on every server",
		ArgsUsage: "[project]",
		Description: `   mlopsctl register lora-finetuning

   Makes the MLflow experiment with the project's record, the Airflow pool, the
   Evidently project and, within a DVC repository, the remote. Programs do this
   by themselves at each tool's first use; doing it again repairs what is missing.`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 1 {
				if err := c.Set("project", c.Args().First()); err != nil {
					return err
				}
			}
			p, err := e.project(c)
			if err != nil {
				return err
			}
			defer p.Close()
			w, err := p.Register(c.Context)
			if err != nil {
				return err
			}
			return e.table(workspaces(w), w)
		},
	}
}

func projectsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "projects",
		Usage: "List the projects on this infrastructure",
		Flags: []cli.Flag{e.dirFlag()},
		Action: func(c *cli.Context) error {
			o, err := e.options(c)
			if err != nil {
				return err
			}
			all, err := mlops.Collect(client.Projects(c.Context, o...))
			if err != nil {
				return err
			}
			t := workspaces(all...)
			t.empty = "no projects yet; mlopsctl register <project> adds one"
			return e.table(t, all)
		},
	}
}

func workspaces(all ...client.Workspace) *table {
	t := newTable("PROJECT", "NAMESPACE", "EXPERIMENT", "DVC REMOTE", "DAG PREFIX", "POOL", "ENDPOINT")
	for _, w := range all {
		t.row(w.Project, w.Namespace, w.MLflowExperimentID, w.DVCRemotePath, w.AirflowDAGPrefix, w.AirflowPool, w.ServingEndpoint)
	}
	return t
}
