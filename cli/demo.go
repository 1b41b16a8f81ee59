package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

func demoCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "Take a project from a CSV file to a served, watched model",
		Description: `   mlopsctl demo

   Sets up and starts the stack if need be, then, in a scratch project: adds and
   pushes real data with DVC, declares a DAG in Go, trains with scikit-learn in
   Airflow, logs to MLflow, registers the model, deploys it on Ray Serve, scores
   held-out rows over HTTP, and looks for drift with Evidently. The stack stays
   up; the demo may be run again.`,
		Flags: []cli.Flag{e.runtimeFlag(), &cli.StringFlag{Name: "scratch", Usage: "`folder` of the scratch project", DefaultText: "demo in the home folder"}},
		Action: func(c *cli.Context) error {
			home, err := e.home()
			if err != nil {
				return err
			}
			dir := c.String("scratch")
			p := e.progress()
			defer p.done()
			s, err := e.stack(p)
			if err != nil {
				return err
			}
			if dir == "" {
				below, err := s.Projects()
				if err != nil {
					return err
				}
				dir = filepath.Join(cmp.Or(below, home), "demo")
			}
			if dir, err = filepath.Abs(dir); err != nil {
				return err
			}
			d := &demo{e: e, progress: p, stack: s, home: home, dir: dir}
			err = d.walk(c.Context)
			p.done()
			if err != nil {
				return err
			}
			return d.print()
		},
	}
}

const (
	demoProject    = "breast-cancer"
	demoModel      = "breast-cancer"
	demoDeployment = "classifier"
	demoMarker     = ".mlops-demo" // marks a folder that the demo made and may remove
)

// demo is one walk through the main job.
type demo struct {
	e        *env
	progress *progress
	stack    *compose.Stack
	home     string
	dir      string
	python   string // with scikit-learn
	project  *client.Project
	steps    []demoStep

	dagRun, runID string
}

// demoStep is a line of the table that the demo prints.
type demoStep struct {
	Step    string  `json:"step"`
	Seconds float64 `json:"seconds"`
	Result  string  `json:"result"`
	URL     string  `json:"url,omitempty"`
}

type demoResult struct{ result, url string }

func (d *demo) walk(ctx context.Context) (err error) {
	before, err := d.stack.Status(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if d.project != nil {
			err = errors.Join(err, d.project.Close())
		}
		if ctx.Err() != nil {
			err = errors.Join(err, d.cleanUp(context.WithoutCancel(ctx), before.State == compose.StateStopped))
		}
	}()
	for _, s := range []struct {
		name string
		do   func(context.Context) (demoResult, error)
	}{
		{"set up the servers", d.setUp},
		{"start the stack", d.start},
		{"project with data", d.data},
		{"register the project", d.register},
		{"declare the DAG", d.declare},
		{"train in Airflow", d.train},
		{"name the champion", d.promote},
		{"deploy the champion", d.deploy},
		{"score held-out rows", d.score},
		{"drift: like data", d.driftLike},
		{"drift: shifted data", d.driftShifted},
	} {
		d.progress.set("%s …", s.name)
		begin := time.Now()
		r, err := s.do(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		took := time.Since(begin)
		d.steps = append(d.steps, demoStep{s.name, float64(took.Round(100*time.Millisecond)) / 1e9, r.result, r.url})
		d.progress.keep("%-22s %7.1f s  %s", s.name, took.Seconds(), r.result)
	}
	return nil
}

func (d *demo) print() error {
	t := newTable("STEP", "SECONDS", "RESULT", "URL")
	total := 0.0
	for _, s := range d.steps {
		t.row(s.Step, fmt.Sprintf("%.1f", s.Seconds), s.Result, s.URL)
		total += s.Seconds
	}
	if err := d.e.table(t, d.steps); err != nil {
		return err
	}
	d.e.note("done in %.0f s; the stack stays up: mlopsctl status, mlopsctl stop", total)
	return nil
}

// cleanUp undoes what an interrupted demo left: its scratch project and, if it
// was the demo that started it, the stack.
func (d *demo) cleanUp(ctx context.Context, stop bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var err error
	if d.project != nil && d.dagRun != "" && d.runID == "" {
		err = d.project.Airflow.Runs.Cancel(ctx, d.project.DAGID("train"), d.dagRun)
	}
	err = errors.Join(err, d.removeScratch())
	if stop {
		d.e.note("interrupted; stopping the stack that the demo started")
		err = errors.Join(err, d.stack.Stop(ctx, compose.StopOptions{}))
	}
	return err
}

// removeScratch deletes the scratch project, if it is one.
func (d *demo) removeScratch() error {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(entries) == 0) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(d.dir, demoMarker)); err != nil {
		return fmt.Errorf("%s is not a folder that the demo made; give another one with --scratch", d.dir)
	}
	return os.RemoveAll(d.dir)
}

func (d *demo) setUp(ctx context.Context) (demoResult, error) {
	if err := d.stack.Setup(ctx, compose.SetupOptions{}); err != nil {
		return demoResult{}, err
	}
	// Here the data is prepared and drift is computed, wherever the servers are.
	if err := d.stack.Setup(ctx, compose.SetupOptions{Environments: []string{"train", "evidently"}}); err != nil {
		return demoResult{}, err
	}
	return demoResult{result: d.home}, nil
}

func (d *demo) start(ctx context.Context) (demoResult, error) {
	st, err := d.stack.Start(ctx, compose.StartOptions{})
	if err != nil {
		return demoResult{}, err
	}
	file, err := stackfile.Read(d.home)
	if err != nil {
		return demoResult{}, err
	}
	if d.python = file.Pythons["train"]; d.python == "" {
		return demoResult{}, withHint(errors.New("the environment for training is not known to the running stack"), "mlopsctl restart")
	}
	return demoResult{fmt.Sprintf("%d servers, %s", len(st.Services), sizeText(memoryOf(st))), file.Endpoints[stackfile.MLflow].URL}, nil
}
