package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func runCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "Track runs",
		Description: `   run=$(mlopsctl run start -p lora-finetuning --name rank-16)
   mlopsctl metric log --run "$run" --step 10 loss=0.31
   mlopsctl run end --run "$run"

   mlopsctl run exec -p lora-finetuning --name rank-16 -- python train.py`,
		Subcommands: []*cli.Command{runStart(e), runEnd(e), runExec(e), runList(e), runShow(e), runCompare(e), runDelete(e), runRestore(e)},
	}
}

// runFlag names a run; Python programs hand theirs on by MLFLOW_RUN_ID.
func runFlag() cli.Flag {
	return &cli.StringFlag{Name: "run", EnvVars: []string{"MLFLOW_RUN_ID"}, Usage: "`ID` or UID of the run"}
}

func runDescriptionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "display name of the run"},
		&cli.StringFlag{Name: "description", Usage: "what the run is for"},
		&cli.StringFlag{Name: "parent", Usage: "`ID` or UID of the run that this one is nested in"},
		&cli.StringSliceFlag{Name: "tag", Usage: "`key=value`; may be repeated"},
	}
}

type runJSON struct {
	ID   string `json:"id"` // the server's; the UID while the server is away
	UID  string `json:"uid"`
	Sent bool   `json:"sent"`
}

func runStart(e *env) *cli.Command {
	return &cli.Command{
		Name:  "start",
		Usage: "Start a run and print its ID",
		Description: `   run=$(mlopsctl run start -p lora-finetuning --name rank-16)
   mlopsctl metric log --run "$run" --step 10 loss=0.31`,
		Flags: append([]cli.Flag{e.projectFlag(), e.dirFlag(), requireSentFlag()}, runDescriptionFlags()...),
		Action: func(c *cli.Context) error {
			p, run, err := e.startRun(c, func(o *mlflow.RunOptions) { o.SampleEvery = -1 }) // this process is gone before the run is
			if err != nil {
				return err
			}
			defer p.Close()
			id, sent, err := e.runID(c, run)
			if err == nil && !sent {
				err = kept(run)
			}
			if err != nil { // its ID is not printed: nothing may be left of it
				return errors.Join(err, run.Discard())
			}
			if err := e.print(id, runJSON{ID: id, UID: run.UID, Sent: sent}); err != nil || sent {
				return err
			}
			return e.notSent(c, run)
		},
	}
}

// startRun begins the run that the command line describes.
func (e *env) startRun(c *cli.Context, change func(*mlflow.RunOptions)) (*client.Project, *mlflow.Run, error) {
	tags, err := pairMap(c.StringSlice("tag"), "tag")
	if err != nil {
		return nil, nil, err
	}
	o := mlflow.RunOptions{New: true, Name: c.String("name"), Description: c.String("description"), Parent: c.String("parent"), Tags: tags}
	change(&o)
	p, err := e.project(c)
	if err != nil {
		return nil, nil, err
	}
	run, err := p.StartRun(c.Context, o)
	if err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	return p, run, nil
}

// answerTimeout is how long a command waits for MLflow before it goes on
// without.
const answerTimeout = 5 * time.Second

// runID is the server's ID of a run, or its UID while the server is away.
func (e *env) runID(c *cli.Context, run *mlflow.Run) (id string, sent bool, err error) {
	ctx, cancel := context.WithTimeout(c.Context, answerTimeout)
	defer cancel()
	err = run.Flush(ctx)
	switch {
	case err == nil:
		id, err = run.ID(ctx)
		return id, true, err
	case c.Context.Err() == nil && away(err):
		return run.UID, false, nil
	}
	return "", false, err
}

// away reports whether err only says that the server cannot be reached now.
func away(err error) bool {
	return errors.Is(err, mlops.ErrUnavailable) || errors.Is(err, mlops.ErrRateLimited) || errors.Is(err, context.DeadlineExceeded)
}

// kept is nil if what MLflow does not have waits on this machine.
func kept(run *mlflow.Run) error {
	if err := run.Kept(); err != nil {
		return fmt.Errorf("not kept: %w", err)
	}
	return nil
}

// requireSentFlag is for commands that log.
func requireSentFlag() cli.Flag {
	return &cli.BoolFlag{Name: "require-sent", Usage: "exit with 8 if MLflow does not have it yet"}
}

// notSent tells that what was logged waits, which is an error only if the
// command line says so.
func (e *env) notSent(c *cli.Context, run *mlflow.Run) error {
	if err := kept(run); err != nil {
		return err
	}
	msg := fmt.Sprintf("MLflow is away; run %s waits on this machine until it is back", run.UID)
	if c.Bool("require-sent") {
		return withHint(withCode(exitNotSent, errors.New(msg)), "mlopsctl sync")
	}
	e.note("%s: %s (mlopsctl sync, or the agent of a running stack, sends it)", program, msg)
	return nil
}

