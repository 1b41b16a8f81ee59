package cli

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/compose"
)

func logsCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "Show what the servers log",
		ArgsUsage: "[service...]",
		Description: `   mlopsctl logs airflow-scheduler      the last 100 lines
   mlopsctl logs -f --since 5m          all services, and go on`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until interrupted"},
			&cli.DurationFlag{Name: "since", Usage: "only what is younger than `duration`"},
			e.runtimeFlag(),
			&cli.IntFlag{Name: "tail", Aliases: []string{"n"}, Value: 100, Usage: "`lines` of each service to begin with"},
		},
		Action: func(c *cli.Context) error {
			s, err := e.stack(&progress{w: e.stderr, quiet: true})
			if err != nil {
				return err
			}
			return s.Logs(c.Context, e.stdout, compose.LogOptions{
				Services: c.Args().Slice(), Follow: c.Bool("follow"), Since: c.Duration("since"), Tail: c.Int("tail"),
			})
		},
	}
}

func doctorCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "Find what keeps the stack from working, each with its cure",
		Description: `   mlopsctl doctor          look, and change nothing
   mlopsctl doctor --fix    mend what can be mended without a loss: modes and owners
                            of files, secrets of which there is a copy, files that a
                            start writes; then look`,
		Flags: append(appleDoctorFlags(), e.runtimeFlag(), &cli.BoolFlag{Name: "fix", Usage: "mend what is safe to mend, and say what was done"}),
		Action: func(c *cli.Context) error {
			if c.Bool("apple") {
				return e.doctorApple(c)
			}
			s, err := e.stack(&progress{w: e.stderr, quiet: true})
			if err != nil {
				return err
			}
			if c.Bool("fix") {
				did, err := s.Mend(c.Context)
				if err != nil {
					return err
				}
				for _, f := range did {
					e.note("%s", f.Message)
				}
			}
			findings, err := s.Doctor(c.Context)
			if err != nil {
				return err
			}
			t := newTable("", "CHECK", "FINDING", "FIX")
			failed := false
			for _, f := range findings {
				state := good(f.State)
				switch f.State {
				case compose.Warn:
					state = warn(f.State)
				case compose.Fail:
					state, failed = bad(f.State), true
				}
				t.row(state, f.Check, f.Message, f.Fix)
			}
			if err := e.table(t, findings); err != nil {
				return err
			}
			if failed {
				return withCode(exitFailed, nil)
			}
			return nil
		},
	}
}

// ago is a time for people.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}
