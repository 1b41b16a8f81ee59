package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

// runExec tracks a whole command: the run lives as long as it does.
func runExec(e *env) *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "Run a command as a run",
		ArgsUsage: "<command>...",
		Description: `   mlopsctl run exec -p lora-finetuning --name rank-16 -- .venv/bin/python train.py
   mlopsctl run exec -p lora-finetuning --data data/train.csv -- .venv/bin/python train.py
   mlopsctl run exec -p lora-finetuning --grace 30s -- ./train.sh

   The Python is yours: it needs mlflow if train.py imports it, which the
   servers' environments are not for.

   The command finds the run in MLFLOW_RUN_ID and the server in
   MLFLOW_TRACKING_URI, as Python's and Go's StartRun read them; the machine is
   sampled while it runs. The run records the command, without what looks like
   a secret, and the folder that it ran in.

   While MLflow is away the command runs without MLFLOW_RUN_ID, which Python
   could not resolve; --wait waits for MLflow, and --require-sent does not run
   the command without it. MLOPS_TRACKED_RUN is always set: mlopsctl and Go programs
   log to the run by it, with or without MLflow.

   Signals reach the command as they are. The run ends as the command does, and
   so does mlopsctl, as a shell would: with its exit code, 128+n if signal n
   ended it, 127 if there is no such command, 126 if it cannot be run.`,
		Flags: append([]cli.Flag{
			e.projectFlag(), e.dirFlag(), requireSentFlag(), dataFlag(),
			&cli.DurationFlag{Name: "wait", Usage: "wait up to `duration` for MLflow before the command runs"},
			&cli.DurationFlag{Name: "grace", Usage: "kill a command that still runs `duration` after a signal told it to end; 0: never"},
		}, runDescriptionFlags()...),
		Action: func(c *cli.Context) error {
			argv := c.Args().Slice()
			path, err := lookProgram(argv[0])
			if err != nil {
				return err
			}
			relay := newRelay(e.patient(c), c.Duration("grace"))
			defer relay.close()
			c.Context, e.base = relay.ctx, relay.ctx
			p, run, err := e.startRun(c, func(o *mlflow.RunOptions) {
				tags := client.CommandTags(argv)
				maps.Copy(tags, o.Tags) // what the command line says wins
				o.Tags = tags
			})
			if err != nil {
				return err
			}
			defer p.Close()
			// The end is told to the server whatever signal came.
			end, cancel := context.WithTimeout(context.WithoutCancel(c.Context), time.Minute)
			defer cancel()
			id, silence, err := e.runID(c, run, c.Duration("wait"))
			if err != nil && relay.ctx.Err() == nil { // MLflow does not take the run: nothing of it may wait
				return errors.Join(err, run.Discard())
			}
			sent := silence == nil
			if err == nil && !sent {
				err = e.notSent(c, run, silence) // with --require-sent
			}
			if err != nil {
				return errors.Join(err, run.EndAs(end, statusBefore(relay.ctx)))
			}
			e.note("run %s", id)
			if !sent {
				e.note("%s: %s runs without MLFLOW_RUN_ID: Python finds no run that MLflow does not have; mlopsctl and Go programs find it in MLOPS_TRACKED_RUN", program, argv[0])
			}
			cmd := exec.Command(path, argv[1:]...)
			cmd.Args[0] = argv[0]
			cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin, e.stdout, e.stderr
			cmd.Env = runEnviron(p, run.UID, id, sent)
			lent, err := run.Lend()
			if err != nil {
				return errors.Join(err, run.EndAs(end, mlflow.RunFailed))
			}
			status, err := relay.run(cmd, lent)
			err = endedAs(argv[0], err, run.EndAs(end, status))
			switch n := run.Pending(); {
			case n > 0 && kept(run) != nil:
				e.note("%s: %d records of run %s are lost: %v", program, n, run.UID, kept(run))
			case n > 0:
				e.note("%s: %d records of run %s wait on this machine (mlopsctl sync, or the agent of a running stack, sends them)", program, n, run.UID)
			}
			return err
		},
	}
}

// endedAs joins how the command ended with what kept the run from being told.
func endedAs(name string, outcome, own error) error {
	x, ok := errors.AsType[*exitError](outcome)
	if !ok {
		return errors.Join(outcome, own)
	}
	return withCode(x.code, fmt.Errorf("%s: %w", name, errors.Join(x.err, own)))
}

// lookProgram finds a program as a shell does, and has a shell's codes for not
// finding it.
func lookProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil, errors.Is(err, exec.ErrDot):
		return path, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return "", withCode(exitNoCommand, fmt.Errorf("%s: command not found", name))
	}
	return "", withCode(exitNoExec, fmt.Errorf("%s: cannot be run: %w", name, err))
}

// statusBefore is the status of a run whose command did not begin.
func statusBefore(ctx context.Context) mlflow.RunStatus {
	if ctx.Err() != nil {
		return mlflow.RunKilled
	}
	return mlflow.RunFailed
}

// runEnviron is the environment in which the command finds its server and its
// run.
func runEnviron(p *client.Project, uid, id string, sent bool) []string {
	set := map[string]string{
		"MLOPS_TRACKED_RUN": uid, "MLOPS_PROJECT": p.Name,
		"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false", // the machine is sampled here
	}
	if sent {
		set["MLFLOW_RUN_ID"], set["MLOPS_TRACKED_RUN"] = id, id
	}
	out := slices.DeleteFunc(trackingEnv(p.Config.MLflowURI, p.Config.MLflowAuth), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		_, ours := set[name]
		return ours || name == "MLFLOW_RUN_ID" // of a run around this one
	})
	for _, k := range sortedKeys(set) {
		out = append(out, k+"="+set[k])
	}
	return out
}