func runEnd(e *env) *cli.Command {
	return &cli.Command{
		Name:        "end",
		Usage:       "End a run",
		Description: "   mlopsctl run end --run \"$run\"\n   mlopsctl run end --run \"$run\" --failed",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag(), runFlag(), &cli.BoolFlag{Name: "failed", Usage: "it did not succeed"}, requireSentFlag()},
		Action: func(c *cli.Context) error {
			status := mlflow.Finished
			if c.Bool("failed") {
				status = mlflow.Failed
			}
			return e.onRun(c, func(ctx context.Context, run *mlflow.Run) error { return run.EndAs(ctx, status) })
		},
	}
}

// runExec tracks a whole command: the run lives as long as it does.
func runExec(e *env) *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "Run a command as a run",
		ArgsUsage: "<command>...",
		Description: `   mlopsctl run exec -p lora-finetuning --name rank-16 -- python train.py

   The command finds the run in MLFLOW_RUN_ID and the server in
   MLFLOW_TRACKING_URI, as Python's and Go's StartRun read them; the machine is
   sampled while it goes on. The run ends as the command does, and so does
   mlopsctl: with its exit code.`,
		Flags: append([]cli.Flag{e.projectFlag(), e.dirFlag()}, runDescriptionFlags()...),
		Action: func(c *cli.Context) error {
			p, run, err := e.startRun(c, func(*mlflow.RunOptions) {})
			if err != nil {
				return err
			}
			defer p.Close()
			id, _, err := e.runID(c, run)
			if err != nil {
				return errors.Join(err, run.EndAs(c.Context, mlflow.Failed))
			}
			e.note("run %s", id)
			outcome := e.execute(c.Context, p, id, c.Args().Slice())
			// The end is told to the server even after Ctrl-C.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), time.Minute)
			defer cancel()
			err = run.End(ctx, outcome) // outcome is part of it
			if exit, ok := errors.AsType[*exec.ExitError](outcome); ok && exit.ExitCode() > 0 {
				return withCode(exit.ExitCode(), fmt.Errorf("%s: %w", c.Args().First(), err))
			}
			return err
		},
	}
}

func (e *env) execute(ctx context.Context, p *client.Project, run string, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin, e.stdout, e.stderr
	cmd.Env = append(os.Environ(), "MLFLOW_RUN_ID="+run, "MLFLOW_TRACKING_URI="+p.Config.MLflowURI, "MLOPS_PROJECT="+p.Name,
		"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false") // the machine is sampled here
	if a := p.Config.MLflowAuth; a.Username != "" {
		cmd.Env = append(cmd.Env, "MLFLOW_TRACKING_USERNAME="+a.Username, "MLFLOW_TRACKING_PASSWORD="+string(a.Password))
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func runList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List the project's runs, the newest first",
		Description: "   mlopsctl run list -p lora-finetuning --filter \"metrics.val_loss < 0.3\"",
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "filter", Usage: "MLflow's `search` expression"},
			&cli.IntFlag{Name: "limit", Value: 20, Usage: "most `runs` to show"},
		},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			type row struct {
				ID      string            `json:"id"`
				Name    string            `json:"name"`
				Status  string            `json:"status"`
				Started time.Time         `json:"started"`
				Metrics map[string]number `json:"metrics,omitempty"`
				Params  map[string]string `json:"params,omitempty"`
			}
			t := newTable("ID", "NAME", "STATUS", "STARTED")
			t.empty = "no runs yet; mlopsctl run start begins one"
			var docs []row
			for r, err := range p.Runs(c.Context, c.String("filter")) {
				if err != nil {
					return err
				}
				if len(docs) == c.Int("limit") {
					break
				}
				t.row(r.ID, r.Name, statusCell(r.Status), ago(r.Start))
				docs = append(docs, row{r.ID, r.Name, r.Status, r.Start, numbers(r.Metrics), r.Params})
			}
			return e.table(t, docs)
		}),
	}
}

// onRun goes on with the run that --run names, does f, and sends all of it. A
// server that is away keeps nothing from being done: it is sent later.
func (e *env) onRun(c *cli.Context, f func(context.Context, *mlflow.Run) error) error {
	p, err := e.runProject(c)
	if err != nil {
		return err
	}
	defer p.Close()
	run, err := p.ResumeRun(c.Context, c.String("run"), mlflow.RunOptions{KeepStatus: true})
	if err != nil {
		return err
	}
	if err := f(c.Context, run); err != nil {
		return err
	}
	if run.Pending() == 0 {
		return nil // f ended the run
	}
	ctx, cancel := context.WithTimeout(c.Context, answerTimeout)
	defer cancel()
	err = run.Flush(ctx)
	if c.Context.Err() == nil && away(err) {
		return e.notSent(c, run)
	}
	return err
}

// runProject opens a project for the run that --run names.
func (e *env) runProject(c *cli.Context) (*client.Project, error) {
	if strings.TrimSpace(c.String("run")) == "" {
		return nil, usagef("missing --run <ID>")
	}
	return e.projectOrAny(c)
}

// projectOrAny opens the project if one is named. A run's ID says enough about
// where it belongs, so that without a name any will do.
func (e *env) projectOrAny(c *cli.Context) (*client.Project, error) {
	p, err := e.project(c)
	if errors.Is(err, client.ErrNoProject) {
		o, oerr := e.options(c)
		if oerr != nil {
			return nil, oerr
		}
		return client.FromProject(c.Context, "any", o...)
	}
	return p, err
}
