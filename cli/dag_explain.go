package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func dagExplain(e *env) *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "Say why a run, or a task of it, does not start or has failed",
		ArgsUsage: "<dag> <run-id> [task]",
		Description: `   mlopsctl dag explain retrain "$run_id" -p lora-finetuning
   mlopsctl dag explain retrain "$run_id" train -p lora-finetuning

   The most likely cause comes first. A run that simply runs has none.`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			type row struct {
				Code    airflow.CauseCode `json:"code"`
				Task    string            `json:"task_id,omitempty"`
				Map     *int              `json:"map_index,omitempty"`
				Message string            `json:"message"`
				Help    string            `json:"help,omitempty"`
			}
			a := c.Args()
			causes, err := p.Explain(c.Context, a.Get(0), a.Get(1), a.Get(2))
			if err != nil {
				return err
			}
			t := newTable("CAUSE", "WHY", "WHAT HELPS")
			t.empty = "nothing holds it"
			docs := []row{}
			for _, cause := range causes {
				r := row{Code: cause.Code, Message: cause.Message, Help: cause.Help}
				if cause.Task != nil {
					r.Task, r.Map = cause.Task.TaskID, cause.Task.Ref().Index
				}
				t.row(r.Code, r.Message, r.Help)
				docs = append(docs, r)
			}
			return e.table(t, docs)
		}),
	}
}

// dagPause is dag pause, or dag resume.
func dagPause(e *env, pause bool) *cli.Command {
	name, usage := "resume", "Let a paused DAG start runs and tasks again"
	if pause {
		name, usage = "pause", "Keep a DAG from starting runs and tasks; running tasks continue"
	}
	return &cli.Command{
		Name:        name,
		Usage:       usage,
		ArgsUsage:   "<dag>",
		Description: "   mlopsctl dag " + name + " retrain -p lora-finetuning",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.onDAG(func(c *cli.Context, p *client.Project, dag airflow.DAG) error {
			set := p.Airflow.DAGs.Unpause
			if pause {
				set = p.Airflow.DAGs.Pause
			}
			if err := set(c.Context, dag.ID); err != nil {
				return err
			}
			return e.print(dag.ID, map[string]any{"dag_id": dag.ID, "is_paused": pause})
		}),
	}
}

func dagCancel(e *env) *cli.Command {
	return &cli.Command{
		Name:        "cancel",
		Usage:       "End a run as failed; its tasks are killed within seconds",
		ArgsUsage:   "<dag> <run-id>",
		Description: "   mlopsctl dag cancel retrain \"$run_id\" -p lora-finetuning",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.onDAG(func(c *cli.Context, p *client.Project, dag airflow.DAG) error {
			run := c.Args().Get(1)
			if err := p.Airflow.Runs.Cancel(c.Context, dag.ID, run); err != nil {
				return err
			}
			return e.print(run, map[string]string{"dag_id": dag.ID, "dag_run_id": run})
		}),
	}
}

func dagClear(e *env) *cli.Command {
	return &cli.Command{
		Name:      "clear",
		Usage:     "Run the tasks of a run again",
		ArgsUsage: "<dag> <run-id> [task...]",
		Description: `   mlopsctl dag clear retrain "$run_id" --only-failed -p lora-finetuning
   mlopsctl dag clear retrain "$run_id" train --downstream --dry-run -p lora-finetuning`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.BoolFlag{Name: "only-failed", Usage: "those that failed only"},
			&cli.BoolFlag{Name: "upstream", Usage: "also the tasks before them"},
			&cli.BoolFlag{Name: "downstream", Usage: "also the tasks after them"},
			&cli.BoolFlag{Name: "dry-run", Usage: "change nothing, list the tasks"},
		},
		Action: e.onDAG(func(c *cli.Context, p *client.Project, dag airflow.DAG) error {
			a := c.Args().Slice()
			q := airflow.TaskClear{RunID: a[1], Tasks: a[2:], OnlyFailed: c.Bool("only-failed"),
				TaskScope: airflow.TaskScope{Upstream: c.Bool("upstream"), Downstream: c.Bool("downstream")}}
			clear := p.Airflow.Tasks.Clear
			if c.Bool("dry-run") {
				clear = p.Airflow.Tasks.WouldClear
			}
			tasks, err := clear(c.Context, dag.ID, q)
			if err != nil {
				return err
			}
			type row struct {
				Task  string        `json:"task_id"`
				Map   int           `json:"map_index"`
				State airflow.State `json:"state"`
			}
			t := newTable("TASK", "INDEX", "STATE")
			t.empty = "no task is to run again"
			docs := []row{}
			for _, ti := range tasks {
				t.row(ti.TaskID, ti.MapIndex, ti.State)
				docs = append(docs, row{ti.TaskID, ti.MapIndex, ti.State})
			}
			return e.table(t, docs)
		}),
	}
}
