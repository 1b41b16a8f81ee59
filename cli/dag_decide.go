package cli

import (
	"encoding/json"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func dagRerun(e *env) *cli.Command {
	return &cli.Command{
		Name:      "rerun",
		Usage:     "Run what failed of a run again, and what could not run for it",
		ArgsUsage: "<dag> <run-id>",
		Description: `   mlopsctl dag rerun retrain "$run_id" -p lora-finetuning --wait
   mlopsctl dag rerun retrain "$run_id" --whole -p lora-finetuning

   Tasks that succeeded or were skipped after a failed one stay as they are: dag clear
   takes single tasks, with --downstream what follows them.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.BoolFlag{Name: "whole", Usage: "also what succeeded"},
			&cli.BoolFlag{Name: "wait", Usage: "wait for the end; failed is exit code 1"}, waitTimeout(),
		},
		Action: e.onDAG(func(c *cli.Context, p *client.Project, d airflow.DAG) error {
			run, opt := c.Args().Get(1), airflow.ClearOptions{OnlyFailed: !c.Bool("whole")}
			again, err := p.Airflow.Runs.WouldClear(c.Context, d.ID, run, opt)
			if err != nil {
				return err
			}
			if len(again) == 0 {
				e.note("nothing failed in run %s", run)
			} else if err := p.Airflow.Runs.Clear(c.Context, d.ID, run, opt); err != nil {
				return err
			}
			r, err := p.Airflow.Runs.Get(c.Context, d.ID, run)
			if err == nil && c.Bool("wait") && len(again) > 0 {
				r, err = e.waitRun(c, p, d.ID, run)
			}
			if err != nil {
				return err
			}
			return e.print(r.ID, dagRunOf(r))
		}),
	}
}

type decisionJSON struct {
	Task     string   `json:"task_id"`
	Map      *int     `json:"map_index,omitempty"`
	Subject  string   `json:"subject"`
	Body     string   `json:"body,omitempty"`
	Options  []string `json:"options"`
	Multiple bool     `json:"multiple"`
	Answered bool     `json:"answered"`
	Chosen   []string `json:"chosen"`
}

func dagDecide(e *env) *cli.Command {
	return &cli.Command{
		Name:      "decide",
		Usage:     "Answer a task that asks a person; without an option, show what is asked",
		ArgsUsage: "<dag> <run-id> [task] [option...]",
		Description: `   mlopsctl dag decide retrain "$run_id" -p lora-finetuning
   mlopsctl dag decide retrain "$run_id" sure Approve -p lora-finetuning`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(), mapIndexFlag(),
			&cli.StringFlag{Name: "input", Usage: "JSON `object` for what is to be filled in"},
		},
		Action: func(c *cli.Context) error {
			var input map[string]any
			if s := c.String("input"); s != "" {
				if err := json.Unmarshal([]byte(s), &input); err != nil {
					return usagef("--input: %.200q is not a JSON object", s)
				}
			}
			return e.onDAG(func(c *cli.Context, p *client.Project, d airflow.DAG) error {
				a := c.Args().Slice()
				if len(a) < 4 {
					return e.listDecisions(c, p, d, a[1], strings.Join(a[2:], ""))
				}
				if err := p.Airflow.Decisions.Decide(c.Context, e.taskRef(c, d), a[3:], input); err != nil {
					return err
				}
				return e.print(joined(a[3:]), map[string]any{"dag_id": d.ID, "dag_run_id": a[1], "task_id": a[2], "chosen": a[3:]})
			})(c)
		},
	}
}

// listDecisions shows what the tasks of a run ask, or one of them if task is not
// empty.
func (e *env) listDecisions(c *cli.Context, p *client.Project, d airflow.DAG, run, task string) error {
	t := newTable("TASK", "INDEX", "SUBJECT", "OPTIONS", "ANSWER")
	t.empty = "nothing is asked"
	docs := []decisionJSON{}
	for q, err := range p.Airflow.Decisions.All(c.Context, d.ID, run) {
		if err != nil {
			return err
		}
		if task != "" && q.Task.TaskID != task {
			continue
		}
		index := q.Task.Ref().Index
		t.row(q.Task.TaskID, indexText(index), q.Subject, joined(q.Options), joined(q.Chosen))
		docs = append(docs, decisionJSON{q.Task.TaskID, index, q.Subject, q.Body, q.Options, q.Multiple, q.Answered, q.Chosen})
	}
	return e.table(t, docs)
}

func dagXCom(e *env) *cli.Command {
	return &cli.Command{
		Name:      "xcom",
		Usage:     "Print what a task returned, or has kept under another key",
		ArgsUsage: "<dag> <run-id> <task> [key]",
		Description: `   version=$(mlopsctl dag xcom retrain "$run_id" train -p lora-finetuning)
   mlopsctl dag xcom retrain "$run_id" score --map-index 0 -p lora-finetuning

   A text is printed as it is, any other value as JSON; with --json all are.`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag(), mapIndexFlag()},
		Action: e.onDAG(func(c *cli.Context, p *client.Project, d airflow.DAG) error {
			key := c.Args().Get(3)
			if key == "" {
				key = "return_value"
			}
			x, err := p.Airflow.XComs.Get(c.Context, e.taskRef(c, d), key)
			if err != nil {
				return err
			}
			text := string(x.Value)
			_ = json.Unmarshal(x.Value, &text) // unless it is a text
			return e.print(text, x.Value)
		}),
	}
}

func mapIndexFlag() cli.Flag {
	return &cli.IntFlag{Name: "map-index", Value: -1, Usage: "which `item` of a mapped task, from 0", DefaultText: "not mapped"}
}

// taskRef is the task that the operands <dag> <run-id> <task> name.
func (e *env) taskRef(c *cli.Context, d airflow.DAG) airflow.TaskRef {
	return airflow.TaskRef{DAGID: d.ID, RunID: c.Args().Get(1), TaskID: c.Args().Get(2), Index: mapIndex(c)}
}

func mapIndex(c *cli.Context) *int {
	if i := c.Int("map-index"); i >= 0 {
		return &i
	}
	return nil
}
