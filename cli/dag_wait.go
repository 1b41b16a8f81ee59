package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func waitTimeout() cli.Flag {
	return &cli.DurationFlag{Name: "wait-timeout", Usage: "give up after `duration`: exit code 6, or 14 if the run waits for a quota; 0 waits for ever"}
}

func dagWait(e *env) *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "Wait for a run to end; failed is exit code 1",
		ArgsUsage: "<dag> <run-id>",
		Description: `   mlopsctl dag wait retrain "$run_id" -p lora-finetuning --wait-timeout 2h

   When nothing has moved for a minute, it says why, as dag explain does.`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag(), waitTimeout()},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			r, err := e.waitRun(c, p, c.Args().Get(0), c.Args().Get(1))
			if err != nil {
				return err
			}
			return e.print(r.State, dagRunOf(r))
		}),
	}
}

// waitRun waits for the end of a run, at most for --wait-timeout. It tells states,
// and what holds the run when nothing moves.
func (e *env) waitRun(c *cli.Context, p *client.Project, dag, run string) (airflow.DAGRun, error) {
	ctx := c.Context
	if d := c.Duration("wait-timeout"); d != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	lines := e.progress()
	told := ""
	r, err := p.Airflow.Wait(ctx, p.DAGID(dag), run, airflow.WaitOptions{
		OnState: func(r airflow.DAGRun) { lines.keep("%s %s: %s", r.DAGID, r.ID, r.State) },
		OnStill: func(airflow.DAGRun) {
			if cause := firstCause(ctx, p, dag, run); cause.Message != "" && cause.Message != told {
				told = cause.Message
				lines.keep("%s", withHelp(cause))
			}
		},
	})
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) || c.Context.Err() != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(c.Context, 10*time.Second)
	defer cancel()
	cause := firstCause(ctx, p, dag, run)
	err = &mlops.Error{Kind: mlops.ErrUnavailable, Message: fmt.Sprintf("run %s has not ended after %s", run, c.Duration("wait-timeout"))}
	if cause.Message != "" {
		err = &mlops.Error{Kind: mlops.ErrUnavailable, Message: err.Error() + ": " + withHelp(cause)}
	}
	if cause.Code == airflow.CauseQuota {
		err = withCode(exitQuota, err)
	}
	return r, err
}

// firstCause is what most likely holds a run; the zero value if nothing does or
// that cannot be told.
func firstCause(ctx context.Context, p *client.Project, dag, run string) airflow.Cause {
	causes, err := p.Explain(ctx, dag, run, "")
	if err != nil || len(causes) == 0 {
		return airflow.Cause{}
	}
	return causes[0]
}

func withHelp(c airflow.Cause) string {
	if c.Help == "" {
		return c.Message
	}
	return c.Message + " (" + c.Help + ")"
}
