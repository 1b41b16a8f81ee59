package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
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

   mlopsctl run exec -p lora-finetuning --name rank-16 -- .venv/bin/python train.py`,
		Subcommands: []*cli.Command{runStart(e), runEnd(e), runExec(e), runList(e), runShow(e), runCompare(e), runDelete(e), runRestore(e)},
	}
}

// runFlag names a run; Python programs hand theirs on by MLFLOW_RUN_ID, run
// exec also by MLOPS_TRACKED_RUN.
func runFlag() cli.Flag {
	return &cli.StringFlag{Name: "run", EnvVars: []string{"MLFLOW_RUN_ID", "MLOPS_TRACKED_RUN"}, Usage: "`ID` or UID of the run"}
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
		Flags: append([]cli.Flag{e.projectFlag(), e.dirFlag(), requireSentFlag(), dataFlag()}, runDescriptionFlags()...),
		Action: func(c *cli.Context) error {
			p, run, err := e.startRun(c, func(o *mlflow.RunOptions) { o.SampleEvery = -1 }) // this process is gone before the run is
			if err != nil {
				return err
			}
			defer p.Close()
			id, silence, err := e.runID(c, run, 0)
			if err == nil && silence != nil {
				err = kept(run)
			}
			if err != nil { // its ID is not printed: nothing may be left of it
				return errors.Join(err, run.Discard())
			}
			if err := e.print(id, runJSON{ID: id, UID: run.UID, Sent: silence == nil}); err != nil || silence == nil {
				return err
			}
			return e.notSent(c, run, silence)
		},
	}
}

// dataFlag names the data that a run uses.
func dataFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "data", Usage: "tracked `path` that the run reads, recorded with its version; may be repeated"}
}

// startRun begins the run that the command line describes.
func (e *env) startRun(c *cli.Context, change func(*mlflow.RunOptions)) (*client.Project, *mlflow.Run, error) {
	tags, err := pairMap(c.StringSlice("tag"), "tag")
	if err != nil {
		return nil, nil, err
	}
	o := mlflow.RunOptions{New: true, Name: c.String("name"), Description: c.String("description"), Parent: c.String("parent"), Tags: tags}
	change(&o)
	c.Context = e.patient(c)
	p, err := e.project(c)
	if err != nil {
		return nil, nil, err
	}
	e.minds(c, p.MLflow)
	for _, path := range c.StringSlice("data") { // no run begins on data that is not there
		if _, err := p.Data.Version(c.Context, path); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("--data %s: %w", path, err), p.Close())
		}
	}
	run, err := p.StartRun(c.Context, o)
	if err != nil {
		return nil, nil, errors.Join(err, p.Close())
	}
	if err := p.LogData(c.Context, run, c.StringSlice("data")...); err != nil {
		return nil, nil, errors.Join(err, run.Discard(), p.Close())
	}
	return p, run, nil
}

// runID is the server's ID of a run, or its UID while the server is away,
// which is waited for as long as wait says. silence is why it is not sent.
func (e *env) runID(c *cli.Context, run *mlflow.Run, wait time.Duration) (id string, silence, err error) {
	until := time.Now().Add(wait)
	for told := false; ; told = true {
		err := e.flush(c.Context, run)
		switch {
		case err == nil:
			id, err = run.ID(c.Context)
			return id, nil, err
		case c.Context.Err() != nil:
			return "", nil, context.Cause(c.Context)
		case !away(err):
			now, cancel := context.WithCancel(c.Context)
			cancel() // the answer is there
			if _, why := run.ID(now); why != nil && !away(why) {
				err = why // it does not count what waits: the caller discards it
			}
			return "", nil, err
		case !time.Now().Before(until):
			return run.UID, err, nil
		}
		if !told {
			e.note("%s; waiting up to %v", silenceOf(err), wait)
		}
		select {
		case <-time.After(min(time.Second, time.Until(until))):
		case <-c.Context.Done():
		}
	}
}

// patient is the context of a command that logs, which keeps what it cannot
// send instead of giving up: --timeout bounds its waiting for an answer.
func (e *env) patient(c *cli.Context) context.Context {
	if _, late := errors.AsType[*timedOut](context.Cause(c.Context)); c.Context.Err() != nil && !late || e.base == nil || e.timeout == 0 {
		return c.Context
	}
	return e.base
}

// flush sends what waits: for as long as answerWithin says, and for as long as more and more
// of it is sent.
func (e *env) flush(ctx context.Context, run *mlflow.Run) error {
	for {
		before := run.Pending()
		short, cancel := context.WithTimeout(ctx, e.answerWithin())
		err := run.Flush(short)
		slow := short.Err() != nil
		cancel()
		left := run.Pending()
		if err == nil || ctx.Err() != nil || !slow || left >= before {
			e.heard(err, slow && err != nil)
			return err
		}
		e.note("%d records are still on their way to MLflow", left)
	}
}

// away reports whether err only says that the server cannot be reached now.
func away(err error) bool {
	return errors.Is(err, mlops.ErrUnavailable) || errors.Is(err, mlops.ErrRateLimited) || errors.Is(err, context.DeadlineExceeded)
}

// silenceOf says what keeps MLflow from taking records, which err does not
// call an error of theirs.
func silenceOf(err error) string {
	d, _ := errors.AsType[*mlops.Error](err)
	op, dial := errors.AsType[*net.OpError](err)
	switch {
	case dial && op.Op == "dial":
		return "MLflow is away"
	case errors.Is(err, mlops.ErrRateLimited):
		return "MLflow turns requests away for now"
	case d != nil && d.Status != 0:
		return fmt.Sprintf("MLflow answers with errors (%d)", d.Status)
	}
	return "MLflow is slow to answer"
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
func (e *env) notSent(c *cli.Context, run *mlflow.Run, silence error) error {
	if err := kept(run); err != nil {
		return err
	}
	msg := fmt.Sprintf("%s; run %s waits on this machine until it is back", silenceOf(silence), run.UID)
	if op, ok := errors.AsType[*net.OpError](silence); !ok || op.Op != "dial" {
		msg = fmt.Sprintf("%s; %d records of run %s wait on this machine", silenceOf(silence), run.Pending(), run.UID)
	}
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
			status := mlflow.RunFinished
			if c.Bool("failed") {
				status = mlflow.RunFailed
			}
			return e.onRun(c, func(ctx context.Context, run *mlflow.Run) error { return run.EndAs(ctx, status) })
		},
	}
}

func runList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List the project's runs, the newest first",
		Description: "   mlopsctl run list -p lora-finetuning --filter \"metrics.val_loss < 0.3\"",
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "filter", Usage: "MLflow's `search` expression"},
			&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 20, Usage: "most `runs` to show"},
		},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			type row struct {
				ID      string            `json:"id"`
				Name    string            `json:"name"`
				Status  mlflow.RunStatus  `json:"status"`
				Started time.Time         `json:"started"`
				Metrics map[string]number `json:"metrics,omitempty"`
				Params  map[string]string `json:"params,omitempty"`
			}
			t := newTable("ID", "NAME", "STATUS", "STARTED")
			t.empty = "no runs yet; mlopsctl run start begins one"
			if c.String("filter") != "" {
				t.empty = "no runs match the filter"
			}
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

// onRun resumes the run that --run names, does f, and sends all of it. A
// server that is away keeps nothing from being done: it is sent later.
func (e *env) onRun(c *cli.Context, f func(context.Context, *mlflow.Run) error) error {
	c.Context = e.patient(c)
	if strings.TrimSpace(c.String("run")) == "" {
		return usagef("missing --run <ID>")
	}
	p, err := e.anyProject(c)
	if err != nil {
		return err
	}
	defer p.Close()
	e.minds(c, p.MLflow)
	patience, begin := e.answerWithin(), time.Now()
	run, err := p.ResumeRun(c.Context, c.String("run"), mlflow.RunOptions{KeepStatus: true, AnswerTimeout: patience, EndTimeout: patience})
	if err != nil {
		return err
	}
	if time.Since(begin) >= patience {
		e.heard(nil, true)
	}
	if err := f(c.Context, run); err != nil {
		return err
	}
	if run.Pending() == 0 { // f ended the run, and MLflow has it
		e.heard(nil, false)
		return nil
	}
	err = e.flush(c.Context, run)
	if c.Context.Err() == nil && away(err) {
		return e.notSent(c, run, err)
	}
	return err
}
