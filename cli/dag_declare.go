package cli

import (
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func dagDeclare(e *env) *cli.Command {
	return &cli.Command{
		Name:  "declare",
		Usage: "Declare a DAG from a YAML file and wait until Airflow runs it",
		Description: `   mlopsctl dag declare -f dag.yaml -p lora-finetuning
   mlopsctl dag declare -f dag.yaml --dry-run -p lora-finetuning

   A declaration that Airflow cannot read changes nothing. --dry-run says what
   would change, as dag diff does.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(), specFlag(),
			&cli.BoolFlag{Name: "dry-run", Usage: "change nothing, say what would change"},
		},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			d, err := e.spec(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				return e.printDiff(p, d)
			}
			dag, err := p.DeclareDAG(c.Context, d)
			if err != nil {
				return err
			}
			return e.print(dag.ID, map[string]string{"dag_id": dag.ID, "version": dag.Hash()})
		}),
	}
}

func dagDiff(e *env) *cli.Command {
	return &cli.Command{
		Name:        "diff",
		Usage:       "Say what a declaration would change in the DAG that runs",
		Description: "   mlopsctl dag diff -f dag.yaml -p lora-finetuning",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag(), specFlag()},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			d, err := e.spec(c)
			if err != nil {
				return err
			}
			return e.printDiff(p, d)
		}),
	}
}

func specFlag() cli.Flag {
	return &cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "YAML `file` with the declaration, - for standard input", Required: true}
}

// spec reads the declaration that --file names.
func (e *env) spec(c *cli.Context) (airflow.DAGSpec, error) {
	var in io.Reader = e.stdin
	if name := c.String("file"); name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return airflow.DAGSpec{}, err
		}
		defer file.Close()
		in = file
	}
	return airflow.ReadSpec(in)
}

func (e *env) printDiff(p *client.Project, d airflow.DAGSpec) error {
	lines, err := p.DiffDAG(d)
	if err != nil {
		return err
	}
	type row struct {
		Change string `json:"change"`
	}
	t := newTable("CHANGE")
	t.empty = "nothing changes"
	docs := []row{}
	for _, line := range lines {
		t.row(line)
		docs = append(docs, row{line})
	}
	return e.table(t, docs)
}
