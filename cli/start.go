package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose"
)

func startFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "wait-timeout", Value: 10 * time.Minute, Usage: "give up after `duration`"},
		&cli.BoolFlag{Name: "keep-on-failure", Usage: "leave running what did start"},
		&cli.BoolFlag{Name: "light", Usage: "MLflow alone, on SQLite"},
		&cli.StringFlag{Name: "scale", Usage: "containers of a `service`: ray-worker=2,airflow-worker=2"},
	}
}

// runtimeFlag says where the servers run; the choice is remembered.
func (e *env) runtimeFlag() cli.Flag {
	return &cli.StringFlag{Name: "runtime", Destination: &e.runtime, DefaultText: "MLOPS_RUNTIME, else as last time", Usage: "`process` or docker"}
}

func startOptions(c *cli.Context) (compose.StartOptions, error) {
	opt := compose.StartOptions{
		Services: c.Args().Slice(), WaitTimeout: c.Duration("wait-timeout"),
		KeepOnFailure: c.Bool("keep-on-failure"), Light: c.Bool("light"),
	}
	if c.String("scale") == "" {
		return opt, nil
	}
	opt.Scale = map[string]int{}
	list, err := pairs(strings.Split(c.String("scale"), ","), "service")
	if err != nil {
		return opt, err
	}
	for _, p := range list {
		if opt.Scale[p[0]], err = strconv.Atoi(p[1]); err != nil {
			return opt, usagef("--scale %s=%s: want a number", p[0], p[1])
		}
	}
	return opt, nil
}

func startCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "Start the stack, or what is missing of it",
		ArgsUsage: "[service...]",
		Description: `   mlopsctl start                 all servers
   mlopsctl start mlflow          one, with what it needs
   mlopsctl start s3              S3, too, until: mlopsctl stop s3
   mlopsctl start --light         MLflow alone, on SQLite
   mlopsctl start --dry-run       what would be done
   mlopsctl start --runtime docker --scale airflow-worker=2
                                  in containers; from then on all commands mean those

   Models that were served before are served again. If one does not come back,
   the exit code is 11, and status names it.`,
		Flags: append(startFlags(), e.runtimeFlag(), &cli.BoolFlag{Name: "dry-run", Usage: "print the plan and do nothing"}),
		Action: func(c *cli.Context) error {
			p := e.progress()
			defer p.done()
			s, err := e.stack(p)
			if err != nil {
				return err
			}
			opt, err := startOptions(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				plan, err := s.Plan(c.Context, opt)
				if err != nil {
					return err
				}
				t := newTable("ACTION", "SERVICE", "REASON")
				for _, step := range plan.Steps {
					t.row(step.Action, step.Service, step.Reason)
				}
				return e.table(t, plan)
			}
			st, err := s.Start(c.Context, opt)
			p.done()
			if err != nil {
				return err
			}
			e.prepareQuotas(c.Context)
			return errors.Join(e.printStatus(st), comeBack(st))
		},
	}
}

// prepareQuotas makes the experiment that keeps the quotas, with the rights of the
// stack's administrator, before a user makes one of that name.
func (e *env) prepareQuotas(ctx context.Context) {
	home, err := e.home()
	if err != nil {
		return
	}
	c, err := client.Open(ctx, client.WithHome(home))
	if err != nil {
		return // the next call says why
	}
	defer c.Close()
	if !c.OwnMLflow() {
		return
	}
	if err := c.PrepareQuotas(ctx); err != nil {
		e.note("quotas: %v", err)
	}
}

// comeBack is the error of a start whose deployments did not all come back.
func comeBack(st compose.Status) error {
	var names []string
	for _, d := range st.Deployments {
		if d.State != compose.StateReady {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	err := fmt.Errorf("the servers are ready, but what was deployed did not come back: %s", strings.Join(names, ", "))
	return withCode(exitDegraded, withHint(err, "deploy it again, or take it down: mlopsctl undeploy"))
}

func stopCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "stop",
		Usage:     "Stop the stack, or single services",
		ArgsUsage: "[service...]",
		Flags:     []cli.Flag{e.runtimeFlag()},
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
		Flags:     append(startFlags(), e.runtimeFlag()),
		Action: func(c *cli.Context) error {
			p := e.progress()
			defer p.done()
			s, err := e.stack(p)
			if err != nil {
				return err
			}
			opt, err := startOptions(c)
			if err != nil {
				return err
			}
			st, err := s.Restart(c.Context, opt)
			p.done()
			if err != nil {
				return err
			}
			return errors.Join(e.printStatus(st), comeBack(st))
		},
	}
}

func destroyCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "destroy",
		Usage: "Remove the containers of the stack with all their data",
		Description: `   mlopsctl destroy --yes    containers, networks, volumes, images; what other stacks use stays

   mlopsctl stop keeps all of it. Of a stack of processes it deletes nothing, and
   names every folder that belongs to it.`,
		Flags: []cli.Flag{e.runtimeFlag(), &cli.BoolFlag{Name: "yes", Usage: "I know that the data is lost"}},
		Action: func(c *cli.Context) error {
			p := e.progress()
			defer p.done()
			s, err := e.stack(p)
			if err != nil {
				return err
			}
			if !c.Bool("yes") {
				return usagef("this deletes the databases, artifacts and logs of the stack, which has %s; say --yes", strings.Join(s.Places(), ", "))
			}
			return s.Destroy(c.Context)
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
   eval "$(mlopsctl status --env)"     let this shell and its Python programs use the stack
   mlopsctl status --open evidently    an address for a browser; Evidently's works once, within a minute`,
		Flags: []cli.Flag{
			e.runtimeFlag(),
			&cli.BoolFlag{Name: "env", Usage: "print variables for a shell, credentials included"},
			&cli.StringFlag{Name: "open", Usage: "print an address at which a browser enters this `service`"},
		},
		Action: func(c *cli.Context) error {
			s, err := e.stack(&progress{w: e.stderr, quiet: true})
			if err != nil {
				return err
			}
			if c.Bool("env") {
				return e.printEnv(c, s)
			}
			if name := c.String("open"); name != "" {
				at, err := s.BrowserURL(c.Context, name)
				if err != nil {
					return err
				}
				return e.print(at, map[string]string{"url": at})
			}
			st, err := s.Status(c.Context)
			if err != nil {
				return err
			}
			e.restoreShares(c)
			if err := e.printStatus(st); err != nil {
				return err
			}
			switch st.State {
			case compose.StateHealthy:
				return nil
			case compose.StateStopped:
				return withCode(exitStopped, nil)
			}
			return withCode(exitDegraded, nil)
		},
	}
}

// restoreShares gives the pools of projects their base if the agent that divided
// the machine is dead, and says so. What hinders that is no fault of the status.
func (e *env) restoreShares(c *cli.Context) {
	o, err := e.options(c)
	if err != nil {
		return
	}
	p, err := client.Open(c.Context, o...)
	if err != nil {
		return
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(c.Context, 10*time.Second)
	defer cancel()
	if names, err := p.RestoreShares(ctx); err == nil && len(names) > 0 {
		e.note("the agent that divided the machine is dead: %d projects have the slots again that they have without one", len(names))
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
	if st.State == compose.StateStopped {
		e.note("the stack is stopped; mlopsctl start starts it")
	}
	for _, s := range st.Services {
		state := bad(s.State)
		switch s.State {
		case compose.StateReady:
			state = good(s.State)
		case compose.StateStarting, compose.StateWaiting, compose.StatePreparing, compose.StateBackoff:
			state = warn(s.State)
		case compose.StateStopped:
			state = faint(s.State)
		}
		var pid, memory any
		if s.PID > 0 {
			pid, memory = s.PID, sizeText(s.PSSBytes)
		}
		t.row(s.Name, state, s.URL, pid, memory, s.Restarts, s.Message)
	}
	for _, d := range st.Deployments {
		switch d.State {
		case compose.StateReady:
		case compose.StateStarting:
			t.row(d.Name, warn(d.State), "", "", "", "", d.Message)
		default:
			t.row(d.Name, bad(d.State), "", "", "", "", d.Message)
		}
	}
	return e.table(t, st)
}
