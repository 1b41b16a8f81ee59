package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"

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
   by themselves at each tool's first use; doing it again repairs what is missing.

   A folder without mlops.yaml can have one, so that -p is not needed there: on a
   terminal it is asked, in scripts --write does it.`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag(), &cli.BoolFlag{Name: "write", Usage: "write mlops.yaml into the project's folder, if there is none"}},
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
			if err := e.table(workspaces(w), w); err != nil {
				return err
			}
			return e.offerFile(p, c.Bool("write"))
		},
	}
}

// offerFile writes the project's mlops.yaml if that is asked for, and asks or
// says how if there is none.
func (e *env) offerFile(p *client.Project, write bool) error {
	if p.HasFile() {
		return nil
	}
	if in, ok := e.stdin.(io.Writer); !write && ok && !e.json && !e.quiet && e.terminal(in) && e.terminal(e.stderr) {
		fmt.Fprintf(e.stderr, "write %s into %s, so that -p is not needed there? [Y/n] ", client.FileName, p.Dir)
		line, err := bufio.NewReader(e.stdin).ReadString('\n')
		answer := strings.ToLower(strings.TrimSpace(line))
		write = err == nil && (answer == "" || strings.HasPrefix("yes", answer))
	} else if !write {
		e.note("%s has no %s; this writes one: %s register %s --write", p.Dir, client.FileName, program, p.Name)
	}
	if !write {
		return nil
	}
	path, err := p.WriteFile()
	if err == nil {
		e.note("wrote %s; commit it, so that -p is not needed here", path)
	}
	return err
}

func projectsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "projects",
		Usage: "List the projects on this infrastructure",
		Flags: []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			all, err := mlops.Collect(p.Projects(c.Context))
			if err != nil {
				return err
			}
			t := workspaces(all...)
			t.empty = "no projects yet; mlopsctl register <project> adds one"
			return e.table(t, all)
		}),
	}
}

func workspaces(all ...client.Workspace) *table {
	t := newTable("PROJECT", "NAMESPACE", "EXPERIMENT", "DVC REMOTE", "DAG PREFIX", "POOL", "ENDPOINT")
	for _, w := range all {
		t.row(w.Project, w.Namespace, w.MLflowExperimentID, w.DVCRemotePath, w.AirflowDAGPrefix, w.AirflowPool, w.ServingEndpoint)
	}
	return t
}
