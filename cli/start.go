package cli

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/compose"
)

func startFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "wait-timeout", Value: 10 * time.Minute, Usage: "give up after `duration`"},
		&cli.BoolFlag{Name: "keep-on-failure", Usage: "leave running what did start"},
		&cli.BoolFlag{Name: "light", Usage: "MLflow alone, on SQLite"},
	}
}

func startOptions(c *cli.Context) compose.StartOptions {
	return compose.StartOptions{
		Services: c.Args().Slice(), WaitTimeout: c.Duration("wait-timeout"),
		KeepOnFailure: c.Bool("keep-on-failure"), Light: c.Bool("light"),
	}
}

func startCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "Start the stack, or what is missing of it",
		ArgsUsage: "[service...]",
		Description: `   mlopsctl start                 all servers
   mlopsctl start mlflow          one, with what it needs
   mlopsctl start --light         MLflow alone, on SQLite
   mlopsctl start --dry-run       what would be done`,
		Flags: append(startFlags(), &cli.BoolFlag{Name: "dry-run", Usage: "print the plan and do nothing"}),
		Action: func(c *cli.Context) error {
			p := e.progress()
			defer p.done()
			s, err := e.stack(p)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				plan, err := s.Plan(c.Context, startOptions(c))
				if err != nil {
					return err
				}
				t := newTable("ACTION", "SERVICE", "REASON")
				for _, step := range plan.Steps {
					t.row(step.Action, step.Service, step.Reason)
				}
				return e.table(t, plan)
			}
			st, err := s.Start(c.Context, startOptions(c))
			p.done()
			if err != nil {
				return err
			}
			return e.printStatus(st)
		},
	}
}

func stopCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "stop",
		Usage:     "Stop the stack, or single services",
		ArgsUsage: "[service...]",
		Action: func(c *cli.Context) error {
			p := e.progress()
			defer p.done()
			s, err := e.stack(p)
			if err != nil {
				return err
			}
			return s.Stop(c.Context, compose.StopOptions{Services: c.Args().Slice()})
		},
	}
}

func restartCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "restart",
		Usage:     "Stop and start the stack, or single services",
		ArgsUsage: "[service...]",
		Flags:     startFlags(),
		Action: func(c *cli.Context) error {
			p := e.progress()
			defer p.done()
			s, err := e.stack(p)
			if err != nil {
				return err
			}
			st, err := s.Restart(c.Context, startOptions(c))
			p.done()
			if err != nil {
				return err
			}
			return e.printStatus(st)
		},
	}
}

// superviseCommand is what start runs detached; people do not.
func superviseCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:   "supervise",
		Usage:  "Start and watch the servers (run by start)",
		Hidden: true,
		Action: func(c *cli.Context) error {
			s, err := e.stack(&progress{w: e.stderr, quiet: true})
			if err != nil {
				return err
			}
			return s.Supervise(c.Context)
		},
	}
}

func statusCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "Tell how the stack is",
		Description: `   mlopsctl status                     exit code 0 healthy, 11 degraded, 12 stopped
   eval "$(mlopsctl status --env)"     let this shell and its Python programs use the stack`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "env", Usage: "print variables for a shell, credentials included"}},
		Action: func(c *cli.Context) error {
			s, err := e.stack(&progress{w: e.stderr, quiet: true})
			if err != nil {
				return err
			}
			if c.Bool("env") {
				return e.printEnv(c, s)
			}
			st, err := s.Status(c.Context)
			if err != nil {
				return err
			}
			if err := e.printStatus(st); err != nil {
				return err
			}
			switch st.State {
			case compose.Healthy:
				return nil
			case compose.Stopped:
				return withCode(exitStopped, nil)
			}
			return withCode(exitDegraded, nil)
		},
	}
}

func (e *env) printEnv(c *cli.Context, s *compose.Stack) error {
	vars, err := s.Env(c.Context)
	if err != nil {
		return err
	}
	var b strings.Builder
	doc := map[string]string{}
	for _, v := range vars {
		doc[v.Name] = v.Value
		b.WriteString("export " + v.Name + "=" + shellQuote(v.Value) + "\n")
	}
	return e.print(strings.TrimSuffix(b.String(), "\n"), doc)
}

// memoryOf is what the whole stack uses, shared pages counted once.
func memoryOf(st compose.Status) int64 {
	var n int64
	for _, s := range st.Services {
		n += s.PSSBytes
	}
	return n
}

// shellQuote makes one word of s for any POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (e *env) printStatus(st compose.Status) error {
	t := newTable("SERVICE", "STATE", "URL", "PID", "MEMORY", "RESTARTS", "MESSAGE")
	if st.State == compose.Stopped {
		e.note("the stack is stopped; mlopsctl start starts it")
	}
	for _, s := range st.Services {
		state := bad(s.State)
		switch s.State {
		case compose.Ready:
			state = good(s.State)
		case compose.Starting, compose.Waiting, compose.Preparing, compose.Backoff:
			state = warn(s.State)
		case compose.Stopped:
			state = faint(s.State)
		}
		var pid, memory any
		if s.PID > 0 {
			pid, memory = s.PID, sizeText(s.PSSBytes)
		}
		t.row(s.Name, state, s.URL, pid, memory, s.Restarts, s.Message)
	}
	return e.table(t, st)
}
