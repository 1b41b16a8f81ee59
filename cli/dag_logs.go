package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

// logJSON is a line of a task's log.
type logJSON struct {
	Task   string         `json:"task_id"`
	Map    *int           `json:"map_index,omitempty"`
	Time   *time.Time     `json:"timestamp,omitempty"`
	Level  string         `json:"level,omitempty"`
	Logger string         `json:"logger,omitempty"`
	Event  string         `json:"event"`
	Fields map[string]any `json:"fields,omitempty"`
}

func dagLogs(e *env) *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "Print the logs of a run, or of one task of it",
		ArgsUsage: "<dag> <run-id> [task]",
		Description: `   mlopsctl dag logs retrain "$run_id" train -f -p lora-finetuning
   mlopsctl dag logs retrain "$run_id" --level warning --since 10m -p lora-finetuning

   The lines of several tasks, and of the items of a mapped one, come by time and
   begin with where they are from. Of a task that never began it says why.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the run, or the task, ends"},
			&cli.IntFlag{Name: "try", Usage: "`number` of the try; the latest if 0"},
			&cli.IntFlag{Name: "map-index", Value: -1, Usage: "which `item` of a mapped task, from 0", DefaultText: "all"},
			&cli.StringFlag{Name: "since", Usage: "only what is younger: 10m, or a `time`, 2026-02-01 or RFC 3339"},
			&cli.StringFlag{Name: "level", Usage: "only what is at least as grave as `level`: " + strings.Join(airflow.LogLevels, ", ")},
			&cli.StringFlag{Name: "grep", Usage: "only what matches a regular `expression`"},
		},
		Action: func(c *cli.Context) error {
			filter, err := logFilter(c)
			if err != nil {
				return err
			}
			return e.inProject(func(c *cli.Context, p *client.Project) error {
				return e.printLogs(c, p, airflow.LogOptions{Try: c.Int("try"), MapIndex: mapIndex(c), Follow: c.Bool("follow"), LogFilter: filter})
			})(c)
		},
	}
}

func logFilter(c *cli.Context) (f airflow.LogFilter, err error) {
	if s := c.String("since"); s != "" {
		if age, derr := time.ParseDuration(s); derr == nil {
			f.Since = time.Now().Add(-age)
		} else if f.Since, err = dayOrTime("--since", s); err != nil {
			return f, err
		}
	}
	if f.Level = strings.ToLower(c.String("level")); f.Level != "" && !slices.Contains(airflow.LogLevels, f.Level) {
		return f, usagef("--level: %.200q is none of %s", f.Level, strings.Join(airflow.LogLevels, ", "))
	}
	if s := c.String("grep"); s != "" {
		if f.Grep, err = regexp.Compile(s); err != nil {
			return f, usagef("--grep: %.200v", err)
		}
	}
	return f, nil
}

// printLogs prints the logs of <dag> <run-id> [task].
func (e *env) printLogs(c *cli.Context, p *client.Project, opt airflow.LogOptions) error {
	dag, run, task := p.DAGID(c.Args().Get(0)), c.Args().Get(1), c.Args().Get(2)
	var tasks []string
	if task != "" {
		tasks = []string{task}
	}
	none := true
	for l, err := range p.Airflow.RunLogs(c.Context, dag, run, tasks, opt) {
		if err != nil {
			return err
		}
		none = false
		doc := logJSON{l.TaskID, nil, present(l.Time), l.Level, l.Logger, l.Event, l.Fields}
		from := ""
		if task == "" {
			from = l.TaskID
		}
		if l.MapIndex >= 0 {
			doc.Map = &l.MapIndex
			from += fmt.Sprintf("[%d]", l.MapIndex)
		}
		if from != "" {
			from += " | "
		}
		if err := e.print(from+l.String(), doc); err != nil {
			return err
		}
	}
	if !none || opt.Follow || opt.LogFilter != (airflow.LogFilter{}) {
		return nil
	}
	causes, err := p.Explain(c.Context, dag, run, task)
	if err != nil {
		return err
	}
	if len(causes) > 0 {
		e.note("there is no log: %s", withHelp(causes[0]))
	}
	return nil
}
