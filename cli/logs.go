package cli

import (
	"bytes"
	"errors"
	"strings"
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
			o := compose.LogOptions{Services: c.Args().Slice(), Follow: c.Bool("follow"), Since: c.Duration("since"), Tail: c.Int("tail")}
			if !e.json {
				return s.Logs(c.Context, e.stdout, o)
			}
			w := &jsonLog{e: e}
			if len(o.Services) == 1 && o.Services[0] != "airflow" { // the name of several
				w.service = o.Services[0]
			}
			return errors.Join(s.Logs(c.Context, w, o), w.flush())
		},
	}
}

// logLineJSON is a line of a server's log.
type logLineJSON struct {
	Service string `json:"service"`
	Line    string `json:"line"`
}

// jsonLog makes documents of what [compose.Stack.Logs] writes, whose lines
// begin with the service's name if there are several.
type jsonLog struct {
	e       *env
	service string // the only one; empty: each line names its own
	part    []byte // an unfinished line
}

func (w *jsonLog) Write(p []byte) (int, error) {
	w.part = append(w.part, p...)
	for {
		line, rest, whole := bytes.Cut(w.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		w.part = rest
		if err := w.line(string(line)); err != nil {
			return 0, err
		}
	}
}

func (w *jsonLog) flush() error {
	if len(w.part) == 0 {
		return nil
	}
	return w.line(string(w.part))
}

func (w *jsonLog) line(text string) error {
	doc := logLineJSON{w.service, text}
	if w.service == "" {
		if name, rest, ok := strings.Cut(text, " | "); ok {
			doc = logLineJSON{strings.TrimSpace(name), rest}
		}
	}
	return w.e.printJSON(doc)
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
				state := good(f.Severity)
				switch f.Severity {
				case compose.SeverityWarn:
					state = warn(f.Severity)
				case compose.SeverityFail:
					state, failed = bad(f.Severity), true
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

// when is a time with its zone.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339)
}

// ago is a time for people.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}
