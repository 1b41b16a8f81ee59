package cli

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

// onDAG makes the action of a command on one of the project's DAGs, its first
// operand.
func (e *env) onDAG(do func(*cli.Context, *client.Project, airflow.DAG) error) cli.ActionFunc {
	return e.inProject(func(c *cli.Context, p *client.Project) error {
		dag, err := p.OwnDAG(c.Context, c.Args().First())
		if err != nil {
			return err
		}
		return do(c, p, dag)
	})
}

// dagState is active, paused, broken (its file cannot be read any more) or
// stale (its file is gone).
func dagState(d airflow.DAG) string {
	switch {
	case d.Stale:
		return "stale"
	case d.HasImportErrors:
		return "broken"
	case d.Paused:
		return "paused"
	}
	return "active"
}

type dagShowJSON struct {
	dagJSON
	Version     string         `json:"version,omitempty"`
	Description string         `json:"description,omitempty"`
	File        string         `json:"fileloc"`
	Params      airflow.Params `json:"params"`
	Tasks       []dagTaskJSON  `json:"tasks"`
}

type dagTaskJSON struct {
	ID       string   `json:"task_id"`
	Operator string   `json:"operator_name"`
	Pool     string   `json:"pool"`
	Then     []string `json:"downstream_task_ids"`
}

func dagShow(e *env) *cli.Command {
	return &cli.Command{
		Name:        "show",
		Usage:       "Show a DAG: schedule, state, parameters, tasks",
		ArgsUsage:   "<dag>",
		Description: "   mlopsctl dag show retrain -p lora-finetuning",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.onDAG(func(c *cli.Context, p *client.Project, d airflow.DAG) error {
			details, err := p.Airflow.DAGs.Details(c.Context, d.ID)
			if err != nil {
				return err
			}
			tasks, err := p.Airflow.DAGs.Tasks(c.Context, d.ID)
			if err != nil {
				return err
			}
			doc := dagShowJSON{dagOf(d), d.Hash(), d.Description, d.File, details.Schemas(), []dagTaskJSON{}}
			t := newTable("WHAT", "NAME", "VALUE")
			for _, row := range [][2]string{{"id", d.ID}, {"project", d.Project()}, {"state", doc.State}, {"version", doc.Version}, {"schedule", d.Schedule}, {"next run", when(d.NextRun)}, {"description", d.Description}, {"file", d.File}} {
				if row[1] != "" {
					t.row("dag", row[0], row[1])
				}
			}
			for _, name := range sortedKeys(doc.Params) {
				t.row("param", name, oneJSON(doc.Params[name]))
			}
			for _, task := range tasks {
				t.row("task", task.ID, task.Operator)
				doc.Tasks = append(doc.Tasks, dagTaskJSON{task.ID, task.Operator, task.Pool, task.Downstream})
			}
			return e.table(t, doc)
		}),
	}
}

func dagRuns(e *env) *cli.Command {
	return &cli.Command{
		Name:        "runs",
		Usage:       "List the runs of a DAG, the latest first",
		ArgsUsage:   "<dag>",
		Description: "   mlopsctl dag runs retrain -p lora-finetuning\n   mlopsctl dag runs retrain --state failed -n 5 -p lora-finetuning",
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringSliceFlag{Name: "state", Usage: "only those in this `state`: queued, running, success or failed; may be repeated"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 20, Usage: "most `runs`"},
		},
		Action: e.onDAG(func(c *cli.Context, p *client.Project, d airflow.DAG) error {
			q := airflow.DAGRunQuery{Newest: true}
			for _, state := range c.StringSlice("state") {
				q.States = append(q.States, airflow.State(state))
			}
			t := newTable("RUN", "STATE", "TYPE", "STARTED", "TOOK")
			t.empty = "no runs"
			docs := []dagRunJSON{}
			for r, err := range p.Airflow.Runs.All(c.Context, d.ID, q) {
				if err != nil {
					return err
				}
				if len(docs) == c.Int("limit") {
					break
				}
				t.row(r.ID, runCell(r.State), r.Type, when(r.Start), took(r.Start, r.End))
				docs = append(docs, dagRunOf(r))
			}
			return e.table(t, docs)
		}),
	}
}

type taskJSON struct {
	Task    string        `json:"task_id"`
	Map     *int          `json:"map_index,omitempty"`
	State   airflow.State `json:"state"`
	Try     int           `json:"try_number"`
	Pool    string        `json:"pool"`
	Started *time.Time    `json:"start_date,omitempty"`
	Ended   *time.Time    `json:"end_date,omitempty"`
}

func dagTasks(e *env) *cli.Command {
	return &cli.Command{
		Name:        "tasks",
		Usage:       "List the tasks of a run",
		ArgsUsage:   "<dag> <run-id>",
		Description: "   mlopsctl dag tasks retrain \"$run_id\" -p lora-finetuning",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.onDAG(func(c *cli.Context, p *client.Project, d airflow.DAG) error {
			t := newTable("TASK", "INDEX", "STATE", "TRY", "STARTED", "TOOK")
			t.empty = "no tasks"
			docs := []taskJSON{}
			for ti, err := range p.Airflow.Tasks.All(c.Context, d.ID, c.Args().Get(1)) {
				if err != nil {
					return err
				}
				index := ti.Ref().Index
				t.row(ti.TaskID, indexText(index), runCell(ti.State), ti.Try, when(ti.Start), took(ti.Start, ti.End))
				docs = append(docs, taskJSON{ti.TaskID, index, ti.State, ti.Try, ti.Pool, present(ti.Start), present(ti.End)})
			}
			return e.table(t, docs)
		}),
	}
}

// indexText is which one of a mapped task it is, empty if it is not mapped.
func indexText(index *int) any {
	if index == nil {
		return ""
	}
	return *index
}

// runCell marks the state of a run or a task.
func runCell(s airflow.State) cell {
	switch s {
	case airflow.StateSuccess:
		return good(s)
	case airflow.StateFailed, airflow.StateUpstreamFailed:
		return bad(s)
	case airflow.StateUpForRetry, airflow.StateAwaitingInput:
		return warn(s)
	}
	return cell{value: s}
}

// took is how long something ran, or has been running.
func took(start, end time.Time) string {
	switch {
	case start.IsZero():
		return ""
	case end.IsZero():
		end = time.Now()
	}
	return end.Sub(start).Round(100 * time.Millisecond).String()
}
