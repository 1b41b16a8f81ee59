package cli

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

type runShowJSON struct {
	ID           string            `json:"id"`
	UID          string            `json:"uid,omitempty"`
	Name         string            `json:"name"`
	ExperimentID string            `json:"experiment_id"`
	Status       mlflow.RunStatus  `json:"status"`
	Deleted      bool              `json:"deleted"`
	User         string            `json:"user"`
	Started      time.Time         `json:"started"`
	Ended        *time.Time        `json:"ended,omitempty"`
	ArtifactURI  string            `json:"artifact_uri"`
	Params       map[string]string `json:"params"`
	Metrics      []metricJSON      `json:"metrics"`
	Tags         map[string]string `json:"tags"`
	Inputs       []inputJSON       `json:"inputs"`
	Models       []string          `json:"models"`
	Artifacts    []fileJSON        `json:"artifacts"`
}

type metricJSON struct {
	Key   string    `json:"key"`
	Value number    `json:"value"`
	Step  int64     `json:"step"`
	Time  time.Time `json:"time"`
}

type inputJSON struct {
	Name    string `json:"name"`
	Digest  string `json:"digest"`
	Source  string `json:"source"`
	Context string `json:"context,omitempty"`
}

func runShow(e *env) *cli.Command {
	return &cli.Command{
		Name:        "show",
		Usage:       "Show a run: params, latest metrics, tags, inputs, artifacts",
		ArgsUsage:   "<run>",
		Description: "   mlopsctl run show \"$run\"\n   mlopsctl run show \"$run\" --json",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			r, err := p.MLflow.RunInfo(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			var files []mlflow.FileInfo
			for f, err := range p.MLflow.Artifacts(c.Context, r.ID, "") {
				if err != nil {
					e.note("artifacts: %v", err) // elsewhere, or out of reach: the rest is worth showing
					break
				}
				files = append(files, f)
			}
			return e.showRun(r, files)
		}),
	}
}

func (e *env) showRun(r mlflow.RunInfo, files []mlflow.FileInfo) error {
	doc := runShowJSON{ID: r.ID, UID: r.UID, Name: r.Name, ExperimentID: r.ExperimentID, Status: r.Status, Deleted: r.Deleted, User: r.User, Started: r.Start,
		ArtifactURI: r.ArtifactURI, Params: r.Params, Tags: r.Tags, Metrics: []metricJSON{}, Inputs: []inputJSON{}, Models: r.Models, Artifacts: []fileJSON{}}
	t := newTable("WHAT", "KEY", "VALUE", "STEP")
	state := statusCell(r.Status)
	if r.Deleted {
		state = bad(r.Status + ", deleted")
	}
	t.row("run", "id", r.ID)
	t.row("run", "name", r.Name)
	t.row("run", "status", state)
	t.row("run", "experiment", r.ExperimentID)
	t.row("run", "started", when(r.Start))
	if !r.End.IsZero() {
		doc.Ended = &r.End
		t.row("run", "ended", when(r.End))
	}
	for _, k := range sortedKeys(r.Params) {
		t.row("param", k, r.Params[k])
	}
	for _, m := range r.Metrics {
		t.row("metric", m.Key, m.Value, m.Step)
		doc.Metrics = append(doc.Metrics, metricJSON{m.Key, number(m.Value), m.Step, m.Time})
	}
	for _, k := range sortedKeys(r.Tags) {
		t.row("tag", k, r.Tags[k])
	}
	for _, in := range r.Inputs {
		t.row("input", in.Name, in.Digest)
		doc.Inputs = append(doc.Inputs, inputJSON{in.Name, in.Digest, in.Source, in.Context})
	}
	for _, m := range r.Models {
		t.row("model", m, "")
	}
	for _, f := range files {
		d := fileOf(f)
		t.row("artifact", d.Path, d.size())
		doc.Artifacts = append(doc.Artifacts, d)
	}
	return e.table(t, doc)
}

func runDelete(e *env) *cli.Command {
	return e.onRuns("delete", "Delete runs; run restore takes them back", "deleted", func(c *cli.Context, m *mlflow.Client, id string) error { return m.DeleteRun(c.Context, id) })
}

func runRestore(e *env) *cli.Command {
	return e.onRuns("restore", "Take back the deletion of runs", "restored", func(c *cli.Context, m *mlflow.Client, id string) error { return m.RestoreRun(c.Context, id) })
}

// onRuns is a command that does one thing to each of the runs named.
func (e *env) onRuns(name, usage, done string, do func(*cli.Context, *mlflow.Client, string) error) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       usage,
		ArgsUsage:   "<run>...",
		Description: "   mlopsctl run " + name + " \"$run\"",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			var errs []error
			for _, run := range c.Args().Slice() {
				r, err := p.MLflow.RunInfo(c.Context, run)
				if err == nil {
					err = do(c, p.MLflow, r.ID)
				}
				if err == nil {
					e.note("%s %s", done, r.ID)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}),
	}
}
