package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func dagCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "dag",
		Usage: "Declare, trigger, watch and remove the project's DAGs",
		Subcommands: []*cli.Command{
			dagDeclare(e), dagDiff(e), dagList(e), dagShow(e), dagTrigger(e), dagWait(e), dagRuns(e), dagTasks(e), dagLogs(e), dagExplain(e), dagErrors(e),
			dagDecide(e), dagXCom(e), dagCancel(e), dagRerun(e), dagClear(e), dagBackfill(e), dagPause(e, true), dagPause(e, false), dagRemove(e),
		},
	}
}

type dagRunJSON struct {
	DAG      string     `json:"dag_id"`
	RunID    string     `json:"dag_run_id"`
	State    string     `json:"state"`
	Started  *time.Time `json:"start_date,omitempty"`
	Finished *time.Time `json:"end_date,omitempty"`
}

func dagRunOf(r airflow.DAGRun) dagRunJSON {
	return dagRunJSON{r.DAGID, r.ID, string(r.State), present(r.Start), present(r.End)}
}

// present is nil for a time that has not come.
func present(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func dagList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List the project's DAGs",
		Description: "   mlopsctl dag list -p lora-finetuning\n   mlopsctl dag list --all",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag(), allFlag("DAGs")},
		Action: func(c *cli.Context) error {
			if c.Bool("all") {
				return e.inAnyProject(func(c *cli.Context, p *client.Client) error {
					return e.listDAGs(p.Airflow.DAGs.All(c.Context, airflow.DAGQuery{}))
				})(c)
			}
			return e.inProject(func(c *cli.Context, p *client.Project) error { return e.listDAGs(p.DAGs(c.Context)) })(c)
		},
	}
}

type dagJSON struct {
	ID       string     `json:"dag_id"`
	Paused   bool       `json:"is_paused"`
	Tags     []string   `json:"tags"`
	State    string     `json:"state"`
	Schedule string     `json:"schedule,omitempty"`
	NextRun  *time.Time `json:"next_run,omitempty"`
}

func dagOf(d airflow.DAG) dagJSON {
	return dagJSON{d.ID, d.Paused, d.Tags, dagState(d), d.Schedule, present(d.NextRun)}
}

func (e *env) listDAGs(dags iter.Seq2[airflow.DAG, error]) error {
	t := newTable("DAG", "PAUSED", "TAGS", "STATE", "SCHEDULE", "NEXT RUN")
	t.empty = "no DAGs yet"
	var docs []dagJSON
	for d, err := range dags {
		if err != nil {
			return err
		}
		t.row(d.ID, d.Paused, joined(d.Tags), dagState(d), d.Schedule, when(d.NextRun))
		docs = append(docs, dagOf(d))
	}
	return e.table(t, docs)
}

func allFlag(what string) cli.Flag {
	return &cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: what + " of all projects"}
}

func dagTrigger(e *env) *cli.Command {
	return &cli.Command{
		Name:      "trigger",
		Usage:     "Start a run of a DAG and print its run ID",
		ArgsUsage: "<dag>",
		Description: `   mlopsctl dag trigger retrain -p lora-finetuning --conf '{"rank": 16}'
   mlopsctl dag trigger retrain -p lora-finetuning --wait`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "run-id", Usage: "`ID` of the run; made if empty"},
			&cli.StringFlag{Name: "conf", Usage: "JSON `object` that the tasks can read"},
			&cli.BoolFlag{Name: "wait", Usage: "wait for the end; failed is exit code 1"}, waitTimeout(),
		},
		Action: func(c *cli.Context) error {
			o := airflow.TriggerOptions{RunID: c.String("run-id")}
			if s := c.String("conf"); s != "" {
				if err := json.Unmarshal([]byte(s), &o.Conf); err != nil {
					return usagef("--conf: %.200q is not a JSON object", s)
				}
			}
			p, err := e.project(c)
			if err != nil {
				return err
			}
			defer p.Close()
			r, err := p.Trigger(c.Context, c.Args().First(), o)
			if err != nil {
				return err
			}
			if c.Bool("wait") {
				if r, err = e.waitRun(c, p, r.DAGID, r.ID); err != nil {
					return err
				}
			}
			return e.print(r.ID, dagRunOf(r))
		},
	}
}

func dagErrors(e *env) *cli.Command {
	return &cli.Command{
		Name:        "errors",
		Usage:       "List the project's DAG files that Airflow cannot read; without a project, all",
		Description: "   mlopsctl dag errors -p lora-finetuning\n   mlopsctl dag errors --all",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag(), allFlag("DAG files")},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			broken := p.Airflow.DAGs.ImportErrors(c.Context)
			own, err := p.Project(c.String("project"))
			if err != nil && !errors.Is(err, client.ErrNoProject) {
				return err
			}
			if err == nil && !c.Bool("all") {
				broken = own.DAGErrors(c.Context)
			}
			t := newTable("FILE", "WHEN", "ERROR")
			t.empty = "no import errors"
			var docs []airflow.ImportError
			for i, err := range broken {
				if err != nil {
					return err
				}
				t.row(i.File, ago(i.Time), lastLine(i.StackTrace))
				docs = append(docs, i)
			}
			if err := e.table(t, docs); err != nil || len(docs) == 0 {
				return err
			}
			return withCode(exitFailed, fmt.Errorf("%d DAG files cannot be read", len(docs)))
		}),
	}
}

func dagRemove(e *env) *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "Remove a declared DAG with its runs",
		ArgsUsage: "<dag>",
		Description: `   mlopsctl dag rm retrain -p lora-finetuning

   It waits until Airflow has forgotten the DAG. Runs that have not ended are
   ended as failed. DAGs of other projects, and files written by hand, stay.`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			id := p.DAGID(c.Args().First())
			if err := p.RemoveDAG(c.Context, id); err != nil {
				return err
			}
			return e.print(id, map[string]string{"dag_id": id})
		}),
	}
}
